/* test_ops_reduce.c - sums, means, maxima and minima (core/ops_reduce.c) against PyTorch
 * (fixtures/ops_reduce.h), their ties, precision and large sizes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_reduce.h"

#define OVER(c) (c)->args - 1, (c)->arg + 1, (c)->arg[0] != 0 /* arg: keepdim, dimensions */
#define ALONG(c) (int)(c)->arg[1], (c)->arg[0] != 0

static Tensor *max_index(Tape *t, Tensor **x, const Case *c)
{
    Tensor *index;
    lk_max_dim(t, x[0], ALONG(c), &index);
    return index;
}

static Tensor *min_index(Tape *t, Tensor **x, const Case *c)
{
    Tensor *index;
    lk_min_dim(t, x[0], ALONG(c), &index);
    return index;
}

CALLER(sum, lk_sum(t, x[0], OVER(c)))
CALLER(mean, lk_mean(t, x[0], OVER(c)))
CALLER(maximum, lk_max(t, x[0], OVER(c)))
CALLER(minimum, lk_min(t, x[0], OVER(c)))
CALLER(max_dim, lk_max_dim(t, x[0], ALONG(c), NULL))
CALLER(min_dim, lk_min_dim(t, x[0], ALONG(c), NULL))
CALLER(argmax, lk_argmax(t, x[0], ALONG(c)))
CALLER(argmin, lk_argmin(t, x[0], ALONG(c)))

static const Caller callers[] = {
    { "sum", sum },
    { "mean", mean },
    { "max", maximum },
    { "min", minimum },
    { "max_dim", max_dim },
    { "min_dim", min_dim },
    { "max_dim_index", max_index },
    { "min_dim_index", min_index },
    { "argmax", argmax },
    { "argmin", argmin },
};

TEST_CASES(reduce, reduce_cases, callers)

/* ---- ties and NaN --------------------------------------------------------------------------- */

static void check_gradient(Tape *t, Tensor *x, Tensor *y, const double *expected)
{
    Tensor *dy = lk_full(t, y->dtype, y->ndim, y->shape, 6);
    check(lk_backward_with(t, y, dy, false), "%s", lk_tape_error(t)->message);
    check_close(lk_grad(x), expected, lk_numel(x), 0);
    lk_zero_grad_(x);
}
#define CHECK_GRADIENT(y, ...) check_gradient(t, x, y, (const double[]){ __VA_ARGS__ })

Test(reduce, equal_extremes_share_the_gradient_and_an_index_takes_it_all)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 3), 4, 1, 4, 1, 1, 4);
    CHECK_GRADIENT(lk_max(t, x, LK_ALL, false), 2, 0, 2, 0, 0, 2);
    CHECK_GRADIENT(lk_min(t, x, LK_ALL, true), 0, 2, 0, 2, 2, 0);
    CHECK_GRADIENT(lk_max(t, x, LK_DIMS(1), false), 3, 0, 3, 0, 0, 6);
    CHECK_GRADIENT(lk_min(t, x, LK_DIMS(0), false), 0, 3, 3, 6, 3, 3);
    CHECK_GRADIENT(lk_max_dim(t, x, 1, false, NULL), 6, 0, 0, 0, 0, 6);
    CHECK_GRADIENT(lk_min_dim(t, x, 1, false, NULL), 0, 6, 0, 6, 0, 0);
    check_values(lk_argmax(t, x, 1, false), 0, 0, 2);
    check_values(lk_argmin(t, x, 0, true), 0, 1, 0, 0);
    lk_free(x);
    lk_tape_free(t);
}

/* NaN wins and takes the gradient, as in x.max(). (PyTorch's amax over dimensions gives the whole
 * row NaN instead.) */
Test(reduce, nan_wins)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(2, 3), 4, NAN, NAN, 1, INFINITY, 4), *index;
        check_values(lk_max(t, x, LK_DIMS(1), false), 0, NAN, INFINITY);
        check_values(lk_min(t, x, LK_DIMS(1), false), 0, NAN, 1);
        CHECK_GRADIENT(lk_max(t, x, LK_ALL, false), 0, 3, 3, 0, 0, 0);
        CHECK_GRADIENT(lk_min(t, x, LK_ALL, false), 0, 3, 3, 0, 0, 0);
        CHECK_GRADIENT(lk_max(t, x, LK_DIMS(-1), false), 0, 3, 3, 0, 6, 0);
        check_values(lk_max_dim(t, x, 1, false, &index), 0, NAN, INFINITY);
        check_values(index, 0, 1, 1);
        check_values(lk_min_dim(t, x, 1, false, &index), 0, NAN, 1);
        check_values(index, 0, 1, 0);
        CHECK_GRADIENT(lk_min_dim(t, x, 0, false, NULL), 0, 6, 6, 6, 0, 0);
        lk_free(x);
    }
    lk_tape_free(t);
}

Test(reduce, an_index_is_a_leaf_without_gradient)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4), *index;
    check(lk_max_dim(t, x, 0, true, &index)->requires_grad && !index->requires_grad &&
          index->dtype == LK_I64);
    check_shape(index, LK_SHAPE(1, 2));
    check(!lk_argmax(t, x, 0, false)->requires_grad && lk_argmin(t, x, 0, false)->dtype == LK_I64);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- precision and size --------------------------------------------------------------------- */

/* 2^24 + 1 + 1 + … loses every 1 in float32; sums are taken in double and rounded once. */
Test(reduce, sums_in_double)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(1001, 2));
    lk_fill_(lk_select(t, x, 0, 0), 0x1p24);
    check_values(lk_sum(t, x, LK_DIMS(0), false), 0, 0x1p24 + 1000, 0x1p24 + 1000);
    check_values(lk_sum(t, x, LK_ALL, false), 0, 0x1p25 + 2000);
    check_values(lk_sum(t, lk_T(t, x), LK_DIMS(1), true), 0, 0x1p24 + 1000, 0x1p24 + 1000);
    Tensor *huge = lk_full(t, LK_F32, LK_SHAPE(3), 3e38);
    /* the sum is rounded, then divided, as in PyTorch */
    check_values(lk_mean(t, huge, LK_ALL, false), 0, INFINITY);
    lk_tape_free(t);
}

/* The order of additions is fixed: a row that is summed has four partial sums, and rows are added
 * one after the other. */
static double ordered_sum(int rows, int n, const double *x, int step_row, int step)
{
    double sum = 0;
    for (int r = 0; r < rows; r++) {
        double part[4] = { 0 };
        for (int k = 0; k < n; k++) part[k < n / 4 * 4 ? k % 4 : 0] += x[r * step_row + k * step];
        sum += (part[0] + part[1]) + (part[2] + part[3]);
    }
    return sum;
}

Test(reduce, the_order_of_a_sum_is_fixed)
{
    enum { A = 5, B = 9, MOST = 40 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 4);
    for (int n = 1; n <= MOST; n++) {
        Tensor *x = lk_randn(t, &rng, LK_F64, LK_SHAPE(A, B, n));
        const double *v = x->data;
        double last[A * B], outer[B], middle[A * MOST];
        for (int i = 0; i < A * B; i++) last[i] = ordered_sum(1, n, v + i * n, 0, 1);
        for (int b = 0; b < B; b++) outer[b] = ordered_sum(A, n, v + b * n, B * n, 1);
        for (int a = 0; a < A; a++)
            for (int k = 0; k < n; k++)
                middle[a * n + k] = n == 1 ? ordered_sum(1, B, v + a * B, 0, 1)
                                           : ordered_sum(B, 1, v + a * B * n + k, n, 0);
        check_close(lk_sum(t, x, LK_DIMS(2), false), last, A * B, 0);
        check_close(lk_sum(t, x, LK_DIMS(1), true), middle, A * n, 0);
        if (n > 1) check_close(lk_sum(t, x, LK_DIMS(0, 2), false), outer, B, 0);
    }
    lk_tape_free(t);
}

/* The same values in any arrangement and with any number of threads: multiples of 1/8 have exact
 * sums. */
Test(reduce, large_tensors)
{
    enum { N = 301, M = 257 };
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = lk_param_new(d, LK_SHAPE(N, M), NULL);
        double sums[M] = { 0 }, tops[M], total = 0;
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < M; j++) {
                double value = (double)((i * 7919 + j * 104729) % 1009 - 500) / 8;
                sums[j] += value;
                total += value;
                tops[j] = i && tops[j] > value ? tops[j] : value;
                lk_fill_(lk_select(t, lk_select(t, x, 0, i), 0, j), value);
            }
        for (int threads = 1; threads <= 3; threads += 2) {
            lk_set_num_threads(threads);
            check_close(lk_sum(t, x, LK_DIMS(0), false), sums, M, 0);
            check_close(lk_sum(t, lk_T(t, x), LK_DIMS(1), false), sums, M, 0);
            check_close(lk_max(t, x, LK_DIMS(0), true), tops, M, 0);
            check_close(lk_max_dim(t, lk_T(t, x), 1, false, NULL), tops, M, 0);
            check_values(lk_sum(t, x, LK_ALL, false), 0, total);
            check(lk_backward(t, lk_sum(t, lk_sum(t, x, LK_DIMS(1), false), LK_ALL, false)));
            check(lk_equal(lk_grad(x), lk_ones(t, d, LK_SHAPE(N, M))));
            lk_zero_grad_(x);
            Tensor *top = lk_max(t, x, LK_DIMS(0), false);
            check(lk_backward(t, lk_sum(t, top, LK_ALL, false)));
            /* shares add up to 1 a column */
            check(fabs(lk_item(lk_sum(t, lk_grad(x), LK_ALL, false)) - M) < 1e-4);
            check(lk_count(lk_grad(x)) == lk_count(lk_eq(t, lk_detach(t, x), lk_detach(t, top))));
            lk_zero_grad_(x);
        }
        lk_free(x);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

typedef Tensor *OverFn(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);

static Tensor *max_along(Tape *t, Tensor *x, int dim, bool keepdim)
{
    return lk_max_dim(t, x, dim, keepdim, NULL);
}
static Tensor *min_along(Tape *t, Tensor *x, int dim, bool keepdim)
{
    return lk_min_dim(t, x, dim, keepdim, NULL);
}

static const struct {
    const char *name;
    OverFn *call;
    bool takes_nothing;
} over[] = {
    { "lk_sum", lk_sum, true },
    { "lk_mean", lk_mean, false },
    { "lk_max", lk_max, false },
    { "lk_min", lk_min, false },
};

static const struct {
    const char *name;
    Tensor *(*call)(Tape *t, Tensor *x, int dim, bool keepdim);
} along[] = {
    { "lk_max_dim", max_along },
    { "lk_min_dim", min_along },
    { "lk_argmax", lk_argmax },
    { "lk_argmin", lk_argmin },
};

static const char *named(const char *function, const char *message)
{
    static char text[512];
    snprintf(text, sizeof text, "%s: %s", function, message);
    return text;
}

Test(reduce, refuses_bad_dimensions)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *scalar = lk_scalar(t, LK_F32, 1);
    Tensor *whole = lk_ones(t, LK_I64, LK_SHAPE(2));
    for (int i = 0; i < LENGTH(over); i++) {
        OverFn *call = over[i].call;
        const char *name = over[i].name;
        PASSES_NULL(call(t, NULL, LK_ALL, false));
        PASSES_NULL(call(t, NULL, LK_DIMS(9), false));
        REFUSES(call(t, x, LK_DIMS(2), false), LK_ESHAPE,
                named(name, "dimension 2 is outside -2 … 1"));
        REFUSES(call(t, x, LK_DIMS(0, INT64_MIN), false), LK_ESHAPE,
                named(name, "dimension -9223372036854775808 is outside -2 … 1"));
        REFUSES(call(t, x, LK_DIMS(1, -1), false), LK_ESHAPE,
                named(name, "dimension 1 is named twice"));
        REFUSES(call(t, x, LK_DIMS(0, 1, 0, 1, 0, 1, 0, 1, 0, 1), true), LK_ESHAPE,
                named(name, "dimension 0 is named twice"));
        REFUSES(call(t, x, -1, NULL, false), LK_ESHAPE,
                named(name, "-1 dimensions: name those to reduce, or LK_ALL"));
        REFUSES(call(t, scalar, LK_DIMS(1), false), LK_ESHAPE,
                named(name, "dimension 1 is outside -1 … 0"));
        REFUSES(call(t, scalar, LK_DIMS(0, -1), false), LK_ESHAPE,
                named(name, "dimension 0 is named twice"));
        REFUSES(call(t, whole, LK_ALL, false), LK_EDTYPE,
                named(name, "takes float32 or float64, not int64; lk_to converts"));
    }
    for (int i = 0; i < LENGTH(along); i++) {
        const char *name = along[i].name;
        PASSES_NULL(along[i].call(t, NULL, 0, false));
        REFUSES(along[i].call(t, x, 2, false), LK_ESHAPE,
                named(name, "dimension 2 is outside -2 … 1"));
        REFUSES(along[i].call(t, x, INT32_MIN, false), LK_ESHAPE,
                named(name, "dimension -2147483648 is outside -2 … 1"));
        REFUSES(along[i].call(t, scalar, -2, false), LK_ESHAPE,
                named(name, "dimension -2 is outside -1 … 0"));
        REFUSES(along[i].call(t, lk_zeros(t, LK_BOOL, LK_SHAPE(2)), 0, false), LK_EDTYPE,
                named(name, "takes float32 or float64, not bool; lk_to converts"));
    }
    Tensor *index = x;
    REFUSES(lk_max_dim(t, x, 2, false, &index), LK_ESHAPE,
            "lk_max_dim: dimension 2 is outside -2 … 1");
    check(!index); /* never what it was before */
    lk_tape_free(t);
}

/* A scalar has no dimension, and yet PyTorch reduces it over 0 and -1: torch.tensor(3.).sum(0). */
Test(reduce, a_scalar_over_dimension_0)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SCALAR, 3);
    for (int dim = -1; dim <= 0; dim++)
        for (int keepdim = 0; keepdim < 2; keepdim++) {
            for (int i = 0; i < LENGTH(over); i++) {
                Tensor *y = over[i].call(t, x, LK_DIMS(dim), keepdim);
                check_shape(y, LK_SCALAR);
                check_values(y, 0, 3);
                check(lk_backward(t, y));
                check_values(lk_grad(x), 0, 1);
                lk_zero_grad_(x);
            }
            Tensor *max, *min, *top = lk_max_dim(t, x, dim, keepdim, &max),
                               *low = lk_min_dim(t, x, dim, keepdim, &min);
            check_values(max, 0, 0);
            check_values(min, 0, 0);
            check_values(lk_argmax(t, x, dim, keepdim), 0, 0);
            check_shape(lk_argmin(t, x, dim, keepdim), LK_SCALAR);
            check(lk_backward(t, lk_add(t, top, low)));
            check_values(lk_grad(x), 0, 2);
            lk_zero_grad_(x);
        }
    lk_free(x);
    lk_tape_free(t);
}

/* 20,000,000 equal elements share a gradient of 1: counted in float32 they would be 2^24, and the
 * shares 1.19 together. A mean divides by the number itself. */
Test(reduce, more_ties_than_a_float_can_count)
{
    enum { MANY = 20000000 };
    Tape *t = lk_tape_new(NULL);
    Tensor *one = make_param(LK_F32, LK_SCALAR, 3),
           *x = lk_retain_grad(lk_expand(t, one, LK_SHAPE(MANY)));
    check(lk_backward_with(t, lk_max(t, x, LK_ALL, false), NULL, true));
    check(lk_at(lk_grad(x), LK_INDEX(MANY - 1)) == (double)5e-8f);
    check_values(lk_grad(one), 1e-7, 1);
    check(lk_backward(t, lk_min(t, x, LK_DIMS(0), true)));
    check_values(lk_grad(one), 1e-7, 2);
    check_values(lk_mean(t, x, LK_ALL, false), 0, 3);
    lk_free(one);
    lk_tape_free(t);
}

Test(reduce, refuses_nothing_but_sums)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 0, 3));
    for (int i = 0; i < LENGTH(over); i++) {
        if (over[i].takes_nothing) continue;
        const char *text =
            named(over[i].name, "nothing to reduce in (2, 0, 3): a reduced dimension has size 0");
        REFUSES(over[i].call(t, x, LK_ALL, false), LK_ESHAPE, text);
        REFUSES(over[i].call(t, x, LK_DIMS(1), true), LK_ESHAPE, text);
        REFUSES(over[i].call(t, x, LK_DIMS(0, 1), false), LK_ESHAPE, text);
        /* there is no place for a result either */
        check_shape(over[i].call(t, x, LK_DIMS(2), false), LK_SHAPE(2, 0));
    }
    for (int i = 0; i < LENGTH(along); i++) {
        REFUSES(along[i].call(t, x, 1, false), LK_ESHAPE,
                named(along[i].name,
                      "nothing to reduce in (2, 0, 3): a reduced dimension has size 0"));
        check_shape(along[i].call(t, x, 0, true), LK_SHAPE(1, 0, 3));
    }
    lk_tape_free(t);
}
