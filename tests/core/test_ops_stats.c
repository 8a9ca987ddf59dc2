/* test_ops_stats.c - variances, norms, log-sum-exps, products, any, all and cosine similarities
 * (core/ops_stats.c, core/ops_any.c, core/ops_cosine.c) against PyTorch (fixtures/ops_stats.h),
 * their corners and large sizes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_stats.h"

/* arg: keepdim, dimensions */
#define OVER(c) (c)->args > 0 ? (c)->args - 1 : 0, (c)->arg + 1, (c)->arg[0] != 0
#define TRUTH(t, x) lk_ge(t, x, lk_scalar(t, (x)->dtype, 1))

CALLER(var, lk_var(t, x[0], c->c, OVER(c)))
CALLER(deviation, lk_std(t, x[0], c->c, OVER(c)))
CALLER(norm, lk_norm(t, x[0], c->c, OVER(c)))
CALLER(logsumexp, lk_logsumexp(t, x[0], OVER(c)))
CALLER(prod, lk_prod(t, x[0], OVER(c)))
CALLER(any_of, lk_any(t, TRUTH(t, x[0]), OVER(c)))
CALLER(all_of, lk_all(t, TRUTH(t, x[0]), OVER(c)))
CALLER(cosine, lk_cosine_similarity(t, x[0], x[1], (int)c->arg[0], c->c))

static const Caller callers[] = {
    { "var", var },   { "std", deviation }, { "norm", norm },  { "logsumexp", logsumexp },
    { "prod", prod }, { "any", any_of },    { "all", all_of }, { "cosine_similarity", cosine },
};

TEST_CASES(stats, stats_cases, callers)

/* ---- corners -------------------------------------------------------------------------------- */

static void check_gradient(Tape *t, Tensor *x, Tensor *y, const double *expected)
{
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)), "%s", lk_tape_error(t)->message);
    check_close(lk_grad(x), expected, lk_numel(x), 1e-6);
    lk_zero_grad_(x);
}
#define CHECK_GRADIENT(y, ...) check_gradient(t, x, y, (const double[]){ __VA_ARGS__ })

/* Where a root is 0, PyTorch's gradient is 0, not NaN. */
Test(stats, no_slope_where_a_root_is_zero)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(2, 2), 0, 0, 3, 4);
        check_values(lk_norm(t, x, 2, LK_DIMS(1), false), 0, 0, 5);
        CHECK_GRADIENT(lk_norm(t, x, 2, LK_DIMS(1), false), 0, 0, 0.6, 0.8);
        CHECK_GRADIENT(lk_norm(t, x, 1, LK_DIMS(1), false), 0, 0, 1, 1);
        CHECK_GRADIENT(lk_norm(t, x, INFINITY, LK_DIMS(1), false), 0, 0, 0, 1);
        check_values(lk_norm(t, x, 0, LK_DIMS(1), false), 0, 0, 2);
        CHECK_GRADIENT(lk_norm(t, x, 0, LK_DIMS(1), false), 0, 0, 0, 0);
        CHECK_GRADIENT(lk_std(t, x, 0, LK_DIMS(1), false), 0, 0, -0.5, 0.5);
        lk_free(x);
    }
    lk_tape_free(t);
}

/* Floats far from 0 keep their variance, and large exponents do not overflow. */
Test(stats, far_from_zero)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_tensor(t, LK_F32, LK_SHAPE(4), (float[]){ 1e6f, 1e6f + 1, 1e6f + 2, 1e6f + 3 });
    check_values(lk_var(t, x, 0, LK_ALL, false), 0, 1.25);
    Tensor *huge = lk_tensor(t, LK_F32, LK_SHAPE(2), (float[]){ 3e38f, 3e38f });
    check_values(lk_norm(t, huge, 2, LK_ALL, false), 0, INFINITY);
    check_values(lk_norm(t, lk_scale(t, huge, 0.5), 2, LK_ALL, false), 1e-6,
                 (double)3e38f * sqrt(0.5));
    Tensor *high = lk_full(t, LK_F64, LK_SHAPE(1000), 1000);
    check_values(lk_logsumexp(t, high, LK_ALL, false), 1e-9, 1000 + log(1000));
    lk_tape_free(t);
}

/* The same results from every number of threads, of a tensor that many tiles cut. */
Test(stats, large_tensors)
{
    enum { N = 300, M = 7, K = 50 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = lk_randn(t, &rng, d, LK_SHAPE(N, M, K)), *first[6] = { NULL };
        for (int threads = 1; threads <= 3; threads++) {
            lk_set_num_threads(threads);
            Tensor *y[] = { lk_var(t, x, 1, LK_DIMS(0, 2), false),
                            lk_std(t, x, 0, LK_DIMS(1), true),
                            lk_norm(t, lk_T(t, x), 2, LK_DIMS(1), false),
                            lk_logsumexp(t, x, LK_DIMS(2), false),
                            lk_prod(t, x, LK_DIMS(1), false),
                            lk_cosine_similarity(t, x, lk_slice(t, x, 0, 0, 1, 1), 2, 1e-8) };
            for (int i = 0; i < LENGTH(y); i++) {
                if (!first[i]) first[i] = y[i];
                check(y[i] && lk_equal(y[i], first[i]), "result %d, %d threads", i, threads);
            }
        }
        /* var is the mean square of what is left without the mean */
        Tensor *rest = lk_sub(t, x, lk_mean(t, x, LK_DIMS(1), true));
        Tensor *var = lk_mean(t, lk_mul(t, rest, rest), LK_DIMS(1), true);
        check(lk_allclose(lk_var(t, x, 0, LK_DIMS(1), true), var, 1e-5, 1e-6));
    }
    lk_tape_free(t);
}

Test(stats, any_and_all_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(3, 2), 0, 0, 0, 1, 1, 1);
        check_values(lk_any(t, x, LK_DIMS(1), false), 0, 0, 1, 1);
        check_values(lk_all(t, x, LK_DIMS(1), false), 0, 0, 0, 1);
        check_values(lk_any(t, x, LK_ALL, false), 0, 1);
        check_values(lk_all(t, x, LK_DIMS(0), true), 0, 0, 0);
        check(lk_all(t, x, LK_ALL, false)->dtype == LK_BOOL);
        lk_free(x);
    }
    Tensor *nan = lk_scalar(t, LK_F64, NAN);
    check_values(lk_any(t, nan, LK_ALL, false), 0, 1); /* NaN is not 0 */
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(stats, refuses_bad_arguments)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *none = lk_ones(t, LK_F32, LK_SHAPE(2, 0));
    Tensor *whole = lk_ones(t, LK_I64, LK_SHAPE(2));
    PASSES_NULL(lk_var(t, NULL, 1, LK_ALL, false));
    PASSES_NULL(lk_norm(t, NULL, 2, LK_DIMS(9), false));
    PASSES_NULL(lk_any(t, NULL, LK_ALL, false));
    PASSES_NULL(lk_cosine_similarity(t, x, NULL, 0, 1e-8));
    REFUSES(lk_var(t, x, -1, LK_ALL, false), LK_EVALUE,
            "lk_var: correction -1: it must be 0 or more");
    REFUSES(lk_std(t, x, NAN, LK_ALL, false), LK_EVALUE,
            "lk_std: correction nan: it must be 0 or more");
    REFUSES(lk_norm(t, x, -2, LK_ALL, false), LK_EVALUE,
            "lk_norm: p is -2: it must be 0 or more, or INFINITY");
    REFUSES(lk_norm(t, none, INFINITY, LK_DIMS(1), false), LK_ESHAPE,
            "lk_norm: nothing to reduce in (2, 0): a reduced dimension has size 0");
    REFUSES(lk_std(t, none, 1, LK_ALL, false), LK_ESHAPE,
            "lk_std: nothing to reduce in (2, 0): a reduced dimension has size 0");
    REFUSES(lk_prod(t, x, LK_DIMS(2), false), LK_ESHAPE, "lk_prod: dimension 2 is outside -2 … 1");
    REFUSES(lk_all(t, x, LK_DIMS(0, 0), false), LK_ESHAPE, "lk_all: dimension 0 is named twice");
    REFUSES(lk_logsumexp(t, whole, LK_ALL, false), LK_EDTYPE,
            "lk_logsumexp: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_cosine_similarity(t, x, lk_ones(t, LK_F32, LK_SHAPE(4)), 0, 1e-8), LK_ESHAPE,
            "lk_cosine_similarity: (2, 3) and (4,) do not broadcast: aligned at the last "
            "dimension, sizes must be equal or 1");
    REFUSES(lk_cosine_similarity(t, x, x, 2, 1e-8), LK_ESHAPE,
            "lk_cosine_similarity: dimension 2 is outside -2 … 1");
    lk_tape_free(t);
}
