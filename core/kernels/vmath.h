/* vmath.h - functions of many numbers at a time. In float32 they are polynomials without a branch,
 * which become vector code (core/kernels/vector.h); in float64 they are the C library's. Results may lie
 * where the arguments were.
 *
 * The largest errors in float32, in units in the last place, with fused multiply-adds / without
 * (tests/core/test_vmath.c):
 *
 *     e^x 1.1 / 1.1     tanh 2.5 / 2.5     sigmoid 2.5 / 2.5 (0 below -88)     gelu 7 / 9 above -3 (100 / 150 above -13)
 *     gelu's slope 1e-7 (absolute)
 *
 * Special values are those of the C library: e^-inf = 0, tanh ±inf = ±1, a NaN stays one. gelu and
 * its slope have their limits at ±inf, where PyTorch has NaN; in float32 gelu is -1e-37 from -13
 * on. Internal: not installed, hidden in the shared library. Under core/real.h, F(lk_vexp) is the
 * one for `real`. */
#ifndef LK_VMATH_H
#define LK_VMATH_H

#include "core/kernels/simd.h"

/* clang-format off */
/* vexp: e^x; vtanh: tanh x; vsigmoid: 1 / (1 + e^-x).
 * vgelu: x Φ(x), with the normal distribution Φ(x) = (1 + erf(x / √2)) / 2; its gradient:
 * dx += dy (Φ(x) + x φ(x)), or = for `fresh`.
 * Softmax: the maximum (NaNs are passed over; -inf for none); y = e^(x - shift), whose sum is added
 * to `sums` (element i to part i % LK_LANES), and the total of the parts.
 * vdot: Σ x y, the products in such parts. */
#define LK_VMATH(real, type) \
    void lk_vexp_##type(int64_t n, const real *x, real *y); \
    void lk_vtanh_##type(int64_t n, const real *x, real *y); \
    void lk_vsigmoid_##type(int64_t n, const real *x, real *y); \
    void lk_vgelu_##type(int64_t n, const real *x, real *y); \
    void lk_vgelu_gradient_##type(int64_t n, const real *x, const real *dy, real *dx, bool fresh); \
    real lk_vmax_##type(int64_t n, const real *x); \
    void lk_vexp_sum_##type(int64_t n, const real *x, real shift, real *y, real sums[LK_LANES]); \
    real lk_vtotal_##type(const real sums[LK_LANES]); \
    real lk_vdot_##type(int64_t n, const real *x, const real *y);
/* clang-format on */
LK_VMATH(float, f32)
LK_VMATH(double, f64)
#undef LK_VMATH

#endif
