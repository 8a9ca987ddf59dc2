/* loop.c - walking strided and broadcast tensors together, row by row: what every elementwise
 * operation runs on. */
#ifndef real
#include <string.h>

#include "core/graph.h"

bool lk_broadcast_shape(const Tensor *a, const Tensor *b, int *ndim, int64_t shape[LK_MAX_DIMS])
{
    if (!lk_is_readable("lk_broadcast_shape", a) || !lk_is_readable("lk_broadcast_shape", b) ||
        !ndim || !shape)
        return false;
    /* Aligned at the last dimension, two sizes fit when they are equal or one of them is 1. */
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 1; d <= *ndim; d++) {
        int64_t sa = d <= a->ndim ? a->shape[a->ndim - d] : 1,
                sb = d <= b->ndim ? b->shape[b->ndim - d] : 1;
        if (sa != sb && sa != 1 && sb != 1) return false;
        shape[*ndim - d] = sa == 1 ? sb : sa;
    }
    return true;
}

Tensor lk_spread(const Tensor *x, int ndim, const int64_t *shape)
{
    Tensor y = { .data = x->data, .storage = x->storage, .dtype = x->dtype, .ndim = ndim };
    for (int d = 0; d < ndim; d++) {
        int own = d - (ndim - x->ndim); /* the same dimension of x */
        y.shape[d] = shape[d];
        y.stride[d] = own < 0 || x->shape[own] != shape[d] ? 0 : x->stride[own];
    }
    return y;
}

Along lk_along(const Tensor *x, int dim)
{
    Along a = { 1, lk_dim_size(x, dim), 1 };
    for (int d = 0; d < dim; d++) a.outer *= x->shape[d];
    for (int d = dim + 1; d < x->ndim; d++) a.inner *= x->shape[d];
    return a;
}

/* The walk after neighbouring dimensions are joined wherever all tensors step through them evenly:
 * a contiguous tensor of any shape is one row. */
typedef struct Walk {
    int count, ndim;
    int64_t shape[LK_MAX_DIMS]; /* shape[0] is the row; the outer dimensions follow */
    int64_t stride[LK_MAX_DIMS][LK_LOOP_MAX];
    size_t size[LK_LOOP_MAX]; /* bytes of an element */
    char *data[LK_LOOP_MAX];
    int64_t rows;
} Walk;

static Walk walk_of(int count, const Tensor *const *x)
{
    Walk w = { .count = count, .ndim = 0, .rows = 1 };
    for (int j = 0; j < count; j++) {
        w.data[j] = x[j]->data;
        w.size[j] = lk_dtype_size(x[j]->dtype);
    }
    for (int d = x[0]->ndim - 1; d >= 0; d--) {
        int64_t size = x[0]->shape[d], stride[LK_LOOP_MAX];
        if (size == 1) continue;
        bool joins = w.ndim > 0;
        for (int j = 0; j < count; j++) {
            int own = d - (x[0]->ndim - x[j]->ndim); /* the same dimension of x[j] */
            stride[j] = own < 0 || x[j]->shape[own] == 1 ? 0 : x[j]->stride[own];
            if (joins && stride[j] != w.stride[w.ndim - 1][j] * w.shape[w.ndim - 1]) joins = false;
        }
        if (joins) {
            w.shape[w.ndim - 1] *= size;
            continue;
        }
        w.shape[w.ndim] = size;
        memcpy(w.stride[w.ndim++], stride, sizeof stride);
    }
    if (w.ndim == 0) w.shape[w.ndim++] = 1; /* one element */
    for (int d = 1; d < w.ndim; d++) w.rows *= w.shape[d];
    return w;
}

/* Calls the row function for elements first … first + n - 1 of row r. */
static void run_row(const Walk *w, int64_t r, int64_t first, int64_t n, RowFn *row,
                    const void *arg)
{
    int64_t offset[LK_LOOP_MAX];
    void *p[LK_LOOP_MAX];
    for (int j = 0; j < w->count; j++) offset[j] = first * w->stride[0][j];
    for (int d = 1; d < w->ndim; d++) {
        int64_t index = r % w->shape[d];
        r /= w->shape[d];
        for (int j = 0; j < w->count; j++) offset[j] += index * w->stride[d][j];
    }
    for (int j = 0; j < w->count; j++) p[j] = w->data[j] + offset[j] * (int64_t)w->size[j];
    row(n, p, w->stride[0], arg);
}

/* The usual case needs no plan: contiguous tensors of one shape are one row. Its length; 0: there
 * is more to it. */
static int64_t one_row(int count, const Tensor *const *x)
{
    const Tensor *first = x[0];
    int64_t n = 1;
    for (int d = first->ndim - 1; d >= 0; n *= first->shape[d--])
        if (first->stride[d] != n && first->shape[d] != 1) return 0;
    for (int j = 1; j < count; j++) {
        if (x[j]->ndim != first->ndim) return 0;
        for (int d = 0; d < first->ndim; d++)
            if (x[j]->shape[d] != first->shape[d] || x[j]->stride[d] != first->stride[d]) return 0;
    }
    return n;
}

static void run_one_row(int64_t n, RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    static const int64_t ones[LK_LOOP_MAX] = { 1, 1, 1, 1, 1 };
    void *p[LK_LOOP_MAX];
    for (int j = 0; j < count; j++) p[j] = x[j]->data;
    row(n, p, ones, arg);
}

static void run_rows(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    if (lk_numel(x[0]) == 0) return;
    Walk w = walk_of(count, x);
    for (int64_t r = 0; r < w.rows; r++) run_row(&w, r, 0, w.shape[0], row, arg);
}

void lk_loop_serial(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t n = one_row(count, x);
    if (n > 0) run_one_row(n, row, arg, count, x);
    else run_rows(row, arg, count, x);
}

/* A piece is large enough to pay for handing it to a thread, and its borders depend on the shape
 * alone. */
enum { PIECE = 1 << 14, PARALLEL_FROM = 1 << 16 };

void lk_loop(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t total = one_row(count, x);
    if (total > 0 && total < PARALLEL_FROM) {
        run_one_row(total, row, arg, count, x);
        return;
    }
    bool shared = false; /* two elements of x[0] in one place: not for two threads */
    for (int d = 0; d < x[0]->ndim; d++)
        shared = shared || (x[0]->stride[d] == 0 && x[0]->shape[d] > 1);
    if (lk_numel(x[0]) < PARALLEL_FROM || shared) {
        run_rows(row, arg, count, x);
        return;
    }
    Walk w = walk_of(count, x);
    int64_t n = w.shape[0], pieces = (n + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < w.rows * pieces; i++) {
        int64_t first = i % pieces * PIECE;
        run_row(&w, i / pieces, first, n - first < PIECE ? n - first : PIECE, row, arg);
    }
}

/* ---- accumulating --------------------------------------------------------------------------- */

#define LK_REAL_SOURCE "core/loop.c"
#include "core/real.h"

bool lk_accumulate(Tape *t, Tensor *dst, const Tensor *src)
{
    if (!lk_check_operands(t, "lk_accumulate", 1, &dst) ||
        !lk_check_operands(t, "lk_accumulate", 1, (Tensor *const *)&src))
        return false;
    bool shared = false;
    Tensor places = *dst; /* dst without its repeated places: they have size 1 */
    for (int d = 0; d < dst->ndim; d++)
        if (dst->stride[d] == 0 && dst->shape[d] > 1) {
            shared = true;
            places.shape[d] = 1;
        }
    if (!shared) {
        lk_loop(LK_ROW(dst->dtype, add_row), NULL, 2, (const Tensor *const[]){ dst, src });
        return true;
    }
    /* First all sums in double, then one addition and one rounding each. */
    size_t bytes;
    if (!lk_tensor_bytes(LK_F64, places.ndim, places.shape, &bytes, NULL)) return false;
    ArenaMark mark;
    void *block = lk_tape_temporary(t, LK_HEADER + bytes, &mark);
    if (!block) return false;
    Tensor *sums = lk_tensor_place(block, LK_F64, places.ndim, places.shape, bytes);
    memset(sums->data, 0, bytes);
    Tensor spread = lk_spread(sums, dst->ndim, dst->shape);
    lk_loop_serial(LK_ROW(dst->dtype, sum_row), NULL, 2, (const Tensor *const[]){ &spread, src });
    lk_loop(LK_ROW(dst->dtype, add_sums_row), NULL, 2, (const Tensor *const[]){ &places, sums });
    lk_tape_release_temporary(t, mark);
    return true;
}

Tensor *lk_packed(Tape *t, Tensor *x)
{
    if (!x) return NULL; /* an operand that was left out */
    if (!lk_check_operands(t, "lk_packed", 1, &x)) return NULL;
    if (lk_is_contiguous(x)) return x;
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (y) lk_copy_fitting(y, x);
    return y;
}

#else /* ---- rows in real: float, then double ------------------------------------------------- */

/* dst += src */
static void F(add_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const real *src = p[1];
    if (step[0] == 1 && step[1] == 1)
        for (int64_t i = 0; i < n; i++) dst[i] += src[i];
    else
        for (int64_t i = 0; i < n; i++) dst[i * step[0]] += src[i * step[1]];
}

/* dst += (real)sum */
static void F(add_sums_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const double *sum = p[1];
    for (int64_t i = 0; i < n; i++) dst[i * step[0]] += (real)sum[i * step[1]];
}

/* sum += src. A row that ends in one place keeps four sums at a time, so that additions do not
 * wait for each other. */
static void F(sum_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    double *sum = p[0];
    const real *src = p[1];
    if (step[0] != 0) {
        for (int64_t i = 0; i < n; i++) sum[i * step[0]] += (double)src[i * step[1]];
        return;
    }
    double part[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) part[j] += (double)src[(i + j) * step[1]];
    for (; i < n; i++) part[0] += (double)src[i * step[1]];
    *sum += (part[0] + part[1]) + (part[2] + part[3]);
}
#endif
