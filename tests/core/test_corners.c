/* test_corners.c - every elementwise operation at ±0, ±infinity, NaN and subnormal numbers, in
 * float32 and float64, against PyTorch (fixtures/corners.h). A zero has its sign here: 1 / y tells
 * -0 from 0. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"

#include "tests/fixtures/corners.h"

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))
enum { CORNERS = LENGTH(corners_f32), PAIRS = CORNERS * CORNERS };

/* ---- the operations of the fixture, by name ------------------------------------------------- */

static Tensor *call(Tape *t, const char *op, Tensor *x, Tensor *b)
{
    static const struct {
        const char *op;
        Tensor *(*call)(Tape *t, Tensor *x);
    } one[] = { { "neg", lk_neg },   { "exp", lk_exp },         { "log", lk_log },
                { "sqrt", lk_sqrt }, { "sigmoid", lk_sigmoid }, { "tanh", lk_tanh },
                { "gelu", lk_gelu }, { "relu", lk_relu },       { "abs", lk_abs } };
    static const struct {
        const char *op;
        Tensor *(*call)(Tape *t, Tensor *x, double c);
    } constant[] = { { "scale by ", lk_scale },
                     { "add_scalar ", lk_add_scalar },
                     { "pow_scalar ", lk_pow_scalar } };
    static const struct {
        const char *op;
        Tensor *(*call)(Tape *t, Tensor *a, Tensor *b);
    } two[] = { { "add", lk_add }, { "sub", lk_sub }, { "mul", lk_mul }, { "div", lk_div },
                { "pow", lk_pow }, { "eq", lk_eq },   { "ne", lk_ne },   { "lt", lk_lt },
                { "le", lk_le },   { "gt", lk_gt },   { "ge", lk_ge } };
    for (int i = 0; i < LENGTH(one); i++)
        if (strcmp(op, one[i].op) == 0) return one[i].call(t, x);
    for (int i = 0; i < LENGTH(constant); i++)
        if (strncmp(op, constant[i].op, strlen(constant[i].op)) == 0)
            return constant[i].call(t, x, strtod(op + strlen(constant[i].op), NULL));
    for (int i = 0; i < LENGTH(two); i++)
        if (strcmp(op, two[i].op) == 0) return two[i].call(t, x, b);
    check(strcmp(op, "isclose") == 0, "%s is no operation of this test", op);
    return lk_isclose(t, x, b, 1, 0);
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* 16 units in the last place, of which the gradient of PyTorch's gelu takes 11 in float32; zeros,
 * infinities and NaN exactly. Zeros of a result have their sign too; those of a gradient have not,
 * since it is added to a zero. */
static bool same(DType d, double got, double expected, bool with_sign)
{
    if (isnan(expected)) return isnan(got);
    if (isinf(expected)) return got == expected;
    if (expected == 0) return got == 0 && (!with_sign || !signbit(got) == !signbit(expected));
    const double epsilon = d == LK_F64 ? DBL_EPSILON : (double)FLT_EPSILON,
                 least = d == LK_F64 ? 0x1p-1074 : 0x1p-149;
    return fabs(got - expected) <= fmax(16 * epsilon * fabs(expected), least);
}

/* what: "", or whose gradient x is. */
static void check_corners(const char *op, const char *what, const Tensor *x,
                          const double *expected, int n, const double *corner)
{
    for (int i = 0; i < n; i++) {
        const double got = lk_at(x, LK_INDEX(i)), a = corner[n == PAIRS ? i / CORNERS : i],
                     b = corner[i % CORNERS];
        if (strcmp(op, "gelu") == 0 && isinf(a)) continue; /* PyTorch has NaN there */
        check(same(x->dtype, got, expected[i], !*what), "%s%s of %g%s%.0g: expected %g, got %g",
              what, op, a, n == PAIRS ? " and " : ", corner ", n == PAIRS ? b : i, expected[i],
              got);
    }
}

static Tensor *leaf_of(DType d, const double *corner, int n, bool second)
{
    Tensor *x = lk_tensor_new(d, LK_SHAPE(n), NULL);
    for (int i = 0; i < n; i++) {
        const int of_pair = second ? i % CORNERS : i / CORNERS;
        const double value = corner[n == CORNERS ? i : of_pair];
        if (d == LK_F64) ((double *)x->data)[i] = value;
        else ((float *)x->data)[i] = (float)value;
    }
    lk_set_requires_grad(x, true);
    return x;
}

/* gradient[2][leaves][n], for dy = 1 and -1; NULL: a comparison */
static void check_operation(DType d, const char *op, const double *corner, int leaves, int n,
                            const double *y, const double *gradient)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x[2] = { leaf_of(d, corner, n, false), leaf_of(d, corner, n, true) };
    for (int sign = 0; sign < 2; sign++) {
        Tensor *result = call(t, op, x[0], x[1]);
        check_corners(op, "", gradient ? result : lk_to(t, result, d), y, n, corner);
        if (!gradient) continue;
        check(lk_backward_with(t, result, lk_full(t, d, LK_SHAPE(n), sign ? -1 : 1), false));
        for (int i = 0; i < leaves; i++) {
            check_corners(op, i ? "db of " : "da of ", lk_grad(x[i]),
                          gradient + (sign * leaves + i) * n, n, corner);
            lk_zero_grad_(x[i]);
        }
    }
    lk_free(x[0]);
    lk_free(x[1]);
    lk_tape_free(t);
}

#define CHECK_TABLE(dtype, table, corner, leaves) \
    for (int i = 0; i < LENGTH(table); i++) \
    check_operation(dtype, table[i].op, corner, leaves, LENGTH(table[i].y), table[i].y, \
                    table[i].gradient[0][0])

Test(corners, unary)
{
    CHECK_TABLE(LK_F32, unary_f32, corners_f32, 1);
    CHECK_TABLE(LK_F64, unary_f64, corners_f64, 1);
}

Test(corners, binary)
{
    CHECK_TABLE(LK_F32, binary_f32, corners_f32, 2);
    CHECK_TABLE(LK_F64, binary_f64, corners_f64, 2);
}

Test(corners, comparisons)
{
    for (int i = 0; i < LENGTH(compare_f32); i++)
        check_operation(LK_F32, compare_f32[i].op, corners_f32, 2, PAIRS, compare_f32[i].y, NULL);
    for (int i = 0; i < LENGTH(compare_f64); i++)
        check_operation(LK_F64, compare_f64[i].op, corners_f64, 2, PAIRS, compare_f64[i].y, NULL);
}
