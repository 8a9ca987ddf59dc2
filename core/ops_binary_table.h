/* ops_binary_table.h - the elementwise operations of two operands, a line each. ops_binary.c reads
 * it and makes lk_add, … of it; ops_binary_real.h reads it and makes their arithmetic.
 *
 * BINARY_INT takes int64 too, and has a formula for it: WRAP drops the bits beyond 64. a, b, y and
 * dy are elements of the operands, of the result and of its gradient. */
/* clang-format off */
/*         name    PyTorch's name  da needs, db needs       y =    da +=   db +=   int64 y = */
BINARY_INT(lk_add, "AddBackward0", 0,      0,               a + b, dy,     dy,     WRAP(a, +, b))
BINARY_INT(lk_sub, "SubBackward0", 0,      0,               a - b, dy,     -dy,    WRAP(a, -, b))
BINARY_INT(lk_mul, "MulBackward0", LK_IN1, LK_IN0,          a * b, dy * b, dy * a, WRAP(a, *, b))
BINARY_INT(lk_maximum, "MaximumBackward0", LK_IN0 | LK_IN1, LK_IN0 | LK_IN1, LK_F(larger)(a, b),
           LK_F(larger_gradient)(a, b, dy), LK_F(larger_gradient)(b, a, dy), a > b ? a : b)
BINARY_INT(lk_minimum, "MinimumBackward0", LK_IN0 | LK_IN1, LK_IN0 | LK_IN1, LK_F(smaller)(a, b),
           LK_F(larger_gradient)(b, a, dy), LK_F(larger_gradient)(a, b, dy), a < b ? a : b)
BINARY(lk_div, "DivBackward0", LK_IN1, LK_IN0 | LK_IN1, a / b, dy / b, -dy * (a / b / b))
BINARY(lk_pow, "PowBackward1", LK_IN0 | LK_IN1, LK_IN0 | LK_IN1 | LK_OUT,
       pow(a, b), LK_F(pow_gradient_a)(a, b, dy), LK_F(pow_gradient_b)(a, b, y, dy))
/* clang-format on */
