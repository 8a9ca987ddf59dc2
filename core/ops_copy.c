/* ops_copy.c - copies that autograd follows: contiguous, another dtype, chosen rows. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_copy_real.h"
#include "core/real.h"

/* ---- copies --------------------------------------------------------------------------------- */

/* y = x, perhaps rounded, so dx += dy in the dtype of x. */
static void copy_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor dy = *dx;
    if (n->grad->dtype == dx->dtype) {
        lk_accumulate(t, dx, n->grad);
        return;
    }
    Storage scratch = { .data = lk_tape_scratch(t, dx->storage->bytes) };
    if (!scratch.data) return;
    dy.data = scratch.data;
    dy.storage = &scratch;
    lk__copy_fitting(&dy, n->grad);
    lk_accumulate(t, dx, &dy);
}

static const char *copy_name(const Node *n)
{
    return n->was[0].dtype == n->out->dtype ? "CloneBackward0" : "ToCopyBackward0";
}

static const NamedOp COPY = { { NULL, copy_backward, { 0 } }, copy_name };

Tensor *lk_contiguous(Tape *t, Tensor *x)
{
    if (!lk_check_operands(t, "lk_contiguous", 1, &x)) return NULL;
    if (lk_is_contiguous(x)) return x;
    return lk_record(t, &COPY.op, lk_packed(t, x), LK_INPUTS(x), NULL, 0);
}

Tensor *lk_to(Tape *t, Tensor *x, DType dtype)
{
    if (!lk_check_operands(t, "lk_to", 1, &x)) return NULL;
    if (x->dtype == dtype) return x;
    Tensor *y = lk_empty(t, dtype, x->ndim, x->shape);
    if (!y) return NULL;
    lk__copy_fitting(y, x);
    return lk_is_floating(dtype) ? lk_record(t, &COPY.op, y, LK_INPUTS(x), NULL, 0) : y;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static int64_t row_length(const Tensor *x)
{
    int64_t n = 1;
    for (int d = 1; d < x->ndim; d++) n *= x->shape[d];
    return n;
}

/* y_i = x_index(i), so dx_index(i) += dy_i; a row that was taken twice gets both. */
static void select_rows_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *index = n->in[1];
    if (dx)
        LK_REAL(dx->dtype, add_rows, index->shape[0], row_length(dx), dx->shape[0], index->data,
                index->stride[0], n->grad->data, dx->data);
}

static const Op SELECT_ROWS = { "IndexBackward0", select_rows_backward, { LK_IN1 } };

Tensor *lk_select_rows(Tape *t, Tensor *x, Tensor *index)
{
    char sx[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_select_rows", LK_INPUTS(x, index))) return NULL;
    if (index->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_select_rows: the index must be int64, not %s%s",
                       lk_dtype_name(index->dtype),
                       index->dtype == LK_BOOL ? "; lk_mask_rows takes a mask" : "");
    if (x->ndim < 1 || index->ndim != 1)
        return lk_fail(
            t, LK_ESHAPE,
            "lk_select_rows: x %s needs at least 1 dimension and the index %s exactly 1",
            lk_shape_text(x, sx), lk_shape_text(index, si));
    const int64_t *rows = index->data;
    for (int64_t i = 0; i < index->shape[0]; i++) {
        int64_t row = rows[i * index->stride[0]];
        if (row < -x->shape[0] || row >= x->shape[0])
            return lk_fail(t, LK_EVALUE,
                           "lk_select_rows: index %lld at position %lld is out of range for %s",
                           (long long)row, (long long)i, lk_shape_text(x, sx));
    }
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[0] = index->shape[0];
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, shape);
    if (!packed || !y) return NULL;
    size_t bytes = (size_t)row_length(x) * lk_dtype_size(x->dtype);
    for (int64_t i = 0; i < shape[0] && bytes; i++) {
        int64_t row = rows[i * index->stride[0]];
        if (row < 0) row += x->shape[0];
        memcpy((char *)y->data + (size_t)i * bytes,
               (const char *)packed->data + (size_t)row * bytes, bytes);
    }
    return lk_record(t, &SELECT_ROWS, y, LK_INPUTS(x, index), NULL, 0);
}

Tensor *lk_mask_rows(Tape *t, Tensor *x, Tensor *mask)
{
    char sx[LK_SHAPE_TEXT], sm[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_mask_rows", LK_INPUTS(x, mask))) return NULL;
    if (mask->dtype != LK_BOOL)
        return lk_fail(t, LK_EDTYPE, "lk_mask_rows: the mask must be bool, not %s",
                       lk_dtype_name(mask->dtype));
    if (mask->ndim != 1 || x->ndim < 1 || mask->shape[0] != x->shape[0])
        return lk_fail(t, LK_ESHAPE,
                       "lk_mask_rows: mask %s does not have one value for each row of %s",
                       lk_shape_text(mask, sm), lk_shape_text(x, sx));
    Tensor *index = lk_empty(t, LK_I64, LK_SHAPE(lk_count(mask)));
    if (!index) return NULL;
    const bool *keep = mask->data;
    int64_t *next = index->data;
    for (int64_t i = 0; i < mask->shape[0]; i++)
        if (keep[i * mask->stride[0]]) *next++ = i;
    return lk_select_rows(t, x, index);
}
