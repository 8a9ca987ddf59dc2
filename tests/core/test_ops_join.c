/* test_ops_join.c - lk_stack (core/ops_join.c), and lk_split, lk_chunk and lk_unbind
 * (core/ops_view.c) against PyTorch (fixtures/ops_join.h), on other dtypes, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_join.h"

enum { ROOM = 8 };

CALLER(stack, lk_stack(t, c->inputs, x, (int)c->arg[0]))

/* The last integer of these cases chooses one of the parts. */
static Tensor *split(Tape *t, Tensor **x, const Case *c)
{
    Tensor *parts[ROOM];
    int count = lk_split(t, x[0], c->arg[0], (int)c->arg[1], ROOM, parts);
    return count > c->arg[2] ? parts[c->arg[2]] : NULL;
}

static Tensor *chunk(Tape *t, Tensor **x, const Case *c)
{
    Tensor *parts[ROOM];
    int count = lk_chunk(t, x[0], (int)c->arg[0], (int)c->arg[1], parts);
    return count > c->arg[2] ? parts[c->arg[2]] : NULL;
}

static Tensor *unbind(Tape *t, Tensor **x, const Case *c)
{
    Tensor *parts[ROOM];
    int count = lk_unbind(t, x[0], (int)c->arg[0], ROOM, parts);
    return count > c->arg[1] ? parts[c->arg[1]] : NULL;
}

static const Caller callers[] = {
    { "stack", stack }, { "split", split }, { "chunk", chunk }, { "unbind", unbind }
};

TEST_CASES(ops_join, join_cases, callers)

/* All parts together are x, and share its memory. Rooms behind the last part are cleared. */
Test(ops_join, parts_are_views)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(5, 2), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), *parts[ROOM];
    check(lk_split(t, x, 2, 0, ROOM, parts) == 3 && !parts[3] && !parts[ROOM - 1]);
    check(parts[2]->storage == x->storage);
    check_shape(parts[2], LK_SHAPE(1, 2));
    check_equal(lk_cat(t, 3, parts, 0), x);
    check(lk_chunk(t, x, 4, 0, parts) == 3 && !parts[3]);
    check_equal(lk_cat(t, 3, parts, 0), x);
    check(lk_unbind(t, x, -1, 2, parts) == 2);
    check_shape(parts[1], LK_SHAPE(5));
    check_equal(lk_stack(t, 2, parts, 1), x);
    Tensor *gate = lk_mul(t, parts[0], parts[1]);
    check(lk_backward(t, lk_sum(t, gate, LK_ALL, false)));
    check_values(lk_grad(x), 0, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8);
    Tensor *none = lk_zeros(t, LK_F32, LK_SHAPE(2, 0));
    check(lk_unbind(t, none, 1, ROOM, parts) == 0 && lk_chunk(t, none, 3, 1, parts) == 3);
    check_shape(parts[2], LK_SHAPE(2, 0));
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_join, other_dtypes)
{
    Tape *t = lk_tape_new(NULL);
    for (DType dtype = LK_I64; dtype <= LK_BOOL; dtype++) {
        Tensor *x = make_tensor(dtype, LK_SHAPE(2, 2), 1, 0, 1, 1), *parts[2];
        check(lk_unbind(t, x, 0, 2, parts) == 2);
        Tensor *y = lk_stack(t, LK_TENSORS(parts[1], parts[0], parts[0]), 1);
        check(y->dtype == dtype && !y->node);
        check_values(y, 0, 1, 1, 1, 1, 0, 0);
        lk_free(x);
    }
    lk_tape_free(t);
}

/* A result of -1 as the NULL that REFUSES expects; every room is cleared by then. */
#define REFUSES_PARTS(call, error_code, text) \
    do { \
        for (int i_ = 0; i_ < ROOM; i_++) parts[i_] = x; \
        REFUSES((call) == -1 ? parts[0] : x, error_code, text); \
    } while (0)

Test(ops_join, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *whole = lk_ones(t, LK_I64, LK_SHAPE(2, 3));
    Tensor *deep = lk_ones(t, LK_F32, LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), *parts[ROOM];
    PASSES_NULL(lk_stack(t, LK_TENSORS(x, NULL), 0));
    REFUSES(lk_stack(t, 0, NULL, 0), LK_EVALUE, "lk_stack: 0 tensors; there must be one at least");
    REFUSES(lk_stack(t, LK_TENSORS(x, lk_T(t, x)), 0), LK_ESHAPE,
            "lk_stack: (2, 3) and (3, 2) must have the same shape");
    REFUSES(lk_stack(t, LK_TENSORS(x, whole), 0), LK_EDTYPE,
            "lk_stack: tensors of float32 and int64; lk_to makes them the same");
    REFUSES(lk_stack(t, LK_TENSORS(x, x), 3), LK_ESHAPE,
            "lk_stack: dimension 3 is outside -3 … 2");
    REFUSES(lk_stack(t, LK_TENSORS(deep), 0), LK_ESHAPE,
            "lk_stack: (1, 1, 1, 1, 1, 1, 1, 1) already has 8 dimensions");

    REFUSES_PARTS(lk_split(t, x, 0, 0, ROOM, parts), LK_EVALUE,
                  "lk_split: size 0 must be at least 1");
    REFUSES_PARTS(lk_split(t, x, 1, 1, 2, parts), LK_EVALUE,
                  "lk_split: dimension 1 of (2, 3) has 3 parts, but there is room for 2");
    REFUSES_PARTS(lk_split(t, x, 1, 2, ROOM, parts), LK_ESHAPE,
                  "lk_split: dimension 2 is outside -2 … 1");
    REFUSES_PARTS(lk_split(t, lk_scalar(t, LK_F32, 1), 1, 0, ROOM, parts), LK_ESHAPE,
                  "lk_split: a scalar has no dimension 0");
    REFUSES(lk_chunk(t, x, 0, 0, parts) == -1 ? NULL : x, LK_EVALUE,
            "lk_chunk: 0 chunks; there must be one at least");
    REFUSES(lk_unbind(t, x, 0, 2, NULL) == -1 ? NULL : x, LK_EVALUE,
            "lk_unbind: the array of the parts is NULL");
    REFUSES_PARTS(lk_unbind(t, x, 0, 1, parts), LK_EVALUE,
                  "lk_unbind: dimension 0 of (2, 3) has 2 parts, but there is room for 1");
    lk_tape_free(t);
}
