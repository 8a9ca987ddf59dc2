/* test_ops_matmul.c - lk_matmul and lk_linear (core/ops_matmul.c) against PyTorch
 * (fixtures/ops_matmul.h), at sizes that cross the blocks of the kernel, with infinities, and
 * called wrongly. The kernel itself: test_gemm.c. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_matmul.h"

CALLER(matmul, lk_matmul(t, x[0], x[1]))
CALLER(linear, lk_linear(t, x[0], x[1], x[2]))

static const Caller callers[] = { { "matmul", matmul }, { "linear", linear } };

TEST_CASES(matmul, matmul_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

/* Small whole numbers: every sum is exact in float32, so kernel and plain loops must agree to the
 * last bit. */
static Tensor *whole_numbers(DType dtype, int64_t rows, int64_t columns, int64_t start)
{
    Tensor *x = lk_param_new(dtype, LK_SHAPE(rows, columns), NULL);
    for (int64_t i = 0; i < rows * columns; i++) {
        double value = (double)((i * 37 + start) % 11 - 5);
        if (dtype == LK_F64) ((double *)x->data)[i] = value;
        else ((float *)x->data)[i] = (float)value;
    }
    return x;
}

/* Σ_k a(i, k) b(k, j) with either matrix transposed first. */
static double dot(const Tensor *a, bool flip_a, int64_t i, const Tensor *b, bool flip_b, int64_t j,
                  int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += lk_at(a, flip_a ? LK_INDEX(k, i) : LK_INDEX(i, k)) *
               lk_at(b, flip_b ? LK_INDEX(j, k) : LK_INDEX(k, j));
    return sum;
}

/* y = x Wᵀ + b through lk_linear and through lk_matmul, forward and backward. */
static void check_sizes(DType dtype, int64_t m, int64_t in, int64_t out)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = whole_numbers(dtype, m, in, 1), *w = whole_numbers(dtype, out, in, 2);
    Tensor *bias = whole_numbers(dtype, 1, out, 3), *dy = whole_numbers(dtype, m, out, 4);
    for (int by_matmul = 0; by_matmul < 2; by_matmul++) {
        Tensor *b = lk_select(t, bias, 0, 0);
        Tensor *y = by_matmul ? lk_add(t, lk_matmul(t, x, lk_T(t, w)), b) : lk_linear(t, x, w, b);
        check(lk_backward_with(t, y, dy, false), "%s", lk_tape_error(t)->message);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < out; j++)
                check(lk_at(y, LK_INDEX(i, j)) ==
                      dot(x, false, i, w, true, j, in) + lk_at(bias, LK_INDEX(0, j)));
        for (int64_t i = 0; i < m; i++)
            for (int64_t k = 0; k < in; k++)
                check(lk_at(lk_grad(x), LK_INDEX(i, k)) == dot(dy, false, i, w, false, k, out));
        for (int64_t j = 0; j < out; j++) {
            double sum = 0;
            for (int64_t i = 0; i < m; i++) sum += lk_at(dy, LK_INDEX(i, j));
            check(lk_at(lk_grad(bias), LK_INDEX(0, j)) == sum);
            for (int64_t k = 0; k < in; k++)
                check(lk_at(lk_grad(w), LK_INDEX(j, k)) == dot(dy, true, j, x, false, k, m));
        }
        lk_zero_grad_(x), lk_zero_grad_(w), lk_zero_grad_(bias);
    }
    lk_free(x), lk_free(w), lk_free(bias), lk_free(dy);
    lk_tape_free(t);
}

Test(matmul, odd_sizes_are_exact)
{
    static const int64_t sizes[][3] = { { 1, 1, 1 },    { 1, 67, 35 },  { 64, 33, 10 },
                                        { 13, 1, 17 },  { 37, 129, 1 }, { 70, 65, 49 },
                                        { 3, 300, 130 } };
    for (int i = 0; i < LENGTH(sizes); i++) {
        check_sizes(LK_F32, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_sizes(LK_F64, sizes[i][0], sizes[i][1], sizes[i][2]);
    }
}

/* One infinity makes its row infinite and nothing else: padding inside the kernel must not leak as
 * 0·inf = nan. */
Test(matmul, infinities_and_nans_stay_in_their_rows_and_columns)
{
    Tape *t = lk_tape_new(NULL);
    for (int64_t n = 1; n <= 35; n += 2)
        for (DType dtype = LK_F32; dtype <= LK_F64; dtype++) {
            Tensor *a = lk_ones(t, dtype, LK_SHAPE(n, n)), *b = lk_ones(t, dtype, LK_SHAPE(n, n));
            lk_fill_(lk_select(t, lk_select(t, a, 0, n - 1), 0, n / 2), INFINITY);
            lk_fill_(lk_select(t, lk_select(t, b, 0, n / 2), 0, 0), NAN);
            Tensor *y = lk_matmul(t, a, b);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double got = lk_at(y, LK_INDEX(i, j));
                    double right = i == n - 1 ? INFINITY : (double)n;
                    check(j == 0 ? isnan(got) : got == right, "n %d (%d, %d): %g", (int)n, (int)i,
                          (int)j, got);
                }
            lk_tape_reset(t);
        }
    lk_tape_free(t);
}

/* A batch is as good as its matrices one by one, whoever computes which, and where one serves all
 * its gradient is the sum. */
Test(matmul, batches_are_their_matrices)
{
    static const int64_t sizes[][4] = {
        { 24, 32, 64, 32 }, { 5, 67, 64, 67 }, { 3, 130, 64, 140 }, { 40, 1, 7, 3 }
    };
    for (int i = 0; i < LENGTH(sizes); i++) {
        const int64_t n = sizes[i][0], rows = sizes[i][1], k = sizes[i][2], columns = sizes[i][3];
        Tensor *grad[2][2], *value[2];
        for (int threads = 1; threads <= 2; threads++) {
            lk_set_num_threads(threads);
            Tape *t = lk_tape_new(NULL);
            Tensor *a = whole_numbers(LK_F32, n * rows, k, 1),
                   *b = whole_numbers(LK_F32, columns, k, 2);
            Tensor *dy = whole_numbers(LK_F32, n * rows, columns, 4);
            Tensor *x = lk_view(t, a, LK_SHAPE(n, rows, k)), *w = lk_unsqueeze(t, lk_T(t, b), 0);
            Tensor *y = lk_matmul(t, x, w);
            check(lk_backward_with(t, y, lk_view(t, dy, LK_SHAPE(n, rows, columns)), false));
            Tensor *flat = lk_matmul(t, a, lk_T(t, b)); /* all rows at once */
            check_equal(y, lk_view(t, flat, LK_SHAPE(n, rows, columns)));
            grad[threads - 1][0] = lk_clone(lk_grad(a), NULL),
                           grad[threads - 1][1] = lk_clone(lk_grad(b), NULL);
            value[threads - 1] = lk_clone(y, NULL);
            lk_zero_grad_(a), lk_zero_grad_(b);
            check(lk_backward_with(t, flat, dy, false));
            check_equal(lk_grad(a), grad[threads - 1][0]);
            check_equal(lk_grad(b), grad[threads - 1][1]);
            lk_free(a), lk_free(b), lk_free(dy);
            lk_tape_free(t);
        }
        check_equal(value[0], value[1]);
        for (int j = 0; j < 2; j++) {
            check_equal(grad[0][j], grad[1][j]);
            lk_free(value[j]), lk_free(grad[0][j]), lk_free(grad[1][j]);
        }
    }
}

/* Exercise 4: the weight is itself computed, W + alpha (A B)ᵀ, and so is a view. */
Test(matmul, computed_weight)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(1, 2), 1, 2),
           *w = make_tensor(LK_F64, LK_SHAPE(1, 2), 3, 4);
    Tensor *a = make_param(LK_F64, LK_SHAPE(2, 1), 5, 6),
           *b = make_param(LK_F64, LK_SHAPE(1, 1), 7);
    Tensor *merged = lk_add(t, w, lk_scale(t, lk_T(t, lk_matmul(t, a, b)), 2));
    Tensor *y = lk_linear(t, x, merged, NULL);
    check_values(y, 0, 3 + 8 + 2 * (35 + 2 * 42));
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    check_values(lk_grad(a), 0, 14, 28); /* 2 b xᵀ */
    check_values(lk_grad(b), 0, 34);     /* 2 x a */
    check(!lk_grad(x) && !lk_grad(w));
    lk_free(x), lk_free(w), lk_free(a), lk_free(b);
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(matmul, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *scalar = lk_scalar(t, LK_F32, 1), *row = lk_ones(t, LK_F32, LK_SHAPE(3));
    Tensor *a = lk_ones(t, LK_F32, LK_SHAPE(2, 7)), *b = lk_ones(t, LK_F32, LK_SHAPE(4, 8));
    Tensor *cube = lk_ones(t, LK_F32, LK_SHAPE(2, 7, 3));
    PASSES_NULL(lk_matmul(t, NULL, b));
    PASSES_NULL(lk_matmul(t, a, NULL));
    REFUSES(lk_matmul(t, a, b), LK_ESHAPE,
            "lk_matmul: (2, 7) @ (4, 8): inner sizes 7 and 4 differ");
    REFUSES(lk_matmul(t, row, b), LK_ESHAPE,
            "lk_matmul: (3,) @ (4, 8): inner sizes 3 and 4 differ");
    REFUSES(lk_matmul(t, cube, b), LK_ESHAPE,
            "lk_matmul: (2, 7, 3) @ (4, 8): inner sizes 3 and 4 differ");
    REFUSES(lk_matmul(t, scalar, b), LK_ESHAPE,
            "lk_matmul: () @ (4, 8): both operands need at least 1 dimension");
    REFUSES(lk_matmul(t, row, scalar), LK_ESHAPE,
            "lk_matmul: (3,) @ (): both operands need at least 1 dimension");
    REFUSES(lk_matmul(t, cube, cube), LK_ESHAPE,
            "lk_matmul: (2, 7, 3) @ (2, 7, 3): inner sizes 3 and 7 differ");
    REFUSES(lk_matmul(t, a, row), LK_ESHAPE,
            "lk_matmul: (2, 7) @ (3,): inner sizes 7 and 3 differ");
    REFUSES(lk_matmul(t, row, lk_ones(t, LK_F32, LK_SHAPE(4))), LK_ESHAPE,
            "lk_matmul: (3,) @ (4,): inner sizes 3 and 4 differ");
    REFUSES(lk_matmul(t, cube, lk_ones(t, LK_F32, LK_SHAPE(4, 3, 5))), LK_ESHAPE,
            "lk_matmul: (2, 7, 3) @ (4, 3, 5): all dimensions but the last two must broadcast: "
            "aligned at the last of them, "
            "sizes must be equal or 1");
    REFUSES(lk_matmul(t, a, lk_ones(t, LK_F64, LK_SHAPE(7, 2))), LK_EDTYPE,
            "lk_matmul: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_matmul(t, lk_ones(t, LK_I64, LK_SHAPE(2, 2)), b), LK_EDTYPE,
            "lk_matmul: takes float32 or float64, not int64; lk_to converts");

    Tensor *w = lk_ones(t, LK_F32, LK_SHAPE(4, 7)), *bias = lk_ones(t, LK_F32, LK_SHAPE(4));
    PASSES_NULL(lk_linear(t, NULL, w, bias));
    PASSES_NULL(lk_linear(t, a, NULL, bias));
    PASSES_NULL(lk_linear(t, NULL, NULL, NULL));
    REFUSES(lk_linear(t, row, w, bias), LK_ESHAPE,
            "lk_linear: x (3,) and weight (4, 7): the last size of x must be the weight's "
            "in_features");
    REFUSES(
        lk_linear(t, scalar, w, NULL), LK_ESHAPE,
        "lk_linear: x () and weight (4, 7): the last size of x must be the weight's in_features");
    REFUSES(
        lk_linear(t, row, row, NULL), LK_ESHAPE,
        "lk_linear: x (3,) and weight (3,): the last size of x must be the weight's in_features, "
        "and the weight 2-D");
    REFUSES(lk_linear(t, a, w, row), LK_ESHAPE,
            "lk_linear: bias (3,) does not fit weight (4, 7): it needs one value for each of 4 "
            "outputs");
    REFUSES(lk_linear(t, a, w, lk_ones(t, LK_F32, LK_SHAPE(1, 4))), LK_ESHAPE,
            "lk_linear: bias (1, 4) does not fit weight (4, 7): it needs one value for each of 4 "
            "outputs");
    REFUSES(
        lk_linear(t, a, w, scalar), LK_ESHAPE,
        "lk_linear: bias () does not fit weight (4, 7): it needs one value for each of 4 outputs");
    REFUSES(lk_linear(t, a, lk_ones(t, LK_F64, LK_SHAPE(4, 7)), NULL), LK_EDTYPE,
            "lk_linear: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_linear(t, a, w, lk_ones(t, LK_F64, LK_SHAPE(4))), LK_EDTYPE,
            "lk_linear: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_linear(t, a, w, lk_ones(t, LK_BOOL, LK_SHAPE(4))), LK_EDTYPE,
            "lk_linear: takes float32 or float64, not bool; lk_to converts");
    lk_tape_free(t);
}

/* An outer product of two short views with a result beyond any memory. */
Test(matmul, refuses_absurd_results)
{
    if (!WIDE_ADDRESSES) return;
    int reports;
    Tape *t = counting_tape(&reports);
    const int64_t n = (int64_t)1 << 31;
    Tensor *one = lk_ones(t, LK_F32, LK_SHAPE(1));
    Tensor *column = lk_expand(t, one, LK_SHAPE(n, 1)), *row = lk_expand(t, one, LK_SHAPE(1, n));
    REFUSES(lk_matmul(t, column, row), LK_EMEMORY,
            "tensor: shape (2147483648, 2147483648) of float32 is larger than any memory");
    REFUSES(lk_linear(t, column, column, NULL), LK_EMEMORY,
            "tensor: shape (2147483648, 2147483648) of float32 is larger than any memory");
    REFUSES(lk_linear(t, column, column, lk_expand(t, one, LK_SHAPE(n))), LK_EMEMORY,
            "tensor: shape (2147483648, 2147483648) of float32 is larger than any memory");
    lk_tape_free(t);
}
