/* rearrange.c - gradient cases of operations that move or repeat elements
 * (core/ops_rearrange.c, core/ops_repeat.c). */
#include "examples/own/gradients/rows.h"

CALL(pad, lk_pad(t, x[0], LK_PADS(1, 2), -7))
CALL(pad_matrix, lk_pad(t, x[0], LK_PADS(-1, 2, 1, 0), 3))
CALL(flip, lk_flip(t, x[0], LK_DIMS(-1)))
CALL(flip_all, lk_flip(t, x[0], LK_ALL))
CALL(roll, lk_roll(t, x[0], LK_SHIFTS(2), LK_DIMS(0)))
CALL(roll_matrix, lk_roll(t, x[0], LK_SHIFTS(-1, 4), LK_DIMS(-1, 0)))
CALL(roll_all, lk_roll(t, x[0], LK_SHIFTS(3), LK_ALL))
CALL(tril, lk_tril(t, x[0], 0))
CALL(tril_below, lk_tril(t, x[0], -1))
CALL(triu, lk_triu(t, x[0], 1))
CALL(repeat_interleave, lk_repeat_interleave(t, x[0], 2, -1))
CALL(repeat_interleave_first, lk_repeat_interleave(t, x[0], 3, 0))
CALL(repeat, lk_repeat(t, x[0], LK_SHAPE(2, 1, 3, 1)))
CALL(repeat_rows, lk_repeat(t, x[0], LK_SHAPE(2, 2)))

static const GradientRow rows[] = {
    { "pad", pad, ONE_ROWS, ANY },
    { "pad", pad, NO_ROWS, ANY },
    { "pad", pad_matrix, ROWS_2D, ANY },
    { "flip", flip, ONE_ROWS, ANY },
    { "flip", flip_all, ONE, ANY },
    { "roll", roll, ONE_ROWS, ANY },
    { "roll", roll_matrix, ROWS_2D, ANY },
    { "roll", roll_all, ONE, ANY },
    { "tril", tril, ROWS_2D, ANY },
    { "tril", tril_below, CUBES, ANY },
    { "tril", tril, NO_ROWS, ANY },
    { "triu", triu, ROWS_2D, ANY },
    { "triu", triu, CUBES, ANY },
    { "triu", triu, NO_ROWS, ANY },
    { "repeat_interleave", repeat_interleave, ONE_ROWS, ANY },
    { "repeat_interleave", repeat_interleave, NO_ROWS, ANY },
    { "repeat_interleave", repeat_interleave_first, CUBES, ANY },
    { "repeat", repeat, ONE, ANY },
    { "repeat", repeat_rows, ROWS_2D, ANY },
};

const GradientFamily gradient_rearrange = { GRADIENT_ROWS(rows) };
