/* test_ops_index.c - lk_gather and lk_masked_fill (core/ops_index.c), lk_cat (core/ops_join.c)
 * against PyTorch (fixtures/ops_index.h), on other dtypes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_index.h"

/* A tensor from the number of its dimensions, its sizes, and its values. */
static Tensor *shaped(Tape *t, DType dtype, const int64_t *a)
{
    Tensor *x = lk_zeros(t, dtype, (int)a[0], a + 1);
    for (int64_t i = 0; i < lk_numel(x); i++) {
        if (dtype == LK_I64) ((int64_t *)x->data)[i] = a[1 + a[0] + i];
        else ((bool *)x->data)[i] = a[1 + a[0] + i];
    }
    return x;
}

CALLER(gather, lk_gather(t, x[0], (int)c->arg[0], shaped(t, LK_I64, c->arg + 1)))
CALLER(cat, lk_cat(t, c->inputs, x, (int)c->arg[0]))
CALLER(masked_fill, lk_masked_fill(t, x[0], shaped(t, LK_BOOL, c->arg), c->c))

static const Caller callers[] = { { "gather", gather },
                                  { "cat", cat },
                                  { "masked_fill", masked_fill } };

TEST_CASES(ops_index, index_cases, callers)

/* Any dtype is gathered and put together; only floating ones have gradients. */
Test(ops_index, other_dtypes)
{
    Tape *t = lk_tape_new(NULL);
    for (DType dtype = LK_I64; dtype <= LK_BOOL; dtype++) {
        Tensor *x = make_tensor(dtype, LK_SHAPE(2, 2), 1, 0, 0, 1);
        Tensor *at = lk_tensor(t, LK_I64, LK_SHAPE(2, 1), (int64_t[]){ 1, 1 });
        Tensor *y = lk_gather(t, x, 1, at), *z = lk_cat(t, LK_TENSORS(x, lk_T(t, y)), 0);
        check(y->dtype == dtype && z->dtype == dtype && !z->node);
        check_values(y, 0, 0, 1);
        check_values(z, 0, 1, 0, 0, 1, 0, 1);
        lk_free(x);
    }
    lk_tape_free(t);
}

/* An index and a mask that are views; one tensor twice; more than five of them. */
Test(ops_index, views_and_repeats)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    /* 0 1, 2 2 */
    Tensor *at = lk_T(t, lk_tensor(t, LK_I64, LK_SHAPE(2, 2), (int64_t[]){ 0, 2, 1, 2 }));
    Tensor *y = lk_gather(t, x, 1, at);
    check_values(y, 0, 1, 2, 6, 6);
    Tensor *mask = lk_T(t, lk_tensor(t, LK_BOOL, LK_SHAPE(3, 2), (bool[]){ 1, 0, 0, 0, 0, 1 }));
    Tensor *z = lk_masked_fill(t, x, mask, 9);
    check_values(z, 0, 9, 2, 3, 4, 5, 9);
    Tensor *all = lk_cat(t, LK_TENSORS(x, x, z, x, x, x, x), 1);
    check_shape(all, LK_SHAPE(2, 21));
    check(lk_backward(t, lk_add(t, lk_sum(t, y, LK_ALL, false), lk_sum(t, all, LK_ALL, false))));
    check_values(lk_grad(x), 0, 7, 8, 7, 7, 7, 8);
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_index, notices_a_changed_mask)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *mask = lk_ones(t, LK_BOOL, LK_SHAPE(2));
    Tensor *y = lk_masked_fill(t, x, mask, 0);
    lk_fill_(mask, 0);
    check(!lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    check_error(lk_tape_error(t), LK_ESTATE, "MaskedFillBackward0 needs its input (2,)");
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_index, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *at = lk_zeros(t, LK_I64, LK_SHAPE(2, 2));
    PASSES_NULL(lk_gather(t, NULL, 0, at));
    PASSES_NULL(lk_gather(t, x, 0, NULL));
    REFUSES(lk_gather(t, x, 0, x), LK_EDTYPE, "lk_gather: the index must be int64, not float32");
    REFUSES(lk_gather(t, x, 2, at), LK_ESHAPE, "lk_gather: dimension 2 is outside -2 … 1");
    REFUSES(lk_gather(t, x, 0, lk_zeros(t, LK_I64, LK_SHAPE(2))), LK_ESHAPE,
            "lk_gather: the index (2,) must have as "
            "many dimensions as x (2, 3), and be no larger except along dimension 0");
    REFUSES(lk_gather(t, x, 1, lk_zeros(t, LK_I64, LK_SHAPE(3, 1))), LK_ESHAPE,
            "lk_gather: the index (3, 1) must have "
            "as many dimensions as x (2, 3), and be no larger except along dimension 1");
    lk_fill_(at, 2);
    REFUSES(lk_gather(t, x, 0, at), LK_EVALUE,
            "lk_gather: index 2 is out of bounds for dimension 0 of (2, 3)");
    lk_fill_(at, -1);
    REFUSES(lk_gather(t, x, 1, at), LK_EVALUE,
            "lk_gather: index -1 is out of bounds for dimension 1 of (2, 3)");
    REFUSES(lk_gather(t, lk_scalar(t, LK_F32, 1), 1, at), LK_ESHAPE,
            "lk_gather: dimension 1 is outside -1 … 0");

    PASSES_NULL(lk_cat(t, LK_TENSORS(x, NULL), 0));
    REFUSES(lk_cat(t, 0, NULL, 0), LK_EVALUE, "lk_cat: 0 tensors; there must be one at least");
    REFUSES(lk_cat(t, LK_TENSORS(x, lk_ones(t, LK_F32, LK_SHAPE(3))), 0), LK_ESHAPE,
            "lk_cat: (2, 3) and (3,) must have the same sizes except along dimension 0");
    REFUSES(lk_cat(t, LK_TENSORS(x, lk_ones(t, LK_F32, LK_SHAPE(2, 4))), 0), LK_ESHAPE,
            "lk_cat: (2, 3) and (2, 4) must have the same sizes except along dimension 0");
    REFUSES(lk_cat(t, LK_TENSORS(x, at), 0), LK_EDTYPE,
            "lk_cat: tensors of float32 and int64; lk_to makes them the same");
    REFUSES(lk_cat(t, LK_TENSORS(x, x), -3), LK_ESHAPE, "lk_cat: dimension -3 is outside -2 … 1");
    REFUSES(lk_cat(t, LK_TENSORS(lk_scalar(t, LK_F32, 1)), 0), LK_ESHAPE,
            "lk_cat: a scalar has no dimension 0");
    Tensor *x8 = WIDE_ADDRESSES
                     ? lk_expand(t, lk_ones(t, LK_U8, LK_SHAPE(1)), LK_SHAPE(INT64_MAX / 8 + 1))
                     : NULL;
    if (WIDE_ADDRESSES)
        REFUSES(lk_cat(t, LK_TENSORS(x8, x8, x8, x8, x8, x8, x8, x8), 0), LK_EMEMORY,
                "lk_cat: dimension 0 is larger than any memory");

    Tensor *mask = lk_ones(t, LK_BOOL, LK_SHAPE(2));
    PASSES_NULL(lk_masked_fill(t, NULL, mask, 0));
    PASSES_NULL(lk_masked_fill(t, x, NULL, 0));
    REFUSES(lk_masked_fill(t, x, mask, 0), LK_ESHAPE,
            "lk_masked_fill: (2, 3) and the mask (2,) do not broadcast: aligned "
            "at the last dimension, sizes must be equal or 1");
    REFUSES(lk_masked_fill(t, x, at, 0), LK_EDTYPE,
            "lk_masked_fill: the mask must be bool, not int64");
    REFUSES(lk_masked_fill(t, at, mask, 0), LK_EDTYPE,
            "lk_masked_fill: takes float32 or float64, not int64; lk_to converts");
    lk_tape_free(t);
}
