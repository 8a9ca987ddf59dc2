/* norm.c - gradient cases of normalization and dropout (core/ops_norm.c, core/ops_dropout.c). */
#include "examples/own/gradients/rows.h"

static Cases NORMS = { "4 4 4",         "2,3 3 3",          "2,3t 3 3s",  "2,5s 5s 5", "2,3,4 4 4",
                       "2,3,4 3,4 3,4", "2,3,4t 3,4t 3,4s", "3,20 20 20", "0,3 3 3" };
static Cases RESIDUALS = { "4 4 4 4",       "2,3 2,3 3 3",     "2,3t 2,3 3 3s",
                           "2,3 2,3t 3s 3", "2,5s 2,5s 5 5",   "2,3,4 2,3,4 4 4",
                           "20,3 20,3 3 3", "3,70 3,70 70 70", "0,3 0,3 3 3" };

CALL(layer_norm, lk_layer_norm(t, x[0], x[1]->ndim, x[1], x[2], 1e-2))
CALL(layer_norm_weight, lk_layer_norm(t, x[0], x[1]->ndim, x[1], NULL, 1e-2))
CALL(layer_norm_bias, lk_layer_norm(t, x[0], x[2]->ndim, NULL, x[2], 1e-2))
CALL(layer_norm_plain, lk_layer_norm(t, x[0], 1, NULL, NULL, 1e-2))

/* Seeds the tape, so that every call has the same mask. */
static Tensor *dropout(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    lk_tape_seed(t, 5);
    return lk_dropout(t, x[0], 0.4);
}

static Tensor *residual_norm(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    lk_tape_seed(t, 5);
    return lk_residual_norm(t, x[0], x[1], 0.4, x[2], x[3], 1e-2);
}

/* Takes one tensor as both operands with nothing dropped, and then drops everything. */
static Tensor *residual_norm_twice(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *y = lk_residual_norm(t, x[0], x[0], 0, NULL, NULL, 1e-2);
    return lk_residual_norm(t, x[0], y, 1, NULL, x[0], 1e-2);
}

static const GradientRow rows[] = {
    { "dropout", dropout, ONE, ANY },
    { "layer_norm", layer_norm, NORMS, ANY },
    { "layer_norm", layer_norm_weight, NORMS, ANY },
    { "layer_norm", layer_norm_bias, NORMS, ANY },
    { "layer_norm", layer_norm_plain, ONE_ROWS, ANY },
    { "layer_norm", layer_norm_plain, NO_ROWS, ANY },
    { "residual_norm", residual_norm, RESIDUALS, ANY },
    { "residual_norm", residual_norm_twice, (Cases){ "4", "5", "6s" }, ANY },
};

const GradientFamily gradient_norm = { GRADIENT_ROWS(rows) };
