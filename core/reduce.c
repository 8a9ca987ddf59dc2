/* reduce.c - the shapes of a reduction over dimensions.
 *
 * A reduction is a broadcast read backwards: the result is seen in the shape of x, with stride 0
 * along the dimensions that go (lk__spread). core/fold.h walks over such a pair. */
#include "core/reduce.h"

#include "core/internal.h"

bool lk__reduce_plan(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                     bool keepdim, ReducePlan *p)
{
    bool goes[LK_MAX_DIMS];
    if (ndims > 0 && !dims)
        return lk_fail(t, LK_EVALUE, "%s: the list of dimensions is NULL", function);
    if (ndims < 0)
        return lk_fail(t, LK_ESHAPE, "%s: %d dimensions: name those to reduce, or LK_ALL",
                       function, ndims);
    for (int d = 0; d < LK_MAX_DIMS; d++) goes[d] = ndims == 0;
    for (int i = 0; i < ndims; i++) {
        int d = lk__check_dim(t, function, x->ndim, dims[i]);
        if (d < 0) return false;
        if (goes[d]) return lk_fail(t, LK_ESHAPE, "%s: dimension %d is named twice", function, d);
        goes[d] = true;
    }
    *p = (ReducePlan){ .ndim = x->ndim, .together = 1, .all = ndims == 0 };
    for (int d = 0; d < x->ndim; d++) {
        p->whole[d] = goes[d] ? 1 : x->shape[d];
        if (goes[d]) p->together *= x->shape[d];
        if (!goes[d] || keepdim) p->out[p->out_ndim++] = p->whole[d];
    }
    return true;
}

Tensor lk__reduce_spread(const Tensor *y, const ReducePlan *p, const Tensor *x)
{
    Tensor whole = { .data = y->data, .storage = y->storage, .dtype = y->dtype, .ndim = p->ndim };
    int64_t stride = 1;
    for (int d = p->ndim - 1; d >= 0; d--) {
        whole.shape[d] = p->whole[d];
        whole.stride[d] = stride;
        stride *= p->whole[d];
    }
    return lk__spread(&whole, x->ndim, x->shape);
}

bool lk__reduce_something(Tape *t, const char *function, const Tensor *x, const ReducePlan *p)
{
    char text[LK_SHAPE_TEXT];
    if (p->together > 0) return true;
    return lk_fail(t, LK_ESHAPE, "%s: nothing to reduce in %s: a reduced dimension has size 0",
                   function, lk_shape_text(x, text));
}
