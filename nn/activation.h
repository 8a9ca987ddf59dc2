/* activation.h - functions as modules, without parameters: torch.nn.ReLU, GELU, Softmax, … . Their
 * formulas: core/ops.h. */
#ifndef LK_ACTIVATION_H
#define LK_ACTIVATION_H

#include "nn/module.h"

/* For any shape. Error of the constructors: LK_EMEMORY. */
LK_API_DATA const ModuleType lk_relu_type, lk_gelu_type, lk_gelu_tanh_type, lk_tanh_type,
    lk_sigmoid_type, lk_silu_type, lk_softplus_type, lk_relu6_type, lk_identity_type;
LK_API Module *lk_relu_new(Error *err);
LK_API Module *lk_gelu_new(Error *err);      /* nn.GELU(), with erf */
LK_API Module *lk_gelu_tanh_new(Error *err); /* nn.GELU(approximate='tanh') */
LK_API Module *lk_tanh_new(Error *err);
LK_API Module *lk_sigmoid_new(Error *err);
LK_API Module *lk_silu_new(Error *err);
LK_API Module *lk_softplus_new(Error *err); /* beta 1, threshold 20 */
LK_API Module *lk_relu6_new(Error *err);    /* min(max(x, 0), 6) */
LK_API Module *lk_identity_new(Error *err); /* x itself */

/* nn.LeakyReLU: x where x > 0, else negative_slope x. */
typedef struct LeakyReLU {
    Module base;
    double negative_slope;
} LeakyReLU;
LK_MODULE_TYPE(LeakyReLU, lk_leaky_relu_type, lk_as_leaky_relu);
LK_API Module *lk_leaky_relu_new(double negative_slope, Error *err); /* PyTorch's default: 0.01 */

/* nn.ELU: x where x > 0, else alpha (e^x - 1). */
typedef struct ELU {
    Module base;
    double alpha;
} ELU;
LK_MODULE_TYPE(ELU, lk_elu_type, lk_as_elu);
LK_API Module *lk_elu_new(double alpha, Error *err); /* PyTorch's default: 1 */

/* nn.Hardtanh: x, cut to min_val … max_val. */
typedef struct Hardtanh {
    Module base;
    double min_val, max_val;
} Hardtanh;
LK_MODULE_TYPE(Hardtanh, lk_hardtanh_type, lk_as_hardtanh);
/* PyTorch's default: -1, 1. Error: LK_EVALUE, unless min_val is below max_val. */
LK_API Module *lk_hardtanh_new(double min_val, double max_val, Error *err);

/* nn.Softmax(dim) */
typedef struct Softmax {
    Module base;
    int64_t dim; /* negative: from the end */
} Softmax;
LK_MODULE_TYPE(Softmax, lk_softmax_type, lk_as_softmax);
/* A dim that x does not have is an error of the forward. */
LK_API Module *lk_softmax_new(int64_t dim, Error *err);

/* nn.LogSoftmax(dim), as Softmax */
typedef struct LogSoftmax {
    Module base;
    int64_t dim; /* negative: from the end */
} LogSoftmax;
LK_MODULE_TYPE(LogSoftmax, lk_log_softmax_type, lk_as_log_softmax);
/* As lk_softmax_new. */
LK_API Module *lk_log_softmax_new(int64_t dim, Error *err);

#endif
