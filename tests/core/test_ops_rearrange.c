/* test_ops_rearrange.c - lk_pad, lk_flip, lk_roll, lk_tril, lk_triu (core/ops_rearrange.c),
 * lk_repeat_interleave and lk_repeat (core/ops_repeat.c) against PyTorch
 * (fixtures/ops_rearrange.h), on other dtypes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_rearrange.h"

CALLER(pad, lk_pad(t, x[0], c->args, c->arg, c->c))
CALLER(flip, lk_flip(t, x[0], c->args, c->arg))
CALLER(roll, lk_roll(t, x[0], c->args / 2, c->arg, c->args / 2, c->arg + c->args / 2))
CALLER(roll_all, lk_roll(t, x[0], LK_SHIFTS(c->arg[0]), LK_ALL))
CALLER(tril, lk_tril(t, x[0], c->arg[0]))
CALLER(triu, lk_triu(t, x[0], c->arg[0]))
CALLER(repeat_interleave, lk_repeat_interleave(t, x[0], c->arg[0], (int)c->arg[1]))
CALLER(repeat, lk_repeat(t, x[0], c->args, c->arg))

static const Caller callers[] = {
    { "pad", pad },       { "flip", flip },
    { "roll", roll },     { "tril", tril },
    { "triu", triu },     { "roll_all", roll_all },
    { "repeat", repeat }, { "repeat_interleave", repeat_interleave },
};

TEST_CASES(ops_rearrange, rearrange_cases, callers)

Test(ops_rearrange, other_dtypes)
{
    Tape *t = lk_tape_new(NULL);
    for (DType dtype = LK_I64; dtype <= LK_BOOL; dtype++) {
        Tensor *x = make_tensor(dtype, LK_SHAPE(2, 2), 0, 1, 1, 1);
        check_values(lk_pad(t, x, LK_PADS(0, 1), 1), 0, 0, 1, 1, 1, 1, 1);
        check_values(lk_flip(t, x, LK_ALL), 0, 1, 1, 1, 0);
        check_values(lk_roll(t, x, LK_SHIFTS(1), LK_ALL), 0, 1, 0, 1, 1);
        check_values(lk_tril(t, x, 0), 0, 0, 0, 1, 1);
        check_values(lk_triu(t, x, 1), 0, 0, 1, 0, 0);
        check_values(lk_repeat_interleave(t, x, 2, 1), 0, 0, 0, 1, 1, 1, 1, 1, 1);
        Tensor *y = lk_repeat(t, x, LK_SHAPE(2, 1, 1));
        check(y->dtype == dtype && !y->node);
        check_values(y, 0, 0, 1, 1, 1, 0, 1, 1, 1);
        lk_free(x);
    }
    lk_tape_free(t);
}

/* Walks that are shared by threads give the bits of one thread. */
Test(ops_rearrange, large_for_any_number_of_threads)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 3);
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(300, 257), NULL), *first[2] = { NULL };
    lk_normal_(x, 0, 1, &rng);
    for (int threads = 1; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        Tensor *y = lk_flip(t, lk_roll(t, x, LK_SHIFTS(100, -3), LK_DIMS(0, 1)), LK_DIMS(1));
        y = lk_triu(t, lk_pad(t, y, LK_PADS(1, 2), 1), -5);
        y = lk_repeat(t, lk_repeat_interleave(t, y, 2, 0), LK_SHAPE(1, 2));
        check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
        if (threads > 1) check_equal(y, first[0]);
        if (threads > 1) check_equal(lk_grad(x), first[1]);
        else first[0] = lk_clone(y, NULL), first[1] = lk_clone(lk_grad(x), NULL);
        lk_zero_grad_(x);
        lk_tape_reset(t);
    }
    lk_free(first[0]), lk_free(first[1]), lk_free(x);
    lk_tape_free(t);
}

Test(ops_rearrange, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *one = lk_scalar(t, LK_F32, 1);
    PASSES_NULL(lk_pad(t, NULL, LK_PADS(1, 1), 0));
    REFUSES(lk_pad(t, x, LK_PADS(1), 0), LK_ESHAPE,
            "lk_pad: 1 pads for (2, 3): two for each dimension, the last dimension first");
    REFUSES(lk_pad(t, x, LK_PADS(1, 1, 1, 1, 1, 1), 0), LK_ESHAPE,
            "lk_pad: 6 pads for (2, 3): two for each dimension, the last dimension first");
    REFUSES(lk_pad(t, x, 2, NULL, 0), LK_EVALUE, "lk_pad: the list of pads is NULL");
    REFUSES(lk_pad(t, x, LK_PADS(-2, -2), 0), LK_ESHAPE,
            "lk_pad: pads -2 and -2 cut more than dimension 1 of (2, 3) has");
    REFUSES(lk_pad(t, x, LK_PADS(-4, 9), 0), LK_ESHAPE,
            "lk_pad: pads -4 and 9 cut more than dimension 1 of (2, 3) has");
    REFUSES(lk_pad(t, x, LK_PADS(INT64_MAX, 1), 0), LK_EMEMORY,
            "lk_pad: dimension 1 is larger than any memory");

    PASSES_NULL(lk_flip(t, NULL, LK_ALL));
    REFUSES(lk_flip(t, x, LK_DIMS(2)), LK_ESHAPE, "lk_flip: dimension 2 is outside -2 … 1");
    REFUSES(lk_flip(t, x, LK_DIMS(1, -1)), LK_ESHAPE, "lk_flip: dimension 1 is named twice");
    REFUSES(lk_flip(t, x, 1, NULL), LK_EVALUE, "lk_flip: the list of dimensions is NULL");
    REFUSES(lk_flip(t, x, -1, NULL), LK_ESHAPE, "lk_flip: -1 dimensions: name them, or LK_ALL");

    PASSES_NULL(lk_roll(t, NULL, LK_SHIFTS(1), LK_ALL));
    REFUSES(lk_roll(t, x, LK_SHIFTS(1, 2), LK_DIMS(0)), LK_EVALUE,
            "lk_roll: 2 shifts for 1 dimensions: one for each dimension, or one and LK_ALL");
    REFUSES(lk_roll(t, x, 1, NULL, LK_DIMS(0)), LK_EVALUE,
            "lk_roll: 0 shifts for 1 dimensions: one for each dimension, or one and LK_ALL");
    REFUSES(lk_roll(t, x, LK_SHIFTS(1), LK_DIMS(2)), LK_ESHAPE,
            "lk_roll: dimension 2 is outside -2 … 1");
    REFUSES(lk_roll(t, x, LK_SHIFTS(1, 1), LK_DIMS(0, 0)), LK_ESHAPE,
            "lk_roll: dimension 0 is named twice");

    PASSES_NULL(lk_tril(t, NULL, 0));
    PASSES_NULL(lk_triu(t, NULL, 0));
    REFUSES(lk_tril(t, one, 0), LK_ESHAPE, "lk_tril: () must have at least 2 dimensions");
    REFUSES(lk_triu(t, lk_ones(t, LK_F32, LK_SHAPE(3)), 0), LK_ESHAPE,
            "lk_triu: (3,) must have at least 2 dimensions");
    check_values(lk_tril(t, x, INT64_MAX), 0, 1, 1, 1, 1, 1, 1);
    check_values(lk_triu(t, x, INT64_MAX), 0, 0, 0, 0, 0, 0, 0);
    check_values(lk_tril(t, x, INT64_MIN), 0, 0, 0, 0, 0, 0, 0);

    PASSES_NULL(lk_repeat_interleave(t, NULL, 2, 0));
    REFUSES(lk_repeat_interleave(t, x, -1, 0), LK_EVALUE,
            "lk_repeat_interleave: -1 repeats; 0 is the least");
    REFUSES(lk_repeat_interleave(t, x, 2, 2), LK_ESHAPE,
            "lk_repeat_interleave: dimension 2 is outside -2 … 1");
    REFUSES(lk_repeat_interleave(t, one, 2, 0), LK_ESHAPE,
            "lk_repeat_interleave: a scalar has no dimension 0");
    REFUSES(lk_repeat_interleave(t, x, INT64_MAX, 0), LK_EMEMORY,
            "lk_repeat_interleave: dimension 0 is larger than any memory");
    PASSES_NULL(lk_repeat(t, NULL, LK_SHAPE(2)));
    REFUSES(lk_repeat(t, x, LK_SHAPE(2)), LK_ESHAPE,
            "lk_repeat: 1 repeats for (2, 3): 2 to 8 are possible");
    REFUSES(lk_repeat(t, x, 2, NULL), LK_EVALUE, "lk_repeat: the repeats are NULL");
    REFUSES(lk_repeat(t, x, LK_SHAPE(2, -1)), LK_EVALUE,
            "lk_repeat: -1 repeats of dimension 1; 0 is the least");
    REFUSES(lk_repeat(t, x, LK_SHAPE(INT64_MAX, 1)), LK_EMEMORY,
            "lk_repeat: dimension 0 is larger than any memory");
    Tensor *deep = lk_ones(t, LK_F32, LK_SHAPE(2, 2, 2, 2, 2));
    REFUSES(lk_repeat(t, deep, LK_SHAPE(2, 2, 2, 2, 1)), LK_ESHAPE,
            "lk_repeat: (2, 2, 2, 2, 2) has too many dimensions to repeat: those with more than "
            "one element, and the repetitions, may be 8 together");
    lk_tape_free(t);
}
