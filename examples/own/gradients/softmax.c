/* softmax.c - gradient cases of softmax and of losses over classes (core/ops_softmax.c,
 * core/ops_cross_entropy.c). */
#include "examples/own/gradients/rows.h"

static const CrossEntropyOptions summed = { .reduction = LK_SUM }, each = { .reduction = LK_NONE };

CALL(softmax, lk_softmax(t, x[0], -1))
CALL(softmax_first, lk_softmax(t, x[0], 0))
CALL(log_softmax, lk_log_softmax(t, x[0], -1))
CALL(log_softmax_middle, lk_log_softmax(t, x[0], 1))
/* Labels of that shape: 0, 1, … modulo the number of classes, but `ignored` for the second row. */
static Tensor *labels_of(Tape *t, const Tensor *x, int ndim, const int64_t *shape, int64_t ignored)
{
    Tensor *labels = lk_zeros(t, LK_I64, ndim, shape);
    const int64_t classes = lk_size(x, 1);
    for (int64_t i = 0; labels && classes > 0 && i < lk_numel(labels); i++)
        ((int64_t *)labels->data)[i] = i == 1 ? ignored : i % classes;
    return labels;
}

static Tensor *labels_for(Tape *t, const Tensor *x, int64_t ignored)
{
    return labels_of(t, x, LK_SHAPE(lk_size(x, 0)), ignored);
}
CALL(cross_entropy, lk_cross_entropy(t, x[0], labels_for(t, x[0], -100)))
CALL(cross_entropy_sum, lk_cross_entropy_with(t, x[0], labels_for(t, x[0], 0), 0, summed))
CALL(cross_entropy_each, lk_cross_entropy_with(t, x[0], labels_for(t, x[0], 0), 0, each))

/* A weight for each class: 1, 1/2, 1/3, … */
static Tensor *weights_for(Tape *t, const Tensor *x)
{
    return lk_reciprocal(t, lk_to(t, lk_arange(t, 1, lk_size(x, 1) + 1), x->dtype));
}

static Tensor *cross_entropy_smooth(Tape *t, Tensor *const *x, void *user)
{
    CrossEntropyOptions options = { .weight = weights_for(t, x[0]), .label_smoothing = 0.3 };
    (void)user;
    return lk_cross_entropy_with(t, x[0], labels_for(t, x[0], -100), -100, options);
}

/* Labels that are probabilities. */
static Tensor *cross_entropy_soft(Tape *t, Tensor *const *x, void *user)
{
    CrossEntropyOptions options = { .weight = weights_for(t, x[0]), .label_smoothing = 0.3 };
    (void)user;
    return lk_cross_entropy_with(t, x[0], lk_softmax(t, x[1], 1), -100, options);
}

/* Logits (N, C, d), with a label for each of the N d rows. */
static Tensor *cross_entropy_3d(Tape *t, Tensor *const *x, void *user)
{
    CrossEntropyOptions options = { .weight = weights_for(t, x[0]), .label_smoothing = 0.2 };
    (void)user;
    Tensor *y = labels_of(t, x[0], LK_SHAPE(lk_size(x[0], 0), lk_size(x[0], 2)), -100);
    return lk_cross_entropy_with(t, x[0], y, -100, options);
}

CALL(nll_loss,
     lk_nll_loss(t, x[0], labels_for(t, x[0], -100), weights_for(t, x[0]), -100, LK_MEAN))
CALL(nll_loss_each, lk_nll_loss(t, x[0], labels_for(t, x[0], -1), NULL, -1, LK_NONE))

static Cases PAIRS = { "3,4 3,4", "3,4t 3,4", "3,4 3,4s", "1,4 1,4", "4,1 4,1", "2,7t 2,7" };

static const GradientRow rows[] = {
    { "softmax", softmax, NO_ROWS, ANY },
    { "softmax", softmax, ONE_ROWS, ANY },
    { "softmax", softmax_first, CUBES, ANY },
    { "log_softmax", log_softmax, NO_ROWS, ANY },
    { "log_softmax", log_softmax, ONE_ROWS, ANY },
    { "log_softmax", log_softmax_middle, CUBES, ANY },
    { "cross_entropy", cross_entropy, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_sum, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_each, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_smooth, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_3d, CUBES, ANY },
    { "cross_entropy_with", cross_entropy_soft, PAIRS, ANY },
    { "nll_loss", nll_loss, ROWS_2D, ANY },
    { "nll_loss", nll_loss_each, ROWS_2D, ANY },
};

const GradientFamily gradient_softmax = { GRADIENT_ROWS(rows) };
