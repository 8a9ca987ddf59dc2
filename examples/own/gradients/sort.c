/* sort.c - gradient cases of running sums and of elements in order (core/ops_cumsum.c,
 * core/ops_sort.c). */
#include "examples/own/gradients/rows.h"

CALL(cumsum, lk_cumsum(t, x[0], -1))
CALL(cumsum_first, lk_cumsum(t, x[0], 0))
CALL(sort, lk_sort(t, x[0], -1, false, NULL))
CALL(sort_first, lk_sort(t, x[0], 0, true, NULL))
CALL(topk, lk_topk(t, x[0], 1, 0, true, NULL))
CALL(topk_two, lk_topk(t, x[0], 2, -1, false, NULL))

static const GradientRow rows[] = {
    { "cumsum", cumsum, ONE, ANY },
    { "cumsum", cumsum_first, CUBES, ANY },
    { "sort", sort, ONE, APART },
    { "sort", sort_first, CUBES, APART },
    { "topk", topk, SOME, APART },
    { "topk", topk_two, (Cases){ "4", "3,4", "3,4t", "3,4s", "1,4", "2,7t", "0,3" }, APART },
};

const GradientFamily gradient_sort = { GRADIENT_ROWS(rows) };
