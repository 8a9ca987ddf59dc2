/* vmath.c - exp, tanh, sigmoid, gelu and the sums of softmax, for rows of numbers. */
#ifndef real
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "core/tensor.h"
#include "core/kernels/vmath.h"

/* ---- the instruction set -------------------------------------------------------------------- */

static _Atomic SimdSet limit = LK_SIMD_AVX512;

SimdSet lk_simd(void)
{
    SimdSet set = LK_SIMD_PORTABLE;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        set = __builtin_cpu_supports("avx512f") ? LK_SIMD_AVX512 : LK_SIMD_AVX2;
#endif
    SimdSet most = atomic_load_explicit(&limit, memory_order_relaxed);
    return set < most ? set : most;
}

SimdSet lk_simd_limit(SimdSet best)
{
    atomic_store(&limit, best);
    return lk_simd();
}

/* ---- what the other files call -------------------------------------------------------------- */

#define LK_REAL_SOURCE "core/kernels/vmath.c"
#include "core/kernels/vector.h"

#define FUNCTIONS(real, type) \
    void lk_vexp_##type(int64_t n, const real *x, real *y) { LK_SET(exp_row_##type, n, x, y); } \
    void lk_vtanh_##type(int64_t n, const real *x, real *y) { LK_SET(tanh_row_##type, n, x, y); } \
    void lk_vsigmoid_##type(int64_t n, const real *x, real *y) \
    { \
        LK_SET(sigmoid_row_##type, n, x, y); \
    } \
    void lk_vgelu_##type(int64_t n, const real *x, real *y) { LK_SET(gelu_row_##type, n, x, y); } \
    void lk_vgelu_gradient_##type(int64_t n, const real *x, const real *dy, real *dx, bool fresh) \
    { \
        if (fresh) LK_SET(gelu_gradient_row_##type, n, x, dy, dx); \
        else LK_SET(add_gelu_gradient_row_##type, n, x, dy, dx); \
    } \
    real lk_vdot_##type(int64_t n, const real *x, const real *y) \
    { \
        return LK_SET(dot_row_##type, n, x, y); \
    } \
    real lk_vmax_##type(int64_t n, const real *x) { return LK_SET(max_row_##type, n, x); } \
    void lk_vexp_sum_##type(int64_t n, const real *x, real shift, real *y, real sums[LK_LANES]) \
    { \
        LK_SET(exp_sum_row_##type, n, x, shift, y, sums); \
    } \
    real lk_vtotal_##type(const real sums[LK_LANES]) \
    { \
        real total = 0; \
        for (int i = 0; i < LK_LANES; i++) total += sums[i]; \
        return total; \
    }
FUNCTIONS(float, f32)
FUNCTIONS(double, f64)

#else /* ---- in real, for every instruction set ----------------------------------------------- */

#if REAL_IS_FLOAT

/* 2^n for -126 <= n <= 127, put together from its bits. */
TARGET static inline float F(power_of_2)(int32_t n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* With x = n ln 2 + r and |r| <= ln 2 / 2, e^x = 2^n e^r: returns e^r - 1 = r + r² p(r). n is
 * rounded by adding 1.5·2^23, whose last bits then are n, and ln 2 has two parts, of which n times
 * the first is exact. p is the polynomial with the smallest largest error, 6.3e-8. For a NaN n is
 * anything. */
TARGET static inline float F(reduced)(float x, int32_t *n)
{
    const float shifter = 0x1.8p23f, shifted = MADD(x, 0x1.715476p0f, shifter),
                rounded = shifted - shifter;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    *n = (int32_t)(bits - 0x4b400000u);
    const float r = MADD(rounded, -0x1.7f7d1cp-20f, MADD(rounded, -0x1.62e4p-1f, x));
    float p = 0x1.6d76a0p-10f;
    p = MADD(p, r, 0x1.120c68p-7f);
    p = MADD(p, r, 0x1.5554b8p-5f);
    p = MADD(p, r, 0x1.5554dcp-3f);
    p = MADD(p, r, 0.5f);
    return MADD(r * r, p, r);
}

/* Between the x where e^x rounds to 0 and where it overflows. 2^n is multiplied in two steps: it
 * may itself be beyond the range, and only the second step may round (to a subnormal number). */
TARGET static inline float F(exponential)(float x)
{
    int32_t n;
    x = x < -104 ? -104 : x;
    x = x > 89 ? 89 : x;
    const float y = 1 + F(reduced)(x, &n);
    const int32_t half = n >> 1;
    return y * F(power_of_2)(half) * F(power_of_2)(n - half);
}

/* With m = e^2|x| - 1, tanh |x| = m / (m + 2): no cancellation near 0. From 10 on it is 1. */
TARGET static inline float F(hyperbolic_tangent)(float x)
{
    int32_t n;
    float u = x < 0 ? -x : x;
    u = u > 10 ? 10 : u;
    const float y = F(reduced)(2 * u, &n), power = F(power_of_2)(n & 31),
                m = MADD(power, y, power - 1);
    return copysign(m / (m + 2), x);
}

/* For u >= 0: e = e^(-u²/2), and R(u) with Φ(-u) = e R(u). R falls smoothly from 1/2 like 0.4 / u:
 * a quotient of polynomials with positive coefficients holds it everywhere, off by 6e-9 at most. e
 * is 2^(n + f) with -1/2 <= f <= 1/2: 2^f = 1 + f p(f), off by 4e-9, and n goes to the bits of the
 * exponent. u ends at 13, where e is 2e-37. */
TARGET static inline float F(normal_rest)(float u, float *e)
{
    const float h = u * u, k = -0x1.715476p-1f, shifter = 0x1.8p23f, shifted = MADD(h, k, shifter);
    const float f = MADD(h, k, shifter - shifted);
    float p = 0x1.446d62p-13f, q = 1.03201188e-2f;
    p = MADD(p, f, 0x1.5f095ap-10f);
    p = MADD(p, f, 0x1.3b29e2p-7f);
    p = MADD(p, f, 0x1.c6af6cp-5f);
    p = MADD(p, f, 0x1.ebfbe0p-3f);
    p = MADD(p, f, 0x1.62e430p-1f);
    p = MADD(p, f, 1.0f);
    uint32_t n, bits;
    memcpy(&n, &shifted, sizeof n);
    memcpy(&bits, &p, sizeof bits);
    bits += n << 23;
    memcpy(e, &bits, sizeof bits);
    p = 4.11717945e-3f;
    p = MADD(p, u, 4.06394081e-2f), q = MADD(q, u, 1.01874329e-1f);
    p = MADD(p, u, 1.83253794e-1f), q = MADD(q, u, 4.69519721e-1f);
    p = MADD(p, u, 4.38320502e-1f), q = MADD(q, u, 1.20258125f);
    p = MADD(p, u, 0.5f), q = MADD(q, u, 1.67452598f);
    q = MADD(q, u, 1.0f);
    return p / q;
}

/* x Φ(x) = max(x, 0) - u Φ(-u) with u = |x|. The second term is 0 from 13 on, but for 1e-37. */
TARGET static inline float F(gelu)(float x)
{
    float e, u = x < 0 ? -x : x;
    u = u > 13 ? 13 : u;
    const float rest = F(normal_rest)(u, &e);
    return MADD(-u * e, rest, x < 0 ? 0 : x);
}

/* Φ(x) + x φ(x) = v for x < 0, else 1 - v, with v = e (R(u) - u / √(2π)). */
TARGET static inline float F(gelu_slope)(float x)
{
    float e, u = x < 0 ? -x : x;
    u = u > 13 ? 13 : u;
    const float rest = F(normal_rest)(u, &e), v = e * MADD(u, -0x1.988454p-2f, rest);
    return x < 0 ? v : 1 - v;
}

#else

TARGET static inline double F(exponential)(double x) { return exp(x); }
TARGET static inline double F(hyperbolic_tangent)(double x) { return tanh(x); }
/* Φ(-u), exact however small, and with an end for u that makes infinities harmless: Φ(-40) is
 * 0. */
TARGET static inline double F(gelu)(double x)
{
    const double u = fabs(x) > 40 ? 40 : fabs(x);
    return (x < 0 ? 0 : x) - u * (0.5 * erfc(u * 0.70710678118654752440));
}
TARGET static inline double F(gelu_slope)(double x)
{
    const double u = fabs(x) > 40 ? 40 : fabs(x);
    const double v =
        0.5 * erfc(u * 0.70710678118654752440) - u * exp(-0.5 * u * u) * 0.39894228040143267794;
    return x < 0 ? v : 1 - v;
}

#endif

/* Results may lie on their arguments: element by element that is no dependence. (The C library has
 * no vectors.) */
#if REAL_IS_FLOAT
#define ELEMENTWISE _Pragma("omp simd")
#else
#define ELEMENTWISE
#endif

#define ROW(name, formula) \
    TARGET static void F(name)(int64_t n, const real *xs, real *ys) \
    { \
        ELEMENTWISE \
        for (int64_t i = 0; i < n; i++) { \
            const real x = xs[i]; \
            ys[i] = formula; \
        } \
    }
ROW(exp_row, F(exponential)(x))
ROW(tanh_row, F(hyperbolic_tangent)(x))
ROW(sigmoid_row, 1 / (1 + F(exponential)(-x)))
ROW(gelu_row, F(gelu)(x))
#undef ROW

TARGET static void F(gelu_gradient_row)(int64_t n, const real *x, const real *dy, real *dx)
{
    ELEMENTWISE
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * F(gelu_slope)(x[i]);
}

TARGET static void F(add_gelu_gradient_row)(int64_t n, const real *x, const real *dy, real *dx)
{
    ELEMENTWISE
    for (int64_t i = 0; i < n; i++) dx[i] += dy[i] * F(gelu_slope)(x[i]);
}

TARGET static real F(dot_row)(int64_t n, const real *x, const real *y)
{
    real parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) parts[l] += x[i + l] * y[i + l];
    for (int l = 0; i < n; i++, l++) parts[l] += x[i] * y[i];
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

TARGET static real F(max_row)(int64_t n, const real *x)
{
    real max[LK_LANES], best = -INFINITY;
    for (int l = 0; l < LK_LANES; l++) max[l] = -INFINITY;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) max[l] = x[i + l] > max[l] ? x[i + l] : max[l];
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (int l = 0; l < LK_LANES; l++) best = max[l] > best ? max[l] : best;
    return best;
}

/* The sum is taken of what lies in the first cache still. */
TARGET static void F(exp_sum_row)(int64_t n, const real *x, real shift, real *y,
                                  real sums[LK_LANES])
{
    real s[LK_LANES];
    memcpy(s, sums, sizeof s);
    ELEMENTWISE
    for (int64_t i = 0; i < n; i++) y[i] = F(exponential)(x[i] - shift);
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) s[l] += y[i + l];
    for (int l = 0; i < n; i++, l++) s[l] += y[i];
    memcpy(sums, s, sizeof s);
}
#undef ELEMENTWISE
#endif
