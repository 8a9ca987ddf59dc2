/* vmath_real.h - exp, tanh, sigmoid, softplus, gelu and the sums of softmax, in `real`
 * (core/real.h), for the …_real.h files that include it. In float32 the functions are polynomials
 * without a branch, which become vector code; in float64 they are the C library's.
 *
 * The largest errors in float32, in units in the last place, with fused multiply-adds / without
 * (tests/core/test_vmath.c):
 *
 *     e^x 1.1 / 1.1     tanh 2.5 / 2.5     sigmoid 2.5 / 2.5 (0 below -88)     expm1 2 / 2
 *     gelu 7 / 9 above -3 (100 / 150 above -13)     gelu's slope 1e-7 (absolute)
 *     softplus 3.5 / 3.5     log1p 2 / 2
 *
 * Special values are those of the C library: e^-inf = 0, tanh ±inf = ±1, a NaN stays a NaN. gelu
 * and its slope have their limits at ±inf, where PyTorch has NaN. In float32, gelu is -1e-37 below
 * -13. */

/* ---- functions of a number ------------------------------------------------------------------ */

#if LK_REAL_IS_FLOAT

/* 2^n for -126 <= n <= 127, put together from its bits. */
static inline float LK_F(power_of_2)(int32_t n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* Splits x = n ln 2 + r with |r| <= ln 2 / 2, so that e^x = 2^n e^r. Returns e^r - 1 = r + r²
 * p(r). Adding 1.5·2^23 rounds n, which is then in the last bits of the sum. ln 2 has two parts:
 * n times the first is exact. p is the polynomial whose largest error is the smallest, 6.3e-8.
 * For a NaN, n is anything. */
static inline float LK_F(reduced)(float x, int32_t *n)
{
    const float shifter = 0x1.8p23f, shifted = LK_MADD(x, 0x1.715476p0f, shifter),
                rounded = shifted - shifter;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    *n = (int32_t)(bits - 0x4b400000u);
    const float r = LK_MADD(rounded, -0x1.7f7d1cp-20f, LK_MADD(rounded, -0x1.62e4p-1f, x));
    float p = 0x1.6d76a0p-10f;
    p = LK_MADD(p, r, 0x1.120c68p-7f);
    p = LK_MADD(p, r, 0x1.5554b8p-5f);
    p = LK_MADD(p, r, 0x1.5554dcp-3f);
    p = LK_MADD(p, r, 0.5f);
    return LK_MADD(r * r, p, r);
}

/* x is kept between -104, where e^x rounds to 0, and 89, where it overflows. 2^n is multiplied in
 * two steps, because 2^n itself may be beyond the range. Only the second step may round (to a
 * subnormal number). */
static inline float LK_F(exp)(float x)
{
    int32_t n;
    x = x < -104 ? -104 : x;
    x = x > 89 ? 89 : x;
    const float y = 1 + LK_F(reduced)(x, &n);
    const int32_t half = n >> 1;
    return y * LK_F(power_of_2)(half) * LK_F(power_of_2)(n - half);
}

/* With m = e^2|x| - 1, tanh |x| = m / (m + 2). Nothing cancels near 0. From 10 on, tanh is 1. */
static inline float LK_F(tanh)(float x)
{
    int32_t n;
    float u = x < 0 ? -x : x;
    u = u > 10 ? 10 : u;
    const float y = LK_F(reduced)(2 * u, &n), power = LK_F(power_of_2)(n & 31),
                m = LK_MADD(power, y, power - 1);
    return copysign(m / (m + 2), x);
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1) for x <= 0, and 0 above. Below -80 it is -1. */
static inline float LK_F(expm1)(float x)
{
    int32_t n;
    x = x < -80 ? -80 : x;
    x = x > 0 ? 0 : x;
    const float y = LK_F(reduced)(x, &n), power = LK_F(power_of_2)(n);
    return LK_MADD(power, y, power - 1);
}

/* ln(1 + u) = 2 artanh s with s = u / (2 + u), for 0 <= u <= 1. artanh s = s + s³ p(s²). */
static inline float LK_F(log1p)(float u)
{
    const float s = u / (2 + u), z = s * s;
    float p = 0x1.12f598p-3f;
    p = LK_MADD(p, z, 0x1.21249ap-3f);
    p = LK_MADD(p, z, 0x1.99ad6cp-3f);
    p = LK_MADD(p, z, 0x1.55554cp-2f);
    return LK_MADD(2 * s, p * z, 2 * s);
}

/* For u >= 0, sets *e to e = e^(-u²/2) and returns R(u), where Φ(-u) = e R(u). R falls smoothly
 * from 1/2 like 0.4 / u. A quotient of polynomials with positive coefficients gives it everywhere,
 * off by 6e-9 at most. e is 2^(n + f) with -1/2 <= f <= 1/2. Here 2^f = 1 + f p(f), off by 4e-9,
 * and n goes to the bits of the exponent. u ends at 13, where e is 2e-37. */
static inline float LK_F(normal_rest)(float u, float *e)
{
    const float h = u * u, k = -0x1.715476p-1f, shifter = 0x1.8p23f,
                shifted = LK_MADD(h, k, shifter);
    const float f = LK_MADD(h, k, shifter - shifted);
    float p = 0x1.446d62p-13f, q = 1.03201188e-2f;
    p = LK_MADD(p, f, 0x1.5f095ap-10f);
    p = LK_MADD(p, f, 0x1.3b29e2p-7f);
    p = LK_MADD(p, f, 0x1.c6af6cp-5f);
    p = LK_MADD(p, f, 0x1.ebfbe0p-3f);
    p = LK_MADD(p, f, 0x1.62e430p-1f);
    p = LK_MADD(p, f, 1.0f);
    uint32_t n, bits;
    memcpy(&n, &shifted, sizeof n);
    memcpy(&bits, &p, sizeof bits);
    bits += n << 23;
    memcpy(e, &bits, sizeof bits);
    p = 4.11717945e-3f;
    p = LK_MADD(p, u, 4.06394081e-2f), q = LK_MADD(q, u, 1.01874329e-1f);
    p = LK_MADD(p, u, 1.83253794e-1f), q = LK_MADD(q, u, 4.69519721e-1f);
    p = LK_MADD(p, u, 4.38320502e-1f), q = LK_MADD(q, u, 1.20258125f);
    p = LK_MADD(p, u, 0.5f), q = LK_MADD(q, u, 1.67452598f);
    q = LK_MADD(q, u, 1.0f);
    return p / q;
}

/* x Φ(x) = max(x, 0) - u Φ(-u) with u = |x|. From 13 on, the second term is only 1e-37. */
static inline float LK_F(gelu)(float x)
{
    float e, u = x < 0 ? -x : x;
    u = u > 13 ? 13 : u;
    const float rest = LK_F(normal_rest)(u, &e);
    return LK_MADD(-u * e, rest, x < 0 ? 0 : x);
}

/* Φ(x) + x φ(x) = v for x < 0, else 1 - v, with v = e (R(u) - u / √(2π)). */
static inline float LK_F(gelu_slope)(float x)
{
    float e, u = x < 0 ? -x : x;
    u = u > 13 ? 13 : u;
    const float rest = LK_F(normal_rest)(u, &e), v = e * LK_MADD(u, -0x1.988454p-2f, rest);
    return x < 0 ? v : 1 - v;
}

#else

static inline double LK_F(exp)(double x) { return exp(x); }
static inline double LK_F(tanh)(double x) { return tanh(x); }
static inline double LK_F(expm1)(double x) { return expm1(x > 0 ? 0 : x); }
static inline double LK_F(log1p)(double u) { return log1p(u); }
/* erfc gives an exact Φ(-u), however small it is. u ends at 40, where Φ(-u) is 0, so that
 * infinities do no harm. */
static inline double LK_F(gelu)(double x)
{
    const double u = fabs(x) > 40 ? 40 : fabs(x);
    return (x < 0 ? 0 : x) - u * (0.5 * erfc(u * 0.70710678118654752440));
}
static inline double LK_F(gelu_slope)(double x)
{
    const double u = fabs(x) > 40 ? 40 : fabs(x);
    const double v =
        0.5 * erfc(u * 0.70710678118654752440) - u * exp(-0.5 * u * u) * 0.39894228040143267794;
    return x < 0 ? v : 1 - v;
}

#endif

/* -1, 0 or 1. That of a NaN is 0, as PyTorch's. */
static inline real LK_F(sign)(real x) { return (real)((x > 0) - (x < 0)); }

/* 1 / (1 + e^-x) */
static inline real LK_F(sigmoid)(real x) { return 1 / (1 + LK_F(exp)(-x)); }

/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), so that nothing overflows */
static inline real LK_F(softplus)(real x)
{
    return (x > 0 ? x : 0) + LK_F(log1p)(LK_F(exp)(x > 0 ? -x : x));
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* For loops over elements that do not depend on each other. A result may overwrite its own
 * argument. (The functions of the C library are not vector code.) */
#if LK_REAL_IS_FLOAT
#define LK_ELEMENTWISE _Pragma("omp simd")
#else
#define LK_ELEMENTWISE
#endif

/* y = e^x */
static inline void LK_F(exp_row)(int64_t n, const real *x, real *y)
{
    LK_ELEMENTWISE
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(exp)(x[i]);
}

/* Returns Σ x y, summed in LK_LANES parts. */
static inline real LK_F(dot_row)(int64_t n, const real *x, const real *y)
{
    real parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) parts[l] += x[i + l] * y[i + l];
    for (int l = 0; i < n; i++, l++) parts[l] += x[i] * y[i];
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

/* Returns the largest x, or -inf for none. NaNs are passed over. */
static inline real LK_F(max_row)(int64_t n, const real *x)
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

/* Sets y = e^(x - shift) and adds y to `sums`, element i to part i % LK_LANES. The additions find
 * y still in the first cache. */
static inline void LK_F(exp_sum_row)(int64_t n, const real *x, real shift, real *y,
                                     real sums[LK_LANES])
{
    real s[LK_LANES];
    memcpy(s, sums, sizeof s);
    LK_ELEMENTWISE
    for (int64_t i = 0; i < n; i++) y[i] = LK_F(exp)(x[i] - shift);
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) s[l] += y[i + l];
    for (int l = 0; i < n; i++, l++) s[l] += y[i];
    memcpy(sums, s, sizeof s);
}

/* Returns the sum of LK_LANES parts. */
static inline real LK_F(total)(const real sums[LK_LANES])
{
    real total = 0;
    for (int i = 0; i < LK_LANES; i++) total += sums[i];
    return total;
}
#undef LK_ELEMENTWISE

/* ---- rows of elements that are apart, as softmax reads them along a dimension --------------- */

/* elements at a time of a row that do not lie side by side, or whose exponentials are not kept */
enum { LK_F(PIECE) = 512 };

/* Returns the max of n elements `step` apart. A NaN is passed over, because e^NaN reaches every
 * result through the sum. */
static inline real LK_F(maximum)(int64_t n, int64_t step, const real *x)
{
    real best = -INFINITY;
    if (step == 1) return LK_F(max_row)(n, x);
    for (int64_t i = 0; i < n; i++)
        if (x[i * step] > best) best = x[i * step];
    return best;
}

/* Sets y = e^(x - shift), unless y is NULL, and returns the sum. It has the same bits for any
 * step. */
static inline real LK_F(exponentials)(int64_t n, int64_t step, const real *x, real shift, real *y)
{
    real sums[LK_LANES] = { 0 }, piece[LK_F(PIECE)];
    if (step == 1 && y) {
        LK_F(exp_sum_row)(n, x, shift, y, sums);
        return LK_F(total)(sums);
    }
    for (int64_t first = 0; first < n; first += LK_F(PIECE)) {
        int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
        for (int64_t i = 0; i < count; i++) piece[i] = x[(first + i) * step];
        LK_F(exp_sum_row)(count, piece, shift, piece, sums);
        if (y)
            for (int64_t i = 0; i < count; i++) y[(first + i) * step] = piece[i];
    }
    return LK_F(total)(sums);
}
