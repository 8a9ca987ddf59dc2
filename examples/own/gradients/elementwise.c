/* elementwise.c - gradient cases of more elementwise operations: activations, roundings, and
 * choices between two tensors (core/ops_unary.c, core/ops_binary.c, core/ops_where.c). */
#include <math.h>

#include "examples/own/gradients/rows.h"

CALL(maximum, lk_maximum(t, x[0], x[1]))
CALL(minimum, lk_minimum(t, x[0], x[1]))
CALL(sine, lk_sin(t, x[0]))
CALL(cosine, lk_cos(t, x[0]))
CALL(square, lk_square(t, x[0]))
CALL(inverse_root, lk_rsqrt(t, x[0]))
CALL(reciprocal, lk_reciprocal(t, x[0]))
CALL(sign, lk_sign(t, x[0]))
CALL(floored, lk_floor(t, x[0]))
CALL(rounded, lk_round(t, x[0]))
CALL(silu, lk_silu(t, x[0]))
CALL(gelu_tanh, lk_gelu_tanh(t, x[0]))
CALL(softplus, lk_softplus(t, x[0]))
CALL(softplus_far, lk_softplus(t, lk_scale(t, x[0], 60))) /* below and above 20 */
CALL(leaky_relu, lk_leaky_relu(t, x[0], 0.1))
CALL(elu, lk_elu(t, x[0], 1.5))
CALL(clamp, lk_clamp(t, x[0], -0.5, 1))
CALL(clamp_below, lk_clamp(t, x[0], 0, INFINITY))
CALL(hardtanh, lk_hardtanh(t, x[0], -0.5, 1))
CALL(where, lk_where(t, lk_gt(t, x[0], x[1]), x[1], x[2]))
CALL(where_one, lk_where(t, lk_gt(t, x[0], x[1]), x[0], x[0])) /* one tensor as both */

static Cases THREE = { ". . .",     "3 3 3",          "2,3 2,3 2,3", "2,3 3 1",     "2,1 1,3 2,1",
                       "3 2,1 2,3", "2,3t 2,3s 2,3t", ". . 2,3",     "2,3,2 1 3,1", "0,3 1 3" };

static const GradientRow rows[] = {
    { "maximum", maximum, TWO, APART },
    { "minimum", minimum, TWO, APART },
    { "where", where, THREE, ANY },
    { "where", where_one, TWO, ANY },
    { "sin", sine, ONE, ANY },
    { "cos", cosine, ONE, ANY },
    { "square", square, ONE, ANY },
    { "rsqrt", inverse_root, ONE, POSITIVE },
    { "reciprocal", reciprocal, ONE, POSITIVE },
    { "sign", sign, ONE, APART },
    { "floor", floored, ONE, APART },
    { "round", rounded, ONE, APART },
    { "silu", silu, ONE, ANY },
    { "gelu_tanh", gelu_tanh, ONE, ANY },
    { "softplus", softplus, ONE, ANY },
    { "softplus", softplus_far, ONE, APART },
    { "leaky_relu", leaky_relu, ONE, APART },
    { "elu", elu, ONE, APART },
    { "clamp", clamp, ONE, APART },
    { "clamp", clamp_below, ONE, APART },
    { "hardtanh", hardtanh, ONE, APART },
};

const GradientFamily gradient_elementwise = { GRADIENT_ROWS(rows) };
