/* pool.h - pooling as modules: torch.nn.MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d,
 * AdaptiveAvgPool2d; and Upsample. */
#ifndef LK_POOL_H
#define LK_POOL_H

#include "core/ops.h"
#include "nn/module.h"

/* Modules without parameters, whose type is all that tells them apart. */
LK_API_DATA const ModuleType lk_max_pool1d_type, lk_max_pool2d_type;
/* The same for means. */
LK_API_DATA const ModuleType lk_avg_pool1d_type, lk_avg_pool2d_type, lk_adaptive_avg_pool2d_type;
LK_API_DATA const ModuleType lk_upsample_type;
/* nn.MaxPool2d(2) is lk_max_pool2d_new((PoolOptions){ .kernel = { 2 } }, &err). PoolOptions:
 * core/ops.h. Errors: LK_EVALUE when the kernel is not positive, another option negative, the
 * padding more than half of the kernel, or a mean has a dilation. */
LK_API Module *lk_max_pool1d_new(PoolOptions options, Error *err);
LK_API Module *lk_max_pool2d_new(PoolOptions options, Error *err);
LK_API Module *lk_avg_pool1d_new(PoolOptions options, Error *err);
LK_API Module *lk_avg_pool2d_new(PoolOptions options, Error *err);
/* nn.AdaptiveAvgPool2d((height, width)). Errors: LK_EVALUE for a size that is not positive. */
LK_API Module *lk_adaptive_avg_pool2d_new(int64_t height, int64_t width, Error *err);
/* nn.Upsample(scale_factor=scale), mode "nearest", of (N, C, H, W). Errors: the same. */
LK_API Module *lk_upsample_new(int64_t scale, Error *err);

#endif
