/* rms_norm.h - torch.nn.RMSNorm over the last dimension: y = x / √(mean(x²) + eps) · weight. */
#ifndef LK_RMS_NORM_H
#define LK_RMS_NORM_H

#include "nn/module.h"

typedef struct RMSNorm {
    Module base;
    Tensor *weight;               /* (normalized_shape), or NULL: elementwise_affine=False */
    ModuleSizes normalized_shape; /* one size */
    double eps;
} RMSNorm;
LK_MODULE_TYPE(RMSNorm, lk_rms_norm_type, lk_as_rms_norm);

/* nn.RMSNorm(normalized_shape, eps): weight 1, float32; nothing is drawn. Errors: LK_ESHAPE for a
 * size that is not positive. */
LK_API Module *lk_rms_norm_new(int64_t normalized_shape, double eps, Error *err);

#endif
