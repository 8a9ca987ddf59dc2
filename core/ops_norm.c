/* ops_norm.c - layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450), and the end of a
 * transformer's block: the normalized sum of a residual and a dropout.
 *
 * Both are one operation, h = x or h = residual + dropout(x), normalized along the rows. For
 * backward it keeps the mean and 1 / std of each row. Backward makes h again from the inputs, a
 * row at a time. core/ops_norm_real.h has the arithmetic of a row. */
#include <string.h>

#include "core/kernels/dropout.h"
#include "core/internal.h"
#include "core/ops.h"

/* The moments are double for both dtypes. Float sums would lose the differences between the
 * elements of a row around 1000, and overflow in the variance of a row around 1e30. */
typedef struct Moments {
    double mean, scale; /* scale: 1 / std */
} Moments;

typedef struct Norm {
    int64_t rows, n;
    double eps;
    DropoutMask mask; /* p is 0 when nothing is dropped */
    Moments *moments; /* of each row; NULL when backward will not ask for them */
} Norm;

/* Rows `first` … `first + rows - 1`, and their memory. A pointer is NULL when a tensor is not
 * there or its gradient is not wanted. */
typedef struct NormRows {
    const Norm *norm;
    int64_t first, rows;
    const void *x, *residual, *weight, *bias;
    void *y;
    /* For backward: gradients to write (fresh) or to add to. Those of weight and bias are only the
     * part of these rows. */
    const void *dy;
    void *dx, *dresidual, *dweight, *dbias;
    bool fresh_x, fresh_residual;
    void *row;     /* room for a row */
    uint8_t *keep; /* room for its mask */
} NormRows;

#define LK_REAL_SOURCE "core/ops_norm_real.h"
#include "core/real.h"

enum { X, RESIDUAL, WEIGHT, BIAS, INPUTS };

static const void *data_of(const Tensor *x) { return x ? x->data : NULL; }

/* Returns the rows of a slab. The work is cut into slabs whose borders depend only on the number
 * of rows. */
static int64_t rows_of_slab(int64_t rows)
{
    enum { FEWEST = 16, MOST_SLABS = 64 };
    int64_t rows_each = (rows + MOST_SLABS - 1) / MOST_SLABS;
    return rows_each > FEWEST ? rows_each : FEWEST;
}

/* With h' = (h - mean) / std, y = h' w + b. So dw += Σ dy h' and db += Σ dy over the rows. With
 * g = dy w, dh = (g - mean(g) - h' mean(g h')) / std, because mean and std move with h. Then
 * dresidual += dh and dx += dh noise. */
static void norm_backward(Tape *t, Node *n)
{
    const Norm *norm = n->state;
    Tensor *x = lk_packed(t, n->in[X]), *residual = lk_packed(t, n->in[RESIDUAL]),
           *w = lk_packed(t, n->in[WEIGHT]);
    if (!x || (n->in[RESIDUAL] && !residual) || (n->in[WEIGHT] && !w)) return;
    NormRows all = { .norm = norm,
                     .x = x->data,
                     .residual = data_of(residual),
                     .weight = data_of(w),
                     .dy = n->grad->data };
    /* The residual comes first, as in norm_rows_backward: x may be the same tensor, and then its
     * gradient is added. */
    Tensor *dresidual = lk_grad_in_fresh(t, n, RESIDUAL, &all.fresh_residual);
    Tensor *dx = lk_grad_in_fresh(t, n, X, &all.fresh_x);
    Tensor *dweight = lk_grad_in(t, n, WEIGHT), *dbias = lk_grad_in(t, n, BIAS);
    if (lk_tape_error(t)->code != LK_OK || norm->rows == 0) return;
    all.dx = dx ? dx->data : NULL;
    all.dresidual = dresidual ? dresidual->data : NULL;

    /* A slab has its own sums for dw and db, a row and a mask. The sums are added in the order of
     * the slabs. */
    const size_t row = (size_t)norm->n * lk_dtype_size(x->dtype),
                 room = (3 * row + (size_t)norm->n + 63) & ~(size_t)63;
    const int64_t each = rows_of_slab(norm->rows), slabs = (norm->rows + each - 1) / each;
    char *scratch = lk_tape_scratch(t, (size_t)slabs * room);
    if (!scratch) return;
#pragma omp parallel for schedule(static) if (norm->rows * norm->n > 1 << 15)
    for (int64_t s = 0; s < slabs; s++) {
        NormRows a = all;
        char *own = scratch + (size_t)s * room;
        a.first = s * each;
        a.rows = norm->rows - a.first < each ? norm->rows - a.first : each;
        if (dweight) a.dweight = memset(own, 0, row);
        if (dbias) a.dbias = memset(own + row, 0, row);
        a.row = own + 2 * row;
        a.keep = (uint8_t *)own + 3 * row;
        LK_REAL(x->dtype, norm_rows_backward, &a);
    }
    for (int64_t s = 1; s <= slabs; s++) { /* the others to the first, the first to the gradient */
        const char *own = scratch + (s < slabs ? (size_t)s * room : 0);
        if (dweight)
            LK_REAL(x->dtype, add, norm->n, own, s < slabs ? (void *)scratch : dweight->data);
        if (dbias)
            LK_REAL(x->dtype, add, norm->n, own + row,
                    s < slabs ? (void *)(scratch + row) : dbias->data);
    }
}

static const Op NORM = { "NativeLayerNormBackward0",
                         norm_backward,
                         { LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN1,
                           0 } };

/* Whether weight or bias, if there is one, has the last `dims` sizes of x. */
static bool fits(Tape *t, const char *function, const char *name, const Tensor *w, const Tensor *x,
                 int dims)
{
    char sw[LK_SHAPE_TEXT], sx[LK_SHAPE_TEXT];
    bool same = !w || w->ndim == dims;
    for (int d = 0; w && same && d < dims; d++) same = w->shape[d] == x->shape[x->ndim - dims + d];
    return same || lk_fail(t, LK_ESHAPE, "%s: %s %s does not have the last %d sizes of x %s",
                           function, name, lk_shape_text(w, sw), dims, lk_shape_text(x, sx));
}

static Tensor *norm_of(Tape *t, const char *function, int dims, Tensor *const in[INPUTS], double p,
                       double eps)
{
    char sx[LK_SHAPE_TEXT];
    Tensor *x = in[X], *given[INPUTS];
    int count = 0;
    for (int i = 0; i < INPUTS; i++)
        if (in[i] || i == X) given[count++] = in[i];
    if (!lk_check_floating(t, function, count, given)) return NULL;
    if (!lk_check_optional(t, function, "weight", in[WEIGHT]) ||
        !lk_check_optional(t, function, "bias", in[BIAS]))
        return NULL;
    if (dims < 1 || dims > x->ndim)
        return lk_fail(t, LK_ESHAPE, "%s: x %s cannot be normalized over its last %d dimensions",
                       function, lk_shape_text(x, sx), dims);
    if (!fits(t, function, "weight", in[WEIGHT], x, dims) ||
        !fits(t, function, "bias", in[BIAS], x, dims))
        return NULL;
    Norm norm = { .rows = 1, .n = 1, .eps = eps };
    for (int d = 0; d < x->ndim; d++) *(d < x->ndim - dims ? &norm.rows : &norm.n) *= x->shape[d];
    if (in[RESIDUAL] && !lk__dropout_mask(t, function, p, &norm.mask)) return NULL;

    Tensor *packed[INPUTS], *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    for (int i = 0; i < INPUTS; i++) {
        packed[i] = lk_packed(t, in[i]);
        if (in[i] && !packed[i]) return NULL;
    }
    if (!y) return NULL;
    if (lk_records(t, INPUTS, in)) {
        norm.moments = lk_tape_alloc(t, (size_t)norm.rows * sizeof *norm.moments);
        if (!norm.moments) return NULL;
    }
    const int64_t each = rows_of_slab(norm.rows);
#pragma omp parallel for schedule(static) if (norm.rows * norm.n > 1 << 15)
    for (int64_t first = 0; first < norm.rows; first += each) {
        NormRows a = { .norm = &norm,
                       .first = first,
                       .rows = norm.rows - first < each ? norm.rows - first : each,
                       .x = packed[X]->data,
                       .residual = data_of(packed[RESIDUAL]),
                       .weight = data_of(packed[WEIGHT]),
                       .bias = data_of(packed[BIAS]),
                       .y = y->data };
        LK_REAL(x->dtype, norm_rows, &a);
    }
    return lk_record(t, &NORM, y, INPUTS, in, &norm, sizeof norm);
}

Tensor *lk_layer_norm(Tape *t, Tensor *x, int dims, Tensor *weight, Tensor *bias, double eps)
{
    return norm_of(t, "lk_layer_norm", dims, (Tensor *[INPUTS]){ x, NULL, weight, bias }, 0, eps);
}

Tensor *lk_residual_norm(Tape *t, Tensor *x, Tensor *residual, double p, Tensor *weight,
                         Tensor *bias, double eps)
{
    char sx[LK_SHAPE_TEXT], sr[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_residual_norm", LK_INPUTS(x, residual))) return NULL;
    if (!lk_same_shape(x, residual))
        return lk_fail(t, LK_ESHAPE,
                       "lk_residual_norm: x %s and residual %s must be the same shape",
                       lk_shape_text(x, sx), lk_shape_text(residual, sr));
    return norm_of(t, "lk_residual_norm", 1, (Tensor *[INPUTS]){ x, residual, weight, bias }, p,
                   eps);
}
