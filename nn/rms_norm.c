/* rms_norm.c - torch.nn.RMSNorm. The arithmetic: core/ops_rms_norm.c. */
#include "nn/rms_norm.h"

#include "core/ops.h"

static Tensor *rms_norm_forward(Tape *t, Module *self, Tensor *x)
{
    RMSNorm *r = (RMSNorm *)self;
    char text[LK_SHAPE_TEXT];
    /* Without a weight no operation compares the sizes. */
    if (x->ndim < 1 || x->shape[x->ndim - 1] != r->normalized_shape.size[0])
        return lk_fail(t, LK_ESHAPE, "RMSNorm: x %s does not end with normalized_shape (%lld,)",
                       lk_shape_text(x, text), (long long)r->normalized_shape.size[0]);
    return lk_rms_norm(t, x, lk_param(t, self, &r->weight), r->eps);
}

const ModuleType lk_rms_norm_type = {
    LK_CLASS(RMSNorm),
    .forward = rms_norm_forward,
    .fields = LK_FIELDS(LK_PARAM(RMSNorm, weight), LK_SIZES(RMSNorm, normalized_shape),
                        LK_DOUBLE(RMSNorm, eps)),
    .repr = "{normalized_shape}, eps={eps}, elementwise_affine={weight}",
};
LK_DOWNCAST(RMSNorm, lk_rms_norm_type, lk_as_rms_norm)

Module *lk_rms_norm_new(int64_t normalized_shape, double eps, Error *err)
{
    if (normalized_shape < 1) {
        lk_error_set(err, LK_ESHAPE, "lk_rms_norm_new: normalized_shape %lld: it must be positive",
                     (long long)normalized_shape);
        return NULL;
    }
    RMSNorm *r = lk_module_with_params_new(&lk_rms_norm_type,
                                           LK_PARAM_SHAPES({ LK_SHAPE(normalized_shape) }), err);
    if (!r) return NULL;
    r->eps = eps;
    r->normalized_shape = (ModuleSizes){ 1, { normalized_shape } };
    lk_fill_(r->weight, 1);
    return &r->base;
}
