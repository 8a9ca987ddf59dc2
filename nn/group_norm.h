/* group_norm.h - torch.nn.GroupNorm: the channels of each sample are normalized in groups. */
#ifndef LK_GROUP_NORM_H
#define LK_GROUP_NORM_H

#include "nn/module.h"

typedef struct GroupNorm {
    Module base;
    Tensor *weight, *bias; /* (num_channels); both NULL: affine=False */
    int64_t num_groups, num_channels;
    double eps;
} GroupNorm;
LK_MODULE_TYPE(GroupNorm, lk_group_norm_type, lk_as_group_norm);

/* nn.GroupNorm(num_groups, num_channels, eps) for x (N, C, …): weight 1, bias 0, float32; nothing
 * is drawn. Errors: LK_ESHAPE when a number is not positive, or the groups do not divide the
 * channels. */
LK_API Module *lk_group_norm_new(int64_t num_groups, int64_t num_channels, double eps, Error *err);

#endif
