/* custom_op_real.h - softplus in the type `real`: float, and double (core/real.h). */

static void LK_F(softplus)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = log(1 + exp(x[i]));
}

static void LK_F(softplus_gradient)(int64_t n, const real *x, const real *dy, real *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] += dy[i] / (1 + exp(-x[i]));
}
