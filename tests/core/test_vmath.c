/* test_vmath.c - core/kernels/vmath_real.h with every instruction set that this processor has:
 * against the C library in double over numbers of all sizes, at special values, in place, and the
 * same bits wherever an element lies. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/kernels/for_tests.h"
#include "tests/check.h"

enum { COUNT = 4096 };

#define LK_REAL_SOURCE "tests/core/vmath_rows_real.h"
#include "core/real.h"

/* A function of a row, in the set that is in use. */
#define ROW(name) \
    static void name##_f32(int64_t n, const float *x, float *y) \
    { \
        LK_OF_SET(name##_row_f32)(n, x, y); \
    } \
    static void name##_f64(int64_t n, const double *x, double *y) \
    { \
        LK_OF_SET(name##_row_f64)(n, x, y); \
    }
ROW(exp)
ROW(expm1)
ROW(tanh)
ROW(sigmoid)
ROW(softplus)
ROW(log1p)
ROW(gelu)
ROW(gelu_slope)

static double below_0(double x) { return expm1(x > 0 ? 0 : x); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static double up_to_1(double x) { return log1p(fabs(x) > 1 ? 1 : fabs(x)); }
static double normal(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static double gelu(double x) { return x == -INFINITY ? 0 : x * normal(x); }
static double slope(double x)
{
    return isinf(x) ? x > 0 : normal(x) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}

static const struct {
    const char *name;
    void (*f32)(int64_t, const float *, float *);
    void (*f64)(int64_t, const double *, double *);
    double (*exact)(double);
    /* where the bounds hold; outside the error is below `absolute` alone */
    double low, high;
    /* largest error in ulps, with and without fused multiply-adds; 0: absolute */
    double fused, plain;
    double absolute; /* the bound of |error| / (1 + |exact|), everywhere */
} functions[] = {
    { "exp", exp_f32, exp_f64, exp, -INFINITY, INFINITY, 1.1, 1.1, FLT_EPSILON },
    { "tanh", tanh_f32, tanh_f64, tanh, -INFINITY, INFINITY, 2.5, 2.5, FLT_EPSILON },
    { "sigmoid", sigmoid_f32, sigmoid_f64, sigmoid, -88, INFINITY, 2.5, 2.5, FLT_EPSILON },
    { "gelu", gelu_f32, gelu_f64, gelu, -3, INFINITY, 7, 9, FLT_EPSILON },
    { "gelu, far left", gelu_f32, gelu_f64, gelu, -13, INFINITY, 100, 150, FLT_EPSILON },
    { "expm1", expm1_f32, expm1_f64, below_0, -INFINITY, 0, 2, 2, FLT_EPSILON },
    { "softplus", softplus_f32, softplus_f64, softplus, -INFINITY, INFINITY, 3.5, 3.5,
      FLT_EPSILON },
    { "log1p", log1p_f32, log1p_f64, up_to_1, -INFINITY, INFINITY, 2, 2, FLT_EPSILON },
    { "slope of gelu", gelu_slope_f32, gelu_slope_f64, slope, 0, 0, 0, 0, FLT_EPSILON },
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* Goes through the sets of this processor, the best one first. */
#define EVERY_SET(set) \
    for (int set = LK_KERNEL_SETS - 1; set >= 0; set--) \
        if (lk__kernels_use((KernelSet)set))

static void check_error_of(int k, int set, float x, float y)
{
    double exact = functions[k].exact((double)x), error = fabs((double)y - exact);
    if (isnan(exact) || isinf((float)exact) || isinf(y) || isnan(y)) {
        check(isnan(exact) ? isnan(y) : y == (float)exact, "%s, set %d: %a gives %a, not %a",
              functions[k].name, set, (double)x, (double)y, exact);
        return;
    }
    check(error <= functions[k].absolute * (1 + fabs(exact)), "%s, set %d: %a gives %a, not %a",
          functions[k].name, set, (double)x, (double)y, exact);
    if (functions[k].fused == 0 || (double)x < functions[k].low || (double)x > functions[k].high)
        return;
    int exponent;
    frexp(exact, &exponent);
    double ulp = ldexp(1, exponent < -125 ? -149 : exponent - 24),
           bound = set ? functions[k].fused : functions[k].plain;
    check(error <= bound * ulp, "%s, set %d: %a gives %a, not %a: %.2f ulps", functions[k].name,
          set, (double)x, (double)y, exact, error / ulp);
}

/* Every 1021st float32 of all, and more of them where the functions are not constant: 4.7 million
 * each (fewer under an emulator). */
Test(vmath, errors_in_float32)
{
    static float x[COUNT], y[COUNT];
    EVERY_SET(set)
    {
        for (int k = 0; k < FUNCTIONS; k++) {
            for (uint64_t bits = 0; bits < (uint64_t)1 << 32;
                 bits += (uint64_t)1021 * COUNT * CHECK_EVERY) {
                for (int i = 0; i < COUNT; i++) {
                    uint32_t word = (uint32_t)(bits + (uint64_t)1021 * (uint64_t)i);
                    memcpy(&x[i], &word, sizeof word);
                }
                functions[k].f32(COUNT, x, y);
                for (int i = 0; i < COUNT; i++) check_error_of(k, set, x[i], y[i]);
            }
            for (float from = -110; from < 100; from += CHECK_EVERY) {
                for (int i = 0; i < COUNT; i++) x[i] = from + (float)i / COUNT;
                functions[k].f32(COUNT, x, y);
                for (int i = 0; i < COUNT; i++) check_error_of(k, set, x[i], y[i]);
            }
        }
    }
}

Test(vmath, special_values)
{
    const float x[] = { 0,       -0.0f,    INFINITY, -INFINITY, NAN,       -NAN,
                        FLT_MAX, -FLT_MAX, FLT_MIN,  0x1p-149f, -0x1p-149f };
    enum { N = sizeof x / sizeof *x };
    const float expected[][N] = {
        { 1, 1, INFINITY, 0, NAN, NAN, INFINITY, 0, 1, 1, 1 },
        { 0, -0.0f, 1, -1, NAN, NAN, 1, -1, FLT_MIN, 0x1p-149f, -0x1p-149f },
        { 0.5f, 0.5f, 1, 0, NAN, NAN, 1, 0, 0.5f, 0.5f, 0.5f },
        { 0, 0, INFINITY, 0, NAN, NAN, FLT_MAX, 0, FLT_MIN / 2, 0, 0 },
        { 0.5f, 0.5f, 1, 0, NAN, NAN, 1, 0, 0.5f, 0.5f, 0.5f },
    };
    EVERY_SET(set)
    {
        for (int row = 0; row < 5; row++) {
            int k = row < 4 ? row : FUNCTIONS - 1;
            float y[N];
            double x64[N], y64[N];
            functions[k].f32(N, x, y);
            for (int i = 0; i < N; i++) x64[i] = (double)x[i];
            functions[k].f64(N, x64, y64);
            for (int i = 0; i < N; i++) {
                double e = (double)expected[row][i];
                bool close = row < 3 ? (double)y[i] == e && !signbit(y[i]) == !signbit(e)
                                     : (double)y[i] == e || fabs((double)y[i] - e) < 1e-35;
                check(isnan(e) ? isnan(y[i]) : close, "%s, set %d: %a gives %a, not %a",
                      functions[k].name, set, (double)x[i], (double)y[i], e);
                check(isnan(e) ? isnan(y64[i])
                               : fabs(y64[i] - e) <= 1e-30 || isinf(e) || x64[i] > 1e30,
                      "%s in float64: %a gives %a", functions[k].name, x64[i], y64[i]);
            }
        }
    }
}

/* The largest argument that does not overflow, the smallest results, and what lies between 0 and
 * them. */
Test(vmath, exp_reaches_the_ends_of_the_range)
{
    const float x[] = { 88.7228317f,  88.7228394f,  -87.3365479f,
                        -103.278929f, -103.972076f, -103.972092f };
    EVERY_SET(set)
    {
        float y[6];
        exp_f32(6, x, y);
        check(y[0] <= FLT_MAX && y[0] > 3.4e38f && isinf(y[1]), "set %d: %a %a", set, (double)y[0],
              (double)y[1]);
        check(y[2] > 0 && y[2] <= FLT_MIN && y[3] == 0x1p-149f && y[4] == 0x1p-149f && y[5] == 0,
              "set %d: %a %a %a %a", set, (double)y[2], (double)y[3], (double)y[4], (double)y[5]);
    }
}

/* A number has one result: at any place in a row of any length, in place too, and the same bits
 * from AVX2 and AVX-512. */
Test(vmath, same_bits_wherever_an_element_lies)
{
    enum { N = 67 };
    float x[N], y[N], one, fused[FUNCTIONS][N];
    bool has_fused = false;
    for (int i = 0; i < N; i++) x[i] = 9 * sinf((float)(i * i));
    EVERY_SET(set)
    {
        for (int k = 0; k < FUNCTIONS; k++) {
            for (int n = 0; n <= N; n++) {
                memcpy(y, x, sizeof y);
                functions[k].f32(n, y, y);
                for (int i = 0; i < N; i++) {
                    one = x[i];
                    if (i < n) functions[k].f32(1, x + i, &one);
                    check(memcmp(&one, &y[i], sizeof one) == 0,
                          "%s, set %d: element %d of %d is %a, not %a", functions[k].name, set, i,
                          n, (double)y[i], (double)one);
                }
            }
            if (set == LK_PORTABLE) continue;
            if (has_fused)
                check(memcmp(fused[k], y, sizeof y) == 0, "%s: set %d is not set %d",
                      functions[k].name, set, set + 1);
            memcpy(fused[k], y, sizeof y);
        }
        has_fused = true;
    }
}

/* The sum of a row is the same in one piece and in pieces of a multiple of LK_LANES, and right; a
 * NaN reaches it. */
Test(vmath, softmax_of_a_row)
{
    enum { N = 1000 };
    static float x[N], y[N], z[N];
    static double x64[N], y64[N];
    double exact = 0;
    for (int i = 0; i < N; i++) {
        x[i] = 9 * sinf((float)(i * i));
        x64[i] = (double)x[i];
        exact += exp(x64[i] - 9);
    }
    EVERY_SET(set)
    {
        float sums[LK_LANES] = { 0 }, pieces[LK_LANES] = { 0 };
        LK_OF_SET(exp_sum_row_f32)(N, x, 9, y, sums);
        for (int from = 0; from < N; from += 96) LK_OF_SET(exp_sum_row_f32)
        (N - from < 96 ? N - from : 96, x + from, 9, z + from, pieces);
        check(memcmp(y, z, sizeof y) == 0 && memcmp(sums, pieces, sizeof sums) == 0, "set %d",
              set);
        const double sum = (double)LK_OF_SET(total_f32)(sums);
        check(fabs(sum / exact - 1) < 1e-6, "set %d: %g, not %g", set, sum, exact);
        double sums64[LK_LANES] = { 0 };
        LK_OF_SET(exp_sum_row_f64)(N, x64, 9, y64, sums64);
        check(fabs(LK_OF_SET(total_f64)(sums64) / exact - 1) < 1e-14);
        for (int n = 0; n < 70; n++)
            for (int at = 0; at < n; at++) { /* the largest element anywhere */
                float before = x[at];
                x[at] = 50;
                check(LK_OF_SET(max_row_f32)(n, x) == 50, "set %d: %d of %d", set, at, n);
                x[at] = before;
            }
        check(LK_OF_SET(max_row_f32)(0, x) == -INFINITY);
        z[0] = 1;
        z[1] = NAN;
        z[2] = 3;
        check(LK_OF_SET(max_row_f32)(3, z) == 3);
        LK_OF_SET(exp_sum_row_f32)(3, z, 3, z, sums);
        check(isnan(LK_OF_SET(total_f32)(sums)));
    }
}
