/* init.h - torch.nn.init: values to begin with, in place, with PyTorch's bits for the same
 * generator. lk_uniform_, lk_normal_ and lk_fill_ are in core/tensor.h.
 *
 * All return false, and leave x as it was, for an x that is NULL, stale or not floating, a NULL
 * generator (LK_EVALUE, LK_ESTATE, LK_EDTYPE), or an x of fewer than 2 dimensions where fans or
 * rows are asked for (LK_ESHAPE). An x without elements is left as it is.
 *
 * For a weight (out, in, …), fan in is in times the sizes behind it, fan out is out times
 * these. */
#ifndef LK_INIT_H
#define LK_INIT_H

#include "core/tensor.h"

/* mode="fan_in": the scale of values stays in the forward; "fan_out": in the backward. */
typedef enum FanMode { LK_FAN_IN, LK_FAN_OUT } FanMode;
/* nonlinearity="relu", …: the function behind the weight. */
typedef enum Nonlinearity {
    LK_AFTER_LEAKY_RELU, /* with the negative slope `a` */
    LK_AFTER_RELU,
    LK_AFTER_TANH,
    LK_AFTER_SELU,
    LK_AFTER_LINEAR, /* nothing, a convolution or a sigmoid */
} Nonlinearity;
/* calculate_gain: √(2 / (1 + a²)), √2, 5/3, 3/4, 1. */
LK_API double lk_init_gain(Nonlinearity after, double a);

/* He et al. 2015: U(-√3 s, √3 s) or N(0, s²) with s = gain(after, a) / √fan. kaiming_uniform_(x,
 * a=√5) is how a Linear begins. */
LK_API bool lk_init_kaiming_uniform_(Tensor *x, double a, FanMode mode, Nonlinearity after,
                                     Rng *rng, Error *err);
LK_API bool lk_init_kaiming_normal_(Tensor *x, double a, FanMode mode, Nonlinearity after,
                                    Rng *rng, Error *err);
/* Glorot and Bengio 2010: the same with s = gain √(2 / (fan in + fan out)). */
LK_API bool lk_init_xavier_uniform_(Tensor *x, double gain, Rng *rng, Error *err);
LK_API bool lk_init_xavier_normal_(Tensor *x, double gain, Rng *rng, Error *err);

/* Saxe et al. 2014: x as (rows, the rest) becomes gain times a random matrix with orthonormal rows
 * or columns, whichever are fewer. From PyTorch's stream, but its values to rounding only. Also
 * LK_EMEMORY. */
LK_API bool lk_init_orthogonal_(Tensor *x, double gain, Rng *rng, Error *err);
/* N(mean, std²) within [a, b]: √2 std erfinv of a uniform number, as PyTorch 1.13 has it; a value
 * may differ in its last digit. Also LK_EVALUE for a std that is not positive or a > b. */
LK_API bool lk_init_trunc_normal_(Tensor *x, double mean, double std, double a, double b, Rng *rng,
                                  Error *err);

LK_API bool lk_init_constant_(Tensor *x, double value, Error *err);
LK_API bool lk_init_zeros_(Tensor *x, Error *err);

#endif
