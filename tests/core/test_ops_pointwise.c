/* test_ops_pointwise.c - elementwise operations of one and two operands (core/ops_unary.c,
 * core/ops_binary.c) against PyTorch (fixtures/ops_pointwise.h), on large tensors, and called
 * wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_pointwise.h"

CALLER(add, lk_add(t, x[0], x[1]))
CALLER(sub, lk_sub(t, x[0], x[1]))
CALLER(mul, lk_mul(t, x[0], x[1]))
CALLER(divide, lk_div(t, x[0], x[1]))
CALLER(power, lk_pow(t, x[0], x[1]))
CALLER(neg, lk_neg(t, x[0]))
CALLER(scale, lk_scale(t, x[0], c->c))
CALLER(add_scalar, lk_add_scalar(t, x[0], c->c))
CALLER(pow_scalar, lk_pow_scalar(t, x[0], c->c))
CALLER(exponential, lk_exp(t, x[0]))
CALLER(logarithm, lk_log(t, x[0]))
CALLER(root, lk_sqrt(t, x[0]))
CALLER(sigmoid, lk_sigmoid(t, x[0]))
CALLER(hyperbolic, lk_tanh(t, x[0]))
CALLER(gelu, lk_gelu(t, x[0]))
CALLER(relu, lk_relu(t, x[0]))
CALLER(absolute, lk_abs(t, x[0]))

static const Caller callers[] = {
    { "add", add },
    { "sub", sub },
    { "mul", mul },
    { "div", divide },
    { "pow", power },
    { "neg", neg },
    { "scale", scale },
    { "add_scalar", add_scalar },
    { "pow_scalar", pow_scalar },
    { "exp", exponential },
    { "log", logarithm },
    { "sqrt", root },
    { "sigmoid", sigmoid },
    { "tanh", hyperbolic },
    { "gelu", gelu },
    { "relu", relu },
    { "abs", absolute },
};

TEST_CASES(pointwise, pointwise_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

Test(pointwise, float32_overflows_and_sigmoid_does_not)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(4), 100, -100, 1000, -1000);
    Tensor *wide = make_tensor(LK_F64, LK_SHAPE(2), 700, 800);
    check_values(lk_exp(t, x), 1e-6, INFINITY, 0, INFINITY, 0);
    check_values(lk_exp(t, wide), 1e-12, exp(700), INFINITY);
    Tensor *y = lk_sigmoid(t, x);
    check_values(y, 1e-6, 1, 0, 1, 0);
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    check_values(lk_grad(x), 1e-6, 0, 0, 0, 0);
    check_values(lk_tanh(t, x), 0, 1, -1, 1, -1);
    check_values(lk_mul(t, lk_scalar(t, LK_F32, 1e30), lk_scalar(t, LK_F32, 1e30)), 0, INFINITY);
    lk_free(x);
    lk_free(wide);
    lk_tape_free(t);
}

/* Slopes where a function has a corner, and the constants that make a power a constant. */
Test(pointwise, slopes_at_corners)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(3), 0, -0.0, 4);
    check(lk_backward(t, lk_sum(t, lk_relu(t, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 1);
    lk_zero_grad_(x);
    check(lk_backward(t, lk_sum(t, lk_abs(t, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 1);
    lk_zero_grad_(x);
    check(lk_backward(t, lk_sum(t, lk_sqrt(t, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, INFINITY, -INFINITY, 0.25); /* 1 / (2·-0) */
    lk_zero_grad_(x);
    check(lk_backward(t, lk_sum(t, lk_pow_scalar(t, x, 0), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 0); /* not 0·x^-1 = nan */
    lk_free(x);
    lk_tape_free(t);
}

Test(pointwise, one_tensor_as_both_operands)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(3), 1, -2, 0.5);
    check(lk_backward(t, lk_sum(t, lk_mul(t, x, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 2, -4, 1);
    lk_zero_grad_(x);
    check(lk_backward(t, lk_sum(t, lk_div(t, x, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 0);
    lk_zero_grad_(x);
    check(lk_backward(t, lk_sum(t, lk_sub(t, x, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 0, 0);
    lk_free(x);
    lk_tape_free(t);
}

/* Backward through strides has the bits of backward through contiguous copies, in the first call
 * and where it adds. */
Test(pointwise, backward_with_strides)
{
    static Tensor *(*const unary[])(Tape *, Tensor *) = { lk_gelu, lk_gelu_tanh, lk_silu, lk_tanh,
                                                          lk_sin,  lk_square,    lk_exp };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 9);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (size_t k = 0; k < sizeof unary / sizeof *unary; k++) {
            Tensor *x = lk_param_new(d, LK_SHAPE(6, 20), NULL), *leaf;
            lk_normal_(x, 0, 1, &rng);
            Tensor *part = lk_slice(t, x, 1, 1, INT64_MAX, 2),
                   *dy = lk_T(t, lk_randn(t, &rng, d, LK_SHAPE(10, 6)));
            leaf = lk_clone(part, NULL);
            lk_set_requires_grad(leaf, true);
            for (int times = 1; times <= 2; times++) { /* a sum of two: the second one adds */
                Tensor *same = lk_slice(t, x, 1, 1, INT64_MAX, 2);
                Tensor *y = lk_add(t, unary[k](t, same), unary[k](t, same)),
                       *z = lk_add(t, unary[k](t, leaf), unary[k](t, leaf));
                check(lk_backward_with(t, y, dy, false));
                check(lk_backward_with(t, z, lk_contiguous(t, dy), false));
                check_equal(lk_slice(t, lk_grad(x), 1, 1, INT64_MAX, 2), lk_grad(leaf));
            }
            /* and where x itself has strides in the order of its gradient */
            Tensor *y = unary[k](t, lk_T(t, leaf));
            lk_zero_grad_(leaf);
            check(lk_backward_with(t, y, lk_contiguous(t, lk_T(t, dy)), false));
            Tensor *turned = lk_clone(lk_grad(leaf), NULL);
            lk_zero_grad_(leaf);
            check(lk_backward_with(t, unary[k](t, leaf), dy, false));
            check_equal(turned, lk_grad(leaf));
            lk_free(x), lk_free(leaf), lk_free(turned);
            lk_tape_reset(t);
        }
    lk_tape_free(t);
}

/* More elements than one thread takes: every row must be what the same row gives alone, for every
 * number of threads. Multiples of 1/8 make the sums over the broadcast operands exact. */
enum { ROWS = 301, COLUMNS = 257 };

static Tensor *large(DType dtype, int64_t rows, int64_t columns)
{
    Tensor *x = lk_param_new(dtype, LK_SHAPE(rows, columns), NULL);
    for (int64_t i = 0; i < rows * columns; i++) {
        double value = (double)(i * 7919 % 31 + 1) / 8; /* 1/8 … 31/8 */
        if (dtype == LK_F64) ((double *)x->data)[i] = value;
        else ((float *)x->data)[i] = (float)value;
    }
    return x;
}

static Tensor *formula(Tape *t, Tensor *a, Tensor *b, Tensor *c)
{
    return lk_exp(t, lk_neg(t, lk_sqrt(t, lk_add(t, lk_mul(t, a, b), lk_relu(t, c)))));
}

static void check_large(DType dtype)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *a = large(dtype, COLUMNS, ROWS), *b = large(dtype, 1, COLUMNS),
           *c = large(dtype, ROWS, 1);
    Tensor *kept[4] = { NULL };
    for (int threads = 1; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        Tensor *y = formula(t, lk_T(t, a), b, c); /* (ROWS, COLUMNS) */
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        Tensor *now[4] = { y, lk_grad(a), lk_grad(b), lk_grad(c) };
        for (int i = 0; i < 4; i++) {
            if (threads == 1) kept[i] = lk_clone(now[i], NULL);
            else check_equal(now[i], kept[i]);
        }
        lk_zero_grad_(a), lk_zero_grad_(b), lk_zero_grad_(c);
        lk_tape_reset(t);
    }
    for (int64_t i = 0; i < ROWS; i++) {
        Tensor *row = lk_clone(lk_select(t, a, 1, i), NULL),
               *first = lk_clone(lk_select(t, c, 0, i), NULL);
        lk_set_requires_grad(row, true), lk_set_requires_grad(first, true);
        Tensor *y = formula(t, row, lk_detach(t, lk_select(t, b, 0, 0)), first);
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        check_equal(lk_select(t, kept[0], 0, i), y);
        check_equal(lk_select(t, kept[1], 1, i), lk_grad(row));
        check_equal(lk_select(t, kept[3], 0, i), lk_grad(first));
        lk_free(row), lk_free(first);
        lk_tape_reset(t);
    }
    /* d Σ a b / db = Σ a exactly, over more rows than one thread takes. */
    check(lk_backward(t, lk_sum(t, lk_mul(t, lk_T(t, a), b), LK_ALL, false)));
    for (int64_t j = 0; j < COLUMNS; j++) {
        double sum = 0;
        for (int64_t i = 0; i < ROWS; i++) sum += lk_at(a, LK_INDEX(j, i));
        check(lk_at(lk_grad(b), LK_INDEX(0, j)) == sum, "column %d", (int)j);
    }
    for (int i = 0; i < 4; i++) lk_free(kept[i]);
    lk_free(a), lk_free(b), lk_free(c);
    lk_tape_free(t);
}

Test(pointwise, large_tensors_float32) { check_large(LK_F32); }
Test(pointwise, large_tensors_float64) { check_large(LK_F64); }

/* ---- bad calls ------------------------------------------------------------------------------ */

static Tensor *twice(Tape *t, Tensor *x) { return lk_scale(t, x, 2); }
static Tensor *plus_one(Tape *t, Tensor *x) { return lk_add_scalar(t, x, 1); }
static Tensor *square(Tape *t, Tensor *x) { return lk_pow_scalar(t, x, 2); }

static const struct {
    const char *name;
    Tensor *(*call)(Tape *t, Tensor *x);
} one_operand[] = {
    { "lk_neg", lk_neg },        { "lk_scale", twice },        { "lk_add_scalar", plus_one },
    { "lk_pow_scalar", square }, { "lk_exp", lk_exp },         { "lk_log", lk_log },
    { "lk_sqrt", lk_sqrt },      { "lk_sigmoid", lk_sigmoid }, { "lk_tanh", lk_tanh },
    { "lk_gelu", lk_gelu },      { "lk_relu", lk_relu },       { "lk_abs", lk_abs },
};

static const struct {
    const char *name;
    Tensor *(*call)(Tape *t, Tensor *a, Tensor *b);
    bool integer; /* takes int64 too */
} two_operands[] = {
    { "lk_add", lk_add, true },  { "lk_sub", lk_sub, true },  { "lk_mul", lk_mul, true },
    { "lk_div", lk_div, false }, { "lk_pow", lk_pow, false },
};

static char *message(const char *format, ...) LK_PRINTF(1, 2);
static char *message(const char *format, ...)
{
    static char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

Test(pointwise, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    for (int i = 0; i < LENGTH(one_operand); i++) {
        Tensor *(*call)(Tape *, Tensor *) = one_operand[i].call;
        const char *name = one_operand[i].name;
        PASSES_NULL(call(t, NULL));
        for (DType d = LK_I64; d <= LK_BOOL; d++)
            REFUSES(call(t, lk_zeros(t, d, LK_SHAPE(2))), LK_EDTYPE,
                    message("%s: takes float32 or float64, not %s; lk_to converts", name,
                            lk_dtype_name(d)));
    }
    Tensor *a = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *wide = lk_ones(t, LK_F64, LK_SHAPE(2, 3));
    for (int i = 0; i < LENGTH(two_operands); i++) {
        Tensor *(*call)(Tape *, Tensor *, Tensor *) = two_operands[i].call;
        const char *name = two_operands[i].name;
        PASSES_NULL(call(t, NULL, a));
        PASSES_NULL(call(t, a, NULL));
        PASSES_NULL(call(t, NULL, lk_ones(t, LK_BOOL, LK_SHAPE(7))));
        REFUSES(call(t, a, wide), LK_EDTYPE,
                message("%s: operands are float32 and float64; lk_to makes them the same", name));
        const char *whole = "%s: takes float32 or float64, not int64; lk_to converts",
                   *byte = "%s: takes float32 or float64, not uint8; lk_to converts";
        if (two_operands[i].integer) {
            whole = "%s: operands are float32 and int64; lk_to makes them the same";
            byte = "%s: takes float32, float64 or int64, not uint8; lk_to converts";
        }
        REFUSES(call(t, a, lk_ones(t, LK_I64, LK_SHAPE(2, 3))), LK_EDTYPE, message(whole, name));
        REFUSES(call(t, a, lk_ones(t, LK_U8, LK_SHAPE(2, 3))), LK_EDTYPE, message(byte, name));
        REFUSES(call(t, a, lk_ones(t, LK_F32, LK_SHAPE(2))), LK_ESHAPE,
                message("%s: (2, 3) and (2,) do not broadcast: aligned at the last dimension, "
                        "sizes must be equal or 1",
                        name));
        REFUSES(call(t, lk_ones(t, LK_F32, LK_SHAPE(0)), a), LK_ESHAPE,
                message("%s: (0,) and (2, 3) do not broadcast: aligned at the last dimension, "
                        "sizes must be equal or 1",
                        name));
    }
    lk_tape_free(t);
}

/* Two small tensors can broadcast to a result that no memory holds. */
Test(pointwise, refuses_absurd_results)
{
    if (!WIDE_ADDRESSES) return;
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *one = lk_ones(t, LK_F32, LK_SHAPE(1));
    const int64_t n = (int64_t)1 << 31;
    Tensor *column = lk_expand(t, one, LK_SHAPE(n, 1)), *row = lk_expand(t, one, LK_SHAPE(1, n));
    for (int i = 0; i < LENGTH(two_operands); i++)
        REFUSES(two_operands[i].call(t, column, row), LK_EMEMORY,
                "tensor: shape (2147483648, 2147483648) of float32 is larger than any memory");
    row = lk_expand(t, one, LK_SHAPE(1, 1 << 20));
    for (int i = 0; i < LENGTH(two_operands); i++) {
        reports = 0;
        check(!two_operands[i].call(t, column, row)); /* 2^53 bytes: possible, but not here */
        check_error(lk_tape_error(t), LK_EMEMORY, "no memory for");
        check(reports == 1);
        lk_tape_clear_error(t);
    }
    check(lk_add(t, one, one) != NULL && lk_tape_error(t)->code == LK_OK);
    lk_tape_free(t);
}
