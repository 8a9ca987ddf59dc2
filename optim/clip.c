/* clip.c - the norm of all gradients, and clipping by it or by a value: clip_grad_norm_ and
 * clip_grad_value_ of torch.nn.utils. */
#include "optim/clip.h"

#define LK_REAL_SOURCE "optim/clip_real.h"
#include "core/real.h"

/* A gradient is cut into at most PIECES parts. Their borders depend only on its size. */
enum { PIECES = 64, PIECE = 1 << 14 };

static int64_t piece_size(int64_t n)
{
    int64_t size = (n + PIECES - 1) / PIECES;
    return size > PIECE ? size : PIECE;
}

static Tensor *gradient_of(const TensorList *params, int i)
{
    const Tensor *p = params->items[i];
    return p && p->requires_grad ? p->grad : NULL;
}

static double square_sum(const Tensor *g)
{
    double sums[PIECES] = { 0 }, sum = 0.0;
    int64_t n = lk_numel(g), size = piece_size(n);
#pragma omp parallel for schedule(static) if (n > 4 * PIECE)
    for (int64_t first = 0; first < n; first += size) {
        int64_t count = n - first < size ? n - first : size;
        const void *x = (const char *)g->data + (size_t)first * lk_dtype_size(g->dtype);
        sums[first / size] = LK_REAL(g->dtype, square_sum, count, x);
    }
    for (int i = 0; i < PIECES; i++) sum += sums[i];
    return sum;
}

typedef void ChangeFn(DType dtype, int64_t n, void *x, double by);

static void scale(DType dtype, int64_t n, void *x, double factor)
{
    LK_REAL(dtype, scale, n, x, factor);
}

static void cut(DType dtype, int64_t n, void *x, double limit)
{
    LK_REAL(dtype, cut, n, x, limit);
}

static void change_all(const TensorList *params, ChangeFn *change, double by)
{
    for (int i = 0; i < params->count; i++) {
        Tensor *g = gradient_of(params, i);
        if (!g) continue;
        int64_t n = lk_numel(g), size = piece_size(n);
#pragma omp parallel for schedule(static) if (n > 4 * PIECE)
        for (int64_t first = 0; first < n; first += size) {
            int64_t count = n - first < size ? n - first : size;
            change(g->dtype, count, (char *)g->data + (size_t)first * lk_dtype_size(g->dtype), by);
        }
        lk_touch(g);
    }
}

double lk_clip_grad_norm_(const TensorList *params, double max_norm)
{
    if (!params) return 0;
    double sum = 0.0;
    for (int i = 0; i < params->count; i++) {
        const Tensor *g = gradient_of(params, i);
        if (g) sum += square_sum(g);
    }
    double norm = sqrt(sum), factor = max_norm / (norm + 1e-6);
    if (factor >= 1.0 || max_norm == INFINITY) return norm;
    change_all(params, scale, factor); /* factor may be NaN */
    return norm;
}

bool lk_clip_grad_value_(const TensorList *params, double value)
{
    if (!params || !(value >= 0.0)) return false;
    change_all(params, cut, value);
    return true;
}
