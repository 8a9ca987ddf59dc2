/* batch_norm.h - torch.nn.BatchNorm1d and BatchNorm2d: each channel is normalized over the batch
 * (core/ops.h, lk_batch_norm). In training mode the statistics are those of the batch, and the
 * running ones follow them; in evaluation they are the running ones. */
#ifndef LK_BATCH_NORM_H
#define LK_BATCH_NORM_H

#include "nn/module.h"

typedef struct BatchNorm {
    Module base;
    Tensor *weight, *bias; /* (num_features); both NULL: affine=False */
    /* Buffers. All NULL: track_running_stats=False, and the statistics are always the batch's. */
    Tensor *running_mean, *running_var; /* (num_features) */
    Tensor *num_batches_tracked;        /* int64, a scalar: calls in training mode */
    int64_t num_features;
    double eps, momentum;
    bool told; /* the library's own: strict mode has reported this module */
} BatchNorm, BatchNorm1d, BatchNorm2d;
LK_MODULE_TYPE(BatchNorm1d, lk_batch_norm1d_type, lk_as_batch_norm1d); /* (N, C), (N, C, L) */
LK_MODULE_TYPE(BatchNorm2d, lk_batch_norm2d_type, lk_as_batch_norm2d); /* (N, C, H, W) */

/* nn.BatchNorm1d(num_features, eps, momentum); PyTorch's defaults are 1e-5 and 0.1. weight 1, bias
 * 0, running mean 0 and variance 1, float32; nothing is drawn. Errors: LK_ESHAPE for num_features
 * that is not positive, LK_EVALUE for a momentum outside of 0 … 1. */
LK_API Module *lk_batch_norm1d_new(int64_t num_features, double eps, double momentum, Error *err);
LK_API Module *lk_batch_norm2d_new(int64_t num_features, double eps, double momentum, Error *err);

#endif
