/* layer_norm.h - torch.nn.LayerNorm: y = (x - mean) / √(variance + eps) · weight + bias over the
 * last dimensions. */
#ifndef LK_LAYER_NORM_H
#define LK_LAYER_NORM_H

#include "nn/module.h"

typedef struct LayerNorm {
    Module base;
    Tensor *weight, *bias; /* (normalized_shape), or NULL: elementwise_affine=False */
    ModuleSizes normalized_shape;
    double eps;
} LayerNorm;
LK_MODULE_TYPE(LayerNorm, lk_layer_norm_type, lk_as_layer_norm);

/* nn.LayerNorm(normalized_shape, eps), lk_layer_norm_new(LK_SHAPE(768), 1e-5, err): weight 1, bias
 * 0, float32; nothing is drawn. Errors: LK_ESHAPE for no dimension, too many, or one that is not
 * positive. */
LK_API Module *lk_layer_norm_new(int ndim, const int64_t *normalized_shape, double eps,
                                 Error *err);

#endif
