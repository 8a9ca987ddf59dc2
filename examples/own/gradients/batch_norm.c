/* batch_norm.c - gradient cases of batch, group and RMS normalization (core/ops_batch_norm.c,
 * core/ops_group_norm.c, core/ops_rms_norm.c). */
#include "examples/own/gradients/rows.h"

static Cases BATCHES = { "4,3 3 3",     "4,3t 3 3s", "4,3s 3s 3", "2,3,4 3 3", "2,3,4t 3 3",
                         "1,2,2,3 2 2", "6,1 1 1",   "20,3 3 3",  "2,3,0 3 3", "2,2,20 2 2" };
static Cases GROUPS = { "2,4 4 4",     "2,4t 4 4s",  "3,2,4s 2s 2", "2,4,3 4 4",
                        "2,4,3t 4s 4", "1,2,20 2 2", "0,4 4 4",     "2,6,2,1 6 6" };
static Cases ROOTS = { "4 4",      "2,3 3",   "2,3t 3s", "2,5s 5s",
                       "2,3,4t 4", "3,40 40", "0,3 3",   "2,1 1" };

CALL(batch_norm, lk_batch_norm(t, x[0], NULL, NULL, x[1], x[2], true, 0.1, 1e-2))
CALL(batch_norm_weight, lk_batch_norm(t, x[0], NULL, NULL, x[1], NULL, true, 0.1, 1e-2))
CALL(batch_norm_bias, lk_batch_norm(t, x[0], NULL, NULL, NULL, x[2], true, 0.1, 1e-2))
CALL(group_norm, lk_group_norm(t, x[0], 2, x[1], x[2], 1e-2))
CALL(group_norm_one, lk_group_norm(t, x[0], 1, NULL, x[2], 1e-2))
CALL(rms_norm, lk_rms_norm(t, x[0], x[1], 1e-2))
CALL(rms_norm_plain, lk_rms_norm(t, x[0], NULL, 1e-2))

/* With running statistics. */
static Tensor *batch_norm_eval(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    const int64_t channels = lk_size(x[0], 1);
    Tensor *mean = lk_full(t, x[0]->dtype, LK_SHAPE(channels), 0.25),
           *var = lk_full(t, x[0]->dtype, LK_SHAPE(channels), 2);
    return lk_batch_norm(t, x[0], mean, var, x[1], x[2], false, 0.1, 1e-2);
}

static const GradientRow rows[] = {
    { "batch_norm", batch_norm, BATCHES, APART },
    { "batch_norm", batch_norm_weight, BATCHES, APART },
    { "batch_norm", batch_norm_bias, BATCHES, APART },
    { "batch_norm", batch_norm_eval, BATCHES, ANY },
    { "group_norm", group_norm, GROUPS, APART },
    { "group_norm", group_norm_one, GROUPS, APART },
    { "rms_norm", rms_norm, ROOTS, APART },
    { "rms_norm", rms_norm_plain, (Cases){ "5", "2,3", "2,3t", "2,5s", "2,1", "0,3" }, APART },
};

const GradientFamily gradient_batch_norm = { GRADIENT_ROWS(rows) };
