/* layer_norm.c - torch.nn.LayerNorm. The arithmetic: core/ops_norm.c. */
#include "nn/layer_norm.h"

#include <string.h>

#include "core/ops.h"

static Tensor *layer_norm_forward(Tape *t, Module *self, Tensor *x)
{
    LayerNorm *l = (LayerNorm *)self;
    const ModuleSizes *sizes = &l->normalized_shape;
    Tensor wanted = { .ndim = sizes->ndim };
    memcpy(wanted.shape, sizes->size, sizeof wanted.shape);
    char is[LK_SHAPE_TEXT], should[LK_SHAPE_TEXT];
    /* Without a weight no operation compares the sizes. */
    if (x->ndim < sizes->ndim || memcmp(x->shape + x->ndim - sizes->ndim, sizes->size,
                                        (size_t)sizes->ndim * sizeof *sizes->size) != 0)
        return lk_fail(t, LK_ESHAPE, "LayerNorm: x %s does not end with normalized_shape %s",
                       lk_shape_text(x, is), lk_shape_text(&wanted, should));
    return lk_layer_norm(t, x, sizes->ndim, lk_param(t, self, &l->weight),
                         lk_param(t, self, &l->bias), l->eps);
}

const ModuleType lk_layer_norm_type = {
    LK_CLASS(LayerNorm),
    .forward = layer_norm_forward,
    .fields = LK_FIELDS(LK_PARAM(LayerNorm, weight), LK_PARAM(LayerNorm, bias),
                        LK_SIZES(LayerNorm, normalized_shape), LK_DOUBLE(LayerNorm, eps)),
    .repr = "{normalized_shape}, eps={eps}, elementwise_affine={weight}",
};
LK_DOWNCAST(LayerNorm, lk_layer_norm_type, lk_as_layer_norm)

Module *lk_layer_norm_new(int ndim, const int64_t *normalized_shape, double eps, Error *err)
{
    bool ok = ndim >= 1 && ndim <= LK_MAX_DIMS && normalized_shape;
    for (int d = 0; ok && d < ndim; d++) ok = normalized_shape[d] > 0;
    if (!ok) {
        lk_error_set(err, LK_ESHAPE,
                     "lk_layer_norm_new: normalized_shape needs 1 to %d sizes, all positive",
                     LK_MAX_DIMS);
        return NULL;
    }
    const ParamShape shape = { ndim, normalized_shape };
    LayerNorm *l =
        lk_module_with_params_new(&lk_layer_norm_type, LK_PARAM_SHAPES(shape, shape), err);
    if (!l) return NULL;
    l->eps = eps;
    l->normalized_shape.ndim = ndim;
    memcpy(l->normalized_shape.size, normalized_shape, (size_t)ndim * sizeof *normalized_shape);
    lk_fill_(l->weight, 1);
    return &l->base;
}
