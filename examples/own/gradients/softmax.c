/* softmax.c - gradient cases of softmax and losses (core/ops_softmax.c). */
#include "examples/own/gradients/rows.h"

CALL(softmax, lk_softmax(t, x[0], -1))
CALL(softmax_first, lk_softmax(t, x[0], 0))
CALL(log_softmax, lk_log_softmax(t, x[0], -1))
CALL(log_softmax_middle, lk_log_softmax(t, x[0], 1))
CALL(mse_loss, lk_mse_loss(t, x[0], x[1]))

/* Labels 0, 1, … modulo the number of classes, but `ignored` for the second row. */
static Tensor *labels_for(Tape *t, const Tensor *x, int64_t ignored)
{
    int64_t labels[8] = { 0 };
    for (int64_t i = 0; i < x->shape[0]; i++) labels[i] = i == 1 ? ignored : i % x->shape[1];
    return lk_tensor(t, LK_I64, LK_SHAPE(x->shape[0]), labels);
}
CALL(cross_entropy, lk_cross_entropy(t, x[0], labels_for(t, x[0], -100)))
CALL(cross_entropy_sum, lk_cross_entropy_with(t, x[0], labels_for(t, x[0], 0), 0, LK_SUM))

static const GradientRow rows[] = {
    { "softmax", softmax, NO_ROWS, ANY },
    { "softmax", softmax, ONE_ROWS, ANY },
    { "softmax", softmax_first, CUBES, ANY },
    { "log_softmax", log_softmax, NO_ROWS, ANY },
    { "log_softmax", log_softmax, ONE_ROWS, ANY },
    { "log_softmax", log_softmax_middle, CUBES, ANY },
    { "cross_entropy", cross_entropy, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_sum, ROWS_2D, ANY },
    { "mse_loss", mse_loss, SAME, ANY },
};

const GradientFamily gradient_softmax = { GRADIENT_ROWS(rows) };
