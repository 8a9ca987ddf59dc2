/* ops_rms_norm.c - normalization by the root mean square (Zhang and Sennrich 2019,
 * arXiv:1910.07467) along the last dimension. It works by rows like layer normalization
 * (core/ops_norm.c), but without a mean. core/ops_rms_norm_real.h has the arithmetic of a row. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

typedef struct RmsNorm {
    int64_t rows, n;
    double *scales; /* 1 / √(mean square + eps) of each row; NULL when backward will not ask */
} RmsNorm;

/* Rows `first` … `first + rows - 1`, and their memory. A pointer is NULL when a tensor is not
 * there or its gradient is not wanted. */
typedef struct RmsRows {
    int64_t first, rows, n;
    double eps, *scales;
    const void *x, *weight, *dy;
    void *y, *dx, *dweight; /* dweight: the part of these rows */
    bool fresh;             /* dx is written, not added to */
    void *row;              /* room for a row */
} RmsRows;

#define LK_REAL_SOURCE "core/ops_rms_norm_real.h"
#include "core/real.h"

/* Returns the rows of a slab. The work is cut into slabs whose borders depend only on the number
 * of rows. */
static int64_t rows_of_slab(int64_t rows)
{
    enum { FEWEST = 16, MOST_SLABS = 64 };
    int64_t rows_each = (rows + MOST_SLABS - 1) / MOST_SLABS;
    return rows_each > FEWEST ? rows_each : FEWEST;
}

static void rms_norm_backward(Tape *t, Node *n)
{
    const RmsNorm *norm = n->state;
    Tensor *x = lk_packed(t, n->in[0]), *w = lk_packed(t, n->in[1]);
    if (!x || (n->in[1] && !w)) return;
    RmsRows all = { .n = norm->n,
                    .scales = norm->scales,
                    .x = x->data,
                    .weight = w ? w->data : NULL,
                    .dy = n->grad->data };
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &all.fresh), *dweight = lk_grad_in(t, n, 1);
    if (lk_tape_error(t)->code != LK_OK || norm->rows == 0) return;
    all.dx = dx ? dx->data : NULL;

    /* A slab has its own sums for dw, and a row. The sums are added in the order of the slabs. */
    const size_t row = (size_t)norm->n * lk_dtype_size(x->dtype),
                 room = (2 * row + 63) & ~(size_t)63;
    const int64_t each = rows_of_slab(norm->rows), slabs = (norm->rows + each - 1) / each;
    char *scratch = lk_tape_scratch(t, (size_t)slabs * room);
    if (!scratch) return;
#pragma omp parallel for schedule(static) if (norm->rows * norm->n > 1 << 15)
    for (int64_t s = 0; s < slabs; s++) {
        RmsRows a = all;
        char *own = scratch + (size_t)s * room;
        a.first = s * each;
        a.rows = norm->rows - a.first < each ? norm->rows - a.first : each;
        if (dweight) a.dweight = memset(own, 0, row);
        a.row = own + row;
        LK_REAL(x->dtype, rms_rows_backward, &a);
    }
    for (int64_t s = 1; s <= slabs && dweight; s++) /* the others to the first, that to dw */
        LK_REAL(x->dtype, add, norm->n, scratch + (s < slabs ? (size_t)s * room : 0),
                s < slabs ? (void *)scratch : dweight->data);
}

/* PyTorch 1.13 has no such operation; its formula there ends with this product. */
static const Op RMS_NORM = { "MulBackward0", rms_norm_backward, { LK_IN0 | LK_IN1, LK_IN0 } };

Tensor *lk_rms_norm(Tape *t, Tensor *x, Tensor *weight, double eps)
{
    Tensor *const in[] = { x, weight };
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_rms_norm", weight ? 2 : 1, in) ||
        !lk_check_optional(t, "lk_rms_norm", "weight", weight))
        return NULL;
    if (x->ndim < 1)
        return lk_fail(t, LK_ESHAPE, "lk_rms_norm: x () has no dimension to normalize");
    const int64_t width = x->shape[x->ndim - 1];
    if (weight && (weight->ndim != 1 || weight->shape[0] != width))
        return lk_fail(t, LK_ESHAPE, "lk_rms_norm: weight %s: x %s needs (%lld,)",
                       lk_shape_text(weight, sw), lk_shape_text(x, sx), (long long)width);
    RmsNorm norm = { .rows = 1, .n = width };
    for (int d = 0; d < x->ndim - 1; d++) norm.rows *= x->shape[d];
    Tensor *packed = lk_packed(t, x), *w = lk_packed(t, weight),
           *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || (weight && !w) || !y) return NULL;
    if (lk_records(t, 2, in)) {
        norm.scales = lk_tape_alloc(t, (size_t)norm.rows * sizeof *norm.scales);
        if (!norm.scales) return NULL;
    }
    const int64_t each = rows_of_slab(norm.rows);
#pragma omp parallel for schedule(static) if (norm.rows * norm.n > 1 << 15)
    for (int64_t first = 0; first < norm.rows; first += each) {
        RmsRows a = { .first = first,
                      .rows = norm.rows - first < each ? norm.rows - first : each,
                      .n = width,
                      .eps = eps,
                      .scales = norm.scales,
                      .x = packed->data,
                      .weight = w ? w->data : NULL,
                      .y = y->data };
        LK_REAL(x->dtype, rms_rows, &a);
    }
    return lk_record(t, &RMS_NORM, y, 2, in, &norm, sizeof norm);
}
