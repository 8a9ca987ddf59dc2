/* pointwise.c - gradient cases of elementwise operations (core/ops_unary.c, core/ops_binary.c). */
#include "examples/own/gradients/rows.h"

CALL(add, lk_add(t, x[0], x[1]))
CALL(sub, lk_sub(t, x[0], x[1]))
CALL(mul, lk_mul(t, x[0], x[1]))
CALL(square_by_mul, lk_mul(t, x[0], x[0])) /* one tensor as both operands */
CALL(divide, lk_div(t, x[0], x[1]))
CALL(power, lk_pow(t, x[0], x[1]))
CALL(neg, lk_neg(t, x[0]))
CALL(scale, lk_scale(t, x[0], -2.5))
CALL(add_scalar, lk_add_scalar(t, x[0], 0.75))
CALL(square, lk_pow_scalar(t, x[0], 2))
CALL(cube, lk_pow_scalar(t, x[0], 3))
CALL(root, lk_pow_scalar(t, x[0], -0.5))
CALL(exponential, lk_exp(t, x[0]))
CALL(logarithm, lk_log(t, x[0]))
CALL(square_root, lk_sqrt(t, x[0]))
CALL(sigmoid, lk_sigmoid(t, x[0]))
CALL(hyperbolic, lk_tanh(t, x[0]))
CALL(gelu, lk_gelu(t, x[0]))
CALL(relu, lk_relu(t, x[0]))
CALL(absolute, lk_abs(t, x[0]))

static const GradientRow rows[] = {
    { "add", add, TWO, ANY },
    { "sub", sub, TWO, ANY },
    { "mul", mul, TWO, ANY },
    { "mul", square_by_mul, ONE, ANY },
    { "div", divide, TWO, APART },
    { "pow", power, TWO, POSITIVE },
    { "neg", neg, ONE, ANY },
    { "scale", scale, ONE, ANY },
    { "add_scalar", add_scalar, ONE, ANY },
    { "pow_scalar", square, ONE, ANY },
    { "pow_scalar", cube, ONE, ANY },
    { "pow_scalar", root, ONE, POSITIVE },
    { "exp", exponential, ONE, ANY },
    { "log", logarithm, ONE, POSITIVE },
    { "sqrt", square_root, ONE, POSITIVE },
    { "sigmoid", sigmoid, ONE, ANY },
    { "tanh", hyperbolic, ONE, ANY },
    { "gelu", gelu, ONE, ANY },
    { "relu", relu, ONE, APART },
    { "abs", absolute, ONE, APART },
};

const GradientFamily gradient_pointwise = { GRADIENT_ROWS(rows) };
