/* test_ops_loss.c - losses (core/ops_loss.c, core/ops_cross_entropy.c) against PyTorch
 * (fixtures/ops_loss.h), far from 0, on large tensors, and called wrongly. The mean of lk_mse_loss
 * and lk_cross_entropy: test_ops_softmax.c. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_loss.h"

/* ---- the table ------------------------------------------------------------------------------ */

/* 1/4, 2/4, … for each of n classes. */
static Tensor *weights(Tape *t, DType dtype, int64_t n)
{
    return lk_scale(t, lk_add_scalar(t, lk_to(t, lk_arange(t, 0, n), dtype), 1), 0.25);
}

static Tensor *class_weights(Tape *t, const Tensor *x, int64_t wanted)
{
    return wanted ? weights(t, x->dtype, x->shape[x->ndim > 1]) : NULL;
}

/* The labels in c->arg behind the third, in the shape for logits x. */
static Tensor *labels_of(Tape *t, const Tensor *x, const Case *c)
{
    int64_t shape[LK_MAX_DIMS];
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++)
        if (d != (x->ndim > 1)) shape[ndim++] = x->shape[d];
    return lk_tensor(t, LK_I64, ndim, shape, c->arg + 3);
}

/* arg: ignore_index, reduction, weighted, labels; c: label_smoothing */
static Tensor *cross_entropy(Tape *t, Tensor **x, const Case *c)
{
    CrossEntropyOptions options = { .weight = class_weights(t, x[0], c->arg[2]),
                                    .label_smoothing = c->c,
                                    .reduction = (Reduction)c->arg[1] };
    return lk_cross_entropy_with(t, x[0], labels_of(t, x[0], c), c->arg[0], options);
}

static Tensor *nll_loss(Tape *t, Tensor **x, const Case *c)
{
    Tensor *weight = class_weights(t, x[0], c->arg[2]);
    return lk_nll_loss(t, x[0], labels_of(t, x[0], c), weight, c->arg[0], (Reduction)c->arg[1]);
}

/* arg: reduction, weighted */
static Tensor *cross_entropy_soft(Tape *t, Tensor **x, const Case *c)
{
    CrossEntropyOptions options = { .weight = class_weights(t, x[0], c->arg[1]),
                                    .label_smoothing = c->c,
                                    .reduction = (Reduction)c->arg[0] };
    return lk_cross_entropy_with(t, x[0], x[1], -100, options);
}

/* arg: reduction; whether there is no weight, one for all, or one for each column */
static Tensor *bce(Tape *t, Tensor **x, const Case *c)
{
    Tensor *weight = c->arg[1] ? lk_scalar(t, x[0]->dtype, 2.5) : NULL;
    if (c->arg[1] == 2 && x[0]->ndim > 0) weight = weights(t, x[0]->dtype, lk_size(x[0], -1));
    else if (c->arg[1] == 2) weight = NULL;
    return lk_bce_with_logits(t, x[0], x[1], weight, (Reduction)c->arg[0]);
}

#define REDUCTION (Reduction) c->arg[0]
CALLER(mse, lk_mse_loss_with(t, x[0], x[1], REDUCTION))
CALLER(l1, lk_l1_loss(t, x[0], x[1], REDUCTION))
CALLER(smooth_l1, lk_smooth_l1_loss(t, x[0], x[1], c->c, REDUCTION))
CALLER(huber, lk_huber_loss(t, x[0], x[1], c->c, REDUCTION))
CALLER(kl_div, lk_kl_div(t, x[0], x[1], c->arg[1] != 0, REDUCTION))

static const Caller callers[] = {
    { "mse_loss_with", mse },
    { "l1_loss", l1 },
    { "smooth_l1_loss", smooth_l1 },
    { "huber_loss", huber },
    { "kl_div", kl_div },
    { "bce_with_logits", bce },
    { "cross_entropy_with", cross_entropy },
    { "nll_loss", nll_loss },
    { "cross_entropy_soft", cross_entropy_soft },
};

TEST_CASES(loss, loss_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

/* Zero options are the mean of PyTorch's defaults, bit by bit. */
Test(loss, zero_options_are_the_defaults)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 3);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = lk_param_new(d, LK_SHAPE(70, 1100), NULL);
        lk_normal_(x, 0, 2, &rng);
        Tensor *labels = lk_randint(t, &rng, 0, 1100, LK_SHAPE(70));
        CrossEntropyOptions none = { .weight = NULL };
        Tensor *loss = lk_cross_entropy(t, x, labels);
        check(lk_backward(t, loss));
        Tensor *grad = lk_clone(lk_grad(x), NULL);
        lk_zero_grad_(x);
        Tensor *again = lk_cross_entropy_with(t, x, labels, -100, none);
        check(lk_backward(t, again));
        check_equal(again, loss);
        check_equal(lk_grad(x), grad);
        lk_zero_grad_(x);
        /* ones as weights, and rows that lie apart, give the same bits */
        none.weight = lk_ones(t, d, LK_SHAPE(1100));
        Tensor *apart = lk_transpose(t, lk_view(t, x, LK_SHAPE(1, 70, 1100)), 1, 2);
        again = lk_cross_entropy_with(t, apart, lk_view(t, labels, LK_SHAPE(1, 70)), -100, none);
        check(lk_backward(t, again));
        check_equal(again, loss);
        check_equal(lk_grad(x), grad);
        lk_free(x), lk_free(grad);
    }
    lk_tape_free(t);
}

/* log_softmax and nll_loss are cross_entropy; one-hot probabilities are labels. */
Test(loss, forms_of_one_loss)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 1, -2, 3, 0.5, 0.25, -1);
    Tensor *labels = make_tensor(LK_I64, LK_SHAPE(2), 2, 0);
    Tensor *one_hot = make_tensor(LK_F64, LK_SHAPE(2, 3), 0, 0, 1, 1, 0, 0);
    Tensor *loss = lk_cross_entropy(t, x, labels);
    check_close_to(lk_nll_loss(t, lk_log_softmax(t, x, 1), labels, NULL, -100, LK_MEAN), loss,
                   1e-15);
    check_close_to(lk_cross_entropy(t, x, one_hot), loss, 1e-15);
    /* log p and probabilities that nothing asks for give 0, not 0 times infinity */
    check_values(lk_kl_div(t, lk_log_softmax(t, x, 1), one_hot, false, LK_BATCH_MEAN), 1e-12,
                 lk_item(loss));
    lk_free(x), lk_free(labels), lk_free(one_hot);
    lk_tape_free(t);
}

Test(loss, bce_far_from_0)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_param(d, LK_SHAPE(4), 1000, -1000, 1000, -1000),
               *y = make_tensor(d, LK_SHAPE(4), 1, 0, 0, 1);
        Tensor *loss = lk_bce_with_logits(t, x, y, lk_scalar(t, d, 3), LK_NONE);
        check_values(loss, 0, 0, 0, 1000, 3000);
        check(lk_backward(t, lk_sum(t, loss, LK_ALL, false)));
        check_values(lk_grad(x), 0, 0, 0, 1, -3);
        lk_free(x), lk_free(y);
    }
    lk_tape_free(t);
}

/* Not even the NaN of an ignored row reaches a loss or a gradient, whatever the options. */
Test(loss, ignored_rows_count_nowhere)
{
    Tape *t = lk_tape_new(NULL);
    for (Reduction r = LK_MEAN; r <= LK_NONE; r++) {
        Tensor *x = make_param(LK_F64, LK_SHAPE(3, 2), 0, 0, NAN, INFINITY, 0, 0);
        Tensor *labels = make_tensor(LK_I64, LK_SHAPE(3), 1, 5, 0);
        CrossEntropyOptions options = { .weight = lk_ones(t, LK_F64, LK_SHAPE(2)),
                                        .label_smoothing = 0.5,
                                        .reduction = r };
        Tensor *loss = lk_cross_entropy_with(t, x, labels, 5, options);
        Tensor *total = lk_sum(t, loss, LK_ALL, false);
        check_values(total, 1e-15, (r == LK_MEAN ? 1 : 2) * log(2));
        check(lk_backward(t, total));
        const double part = r == LK_MEAN ? 0.125 : 0.25;
        check_values(lk_grad(x), 1e-15, part, -part, 0, 0, -part, part);
        lk_free(x), lk_free(labels);
    }
    lk_tape_free(t);
}

/* The bits do not depend on the number of threads. */
Test(loss, threads)
{
    enum { N = 300, C = 257 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 4);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int which = 0; which < 4; which++) {
            Tensor *x = lk_param_new(d, LK_SHAPE(N, C), NULL), *y = lk_clone(x, NULL);
            Tensor *labels = lk_clone(lk_randint(t, &rng, 0, C, LK_SHAPE(N)), NULL);
            Tensor *kept = NULL, *grad = NULL;
            CrossEntropyOptions options = { .label_smoothing = 0.1, .reduction = LK_SUM };
            lk_normal_(x, 0, 1, &rng), lk_uniform_(y, 0, 1, &rng);
            for (int threads = 1; threads <= 3; threads++) {
                lk_set_num_threads(threads);
                Tensor *loss = NULL;
                if (which == 0) loss = lk_cross_entropy_with(t, x, labels, -100, options);
                if (which == 1) loss = lk_cross_entropy_with(t, x, y, -100, options);
                if (which == 2) loss = lk_bce_with_logits(t, x, y, NULL, LK_MEAN);
                if (which == 3) loss = lk_huber_loss(t, lk_T(t, x), lk_T(t, y), 0.5, LK_MEAN);
                check(lk_backward(t, loss), "%s", lk_tape_error(t)->message);
                if (threads == 1) {
                    kept = lk_clone(loss, NULL);
                    grad = lk_clone(lk_grad(x), NULL);
                } else {
                    check_equal(loss, kept);
                    check_equal(lk_grad(x), grad);
                }
                lk_zero_grad_(x);
                lk_tape_reset(t);
            }
            lk_free(x), lk_free(y), lk_free(labels), lk_free(kept), lk_free(grad);
        }
    lk_tape_free(t);
}

/* A weight that changes between forward and backward is noticed. */
Test(loss, weights_are_needed_as_they_were)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1, 2), 1, 2),
           *w = make_tensor(LK_F32, LK_SHAPE(2), 1, 2);
    Tensor *label = make_tensor(LK_I64, LK_SHAPE(1), 1),
           *target = lk_ones(t, LK_F32, LK_SHAPE(1, 2));
    Tensor *losses[] = {
        lk_cross_entropy_with(t, x, label, -100, (CrossEntropyOptions){ .weight = w }),
        lk_nll_loss(t, x, label, w, -100, LK_SUM),
        lk_bce_with_logits(t, x, target, w, LK_SUM),
    };
    lk_fill_(w, 1);
    for (int i = 0; i < LENGTH(losses); i++) {
        check(!lk_backward(t, losses[i]));
        check_error(lk_tape_error(t), LK_ESTATE, "was changed in place");
        lk_tape_clear_error(t);
    }
    lk_free(x), lk_free(w), lk_free(label);
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(loss, refuses_bad_pairs)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *row = lk_ones(t, LK_F32, LK_SHAPE(3)),
           *wide = lk_ones(t, LK_F64, LK_SHAPE(2, 3)), *empty = lk_ones(t, LK_F32, LK_SHAPE(0, 3));
    Tensor *leaf = make_param(LK_F32, LK_SHAPE(3), 1, 2, 3);
    PASSES_NULL(lk_l1_loss(t, NULL, x, LK_SUM));
    PASSES_NULL(lk_huber_loss(t, x, NULL, 1, LK_SUM));
    REFUSES(lk_l1_loss(t, x, row, LK_SUM), LK_ESHAPE,
            "lk_l1_loss: (2, 3) and (3,) must be the same shape");
    REFUSES(lk_kl_div(t, x, wide, false, LK_SUM), LK_EDTYPE,
            "lk_kl_div: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_smooth_l1_loss(t, empty, empty, 1, LK_MEAN), LK_ESHAPE,
            "lk_smooth_l1_loss: the mean over nothing: the shape is (0, 3)");
    REFUSES(lk_kl_div(t, empty, empty, false, LK_BATCH_MEAN), LK_ESHAPE,
            "lk_kl_div: the mean over nothing: the shape is (0, 3)");
    REFUSES(lk_smooth_l1_loss(t, x, x, -1, LK_MEAN), LK_EVALUE,
            "lk_smooth_l1_loss: beta -1 must not be negative");
    REFUSES(lk_huber_loss(t, x, x, 0, LK_MEAN), LK_EVALUE,
            "lk_huber_loss: delta 0 must be positive");
    REFUSES(lk_mse_loss_with(t, x, x, LK_BATCH_MEAN), LK_EVALUE,
            "lk_mse_loss: the reduction is LK_MEAN, LK_SUM or LK_NONE, not 3");
    REFUSES(lk_kl_div(t, x, x, false, (Reduction)9), LK_EVALUE,
            "lk_kl_div: the reduction is LK_MEAN, LK_SUM or LK_NONE, not 9");
    REFUSES(lk_bce_with_logits(t, x, x, lk_ones(t, LK_F32, LK_SHAPE(2)), LK_MEAN), LK_ESHAPE,
            "lk_bce_with_logits: pos_weight (2,) cannot be broadcast to the logits (2, 3)");
    REFUSES(lk_bce_with_logits(t, row, row, x, LK_MEAN), LK_ESHAPE,
            "lk_bce_with_logits: pos_weight (2, 3) cannot be broadcast to the logits (3,)");
    REFUSES(lk_bce_with_logits(t, x, x, wide, LK_MEAN), LK_EDTYPE,
            "lk_bce_with_logits: pos_weight is float64, and the operand float32; lk_to makes them "
            "the same");
    REFUSES(lk_bce_with_logits(t, x, x, leaf, LK_MEAN), LK_EVALUE,
            "lk_bce_with_logits: pos_weight gets no gradient; give it as lk_detach makes it");
    lk_free(leaf);
    lk_tape_free(t);
}

Test(loss, refuses_bad_labels_and_options)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *x3 = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4)),
           *wide = lk_ones(t, LK_F64, LK_SHAPE(2, 3)), *labels = lk_zeros(t, LK_I64, LK_SHAPE(2));
    CrossEntropyOptions none = { .weight = NULL };
    PASSES_NULL(lk_nll_loss(t, NULL, labels, NULL, -100, LK_MEAN));
    PASSES_NULL(lk_nll_loss(t, x, NULL, NULL, -100, LK_MEAN));
    REFUSES(
        lk_nll_loss(t, x3, labels, NULL, -100, LK_MEAN), LK_ESHAPE,
        "lk_nll_loss: logits (2, 3, 4) and labels (2,): they must be (N, C) and (N), or (N, C, "
        "d…) and (N, d…)");
    REFUSES(lk_nll_loss(t, x, x, NULL, -100, LK_MEAN), LK_EDTYPE,
            "lk_nll_loss: labels must be int64, not float32; lk_to converts");
    REFUSES(lk_nll_loss(t, x, labels, lk_ones(t, LK_F32, LK_SHAPE(2)), -100, LK_MEAN), LK_ESHAPE,
            "lk_nll_loss: weight (2,) must be (3,), a number for each class");
    REFUSES(lk_nll_loss(t, x, lk_full(t, LK_I64, LK_SHAPE(2), 7), NULL, -100, LK_MEAN), LK_EVALUE,
            "lk_nll_loss: Target 7 is out of bounds: row 0 of (2, 3) has 3 classes");
    REFUSES(lk_cross_entropy(t, lk_scalar(t, LK_F32, 1), lk_full(t, LK_I64, LK_SCALAR, 0)),
            LK_ESHAPE,
            "lk_cross_entropy: logits () and labels (): they must be (N, C) and (N), or (N, C, "
            "d…) and (N, d…)");
    REFUSES(lk_cross_entropy(t, x3, lk_zeros(t, LK_I64, LK_SHAPE(2, 3))), LK_ESHAPE,
            "lk_cross_entropy: logits (2, 3, 4) and labels (2, 3): they must be (N, C) and (N), "
            "or (N, C, d…) and (N, d…); classes come second: lk_transpose(t, logits, 1, 2)");
    REFUSES(lk_cross_entropy(t, x, wide), LK_EDTYPE,
            "lk_cross_entropy: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_cross_entropy_with(t, x, x, 0, none), LK_EVALUE,
            "lk_cross_entropy: ignore_index 0 is for int64 labels; probabilities take -100");
    none.label_smoothing = 1.5;
    REFUSES(lk_cross_entropy_with(t, x, labels, -100, none), LK_EVALUE,
            "lk_cross_entropy: label_smoothing must be between 0 and 1, not 1.5");
    none = (CrossEntropyOptions){ .reduction = LK_BATCH_MEAN };
    REFUSES(lk_cross_entropy_with(t, x, labels, -100, none), LK_EVALUE,
            "lk_cross_entropy: the reduction is LK_MEAN, LK_SUM or LK_NONE, not 3");
    none = (CrossEntropyOptions){ .weight = lk_ones(t, LK_F64, LK_SHAPE(3)) };
    REFUSES(lk_cross_entropy_with(t, x, labels, -100, none), LK_EDTYPE,
            "lk_cross_entropy: weight is float64, and the operand float32; lk_to makes them the "
            "same");
    Tensor *empty = lk_ones(t, LK_F32, LK_SHAPE(0, 3));
    REFUSES(lk_cross_entropy(t, empty, empty), LK_ESHAPE,
            "lk_cross_entropy: the mean over no row: the logits are (0, 3)");
    lk_tape_free(t);
}
