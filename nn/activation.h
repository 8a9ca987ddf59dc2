/* activation.h - functions as modules: torch.nn.ReLU, torch.nn.GELU (with erf), torch.nn.Tanh. */
#ifndef LK_ACTIVATION_H
#define LK_ACTIVATION_H

#include "nn/module.h"

/* Modules without parameters; forward is lk_relu, lk_gelu, lk_tanh (core/ops.h), for any shape.
 * Error: LK_EMEMORY. */
LK_API_DATA const ModuleType lk_relu_type, lk_gelu_type, lk_tanh_type;
LK_API Module *lk_relu_new(Error *err);
LK_API Module *lk_gelu_new(Error *err);
LK_API Module *lk_tanh_new(Error *err);

#endif
