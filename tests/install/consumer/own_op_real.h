/* own_op_real.h - the arithmetic of own_op.c, for core/real.h. */

static void LK_F(square)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * x[i];
}

static void LK_F(square_gradient)(int64_t n, const real *x, const real *dy, real *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] += 2 * x[i] * dy[i];
}
