/* ops_unary_table.h - the elementwise operations of one operand, a line each. ops_unary.c reads it
 * and makes lk_neg, … of it; ops_unary_real.h reads it and makes their arithmetic.
 *
 * UNARY_C has a constant c: lk_scale(t, x, c); UNARY_CD has two, c and d: lk_clamp(t, x, c, d).
 * x, y and dy are elements of the operand, of the result and of its gradient. */
/* clang-format off */
/*       name           PyTorch's name         dx needs y =                   dx += */
UNARY   (lk_neg,        "NegBackward0",        0,      -x,                   -dy)
UNARY_C (lk_scale,      "MulBackward0",        0,      c * x,                c * dy)
UNARY_C (lk_add_scalar, "AddBackward0",        0,      x + c,                dy)
UNARY_C (lk_pow_scalar, "PowBackward0",        LK_IN0, LK_F(power)(x, c),
                                                       LK_F(power_gradient)(x, c, dy))
UNARY   (lk_square,     "PowBackward0",        LK_IN0, x * x,                dy * (2 * x))
UNARY   (lk_reciprocal, "ReciprocalBackward0", LK_OUT, 1 / x,                -dy * (y * y))
UNARY   (lk_exp,        "ExpBackward0",        LK_OUT, LK_F(exp)(x),         dy * y)
UNARY   (lk_log,        "LogBackward0",        LK_IN0, log(x),               dy / x)
UNARY   (lk_sqrt,       "SqrtBackward0",       LK_OUT, sqrt(x),              dy / (2 * y))
UNARY   (lk_rsqrt,      "RsqrtBackward0",      LK_OUT, 1 / sqrt(x),          dy * y * y * y / -2)
UNARY   (lk_sin,        "SinBackward0",        LK_IN0, sin(x),               dy * cos(x))
UNARY   (lk_cos,        "CosBackward0",        LK_IN0, cos(x),               -dy * sin(x))
UNARY   (lk_abs,        "AbsBackward0",        LK_IN0, fabs(x),
                                                       LK_F(abs_gradient)(x, dy))
UNARY   (lk_sign,       "SignBackward0",       0,      LK_F(sign)(x),        0)
UNARY   (lk_floor,      "FloorBackward0",      0,      floor(x),             0)
UNARY   (lk_round,      "RoundBackward0",      0,      rint(x),              0)
UNARY_CD(lk_clamp,      "ClampBackward1",      LK_IN0, LK_F(clamp)(x, c, d),
                                                       x >= c && x <= d ? dy : 0)
UNARY_CD(lk_hardtanh,   "HardtanhBackward0",   LK_IN0, LK_F(clamp)(x, c, d),
                                                       x <= c || x >= d ? 0 : dy)
UNARY   (lk_sigmoid,    "SigmoidBackward0",    LK_OUT, LK_F(sigmoid)(x),     dy * (1 - y) * y)
UNARY   (lk_tanh,       "TanhBackward0",       LK_OUT, LK_F(tanh)(x),        dy * (1 - y * y))
UNARY   (lk_gelu,       "GeluBackward0",       LK_IN0, LK_F(gelu)(x),
                                                       dy * LK_F(gelu_slope)(x))
UNARY   (lk_gelu_tanh,  "GeluBackward0",       LK_IN0, LK_F(gelu_tanh)(x),
                                                       dy * LK_F(gelu_tanh_slope)(x))
UNARY   (lk_silu,       "SiluBackward0",       LK_IN0, LK_F(silu)(x),
                                                       dy * LK_F(silu_slope)(x))
UNARY   (lk_softplus,   "SoftplusBackward0",   LK_IN0, LK_F(softplus_to_20)(x),
                                                       dy * LK_F(softplus_slope)(x))
UNARY   (lk_relu,       "ReluBackward0",       LK_OUT, x < 0 ? 0 : x,        y <= 0 ? 0 : dy)
UNARY_C (lk_leaky_relu, "LeakyReluBackward0",  LK_IN0, x > 0 ? x : c * x,    x > 0 ? dy : c * dy)
UNARY_C (lk_elu,        "EluBackward0",        LK_IN0, LK_F(elu)(x, c),
                                                       dy * LK_F(elu_slope)(x, c))
/* clang-format on */
