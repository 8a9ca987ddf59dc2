/* test_ops_softmax.c - softmax, log_softmax (core/ops_softmax.c), the mean of cross-entropy and of
 * squared errors (core/ops_cross_entropy.c, core/ops_loss.c) against PyTorch
 * (fixtures/ops_softmax.h), with logits that overflow exp, large tensors, ignored labels, and
 * called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_softmax.h"

static const CrossEntropyOptions summed = { .reduction = LK_SUM };

/* arg: ignore_index, sum instead of mean, labels */
static Tensor *cross_entropy(Tape *t, Tensor **x, const Case *c)
{
    Tensor *labels = lk_tensor(t, LK_I64, LK_SHAPE(c->args - 2), c->arg + 2);
    CrossEntropyOptions options = { .reduction = c->arg[1] ? LK_SUM : LK_MEAN };
    return lk_cross_entropy_with(t, x[0], labels, c->arg[0], options);
}

CALLER(softmax, lk_softmax(t, x[0], (int)c->arg[0]))
CALLER(log_softmax, lk_log_softmax(t, x[0], (int)c->arg[0]))
CALLER(mse_loss, lk_mse_loss(t, x[0], x[1]))

static const Caller callers[] = {
    { "softmax", softmax },
    { "log_softmax", log_softmax },
    { "cross_entropy", cross_entropy },
    { "mse_loss", mse_loss },
};

TEST_CASES(softmax, softmax_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

/* e^1000 is infinite in both dtypes; shifted by the maximum it never is. */
Test(softmax, large_logits)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(2, 3), 1000, 1000, -1000, -1e30, -1e30, -1e30);
        Tensor *labels = make_tensor(LK_I64, LK_SHAPE(2), 2, 0);
        check_values(lk_softmax(t, x, 1), 1e-7, 0.5, 0.5, 0, 1.0 / 3, 1.0 / 3, 1.0 / 3);
        check_values(lk_log_softmax(t, x, 1), 1e-7, -log(2), -log(2), -2000 - log(2), -log(3),
                     -log(3), -log(3));
        Tensor *loss = lk_cross_entropy_with(t, x, labels, -100, summed);
        check_values(loss, 1e-7, 2000 + log(2) + log(3));
        check(lk_backward(t, loss));
        check_values(lk_grad(x), 1e-7, 0.5, 0.5, -1, -2.0 / 3, 1.0 / 3, 1.0 / 3);
        lk_free(x), lk_free(labels);
    }
    lk_tape_free(t);
}

/* The loss is log_softmax at the labels, and its gradient follows; labels may be strided. */
Test(softmax, cross_entropy_is_log_softmax_at_the_labels)
{
    enum { N = 7, C = 5 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 3);
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(N, C), NULL);
    lk_normal_(x, 0, 3, &rng);
    Tensor *pairs = lk_randint(t, &rng, 0, C, LK_SHAPE(N, 2)), *labels = lk_select(t, pairs, 1, 1);
    Tensor *loss = lk_cross_entropy(t, x, labels);
    check(lk_backward(t, loss));
    Tensor *grad = lk_clone(lk_grad(x), NULL), *log_p = lk_log_softmax(t, x, 1);
    lk_zero_grad_(x);
    Tensor *mask = lk_zeros(t, LK_F64, LK_SHAPE(N, C));
    for (int64_t i = 0; i < N; i++)
        lk_fill_(lk_select(t, lk_select(t, mask, 0, i), 0, (int64_t)lk_at(labels, LK_INDEX(i))),
                 -1.0 / N);
    Tensor *literal = lk_sum(t, lk_mul(t, log_p, mask), LK_ALL, false);
    check_close_to(loss, literal, 1e-15);
    check(lk_backward(t, literal));
    check_close_to(lk_grad(x), grad, 1e-15);
    lk_free(x), lk_free(grad);
    lk_tape_free(t);
}

/* Not even the NaN of an ignored row reaches the loss or a gradient. (PyTorch gives that row NaN
 * gradients.) */
Test(softmax, ignored_rows_count_nowhere)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(3, 2), 0, 0, NAN, INFINITY, 0, 0);
        Tensor *labels = make_tensor(LK_I64, LK_SHAPE(3), 1, 5, 0);
        Tensor *loss =
            lk_cross_entropy_with(t, x, labels, 5, (CrossEntropyOptions){ .weight = NULL });
        check_values(loss, 1e-7, log(2));
        check(lk_backward(t, loss));
        check_values(lk_grad(x), 0, 0.25, -0.25, 0, 0, -0.25, 0.25);
        lk_free(x), lk_free(labels);
    }
    lk_tape_free(t);
}

/* Rows above the size from which threads share the work: each is what it is alone, for every
 * number of threads. */
Test(softmax, large_tensors)
{
    enum { N = 513, C = 130 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 5);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int log_form = 0; log_form < 2; log_form++) {
            Tensor *x = lk_param_new(d, LK_SHAPE(N, C), NULL),
                   *dy = lk_tensor_new(d, LK_SHAPE(N, C), NULL);
            Tensor *(*f)(Tape *, Tensor *, int) = log_form ? lk_log_softmax : lk_softmax;
            lk_normal_(x, 0, 2, &rng), lk_normal_(dy, 0, 1, &rng);
            lk_set_num_threads(1);
            Tensor *y = f(t, x, 1);
            check(lk_backward_with(t, y, dy, false));
            Tensor *grad = lk_clone(lk_grad(x), NULL);
            lk_zero_grad_(x);
            lk_set_num_threads(3);
            /* along the first dimension: the same, transposed */
            Tensor *again = f(t, lk_contiguous(t, lk_T(t, x)), 0);
            check_equal(lk_T(t, again), y);
            check(lk_backward_with(t, again, lk_contiguous(t, lk_T(t, dy)), false));
            check_equal(lk_grad(x), grad);
            for (int64_t i = 0; i < N; i += 37)
                check_equal(f(t, lk_detach(t, lk_select(t, x, 0, i)), 0),
                            lk_detach(t, lk_select(t, y, 0, i)));
            lk_free(x), lk_free(dy), lk_free(grad);
            lk_tape_reset(t);
        }
    lk_tape_free(t);
}

/* Rows of more classes than the 512 that are read at a time, side by side and apart, against plain
 * loops. */
Test(softmax, more_classes_than_are_read_at_a_time)
{
    enum { N = 2, C = 1300, APART = 3 };
    static double gradient[N * C * APART];
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 7);
    for (DType dtype = LK_F32; dtype <= LK_F64; dtype++)
        for (int64_t d = 1; d <= APART; d += 2) {
            Tensor *x = lk_param_new(dtype, LK_SHAPE(N, C, d), NULL);
            lk_normal_(x, 0, 3, &rng);
            Tensor *labels = lk_randint(t, &rng, 0, C, LK_SHAPE(N, d));
            Tensor *loss = lk_cross_entropy_with(t, x, labels, -100, summed);
            check(lk_backward(t, loss));
            double expected = 0;
            for (int64_t r = 0; r < N * d; r++) {
                const int64_t i = r / d, k = r % d, label = ((int64_t *)labels->data)[r];
                double sum = 0;
                for (int64_t j = 0; j < C; j++) sum += exp(lk_at(x, LK_INDEX(i, j, k)));
                expected += log(sum) - lk_at(x, LK_INDEX(i, label, k));
                for (int64_t j = 0; j < C; j++)
                    gradient[(i * C + j) * d + k] =
                        exp(lk_at(x, LK_INDEX(i, j, k))) / sum - (j == label);
            }
            const double tol = dtype == LK_F64 ? 1e-13 : 1e-6;
            check_values(loss, tol, expected);
            check_close(lk_grad(x), gradient, N * C * d, tol);
            lk_free(x);
        }
    lk_tape_free(t);
}

/* Probabilities add up to 1, whatever is added to all logits; gradients along the dimension to
 * 0. */
Test(softmax, sums)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(4, 3, 5), NULL),
           *dy = lk_tensor_new(LK_F64, LK_SHAPE(4, 3, 5), NULL);
    lk_normal_(x, 0, 4, &rng), lk_normal_(dy, 0, 1, &rng);
    for (int dim = 0; dim < 3; dim++) {
        Tensor *y = lk_softmax(t, x, dim), *sum = lk_sum(t, y, LK_DIMS(dim), false);
        check(lk_allclose(sum, lk_ones(t, LK_F64, sum->ndim, sum->shape), 0, 1e-15));
        check(lk_allclose(lk_softmax(t, lk_add_scalar(t, x, 64), dim), y, 1e-13, 0));
        check(lk_allclose(lk_exp(t, lk_log_softmax(t, x, dim)), y, 1e-13, 0));
        for (int log_form = 0; log_form < 2; log_form++) {
            check(lk_backward_with(t, log_form ? lk_log_softmax(t, x, dim) : lk_softmax(t, x, dim),
                                   dy, false));
            Tensor *flow = lk_sum(t, lk_grad(x), LK_DIMS(dim), false);
            check(lk_allclose(flow, lk_zeros(t, LK_F64, flow->ndim, flow->shape), 0, 1e-14));
            lk_zero_grad_(x);
        }
    }
    lk_free(x), lk_free(dy);
    lk_tape_free(t);
}

/* Means that round in float32 are still means of a double sum: 2^20 rows of one loss give that
 * loss. */
Test(softmax, mean_over_many_rows)
{
    enum { N = 1 << 20 };
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(N, 2)), *labels = lk_zeros(t, LK_I64, LK_SHAPE(N));
    check_values(lk_cross_entropy(t, x, labels), 1e-7, log(2));
    check_values(
        lk_mse_loss(t, lk_full(t, LK_F32, LK_SHAPE(N), 0.1f), lk_zeros(t, LK_F32, LK_SHAPE(N))),
        1e-8, 0.01);
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

/* torch.tensor(3.).softmax(0) */
Test(softmax, of_a_scalar)
{
    Tape *t = lk_tape_new(NULL);
    for (int dim = -1; dim <= 0; dim++) {
        Tensor *x = make_param(LK_F64, LK_SCALAR, 3), *y = lk_softmax(t, x, dim),
               *z = lk_log_softmax(t, x, dim);
        check_shape(y, LK_SCALAR);
        check_values(y, 0, 1);
        check_values(z, 0, 0);
        check(lk_backward(t, lk_add(t, y, z)));
        check_values(lk_grad(x), 0, 0);
        lk_free(x);
    }
    lk_tape_free(t);
}

Test(softmax, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *scalar = lk_scalar(t, LK_F32, 1);
    Tensor *whole = lk_ones(t, LK_I64, LK_SHAPE(2));
    PASSES_NULL(lk_softmax(t, NULL, 0));
    PASSES_NULL(lk_log_softmax(t, NULL, 7));
    REFUSES(lk_softmax(t, x, 2), LK_ESHAPE, "lk_softmax: dimension 2 is outside -2 … 1");
    REFUSES(lk_softmax(t, scalar, 1), LK_ESHAPE, "lk_softmax: dimension 1 is outside -1 … 0");
    REFUSES(lk_softmax(t, whole, 0), LK_EDTYPE,
            "lk_softmax: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_log_softmax(t, x, -3), LK_ESHAPE, "lk_log_softmax: dimension -3 is outside -2 … 1");
    REFUSES(lk_log_softmax(t, scalar, -2), LK_ESHAPE,
            "lk_log_softmax: dimension -2 is outside -1 … 0");
    REFUSES(lk_log_softmax(t, whole, 0), LK_EDTYPE,
            "lk_log_softmax: takes float32 or float64, not int64; lk_to converts");
    PASSES_NULL(lk_mse_loss(t, NULL, x));
    PASSES_NULL(lk_mse_loss(t, x, NULL));
    REFUSES(lk_mse_loss(t, x, lk_ones(t, LK_F32, LK_SHAPE(3))), LK_ESHAPE,
            "lk_mse_loss: (2, 3) and (3,) must be the same shape");
    REFUSES(lk_mse_loss(t, x, lk_ones(t, LK_F64, LK_SHAPE(2, 3))), LK_EDTYPE,
            "lk_mse_loss: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_mse_loss(t, whole, whole), LK_EDTYPE,
            "lk_mse_loss: takes float32 or float64, not int64; lk_to converts");
    Tensor *empty = lk_ones(t, LK_F32, LK_SHAPE(0, 3));
    REFUSES(lk_mse_loss(t, empty, empty), LK_ESHAPE,
            "lk_mse_loss: the mean over nothing: the shape is (0, 3)");
    lk_tape_free(t);
}

static Tensor *labels_of(Tape *t, int64_t first, int64_t second)
{
    return lk_tensor(t, LK_I64, LK_SHAPE(2), (const int64_t[]){ first, second });
}

Test(softmax, refuses_bad_labels)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *none = lk_ones(t, LK_F32, LK_SHAPE(0, 3));
    Tensor *labels = labels_of(t, 0, 1);
    PASSES_NULL(lk_cross_entropy(t, NULL, labels));
    PASSES_NULL(lk_cross_entropy(t, x, NULL));
    PASSES_NULL(lk_cross_entropy_with(t, NULL, NULL, 0, summed));
    REFUSES(lk_cross_entropy(t, x, labels_of(t, 0, 3)), LK_EVALUE,
            "lk_cross_entropy: Target 3 is out of bounds: row 1 of (2, 3) has 3 classes");
    REFUSES(lk_cross_entropy(t, x, labels_of(t, -1, 0)), LK_EVALUE,
            "lk_cross_entropy: Target -1 is out of bounds: row 0 of (2, 3) has 3 classes");
    /* no longer the ignored one */
    REFUSES(lk_cross_entropy_with(t, x, labels_of(t, 1, -100), 0, summed), LK_EVALUE,
            "lk_cross_entropy: Target -100 is out of bounds: row 1 of (2, 3) has 3 classes");
    REFUSES(lk_cross_entropy(t, x, labels_of(t, INT64_MAX, INT64_MIN)), LK_EVALUE,
            "lk_cross_entropy: Target 9223372036854775807 is out of bounds: row 0 of (2, 3) has 3 "
            "classes");
    REFUSES(lk_cross_entropy(t, lk_ones(t, LK_F32, LK_SHAPE(2, 0)), labels), LK_EVALUE,
            "lk_cross_entropy: Target 0 is out of bounds: row 0 of (2, 0) has 0 classes");
    REFUSES(
        lk_cross_entropy(t, x, labels_of(t, -100, -100)), LK_ESHAPE,
        "lk_cross_entropy: the mean over no row: none of the 2 labels counts, -100 is ignored");
    REFUSES(
        lk_cross_entropy(t, none, lk_arange(t, 0, 0)), LK_ESHAPE,
        "lk_cross_entropy: the mean over no row: none of the 0 labels counts, -100 is ignored");
    REFUSES(lk_cross_entropy(t, x, lk_arange(t, 0, 3)), LK_ESHAPE,
            "lk_cross_entropy: logits (2, 3) and labels (3,): they must be (N, C) and (N), or (N, "
            "C, d…) and (N, d…)");
    REFUSES(lk_cross_entropy(t, x, lk_zeros(t, LK_I64, LK_SHAPE(2, 3))), LK_ESHAPE,
            "lk_cross_entropy: logits (2, 3) and labels (2, 3): they must be (N, C) and (N), or "
            "(N, C, d…) and (N, d…)");
    REFUSES(lk_cross_entropy(t, lk_ones(t, LK_F32, LK_SHAPE(2)), labels), LK_ESHAPE,
            "lk_cross_entropy: logits (2,) and labels (2,): they must be (N, C) and (N), or (N, "
            "C, d…) and (N, d…)");
    REFUSES(lk_cross_entropy(t, x, lk_ones(t, LK_F32, LK_SHAPE(2))), LK_EDTYPE,
            "lk_cross_entropy: labels must be int64, not float32; or probabilities of the shape "
            "of the logits: (2, 3), not (2,)");
    REFUSES(lk_cross_entropy(t, x, lk_ones(t, LK_U8, LK_SHAPE(2))), LK_EDTYPE,
            "lk_cross_entropy: labels must be int64, not uint8; lk_to converts");
    REFUSES(lk_cross_entropy(t, labels, labels), LK_EDTYPE,
            "lk_cross_entropy: takes float32 or float64, not int64; lk_to converts");
    lk_tape_free(t);
}
