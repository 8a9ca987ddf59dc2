/* test_ops_elementwise.c - activations, roundings, choices between two tensors (core/ops_unary.c,
 * core/ops_binary.c, core/ops_where.c) against PyTorch (fixtures/ops_elementwise.h), with int64,
 * on large tensors, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_elementwise.h"

/* arg: the condition, as the number of its dimensions, its sizes, its values */
static Tensor *where(Tape *t, Tensor **x, const Case *c)
{
    const int64_t *values = c->arg + 1 + c->arg[0];
    bool cond[MAX_VALUES];
    int count = c->args - 1 - (int)c->arg[0];
    for (int i = 0; i < count; i++) cond[i] = values[i] != 0;
    return lk_where(t, lk_tensor(t, LK_BOOL, (int)c->arg[0], c->arg + 1, cond), x[0], x[1]);
}

/* arg: which bounds; c: one of them */
static Tensor *clamp(Tape *t, Tensor **x, const Case *c)
{
    switch (c->arg[0]) {
    case 0: return lk_clamp(t, x[0], c->c, 1);
    case 1: return lk_clamp(t, x[0], c->c, INFINITY);
    case 2: return lk_clamp(t, x[0], -INFINITY, c->c);
    default: return lk_clamp(t, x[0], 1, c->c);
    }
}

CALLER(maximum, lk_maximum(t, x[0], x[1]))
CALLER(minimum, lk_minimum(t, x[0], x[1]))
CALLER(sine, lk_sin(t, x[0]))
CALLER(cosine, lk_cos(t, x[0]))
CALLER(square, lk_square(t, x[0]))
CALLER(inverse_root, lk_rsqrt(t, x[0]))
CALLER(reciprocal, lk_reciprocal(t, x[0]))
CALLER(sign, lk_sign(t, x[0]))
CALLER(floored, lk_floor(t, x[0]))
CALLER(rounded, lk_round(t, x[0]))
CALLER(silu, lk_silu(t, x[0]))
CALLER(gelu_tanh, lk_gelu_tanh(t, x[0]))
CALLER(softplus, lk_softplus(t, x[0]))
CALLER(leaky_relu, lk_leaky_relu(t, x[0], c->c))
CALLER(elu, lk_elu(t, x[0], c->c))
CALLER(hardtanh, lk_hardtanh(t, x[0], c->c, 1))

static const Caller callers[] = {
    { "maximum", maximum },
    { "minimum", minimum },
    { "where", where },
    { "sin", sine },
    { "cos", cosine },
    { "square", square },
    { "rsqrt", inverse_root },
    { "reciprocal", reciprocal },
    { "sign", sign },
    { "floor", floored },
    { "round", rounded },
    { "silu", silu },
    { "gelu_tanh", gelu_tanh },
    { "softplus", softplus },
    { "leaky_relu", leaky_relu },
    { "elu", elu },
    { "clamp", clamp },
    { "hardtanh", hardtanh },
};

TEST_CASES(elementwise, elementwise_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

/* Where e^x overflows or is 0, no activation does. */
Test(elementwise, activations_far_from_0)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(4), 1000, -1000, 30, -30);
        Tensor *(*const one[])(Tape *, Tensor *) = { lk_silu, lk_gelu_tanh, lk_softplus };
        for (int i = 0; i < LENGTH(one); i++) {
            Tensor *y = one[i](t, x);
            check_values(y, 1e-11, 1000, 0, 30, 0);
            check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
            check_values(lk_grad(x), 1e-10, 1, 0, 1, 0);
            lk_zero_grad_(x);
        }
        Tensor *y = lk_elu(t, x, 2);
        check_values(y, 1e-12, 1000, -2, 30, -2);
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        check_values(lk_grad(x), 1e-12, 1, 0, 1, 0);
        lk_free(x);
    }
    lk_tape_free(t);
}

/* Small numbers keep their digits, which e^x - 1 would lose. */
Test(elementwise, elu_near_0)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        const double x = -0x1p-20, eps = d == LK_F32 ? FLT_EPSILON : DBL_EPSILON;
        double y = lk_item(lk_elu(t, lk_scalar(t, d, x), 1));
        check(fabs(y - expm1(x)) <= 2 * eps * fabs(x), "%.17g", y);
    }
    lk_tape_free(t);
}

Test(elementwise, round_half_to_even_and_keep_zeros)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(6), 0.5, 1.5, 2.5, -0.5, -1.5, 0x1p30);
    check_values(lk_round(t, x), 0, 0, 2, 2, 0, -2, 0x1p30);
    check_values(lk_floor(t, x), 0, 0, 1, 2, -1, -2, 0x1p30);
    lk_free(x);
    lk_tape_free(t);
}

/* A bound that is NaN makes all of the result NaN, and no gradient, as in PyTorch. */
Test(elementwise, clamp_with_nan)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(3), -1, NAN, 2);
    check_values(lk_clamp(t, x, NAN, 1), 0, NAN, NAN, NAN);
    check_values(lk_clamp(t, x, 0, NAN), 0, NAN, NAN, NAN);
    check(lk_backward(t, lk_sum(t, lk_clamp(t, x, NAN, 1), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 0);
    lk_free(x);
    lk_tape_free(t);
}

/* An element that is not chosen reaches no gradient, not even as 0 times infinity. */
Test(elementwise, where_stops_nan)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(3), -1, 0, 4), *zero = lk_zeros(t, LK_F32, LK_SCALAR);
    Tensor *y = lk_where(t, lk_gt(t, x, zero), lk_log(t, x), zero);
    check_values(y, 1e-6, 0, 0, log(4));
    check(lk_backward_with(t, y, lk_full(t, LK_F32, LK_SHAPE(3), 1), false));
    check(lk_at(lk_grad(x), LK_INDEX(2)) == 0.25);
    lk_free(x);
    lk_tape_free(t);
}

Test(elementwise, where_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *cond = make_tensor(LK_BOOL, LK_SHAPE(2, 1), 1, 0);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *a = make_tensor(d, LK_SHAPE(2), 1, 0), *b = make_tensor(d, LK_SHAPE(2), 0, 1);
        Tensor *y = lk_where(t, cond, a, b);
        check_shape(y, LK_SHAPE(2, 2));
        check(y->dtype == d && !y->requires_grad);
        check_values(y, 0, 1, 0, 0, 1);
        lk_free(a), lk_free(b);
    }
    lk_free(cond);
    lk_tape_free(t);
}

Test(elementwise, int64)
{
    Tape *t = lk_tape_new(NULL);
    const int64_t past = ((int64_t)1 << 53) + 1; /* no double */
    Tensor *a = lk_tensor(t, LK_I64, LK_SHAPE(2), (const int64_t[]){ past, INT64_MAX }),
           *b = lk_tensor(t, LK_I64, LK_SHAPE(2, 1), (const int64_t[]){ 2, -3 });
    Tensor *(*const op[])(Tape *, Tensor *, Tensor *) = { lk_add, lk_sub, lk_mul, lk_maximum,
                                                          lk_minimum };
    const int64_t expected[][4] = {
        { past + 2, INT64_MIN + 1, past - 3, INT64_MAX - 3 },
        { past - 2, INT64_MAX - 2, past + 3, INT64_MIN + 2 },
        { 2 * past, -2, -3 * past, (int64_t)0x8000000000000003u },
        { past, INT64_MAX, past, INT64_MAX },
        { 2, 2, -3, -3 },
    };
    for (int i = 0; i < LENGTH(op); i++) {
        Tensor *y = op[i](t, a, b);
        check_shape(y, LK_SHAPE(2, 2));
        check(y->dtype == LK_I64 && !y->requires_grad && !y->node);
        for (int k = 0; k < 4; k++)
            check(((int64_t *)y->data)[k] == expected[i][k], "operation %d, element %d", i, k);
    }
    check_shape(lk_add(t, lk_zeros(t, LK_I64, LK_SHAPE(0)), b), LK_SHAPE(2, 0));
    lk_tape_free(t);
}

Test(elementwise, logic_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++)
        for (DType e = LK_F32; e <= LK_BOOL; e++) {
            Tensor *a = make_tensor(d, LK_SHAPE(2, 1), 0, 1),
                   *b = make_tensor(e, LK_SHAPE(2), 1, 0);
            Tensor *both = lk_logical_and(t, a, b), *either = lk_logical_or(t, a, b);
            check(both->dtype == LK_BOOL && either->dtype == LK_BOOL);
            check_values(both, 0, 0, 0, 1, 0);
            check_values(either, 0, 1, 0, 1, 1);
            check_values(lk_logical_not(t, a), 0, 1, 0);
            lk_free(a), lk_free(b);
        }
    Tensor *odd = make_param(LK_F32, LK_SHAPE(4), NAN, -0.0, 0x1p-149, INFINITY);
    check_values(lk_logical_not(t, odd), 0, 0, 1, 0, 0);
    check_values(lk_logical_and(t, odd, odd), 0, 1, 0, 1, 1);
    check(!lk_logical_not(t, odd)->requires_grad);
    lk_free(odd);
    lk_tape_free(t);
}

/* Rows that several threads share, strided and broadcast, have the bits of one thread. */
Test(elementwise, threads)
{
    enum { N = 300 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 3);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = lk_param_new(d, LK_SHAPE(N, N), NULL), *b = lk_param_new(d, LK_SHAPE(N), NULL);
        Tensor *kept[3] = { NULL };
        lk_normal_(x, 0, 3, &rng), lk_normal_(b, 0, 1, &rng);
        for (int threads = 1; threads <= 3; threads++) {
            lk_set_num_threads(threads);
            Tensor *h = lk_silu(t, lk_elu(t, lk_maximum(t, lk_T(t, x), b), 1));
            Tensor *y = lk_where(t, lk_lt(t, h, b), lk_softplus(t, b), lk_gelu_tanh(t, h));
            check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
            Tensor *now[] = { y, lk_grad(x), lk_grad(b) };
            for (int i = 0; i < 3; i++) {
                if (threads == 1) kept[i] = lk_clone(now[i], NULL);
                else check_equal(now[i], kept[i]);
            }
            lk_zero_grad_(x), lk_zero_grad_(b);
            lk_tape_reset(t);
        }
        for (int i = 0; i < 3; i++) lk_free(kept[i]);
        lk_free(x), lk_free(b);
    }
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(elementwise, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *whole = lk_ones(t, LK_I64, LK_SHAPE(2, 3));
    Tensor *bits = lk_ones(t, LK_BOOL, LK_SHAPE(2, 3)), *two = lk_ones(t, LK_F32, LK_SHAPE(2));
    PASSES_NULL(lk_clamp(t, NULL, 0, 1));
    PASSES_NULL(lk_where(t, NULL, x, x));
    PASSES_NULL(lk_where(t, bits, NULL, x));
    PASSES_NULL(lk_where(t, bits, x, NULL));
    PASSES_NULL(lk_maximum(t, NULL, x));
    PASSES_NULL(lk_logical_not(t, NULL));
    PASSES_NULL(lk_logical_and(t, x, NULL));
    REFUSES(lk_elu(t, whole, 1), LK_EDTYPE,
            "lk_elu: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_clamp(t, bits, 0, 1), LK_EDTYPE,
            "lk_clamp: takes float32 or float64, not bool; lk_to converts");
    REFUSES(lk_maximum(t, x, whole), LK_EDTYPE,
            "lk_maximum: operands are float32 and int64; lk_to makes them the same");
    REFUSES(lk_minimum(t, bits, bits), LK_EDTYPE,
            "lk_minimum: takes float32, float64 or int64, not bool; lk_to converts");
    REFUSES(lk_where(t, x, x, x), LK_EDTYPE, "lk_where: the condition must be bool, not float32");
    REFUSES(lk_where(t, bits, x, whole), LK_EDTYPE,
            "lk_where: operands are float32 and int64; lk_to makes them the same");
    REFUSES(
        lk_where(t, bits, x, two), LK_ESHAPE,
        "lk_where: the condition (2, 3), (2, 3) and (2,) do not broadcast: aligned at the last "
        "dimension, sizes must be equal or 1");
    REFUSES(
        lk_where(t, lk_ones(t, LK_BOOL, LK_SHAPE(4)), x, x), LK_ESHAPE,
        "lk_where: the condition (4,), (2, 3) and (2, 3) do not broadcast: aligned at the last "
        "dimension, sizes must be equal or 1");
    REFUSES(
        lk_logical_or(t, bits, two), LK_ESHAPE,
        "lk_logical_or: (2, 3) and (2,) do not broadcast: aligned at the last dimension, sizes "
        "must be equal or 1");
    lk_tape_free(t);
}
