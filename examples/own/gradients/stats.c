/* stats.c - gradient cases of variances, norms, products and their like (core/ops_stats.c,
 * core/ops_cosine.c). */
#include <math.h>

#include "examples/own/gradients/rows.h"

static Cases PAIRS = { "2,3 2,3",   "2,3t 2,3s",     "2,3 3",   "2,1,3 4,3", "2,3,4 2,3,4",
                       "3,20 3,20", "2,3,4t 2,3,4s", "0,3 0,3", "1,2 1,2" };
/* at least two elements */
static Cases SEVERAL = { "5", "2,3", "2,3t", "4,3s", "2,1,3", "2,3,2t", "40,3", "3,1" };

CALL(var, lk_var(t, x[0], 1, LK_ALL, false))
CALL(var_last, lk_var(t, x[0], 0, LK_DIMS(-1), true))
CALL(var_outer, lk_var(t, x[0], 1, LK_DIMS(0, 2), false))
CALL(deviation, lk_std(t, x[0], 1, LK_ALL, false))
CALL(deviation_middle, lk_std(t, x[0], 0, LK_DIMS(1), true))
CALL(norm_2, lk_norm(t, x[0], 2, LK_ALL, false))
CALL(norm_2_last, lk_norm(t, x[0], 2, LK_DIMS(-1), true))
CALL(norm_1, lk_norm(t, x[0], 1, LK_DIMS(0), false))
CALL(norm_0, lk_norm(t, x[0], 0, LK_DIMS(-1), false))
CALL(norm_3, lk_norm(t, x[0], 3, LK_DIMS(0, 2), false))
CALL(norm_half, lk_norm(t, x[0], 0.5, LK_DIMS(-1), false))
CALL(norm_top, lk_norm(t, x[0], INFINITY, LK_DIMS(1), true))
CALL(logsumexp, lk_logsumexp(t, x[0], LK_ALL, false))
CALL(logsumexp_last, lk_logsumexp(t, x[0], LK_DIMS(-1), true))
CALL(logsumexp_outer, lk_logsumexp(t, x[0], LK_DIMS(0, 2), false))
CALL(prod, lk_prod(t, x[0], LK_ALL, false))
CALL(prod_last, lk_prod(t, x[0], LK_DIMS(-1), true))
CALL(prod_outer, lk_prod(t, x[0], LK_DIMS(0, 2), false))
CALL(cosine, lk_cosine_similarity(t, x[0], x[1], -1, 1e-8))
CALL(cosine_first, lk_cosine_similarity(t, x[0], x[1], 0, 1e-8))

static const GradientRow rows[] = {
    { "var", var, SEVERAL, ANY },
    { "var", var_last, ONE_ROWS, ANY },
    { "var", var_outer, CUBES, ANY },
    { "std", deviation, SEVERAL, ANY },
    { "std", deviation_middle, (Cases){ "2,3,4", "2,3,4t", "2,3,4s", "2,3,1", "3,2,2" }, APART },
    { "norm", norm_2, SOME, APART },
    { "norm", norm_2_last, ONE_ROWS, APART },
    { "norm", norm_1, ONE_ROWS, APART },
    { "norm", norm_0, ONE_ROWS, APART },
    { "norm", norm_3, CUBES, APART },
    { "norm", norm_half, ONE_ROWS, POSITIVE },
    { "norm", norm_top, CUBES, APART },
    { "norm", norm_2_last, NO_ROWS, ANY },
    { "logsumexp", logsumexp, ONE, ANY },
    { "logsumexp", logsumexp_last, ONE_ROWS, ANY },
    { "logsumexp", logsumexp_outer, CUBES, ANY },
    { "prod", prod, (Cases){ ".", "5", "2,3", "2,3t", "4,3s", "2,1,3", "0,3", "1" }, APART },
    { "prod", prod_last, ONE_ROWS, ANY },
    { "prod", prod_outer, CUBES, ANY },
    { "cosine_similarity", cosine, PAIRS, APART },
    { "cosine_similarity", cosine_first, (Cases){ "2,3 2,3", "3 3", "2,3,4t 2,3,4", "4,2 4,1" },
      APART },
};

const GradientFamily gradient_stats = { GRADIENT_ROWS(rows) };
