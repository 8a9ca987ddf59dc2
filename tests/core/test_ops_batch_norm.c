/* test_ops_batch_norm.c - batch, group and RMS normalization (core/ops_batch_norm.c,
 * core/ops_group_norm.c, core/ops_rms_norm.c) against PyTorch (fixtures/ops_batch_norm.h), the
 * running statistics, large sizes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_batch_norm.h"

#define OPTIONAL(i) (c->inputs > (i) ? x[i] : NULL)

static Tensor *batch_norm(Tape *t, Tensor **x, const Case *c)
{
    Tensor *mean = NULL, *var = NULL;
    if (!c->arg[0]) {
        mean = lk_scale(t, lk_to(t, lk_arange(t, 0, x[0]->shape[1]), x[0]->dtype), 0.125);
        var = lk_add_scalar(t, lk_scale(t, mean, 2), 1);
    }
    return lk_batch_norm(t, x[0], mean, var, OPTIONAL(1), OPTIONAL(2), c->arg[0] != 0, 0.1, c->c);
}

CALLER(group_norm, lk_group_norm(t, x[0], c->arg[0], OPTIONAL(1), OPTIONAL(2), c->c))
CALLER(rms_norm, lk_rms_norm(t, x[0], OPTIONAL(1), c->c))

static const Caller callers[] = {
    { "batch_norm", batch_norm },
    { "group_norm", group_norm },
    { "rms_norm", rms_norm },
    { "rms_norm_plain", rms_norm },
};

TEST_CASES(batch_norm, batch_norm_cases, callers)

/* torch.nn.functional.batch_norm([[1, 10], [2, 20], [6, 60]], mean, var, training=True,
 * momentum=0.25): the means are 3 and 30, the unbiased variances 7 and 700. */
Test(batch_norm, moves_the_running_statistics)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int grad = 0; grad < 2; grad++) {
            Tensor *x = make_param(d, LK_SHAPE(3, 2), 1, 10, 2, 20, 6, 60);
            Tensor *mean = make_tensor(d, LK_SHAPE(2), 1, 2),
                   *var = make_tensor(d, LK_SHAPE(2), 1, 4);
            const uint32_t version = mean->storage->version;
            lk_tape_set_grad(t, grad);
            Tensor *y = lk_batch_norm(t, x, mean, var, NULL, NULL, true, 0.25, 1e-5);
            check(y && y->requires_grad == (grad != 0), "%s", lk_tape_error(t)->message);
            check_values(mean, 1e-6, 1.5, 9);
            check_values(var, 1e-6, 2.5, 178);
            check(mean->storage->version != version, "the write was not noticed");
            check(lk_batch_norm(t, x, mean, var, NULL, NULL, false, 0.25, 1e-5));
            check_values(mean, 1e-6, 1.5, 9); /* evaluation changes nothing */
            /* a strided buffer */
            Tensor *wide = lk_zeros(t, d, LK_SHAPE(2, 2)), *column = lk_select(t, wide, 1, 1);
            check(lk_batch_norm(t, x, column, var, NULL, NULL, true, 1, 1e-5));
            check_values(wide, 1e-6, 0, 3, 0, 30);
            lk_tape_set_grad(t, true);
            lk_free(x), lk_free(mean), lk_free(var);
        }
    /* nothing to learn from an empty batch */
    Tensor *mean = lk_ones(t, LK_F32, LK_SHAPE(2)), *var = lk_ones(t, LK_F32, LK_SHAPE(2));
    check(lk_batch_norm(t, lk_zeros(t, LK_F32, LK_SHAPE(0, 2)), mean, var, NULL, NULL, true, 0.1,
                        1e-5));
    check_values(mean, 0, 1, 1);
    check_values(var, 0, 1, 1);
    lk_tape_free(t);
}

/* Floats around 1000 keep their differences. */
Test(batch_norm, far_from_zero)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x =
        lk_tensor(t, LK_F32, LK_SHAPE(2, 2, 1), (float[]){ 1e6f, 1e6f, 1e6f + 1, 1e6f + 2 });
    check_values(lk_batch_norm(t, x, NULL, NULL, NULL, NULL, true, 0.1, 0), 1e-6, -1, -1, 1, 1);
    check_values(lk_group_norm(t, x, 1, NULL, NULL, 0), 0.0, NAN, NAN, -1, 1);
    lk_tape_free(t);
}

/* The same results from every number of threads; group norm of one group is layer norm. */
Test(batch_norm, large_tensors)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int flat = 0; flat < 2; flat++) {
            const int64_t shape[] = { flat ? 2000 : 20, 48, 10, 10 };
            Tensor *x = lk_param_new(d, flat ? 2 : 4, shape, NULL),
                   *w = lk_param_new(d, LK_SHAPE(48), NULL), *first[9] = { NULL };
            lk_normal_(x, 3, 2, &rng), lk_normal_(w, 0, 1, &rng);
            for (int threads = 1; threads <= 3; threads++) {
                lk_set_num_threads(threads);
                Tensor *y[] = { lk_batch_norm(t, x, NULL, NULL, w, w, true, 0.1, 1e-5),
                                lk_group_norm(t, x, 6, w, w, 1e-5),
                                lk_rms_norm(t, flat ? x : lk_transpose(t, x, 1, 3), w, 1e-5) };
                for (int i = 0; i < LENGTH(y); i++) {
                    check(lk_backward(t, lk_sum(t, lk_mul(t, y[i], y[i]), LK_ALL, false)));
                    const Tensor *now[] = { y[i], lk_grad(x), lk_grad(w) };
                    for (int k = 0; k < 3; k++) {
                        if (threads == 1) first[3 * i + k] = lk_clone(now[k], NULL);
                        check(lk_equal(now[k], first[3 * i + k]), "result %d of %d, %d threads", k,
                              i, threads);
                    }
                    lk_zero_grad_(x), lk_zero_grad_(w);
                }
                lk_tape_reset(t);
            }
            /* the moments of a result without weights */
            Tensor *y = lk_batch_norm(t, lk_detach(t, x), NULL, NULL, NULL, NULL, true, 0.1, 0);
            Tensor *rows = lk_reshape(t, lk_transpose(t, y, 0, 1), LK_SHAPE(48, -1));
            check(lk_allclose(lk_var(t, rows, 0, LK_DIMS(1), false), lk_ones(t, d, LK_SHAPE(48)),
                              0, 1e-5));
            check(lk_allclose(lk_mean(t, rows, LK_DIMS(1), false), lk_zeros(t, d, LK_SHAPE(48)), 0,
                              1e-5));
            Tensor *one = lk_group_norm(t, x, 1, NULL, NULL, 1e-5);
            check(
                lk_allclose(one, lk_layer_norm(t, x, x->ndim - 1, NULL, NULL, 1e-5), 1e-5, 1e-5));
            lk_tape_reset(t);
            for (int i = 0; i < LENGTH(first); i++) lk_free(first[i]);
            lk_free(x), lk_free(w);
        }
    lk_tape_free(t);
}

Test(batch_norm, refuses_bad_arguments)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *w = lk_ones(t, LK_F32, LK_SHAPE(3));
    Tensor *four = lk_ones(t, LK_F32, LK_SHAPE(4)), *line = lk_ones(t, LK_F32, LK_SHAPE(3));
    PASSES_NULL(lk_batch_norm(t, NULL, w, w, w, w, true, 0.1, 1e-5));
    PASSES_NULL(lk_group_norm(t, NULL, 1, w, w, 1e-5));
    PASSES_NULL(lk_rms_norm(t, NULL, w, 1e-5));
    REFUSES(
        lk_batch_norm(t, lk_ones(t, LK_F32, LK_SHAPE(1, 3)), NULL, NULL, w, w, true, 0.1, 1e-5),
        LK_ESHAPE,
        "lk_batch_norm: expected more than 1 value per channel when training, but x is (1, 3); "
        "lk_eval(net) comes before evaluation");
    REFUSES(lk_batch_norm(t, line, NULL, NULL, NULL, NULL, true, 0.1, 1e-5), LK_ESHAPE,
            "lk_batch_norm: x (3,): it must be (N, C) or (N, C, d…)");
    REFUSES(lk_batch_norm(t, x, w, w, four, NULL, true, 0.1, 1e-5), LK_ESHAPE,
            "lk_batch_norm: weight (4,): x (2, 3) needs (3,)");
    REFUSES(lk_batch_norm(t, x, four, w, w, w, true, 0.1, 1e-5), LK_ESHAPE,
            "lk_batch_norm: running_mean (4,): x (2, 3) needs (3,)");
    REFUSES(lk_batch_norm(t, x, w, NULL, w, w, true, 0.1, 1e-5), LK_EVALUE,
            "lk_batch_norm: running_var is NULL, but running_mean is not");
    REFUSES(lk_batch_norm(t, x, NULL, NULL, w, w, false, 0.1, 1e-5), LK_EVALUE,
            "lk_batch_norm: evaluation needs running_mean and running_var");
    REFUSES(lk_group_norm(t, x, 2, w, w, 1e-5), LK_ESHAPE,
            "lk_group_norm: 2 groups: they must divide the 3 channels of x (2, 3)");
    REFUSES(lk_group_norm(t, x, 0, w, w, 1e-5), LK_ESHAPE,
            "lk_group_norm: 0 groups: they must divide the 3 channels of x (2, 3)");
    REFUSES(lk_group_norm(t, x, 3, w, four, 1e-5), LK_ESHAPE,
            "lk_group_norm: bias (4,): x (2, 3) needs (3,)");
    REFUSES(lk_group_norm(t, line, 1, NULL, NULL, 1e-5), LK_ESHAPE,
            "lk_group_norm: x (3,): it must be (N, C) or (N, C, d…)");
    REFUSES(lk_rms_norm(t, x, four, 1e-5), LK_ESHAPE,
            "lk_rms_norm: weight (4,): x (2, 3) needs (3,)");
    REFUSES(lk_rms_norm(t, lk_scalar(t, LK_F32, 1), NULL, 1e-5), LK_ESHAPE,
            "lk_rms_norm: x () has no dimension to normalize");
    REFUSES(lk_rms_norm(t, x, lk_ones(t, LK_F64, LK_SHAPE(3)), 1e-5), LK_EDTYPE,
            "lk_rms_norm: operands are float32 and float64; lk_to makes them the same");
    lk_tape_free(t);
}
