/* ops_exact.h - rows for the operations without a gradient, as in examples/own/gradients/: bools
 * and indices, converted to the dtype of the input. */
#ifndef TRUST_OPS_EXACT_H
#define TRUST_OPS_EXACT_H

#include "examples/own/gradients/rows.h"

#define EXACTLY(name, expression) CALL(name, lk_to(t, expression, x[0]->dtype))

EXACTLY(equal, lk_eq(t, x[0], x[1]))
EXACTLY(different, lk_ne(t, x[0], x[1]))
EXACTLY(less, lk_lt(t, x[0], x[1]))
EXACTLY(less_equal, lk_le(t, x[0], x[1]))
EXACTLY(greater, lk_gt(t, x[0], x[1]))
EXACTLY(greater_equal, lk_ge(t, x[0], x[1]))
EXACTLY(close_to, lk_isclose(t, x[0], x[1], 0.5, 0.125))
EXACTLY(both, lk_logical_and(t, lk_gt(t, x[0], x[1]), lk_lt(t, x[0], lk_neg(t, x[1]))))
EXACTLY(either, lk_logical_or(t, lk_gt(t, x[0], x[1]), lk_lt(t, x[0], lk_neg(t, x[1]))))
EXACTLY(neither, lk_logical_not(t, lk_gt(t, x[0], lk_scale(t, x[0], 0))))
EXACTLY(top, lk_argmax(t, x[0], -1, false))
EXACTLY(top_first, lk_argmax(t, x[0], 0, true))
EXACTLY(bottom, lk_argmin(t, x[0], -1, false))
EXACTLY(ordered, lk_argsort(t, x[0], -1, false))
EXACTLY(ordered_first, lk_argsort(t, x[0], 0, true))
EXACTLY(some, lk_any(t, lk_gt(t, x[0], lk_scale(t, x[0], 0)), LK_DIMS(-1), false))
EXACTLY(every, lk_all(t, lk_gt(t, x[0], lk_scale(t, x[0], -1)), LK_DIMS(0), true))
EXACTLY(places, lk_one_hot(t, lk_argmax(t, x[0], -1, false), lk_size(x[0], -1)))
CALL(cut_off, lk_detach(t, x[0]))

static const GradientRow exact_rows[] = {
    { "eq", equal, TWO, EXACT },
    { "ne", different, TWO, EXACT },
    { "lt", less, TWO, EXACT },
    { "le", less_equal, TWO, EXACT },
    { "gt", greater, TWO, EXACT },
    { "ge", greater_equal, TWO, EXACT },
    { "isclose", close_to, TWO, EXACT },
    { "logical_and", both, TWO, EXACT },
    { "logical_or", either, TWO, EXACT },
    { "logical_not", neither, ONE, EXACT },
    { "argmax", top, ONE_ROWS, EXACT },
    { "argmax", top_first, CUBES, APART },
    { "argmin", bottom, ONE_ROWS, EXACT },
    { "argsort", ordered, ONE_ROWS, EXACT },
    { "argsort", ordered_first, CUBES, APART },
    { "any", some, ONE_ROWS, EXACT },
    { "all", every, ONE_ROWS, EXACT },
    { "one_hot", places, ONE_ROWS, EXACT },
    { "detach", cut_off, ONE, ANY },
};
static const GradientFamily exact_family = { GRADIENT_ROWS(exact_rows) };

/* These make tensors or draw numbers; tests/core/test_ops_create.c and test_ops_sample.c have
 * their values. */
static const char *const makers[] = { "zeros",   "ones",     "full",       "tensor",
                                      "scalar",  "arange",   "rand",       "randn",
                                      "randint", "randperm", "multinomial" };

#endif
