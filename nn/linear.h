/* linear.h - torch.nn.Linear: y = x Wᵀ + b. */
#ifndef LK_LINEAR_H
#define LK_LINEAR_H

#include "nn/module.h"

typedef struct Linear {
    Module base;
    Tensor *weight; /* (out_features, in_features) */
    Tensor *bias;   /* (out_features), or NULL */
    int64_t in_features, out_features;
} Linear;
LK_MODULE_TYPE(Linear, lk_linear_type, lk_as_linear);

/* nn.Linear(in, out, bias) in float32: the weight and then the bias are drawn from U(-1/√in,
 * 1/√in), with PyTorch's bits for the same generator. Errors: LK_EVALUE for a size that is not
 * positive. */
LK_API Module *lk_linear_new(int64_t in_features, int64_t out_features, bool bias, Rng *rng,
                             Error *err);

/* The notebook's freeze_linear_layers: freezes the parameters of every Linear in m, m itself
 * included. Returns the number of Linears; -1, with nothing changed, if m cannot be walked. */
LK_API int lk_freeze_linears(Module *m);

#endif
