/* ops_index.c - elements chosen by an index or a mask: taken, added to, replaced. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

/* Slices of x around an indexed dimension. */
typedef struct Slices {
    Along along; /* of x */
    int64_t count;
    const int64_t *index; /* which slice of x goes with slice 0 … count - 1 of src */
} Slices;
enum { STRIPE = 512 }; /* columns of a slice that one thread takes at a time */

#define LK_REAL_SOURCE "core/ops_index_real.h"
#include "core/real.h"

/* ---- gather --------------------------------------------------------------------------------- */

/* Sets place[i] to the offset in x of the element that element i of a contiguous index takes. */
static void find_places(const Tensor *x, int dim, const Tensor *index, int64_t *place)
{
    const int last = index->ndim - 1;
    const int64_t *at = index->data, along = x->ndim ? x->stride[dim] : 0,
                  n = last < 0 ? 1 : index->shape[last], total = lk_numel(index),
                  next = last < 0 || last == dim ? 0 : x->stride[last];
    /* of a row, without the gathered dimension */
    int64_t coordinate[LK_MAX_DIMS] = { 0 }, offset = 0;
    for (int64_t first = 0; first < total; first += n) {
        for (int64_t i = 0; i < n; i++)
            place[first + i] = offset + i * next + at[first + i] * along;
        for (int d = last - 1; d >= 0; d--) { /* next row, as an odometer counts */
            int64_t step = d == dim ? 0 : x->stride[d];
            offset += step;
            if (++coordinate[d] < index->shape[d]) break;
            offset -= step * index->shape[d];
            coordinate[d] = 0;
        }
    }
}

/* Whether every value of a contiguous index is a place of x along dim. */
static bool check_index(Tape *t, const char *function, const Tensor *index, const Tensor *x,
                        int dim)
{
    char text[LK_SHAPE_TEXT];
    const int64_t *at = index->data, size = lk__dim_size(x, dim);
    for (int64_t i = 0; i < lk__elements(index); i++)
        if (at[i] < 0 || at[i] >= size)
            return lk_fail(t, LK_EVALUE, "%s: index %lld is out of bounds for dimension %d of %s",
                           function, (long long)at[i], dim, lk_shape_text(x, text));
    return true;
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
    if (!packed || !y || !check_index(t, "lk_gather", packed, x, at)) return NULL;
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

/* ---- scatter add ---------------------------------------------------------------------------- */

/* The part of src that goes with the index: its first elements along each dimension. */
static Tensor indexed_part(const Tensor *src, const Tensor *index)
{
    Tensor part = *src;
    memcpy(part.shape, index->shape, sizeof part.shape);
    return part;
}

/* y is x with src added at places, so dx += dy, and dsrc += dy at these places. */
static void scatter_add_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *dsrc = lk_grad_in(t, n, 2), *dy = n->grad;
    if (dx) lk_accumulate(t, dx, dy);
    Tensor *index = dsrc ? lk_packed(t, n->in[1]) : NULL;
    if (!index) return;
    const int64_t count = lk_numel(index);
    const size_t places = (size_t)count * sizeof(int64_t);
    char *scratch = lk_tape_scratch(t, places + (size_t)count * lk_dtype_size(dy->dtype));
    if (!scratch) return;
    int64_t *place = (int64_t *)scratch;
    find_places(dy, *(const int *)n->state, index, place);
    Tensor taken = *index, part = indexed_part(dsrc, index);
    taken.dtype = dy->dtype;
    taken.data = scratch + places;
    LK_REAL(dy->dtype, take, count, place, dy->data, taken.data);
    lk_accumulate(t, &part, &taken);
}

static const Op SCATTER_ADD = { "ScatterAddBackward0", scatter_add_backward, { 0, 0, LK_IN1 } };

Tensor *lk_scatter_add(Tape *t, Tensor *x, int dim, Tensor *index, Tensor *src)
{
    char sx[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT], ss[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_scatter_add", LK_INPUTS(x, index, src)) ||
        !lk_check_floating(t, "lk_scatter_add", LK_INPUTS(x, src)))
        return NULL;
    if (index->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_scatter_add: the index must be int64, not %s",
                       lk_dtype_name(index->dtype));
    int at = lk__check_dim(t, "lk_scatter_add", x->ndim, dim);
    if (at < 0) return NULL;
    bool fits = index->ndim == x->ndim && src->ndim == x->ndim;
    for (int d = 0; fits && d < x->ndim; d++)
        fits = (d == at || index->shape[d] <= x->shape[d]) && index->shape[d] <= src->shape[d];
    if (!fits)
        return lk_fail(
            t, LK_ESHAPE,
            "lk_scatter_add: the index %s must have as many dimensions as x %s and src %s, and be "
            "no larger than either, except than x along dimension %d",
            lk_shape_text(index, si), lk_shape_text(x, sx), lk_shape_text(src, ss), at);
    Tensor *packed = lk_packed(t, index), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    const bool is_whole = lk_same_shape(src, index);
    Tensor *values = is_whole ? lk_packed(t, src) : lk_empty(t, x->dtype, x->ndim, index->shape);
    if (!packed || !y || !values || !check_index(t, "lk_scatter_add", packed, x, at)) return NULL;
    const int64_t count = lk_numel(index);
    int64_t *place = lk_tape_scratch(t, (size_t)count * sizeof *place);
    if (!place) return NULL;
    Tensor part = indexed_part(src, index);
    if (!is_whole) lk__copy_fitting(values, &part);
    lk__copy_fitting(y, x);
    find_places(y, at, packed, place);
    LK_REAL(x->dtype, scatter, count, place, values->data, y->data);
    return lk_record(t, &SCATTER_ADD, y, LK_INPUTS(x, index, src), &at, sizeof at);
}

/* ---- index add ------------------------------------------------------------------------------ */

/* Threads share the columns of the slices, so that each adds in the order of the index. */
static void add_slices(const Slices *s, DType dtype, const void *src, void *y)
{
    const int64_t stripes = (s->along.inner + STRIPE - 1) / STRIPE;
#pragma omp parallel for schedule(static) if (s->along.outer * s->count * s->along.inner > 1 << 15)
    for (int64_t i = 0; i < s->along.outer * stripes; i++)
        LK_REAL(dtype, add_slices, s, i / stripes, i % stripes * STRIPE, src, y);
}

static void take_slices(const Slices *s, DType dtype, const void *dy, void *dsrc)
{
    const int64_t stripes = (s->along.inner + STRIPE - 1) / STRIPE;
#pragma omp parallel for schedule(static) if (s->along.outer * s->count * s->along.inner > 1 << 15)
    for (int64_t i = 0; i < s->along.outer * stripes; i++)
        LK_REAL(dtype, take_slices, s, i / stripes, i % stripes * STRIPE, dy, dsrc);
}

/* y is x with the slices of src added, so dx += dy, and each slice of dsrc += the slice of dy. */
static void index_add_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *dsrc = lk_grad_in(t, n, 2);
    if (dx) lk_accumulate(t, dx, n->grad);
    Tensor *index = dsrc ? lk_packed(t, n->in[1]) : NULL;
    if (!index) return;
    Slices s = { lk__along(n->grad, *(const int *)n->state), lk_numel(index), index->data };
    take_slices(&s, dsrc->dtype, n->grad->data, dsrc->data);
}

static const Op INDEX_ADD = { "IndexAddBackward0", index_add_backward, { 0, 0, LK_IN1 } };

Tensor *lk_index_add(Tape *t, Tensor *x, int dim, Tensor *index, Tensor *src)
{
    char sx[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT], ss[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_index_add", LK_INPUTS(x, index, src)) ||
        !lk_check_floating(t, "lk_index_add", LK_INPUTS(x, src)))
        return NULL;
    if (index->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_index_add: the index must be int64, not %s",
                       lk_dtype_name(index->dtype));
    int at = lk__check_dim(t, "lk_index_add", x->ndim, dim);
    if (at < 0) return NULL;
    bool fits = index->ndim == 1 && src->ndim == x->ndim;
    for (int d = 0; fits && d < x->ndim; d++)
        fits = src->shape[d] == (d == at ? index->shape[0] : x->shape[d]);
    if (fits && x->ndim == 0) fits = index->shape[0] == 1;
    if (!fits)
        return lk_fail(t, LK_ESHAPE,
                       "lk_index_add: src %s must have the sizes of x %s, but along dimension %d "
                       "that of the index %s, which has 1 dimension",
                       lk_shape_text(src, ss), lk_shape_text(x, sx), at, lk_shape_text(index, si));
    Tensor *packed = lk_packed(t, index), *values = lk_packed(t, src);
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !values || !y || !check_index(t, "lk_index_add", packed, x, at)) return NULL;
    lk__copy_fitting(y, x);
    Slices s = { lk__along(x, at), lk_numel(packed), packed->data };
    add_slices(&s, x->dtype, values->data, y->data);
    return lk_record(t, &INDEX_ADD, y, LK_INPUTS(x, index, src), &at, sizeof at);
}

/* ---- one hot -------------------------------------------------------------------------------- */

Tensor *lk_one_hot(Tape *t, Tensor *ids, int64_t classes)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_one_hot", 1, &ids)) return NULL;
    if (ids->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_one_hot: ids must be int64, not %s; lk_to converts",
                       lk_dtype_name(ids->dtype));
    if (ids->ndim == LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_one_hot: ids %s already have %d dimensions",
                       lk_shape_text(ids, text), LK_MAX_DIMS);
    if (classes < 1)
        return lk_fail(t, LK_EVALUE, "lk_one_hot: %lld classes; there must be one at least",
                       (long long)classes);
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, ids->shape, sizeof shape);
    shape[ids->ndim] = classes;
    Tensor *packed = lk_packed(t, ids), *y = lk_empty(t, LK_I64, ids->ndim + 1, shape);
    if (!packed || !y) return NULL;
    const int64_t *id = packed->data;
    int64_t *out = y->data;
    memset(out, 0, y->storage->bytes);
    for (int64_t i = 0, n = lk_numel(ids); i < n; i++) {
        if (id[i] < 0 || id[i] >= classes)
            return lk_fail(
                t, LK_EVALUE, "lk_one_hot: id %lld at position %lld of ids %s is outside 0 … %lld",
                (long long)id[i], (long long)i, lk_shape_text(ids, text), (long long)classes - 1);
        out[i * classes + id[i]] = 1;
    }
    return y;
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
