/* ops_unary_table.h - the elementwise operations of one operand, a line each. ops_unary.c reads it
 * and makes lk_neg, … of it; ops_unary_real.h reads it and makes their arithmetic.
 *
 * UNARY_C has a constant c: lk_scale(t, x, c). x, y and dy are elements of the operand, of the
 * result and of its gradient. */
/* clang-format off */
/*      name           PyTorch's name      dx needs y =               dx += */
UNARY  (lk_neg,        "NegBackward0",     0,       -x,               -dy)
UNARY_C(lk_scale,      "MulBackward0",     0,       c * x,            c * dy)
UNARY_C(lk_add_scalar, "AddBackward0",     0,       x + c,            dy)
UNARY_C(lk_pow_scalar, "PowBackward0",     LK_IN0,  LK_F(power)(x, c),
                                                                LK_F(power_gradient)(x, c, dy))
UNARY  (lk_exp,        "ExpBackward0",     LK_OUT,  LK_F(exp)(x),     dy * y)
UNARY  (lk_log,        "LogBackward0",     LK_IN0,  log(x),           dy / x)
UNARY  (lk_sqrt,       "SqrtBackward0",    LK_OUT,  sqrt(x),          dy / (2 * y))
UNARY  (lk_sigmoid,    "SigmoidBackward0", LK_OUT,  LK_F(sigmoid)(x), dy * (1 - y) * y)
UNARY  (lk_tanh,       "TanhBackward0",    LK_OUT,  LK_F(tanh)(x),    dy * (1 - y * y))
UNARY  (lk_gelu,       "GeluBackward0",    LK_IN0,  LK_F(gelu)(x),    dy * LK_F(gelu_slope)(x))
UNARY  (lk_relu,       "ReluBackward0",    LK_OUT,  x < 0 ? 0 : x,    y <= 0 ? 0 : dy)
UNARY  (lk_abs,        "AbsBackward0",     LK_IN0,  fabs(x),          LK_F(abs_gradient)(x, dy))
/* clang-format on */
