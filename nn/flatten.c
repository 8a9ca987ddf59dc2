/* flatten.c - torch.nn.Flatten. */
#include "nn/flatten.h"

#include "core/internal.h"
#include "core/ops.h"

static Tensor *flatten_forward(Tape *t, Module *self, Tensor *x)
{
    const Flatten *f = (const Flatten *)self;
    char shape[LK_SHAPE_TEXT];
    const int start = lk__check_dim(t, "Flatten: start_dim", x->ndim, f->start_dim);
    const int end = start < 0 ? -1 : lk__check_dim(t, "Flatten: end_dim", x->ndim, f->end_dim);
    if (end < 0) return NULL;
    if (start > end)
        return lk_fail(t, LK_ESHAPE, "Flatten: start_dim %lld comes behind end_dim %lld in %s",
                       (long long)f->start_dim, (long long)f->end_dim, lk_shape_text(x, shape));
    int64_t sizes[LK_MAX_DIMS] = { 1 }; /* of the result; a scalar becomes (1,) */
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (d > start && d <= end) sizes[ndim - 1] *= x->shape[d];
        else sizes[ndim++] = x->shape[d];
    }
    return lk_reshape(t, x, ndim > 0 ? ndim : 1, sizes);
}

const ModuleType lk_flatten_type = {
    LK_CLASS(Flatten),
    .forward = flatten_forward,
    .fields = LK_FIELDS(LK_INT(Flatten, start_dim), LK_INT(Flatten, end_dim)),
    .repr = "start_dim={start_dim}, end_dim={end_dim}",
};
LK_DOWNCAST(Flatten, lk_flatten_type, lk_as_flatten)

Module *lk_flatten_new(int64_t start_dim, int64_t end_dim, Error *err)
{
    Flatten *f = lk_module_new(&lk_flatten_type, err);
    if (!f) return NULL;
    f->start_dim = start_dim;
    f->end_dim = end_dim;
    return &f->base;
}
