/* vmath_rows_real.h - rows of the functions of core/kernels/vmath_real.h, in `real`
 * (core/real.h). */
#include "core/kernels/vmath_real.h"

static void LK_F(expm1_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(expm1)(x[i]);
}

static void LK_F(tanh_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(tanh)(x[i]);
}

static void LK_F(softplus_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(softplus)(x[i]);
}

static void LK_F(log1p_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) {
        const real u = fabs(x[i]);
        y[i] = LK_F(log1p)(u > 1 ? 1 : u);
    }
}

static void LK_F(sigmoid_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(sigmoid)(x[i]);
}

static void LK_F(gelu_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(gelu)(x[i]);
}

static void LK_F(gelu_slope_row)(int64_t n, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(gelu_slope)(x[i]);
}
