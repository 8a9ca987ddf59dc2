/* reduce.c - gradient cases of reductions (core/ops_reduce.c). */
#include "examples/own/gradients/rows.h"

CALL(sum, lk_sum(t, x[0], LK_ALL, false))
CALL(sum_first, lk_sum(t, x[0], LK_DIMS(0), false))
CALL(sum_outer, lk_sum(t, x[0], LK_DIMS(0, -1), true))
CALL(mean, lk_mean(t, x[0], LK_ALL, false))
CALL(mean_last, lk_mean(t, x[0], LK_DIMS(-1), true))
CALL(max_all, lk_max(t, x[0], LK_ALL, false))
CALL(max_outer, lk_max(t, x[0], LK_DIMS(0, 2), false))
CALL(min_all, lk_min(t, x[0], LK_ALL, true))
CALL(min_middle, lk_min(t, x[0], LK_DIMS(1), false))
CALL(max_dim, lk_max_dim(t, x[0], -1, false, NULL))
CALL(min_dim, lk_min_dim(t, x[0], 0, true, NULL))

static const GradientRow rows[] = {
    { "sum", sum, ONE, ANY },
    { "sum", sum_first, ONE_ROWS, ANY },
    { "sum", sum_outer, CUBES, ANY },
    { "mean", mean, SOME, ANY },
    { "mean", mean_last, ONE_ROWS, ANY },
    { "max", max_all, SOME, APART },
    { "max", max_outer, CUBES, APART },
    { "min", min_all, SOME, APART },
    { "min", min_middle, CUBES, APART },
    { "max_dim", max_dim, ONE_ROWS, APART },
    { "min_dim", min_dim, ONE_ROWS, APART },
};

const GradientFamily gradient_reduce = { GRADIENT_ROWS(rows) };
