/* flatten.h - torch.nn.Flatten. */
#ifndef LK_FLATTEN_H
#define LK_FLATTEN_H

#include "nn/module.h"

typedef struct Flatten {
    Module base;
    int64_t start_dim, end_dim; /* the dimensions that become one; may be negative: from the end */
} Flatten;
LK_MODULE_TYPE(Flatten, lk_flatten_type, lk_as_flatten);

/* nn.Flatten(start_dim, end_dim): (…, a, b, c, …) → (…, a b c, …). PyTorch's default is 1, -1: all
 * but the batch. Without a copy where the strides allow it. Error: LK_EMEMORY; forward: LK_ESHAPE
 * for a dimension that x does not have, and for start_dim behind end_dim. */
LK_API Module *lk_flatten_new(int64_t start_dim, int64_t end_dim, Error *err);

#endif
