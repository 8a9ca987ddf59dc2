/* ops_rotary.c - rotary position embedding (Su et al. 2021, arXiv:2104.09864): element j of a head
 * and element j + d/2 are turned by an angle that grows with the position. The angles are computed
 * in double, also for float32, so that far positions stay exact. */
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_rotary_real.h"
#include "core/real.h"

typedef struct Rotary {
    int64_t batch, rows, heads, d, position;
    double base;
} Rotary;

/* Turns from (B, S, E) into to, or adds to it; both are contiguous. False: no memory. */
static bool turn_all(Tape *t, const Rotary *a, bool back, bool add, const Tensor *from, Tensor *to)
{
    const int64_t half = a->d / 2, width = a->heads * a->d;
    double *angles = lk_tape_scratch(t, (size_t)(a->rows * a->d) * sizeof *angles);
    if (!angles) return false;
    for (int64_t s = 0; s < a->rows; s++)
        for (int64_t j = 0; j < half; j++) {
            const double angle =
                (double)(a->position + s) * pow(a->base, -2.0 * (double)j / (double)a->d);
            angles[s * a->d + j] = cos(angle);
            angles[s * a->d + half + j] = sin(angle);
        }
    const size_t size = lk_dtype_size(from->dtype);
    const int64_t rows = a->batch * a->rows;
#pragma omp parallel for schedule(static) if (rows * width > 1 << 15)
    for (int64_t r = 0; r < rows; r++)
        LK_REAL(from->dtype, turn, a->heads, a->d, angles + r % a->rows * a->d, back, add,
                (char *)from->data + (size_t)(r * width) * size,
                (char *)to->data + (size_t)(r * width) * size);
    return true;
}

static void rotary_backward(Tape *t, Node *n)
{
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &fresh);
    if (dx) turn_all(t, n->state, true, !fresh, n->grad, dx);
}

static const Op ROTARY = { "AddBackward0", rotary_backward, { 0 } };

Tensor *lk_rotary(Tape *t, Tensor *x, int64_t heads, double base, int64_t position)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_rotary", 1, &x)) return NULL;
    if (x->ndim != 3 || heads < 1 || x->shape[2] % (2 * heads) != 0)
        return lk_fail(t, LK_ESHAPE,
                       "lk_rotary: x %s must be (B, S, E), and E a multiple of 2 · %lld heads",
                       lk_shape_text(x, text), (long long)heads);
    if (!(base > 0) || position < 0)
        return lk_fail(t, LK_EVALUE,
                       "lk_rotary: base %g and position %lld; the first must be positive, the "
                       "second not negative",
                       base, (long long)position);
    const Rotary a = { x->shape[0], x->shape[1], heads, x->shape[2] / heads, position, base };
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y || !turn_all(t, &a, false, false, packed, y)) return NULL;
    return lk_record(t, &ROTARY, y, LK_INPUTS(x), &a, sizeof a);
}
