/* test_ops_index.c - gather, cat and masked_fill: PyTorch's values, and what they refuse. Gradients: test_gradcheck. */
#include <float.h>
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"

static Tensor *indices(Tape *t, int ndim, const int64_t *shape, const int64_t *values)
{
    return lk_tensor(t, LK_I64, ndim, shape, values);
}

/* torch.arange(6.).reshape(2, 3).gather(1, [[2, 0], [1, 1]]): a repeated element's gradients add up. */
Test(ops_index, gather)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 0, 1, 2, 3, 4, 5);
    Tensor *y = lk_gather(t, x, 1, indices(t, LK_SHAPE(2, 2), (int64_t[]){ 2, 0, 1, 1 }));
    check_values(y, 0, 2, 0, 4, 4);
    Tensor *weights = lk_tensor(t, LK_F64, LK_SHAPE(2, 2), (double[]){ 1, 2, 3, 4 });
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, weights), LK_ALL, false)));
    check_values(lk_grad(x), 0, 2, 0, 1, 0, 7, 0);
    check_values(lk_gather(t, x, -2, indices(t, LK_SHAPE(1, 3), (int64_t[]){ 1, 0, 1 })), 0, 3, 1, 5);
    check_shape(lk_gather(t, x, 0, indices(t, LK_SHAPE(0, 3), NULL)), LK_SHAPE(0, 3));
    check(!strcmp(lk_grad_fn(y), "GatherBackward0"));
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_index, gather_refuses)
{
    Tape *t = quiet_tape();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 0, 1, 2, 3, 4, 5);
    check(!lk_gather(t, x, 1, indices(t, LK_SHAPE(2, 1), (int64_t[]){ 0, 3 })));
    check_error(lk_tape_error(t), LK_EVALUE, "3");
    lk_tape_clear_error(t);
    check(!lk_gather(t, x, 1, indices(t, LK_SHAPE(3, 1), (int64_t[]){ 0, 0, 0 })));
    check_error(lk_tape_error(t), LK_ESHAPE, "(3, 1)");
    lk_tape_clear_error(t);
    check(!lk_gather(t, x, 1, x));
    check_error(lk_tape_error(t), LK_EDTYPE, "int64");
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_index, cat)
{
    Tape *t = quiet_tape();
    Tensor *a = make_param(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4), *b = make_param(LK_F64, LK_SHAPE(2, 1), 5, 6);
    Tensor *y = lk_cat(t, LK_TENSORS(a, b, a), 1);
    check_shape(y, LK_SHAPE(2, 5));
    check_values(y, 0, 1, 2, 5, 1, 2, 3, 4, 6, 3, 4);
    Tensor *weights = lk_reshape(t, lk_to(t, lk_arange(t, 0, 10), LK_F64), LK_SHAPE(2, 5));
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, weights), LK_ALL, false)));
    check_values(lk_grad(a), 0, 3, 5, 13, 15);
    check_values(lk_grad(b), 0, 2, 7);
    check_values(lk_cat(t, LK_TENSORS(lk_T(t, a), lk_T(t, b)), 0), 0, 1, 3, 2, 4, 5, 6);
    Tensor *ids = lk_arange(t, 0, 2);
    check(lk_cat(t, LK_TENSORS(ids, ids), 0)->dtype == LK_I64);

    check(!lk_cat(t, LK_TENSORS(a, b), 0));
    check_error(lk_tape_error(t), LK_ESHAPE, "(2, 1)");
    lk_tape_clear_error(t);
    check(!lk_cat(t, LK_TENSORS(ids, lk_select(t, a, 0, 0)), 0));
    check_error(lk_tape_error(t), LK_EDTYPE, "int64");
    lk_free(a);
    lk_free(b);
    lk_tape_free(t);
}

Test(ops_index, masked_fill)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 3), 0, 1, 2, 3, 4, 5);
    Tensor *mask = lk_tensor(t, LK_BOOL, LK_SHAPE(3), (bool[]){ true, false, true });
    Tensor *y = lk_masked_fill(t, x, mask, -FLT_MAX);
    check_values(y, 0, -FLT_MAX, 1, -FLT_MAX, -FLT_MAX, 4, -FLT_MAX);
    check(lk_backward(t, lk_sum(t, lk_scale(t, y, 2), LK_ALL, false)));
    check_values(lk_grad(x), 0, 0, 2, 0, 0, 2, 0);

    check(!lk_masked_fill(t, x, x, 0));
    check_error(lk_tape_error(t), LK_EDTYPE, "bool");
    lk_tape_clear_error(t);
    check(!lk_masked_fill(t, x, lk_tensor(t, LK_BOOL, LK_SHAPE(2), (bool[]){ true, false }), 0));
    check_error(lk_tape_error(t), LK_ESHAPE, "do not broadcast");
    lk_free(x);
    lk_tape_free(t);
}
