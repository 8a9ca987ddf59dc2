/* ops_index.c - elements chosen by an index or a mask. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_index_real.h"
#include "core/real.h"

/* ---- gather --------------------------------------------------------------------------------- */

/* Sets place[i] to the offset in x of the element that element i of a contiguous index takes. */
static void find_places(const Tensor *x, int dim, const Tensor *index, int64_t *place)
{
    const int64_t *at = index->data, along = x->ndim ? x->stride[dim] : 0;
    /* of the element, without the gathered dimension */
    int64_t coordinate[LK_MAX_DIMS] = { 0 }, offset = 0;
    for (int64_t i = 0; i < lk_numel(index); i++) {
        place[i] = offset + at[i] * along;
        for (int d = index->ndim - 1; d >= 0; d--) { /* next element, as an odometer counts */
            int64_t step = d == dim ? 0 : x->stride[d];
            offset += step;
            if (++coordinate[d] < index->shape[d]) break;
            offset -= step * index->shape[d];
            coordinate[d] = 0;
        }
    }
}

/* y_i = x_index(i), so dx_index(i) += dy_i; an element that was taken twice gets both. */
static void gather_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *index = dx ? lk_packed(t, n->in[1]) : NULL;
    int64_t *place = index ? lk_tape_scratch(t, (size_t)lk_numel(index) * sizeof *place) : NULL;
    if (!place) return;
    find_places(dx, *(const int *)n->state, index, place);
    LK_REAL(dx->dtype, scatter, lk_numel(index), place, n->grad->data, dx->data);
}

static const Op GATHER = { "GatherBackward0", gather_backward, { LK_IN1 } };

Tensor *lk_gather(Tape *t, Tensor *x, int dim, Tensor *index)
{
    char sx[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_gather", LK_INPUTS(x, index))) return NULL;
    if (index->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_gather: the index must be int64, not %s",
                       lk_dtype_name(index->dtype));
    int at = lk__check_dim(t, "lk_gather", x->ndim, dim);
    if (at < 0) return NULL;
    bool fits = index->ndim == x->ndim;
    for (int d = 0; fits && d < x->ndim; d++) fits = d == at || index->shape[d] <= x->shape[d];
    if (!fits)
        return lk_fail(
            t, LK_ESHAPE,
            "lk_gather: the index %s must have as many dimensions as x %s, and be no larger "
            "except along dimension %d",
            lk_shape_text(index, si), lk_shape_text(x, sx), at);
    Tensor *packed = lk_packed(t, index), *y = lk_empty(t, x->dtype, index->ndim, index->shape);
    if (!packed || !y) return NULL;
    const int64_t *values = packed->data, size = lk__dim_size(x, at);
    for (int64_t i = 0; i < lk_numel(index); i++)
        if (values[i] < 0 || values[i] >= size)
            return lk_fail(t, LK_EVALUE,
                           "lk_gather: index %lld is out of bounds for dimension %d of %s",
                           (long long)values[i], at, lk_shape_text(x, sx));
    int64_t *place = lk_tape_scratch(t, (size_t)lk_numel(index) * sizeof *place);
    if (!place) return NULL;
    find_places(x, at, packed, place);
    const size_t bytes = lk_dtype_size(x->dtype);
    for (int64_t i = 0; i < lk_numel(index); i++)
        memcpy((char *)y->data + (size_t)i * bytes,
               (const char *)x->data + place[i] * (int64_t)bytes, bytes);
    return lk_is_floating(x->dtype) ? lk_record(t, &GATHER, y, LK_INPUTS(x, index), &at, sizeof at)
                                    : y;
}

/* ---- masked fill ---------------------------------------------------------------------------- */

/* y = x where the mask is false, so dx += dy there. dy is summed where x was broadcast. */
static void masked_fill_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor parts = *n->grad, spread = lk__spread(dx, parts.ndim, parts.shape);
    if (lk_same_shape(dx, n->grad)) {
        lk_loop(LK_ROW(dx->dtype, add_unmasked_row), NULL, 3,
                (const Tensor *const[]){ dx, n->grad, n->in[1] });
        return;
    }
    parts.data = lk_tape_scratch(t, n->grad->storage->bytes);
    if (!parts.data) return;
    double zero = 0;
    lk_loop(LK_ROW(dx->dtype, fill_row), &zero, 3,
            (const Tensor *const[]){ &parts, n->grad, n->in[1] });
    lk_accumulate(t, &spread, &parts);
}

static const Op MASKED_FILL = { "MaskedFillBackward0", masked_fill_backward, { LK_IN1 } };

Tensor *lk_masked_fill(Tape *t, Tensor *x, Tensor *mask, double value)
{
    char sx[LK_SHAPE_TEXT], sm[LK_SHAPE_TEXT];
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    if (!lk_check_operands(t, "lk_masked_fill", LK_INPUTS(x, mask))) return NULL;
    if (!lk_check_floating(t, "lk_masked_fill", 1, &x)) return NULL;
    if (mask->dtype != LK_BOOL)
        return lk_fail(t, LK_EDTYPE, "lk_masked_fill: the mask must be bool, not %s",
                       lk_dtype_name(mask->dtype));
    if (!lk_broadcast_shape(x, mask, &ndim, shape))
        return lk_fail(t, LK_ESHAPE,
                       "lk_masked_fill: %s and the mask %s do not broadcast: aligned at the last "
                       "dimension, sizes must be equal or 1",
                       lk_shape_text(x, sx), lk_shape_text(mask, sm));
    Tensor *y = lk_empty(t, x->dtype, ndim, shape);
    if (!y) return NULL;
    lk_loop(LK_ROW(x->dtype, fill_row), &value, 3, (const Tensor *const[]){ y, x, mask });
    return lk_record(t, &MASKED_FILL, y, LK_INPUTS(x, mask), NULL, 0);
}
