/* ops_matmul_real.h - the arithmetic besides lk__gemm, in `real` (core/real.h). */

static void LK_F(scale)(int64_t n, real *x, double factor)
{
    for (int64_t i = 0; i < n; i++) x[i] *= (real)factor;
}
