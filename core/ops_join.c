/* ops_join.c - tensors put together: side by side along a dimension, or along a new one. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

/* ---- cat ------------------------------------------------------------------------------------ */

/* Returns the n places of x along dim from `first` on. */
static Tensor part_of(const Tensor *x, int dim, int64_t first, int64_t n)
{
    Tensor part = *x;
    part.shape[dim] = n;
    part.data = (char *)x->data + first * x->stride[dim] * (int64_t)lk_dtype_size(x->dtype);
    return part;
}

/* PyTorch leaves out a tensor of shape (0), whatever shape the others have. */
static bool is_nothing(const Tensor *x) { return x->ndim == 1 && x->shape[0] == 0; }

/* y is its parts side by side, so each dx += its part of dy. */
static void cat_backward(Tape *t, Node *n)
{
    int dim = *(const int *)n->state;
    int64_t first = 0;
    for (int i = 0; i < n->inputs; i++) {
        Tensor *dx = lk_grad_in(t, n, i);
        if (is_nothing(n->in[i])) continue;
        Tensor part = part_of(n->grad, dim, first, n->in[i]->shape[dim]);
        if (dx) lk_accumulate(t, dx, &part);
        first += n->in[i]->shape[dim];
    }
}

static const Op CAT = { "CatBackward0", cat_backward, { 0 } };

Tensor *lk_cat(Tape *t, int count, Tensor *const *x, int dim)
{
    char s0[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT];
    if (count < 1)
        return lk_fail(t, LK_EVALUE, "lk_cat: %d tensors; there must be one at least", count);
    if (!x || !lk_check_operands(t, "lk_cat", count, x)) return NULL;
    const Tensor *first = x[0];
    for (int i = 1; i < count && is_nothing(first); i++) first = x[i];
    if (first->ndim == 0)
        return lk_fail(t, LK_ESHAPE, "lk_cat: a scalar has no dimension %d", dim);
    int at = lk__check_dim(t, "lk_cat", first->ndim, dim);
    if (at < 0) return NULL;
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, first->shape, sizeof shape);
    shape[at] = 0;
    for (int i = 0; i < count; i++) {
        if (x[i]->dtype != first->dtype)
            return lk_fail(t, LK_EDTYPE, "lk_cat: tensors of %s and %s; lk_to makes them the same",
                           lk_dtype_name(first->dtype), lk_dtype_name(x[i]->dtype));
        if (is_nothing(x[i])) continue;
        bool fits = x[i]->ndim == first->ndim;
        for (int d = 0; fits && d < first->ndim; d++)
            fits = d == at || x[i]->shape[d] == first->shape[d];
        if (!fits)
            return lk_fail(t, LK_ESHAPE,
                           "lk_cat: %s and %s must have the same sizes except along dimension %d",
                           lk_shape_text(first, s0), lk_shape_text(x[i], si), at);
        if (__builtin_add_overflow(shape[at], x[i]->shape[at], &shape[at]))
            return lk_fail(t, LK_EMEMORY, "lk_cat: dimension %d is larger than any memory", at);
    }
    Tensor *y = lk_empty(t, first->dtype, first->ndim, shape);
    if (!y) return NULL;
    int64_t start = 0;
    for (int i = 0; i < count; i++) {
        if (is_nothing(x[i])) continue;
        Tensor part = part_of(y, at, start, x[i]->shape[at]);
        lk__copy_fitting(&part, x[i]);
        start += x[i]->shape[at];
    }
    return lk_is_floating(y->dtype) ? lk_record(t, &CAT, y, count, x, &at, sizeof at) : y;
}

/* ---- stack ---------------------------------------------------------------------------------- */

/* Returns place i of y along dim, which disappears. */
static Tensor place_of(const Tensor *y, int dim, int64_t i)
{
    Tensor place = part_of(y, dim, i, 1);
    size_t behind = (size_t)(--place.ndim - dim);
    memmove(place.shape + dim, place.shape + dim + 1, behind * sizeof *place.shape);
    memmove(place.stride + dim, place.stride + dim + 1, behind * sizeof *place.stride);
    return place;
}

/* y has one place for each x, so each dx += its place of dy. */
static void stack_backward(Tape *t, Node *n)
{
    int dim = *(const int *)n->state;
    for (int i = 0; i < n->inputs; i++) {
        Tensor *dx = lk_grad_in(t, n, i), place = place_of(n->grad, dim, i);
        if (dx) lk_accumulate(t, dx, &place);
    }
}

static const Op STACK = { "StackBackward0", stack_backward, { 0 } };

Tensor *lk_stack(Tape *t, int count, Tensor *const *x, int dim)
{
    char s0[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT];
    if (count < 1)
        return lk_fail(t, LK_EVALUE, "lk_stack: %d tensors; there must be one at least", count);
    if (!x || !lk_check_operands(t, "lk_stack", count, x)) return NULL;
    const int ndim = x[0]->ndim;
    if (ndim == LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_stack: %s already has %d dimensions",
                       lk_shape_text(x[0], s0), LK_MAX_DIMS);
    int at = lk__check_dim(t, "lk_stack", ndim + 1, dim);
    if (at < 0) return NULL;
    for (int i = 1; i < count; i++) {
        if (x[i]->dtype != x[0]->dtype)
            return lk_fail(t, LK_EDTYPE,
                           "lk_stack: tensors of %s and %s; lk_to makes them the same",
                           lk_dtype_name(x[0]->dtype), lk_dtype_name(x[i]->dtype));
        if (!lk_same_shape(x[0], x[i]))
            return lk_fail(t, LK_ESHAPE, "lk_stack: %s and %s must have the same shape",
                           lk_shape_text(x[0], s0), lk_shape_text(x[i], si));
    }
    int64_t shape[LK_MAX_DIMS];
    for (int d = 0; d <= ndim; d++) shape[d] = d == at ? count : x[0]->shape[d - (d > at)];
    Tensor *y = lk_empty(t, x[0]->dtype, ndim + 1, shape);
    for (int i = 0; y && i < count; i++) {
        Tensor place = place_of(y, at, i);
        lk__copy_fitting(&place, x[i]);
    }
    return lk_record(t, &STACK, y, count, x, &at, sizeof at);
}
