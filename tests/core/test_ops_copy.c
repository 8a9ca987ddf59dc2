/* test_ops_copy.c - copies that autograd follows (core/ops_copy.c) against PyTorch
 * (fixtures/ops_copy.h); copies in place and conversions (core/tensor.c, core/tensor_values.c);
 * and all of them called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_copy.h"

static Tensor *chosen(Tape *t, Tensor **x, const Case *c)
{
    return lk_select_rows(t, x[0], lk_tensor(t, LK_I64, LK_SHAPE(c->args), c->arg));
}

static Tensor *masked(Tape *t, Tensor **x, const Case *c)
{
    bool keep[10];
    for (int i = 0; i < c->args; i++) keep[i] = c->arg[i] != 0;
    return lk_mask_rows(t, x[0], lk_tensor(t, LK_BOOL, LK_SHAPE(c->args), keep));
}

CALLER(contiguous, lk_contiguous(t, x[0]))
CALLER(to_the_other, lk_to(t, x[0], x[0]->dtype == LK_F32 ? LK_F64 : LK_F32))

static const Caller callers[] = {
    { "contiguous", contiguous },
    { "to", to_the_other },
    { "select_rows", chosen },
    { "mask_rows", masked },
};

TEST_CASES(copy, copy_cases, callers)

/* ---- copies --------------------------------------------------------------------------------- */

/* As in PyTorch: nothing to do gives the tensor itself. */
Test(copy, nothing_to_do_is_no_copy)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 1), 1, 2);
    check(lk_contiguous(t, x) == x && lk_to(t, x, LK_F32) == x);
    Tensor *column = lk_transpose(t, x, 0, 1); /* (1, 2): other strides, the same memory order */
    check(lk_contiguous(t, column) == column);
    lk_free(x);
    lk_tape_free(t);
}

Test(copy, contiguous_moves_elements_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(2, 3), 1, 0, 0, 1, 1, 0);
        Tensor *y = lk_contiguous(t, lk_T(t, x)), *z = lk_clone(lk_T(t, x), NULL);
        check(y->dtype == d && lk_is_contiguous(y) && y->storage != x->storage &&
              !y->requires_grad);
        check_values(y, 0, 1, 1, 0, 1, 0, 0);
        check_equal(y, z);
        check(z->refs == 1);
        lk_free(z), lk_free(x);
    }
    check(!lk_clone(NULL, NULL));
    lk_tape_free(t);
}

Test(copy, clone_is_a_leaf_of_its_own)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 1, 2);
    Tensor *y = lk_clone(lk_scale(t, x, 3), NULL);
    lk_tape_reset(t);
    check_values(y, 0, 3, 6);
    check(!y->requires_grad && !y->node && !y->grad && !y->is_parameter);
    lk_free(x), lk_free(y);
    lk_tape_free(t);
}

/* ---- conversions ---------------------------------------------------------------------------- */

/* A float is rounded towards 0 into an integer. A value that an integer cannot hold becomes its
 * nearest end, NaN becomes 0. Not zero is true. */
Test(copy, conversions)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(9), 0, -0.0, 0.5, -1.75, 255.9, 300, INFINITY,
                            -INFINITY, NAN);
    check_values(lk_to(t, x, LK_I64), 0, 0, 0, 0, -1, 255, 300, 0x1p63, -0x1p63, 0);
    check_values(lk_to(t, x, LK_U8), 0, 0, 0, 0, 0, 255, 255, 255, 0, 0);
    check_values(lk_to(t, x, LK_BOOL), 0, 0, 0, 1, 1, 1, 1, 1, 1, 1);
    check_values(lk_to(t, x, LK_F32), 0, 0, 0, 0.5, -1.75, (double)255.9f, 300, INFINITY,
                 -INFINITY, NAN);
    Tensor *far = make_tensor(LK_F64, LK_SHAPE(4), 1e300, -1e300, 0x1p63, -0x1p63);
    const int64_t ends[] = { INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN };
    check_bits(lk_to(t, far, LK_I64), ends, 4);
    check_values(lk_to(t, far, LK_F32), 0, INFINITY, -INFINITY, 0x1p63, -0x1p63);
    /* Just above half way between two floats, but half way as a double: one rounding goes up, two
     * go down. */
    const int64_t tie[] = { ((int64_t)1 << 60) + ((int64_t)1 << 36) + 1, 3 };
    check_values(lk_to(t, lk_tensor(t, LK_I64, LK_SHAPE(2), tie), LK_F32), 0, 0x1p60 + 0x1p37, 3);
    Tensor *bytes = make_tensor(LK_U8, LK_SHAPE(3), 0, 1, 255);
    check_values(lk_to(t, bytes, LK_F32), 0, 0, 1, 255);
    check_values(lk_to(t, bytes, LK_I64), 0, 0, 1, 255);
    check_values(lk_to(t, lk_to(t, bytes, LK_BOOL), LK_F64), 0, 0, 1, 1);
    lk_free(x), lk_free(far), lk_free(bytes);
    lk_tape_free(t);
}

Test(copy, only_floats_have_a_gradient)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1.5, 2);
    for (DType d = LK_I64; d <= LK_BOOL; d++) {
        Tensor *y = lk_to(t, x, d);
        check(y->dtype == d && !y->requires_grad && !y->node);
        check(!lk_to(t, y, LK_F32)->requires_grad);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(copy, large_conversions_and_moves)
{
    Tape *t = lk_tape_new(NULL);
    enum { N = 100003 };
    Tensor *x = lk_arange(t, 0, N), *spread = lk_zeros(t, LK_F32, LK_SHAPE(N, 3));
    Tensor *column = lk_select(t, spread, 1, 1);
    check(lk_copy_(column, x, NULL));
    for (int64_t i = 0; i < N; i++) check(lk_at(spread, LK_INDEX(i, 1)) == (double)i);
    check(lk_count(spread) == N - 1);
    check(lk_equal(lk_to(t, column, LK_I64), x) &&
          lk_equal(lk_contiguous(t, column), lk_to(t, x, LK_F32)));
    lk_tape_free(t);
}

/* ---- rows ----------------------------------------------------------------------------------- */

Test(copy, rows_of_every_dtype_by_a_strided_index)
{
    Tape *t = lk_tape_new(NULL);
    const int64_t both[] = { 1, 9, -2, 9, 1, 9 };
    const bool pairs[] = { false, false, true, true };
    Tensor *index = lk_select(t, lk_tensor(t, LK_I64, LK_SHAPE(3, 2), both), 1, 0);
    Tensor *mask = lk_select(t, lk_tensor(t, LK_BOOL, LK_SHAPE(2, 2), pairs), 1, 0);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(2, 2), 1, 0, 0, 0);
        Tensor *y = lk_select_rows(t, x, index);
        check(y->dtype == d);
        check_values(y, 0, 0, 0, 1, 0, 0, 0);
        check_values(lk_mask_rows(t, x, mask), 0, 0, 0);
        check_shape(lk_mask_rows(t, lk_select(t, x, 1, 0), mask), LK_SHAPE(1));
        if (lk_set_requires_grad(x, true)) {
            check(lk_backward(t, lk_sum(t, lk_select_rows(t, x, index), LK_ALL, false)));
            check_values(lk_grad(x), 0, 1, 1, 2, 2);
        }
        lk_free(x);
    }
    lk_tape_free(t);
}

/* ---- in place ------------------------------------------------------------------------------- */

Test(copy, copy_broadcasts_and_converts)
{
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    for (DType d = LK_F32; d <= LK_BOOL; d++)
        for (DType s = LK_F32; s <= LK_BOOL; s++) {
            Tensor *dst = make_tensor(d, LK_SHAPE(2, 3), 1, 1, 1, 1, 1, 1),
                   *row = make_tensor(s, LK_SHAPE(3), 0, 1, 0);
            Tensor *column = make_tensor(s, LK_SHAPE(3, 1), 1, 0, 1),
                   *one = make_tensor(s, LK_SCALAR, 0);
            uint32_t version = dst->storage->version;
            check(lk_copy_(dst, row, &err) && dst->storage->version != version);
            check_values(dst, 0, 0, 1, 0, 0, 1, 0);
            check(lk_copy_(lk_T(t, dst), column, &err)); /* into a view: (3, 2) <- (3, 1) */
            check_values(dst, 0, 1, 0, 1, 1, 0, 1);
            check(lk_copy_(lk_slice(t, dst, 1, 0, 3, 2), one, &err));
            check_values(dst, 0, 0, 0, 0, 0, 0, 0);
            lk_free(dst), lk_free(row), lk_free(column), lk_free(one);
        }
    check_no_error(&err);
    lk_tape_free(t);
}

/* The same dtype moves bits: 64 of an int64, the sign of 0. */
Test(copy, copy_keeps_every_bit)
{
    const int64_t values[] = { INT64_MAX, INT64_MIN + 1, ((int64_t)1 << 53) + 1 };
    Tensor *a = lk_tensor_from_new(LK_I64, LK_SHAPE(3), values, NULL), *b = lk_clone(a, NULL);
    check_bits(b, values, 3);
    Tensor *zero = make_tensor(LK_F32, LK_SHAPE(2), -0.0, 1), *copy = lk_clone(zero, NULL);
    check_equal(copy, zero);
    lk_free(a), lk_free(b), lk_free(zero), lk_free(copy);
}

Test(copy, fill)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = lk_zeros(t, d, LK_SHAPE(2, 3));
        uint32_t version = x->storage->version;
        check(lk_fill_(lk_select(t, x, 1, 2), 1) && x->storage->version != version);
        check_values(x, 0, 0, 0, 1, 0, 0, 1);
        check(lk_fill_(x, 0) && lk_fill_(lk_zeros(t, d, LK_SHAPE(0, 2)), 1) &&
              lk_fill_(lk_zeros(t, d, LK_SCALAR), 1));
        check_values(x, 0, 0, 0, 0, 0, 0, 0);
    }
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(2));
    check(lk_fill_(x, 0.1));
    check(((float *)x->data)[0] == 0.1f);
    check(lk_fill_(x, NAN) && isnan(lk_at(x, LK_INDEX(1))));
    check(!lk_fill_(NULL, 1));
    lk_tape_free(t);
}

/* module.double(): the same Tensor with other elements, however often. */
Test(copy, convert_in_place)
{
    Error err = { 0 };
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 2), 1, 2.5, -3, 0.1f);
    Tape *t = lk_tape_new(NULL);
    check(lk_backward(t, lk_sum(t, x, LK_ALL, false)));
    uint32_t version = x->storage->version;
    check(lk_convert_(x, LK_F32, &err) && lk_grad(x)); /* nothing to do */
    check(lk_convert_(x, LK_F64, &err));
    check(x->dtype == LK_F64 && x->requires_grad && x->refs == 1 && !lk_grad(x) &&
          x->storage->version != version);
    check_values(x, 0, 1, 2.5, -3, (double)0.1f);
    check(lk_backward(t, lk_sum(t, lk_mul(t, x, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 2, 5, -6, 2 * (double)0.1f);
    check(lk_convert_(x, LK_F32, &err) && lk_convert_(x, LK_F64, &err) && !lk_grad(x));
    check_values(x, 0, 1, 2.5, -3, (double)0.1f);
    check_no_error(&err);
    check(!lk_convert_(x, LK_I64, &err));
    check_error(&err, LK_EDTYPE, "lk_convert_: a tensor with requires_grad cannot become int64");
    check(x->dtype == LK_F64);
    lk_set_requires_grad(x, false);
    err = (Error){ 0 };
    check(lk_convert_(x, LK_U8, &err));
    check_values(x, 0, 1, 2, 0, 0);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(copy, refuses_bad_rows)
{
    int reports;
    Tape *t = counting_tape(&reports);
    const int64_t far[] = { 1, 3 }, below[] = { -4 }, lowest[] = { INT64_MIN };
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(3, 2)), *scalar = lk_scalar(t, LK_F32, 1),
           *index = lk_arange(t, 0, 2);
    Tensor *mask = lk_zeros(t, LK_BOOL, LK_SHAPE(3));
    PASSES_NULL(lk_contiguous(t, NULL));
    PASSES_NULL(lk_to(t, NULL, LK_F64));
    PASSES_NULL(lk_select_rows(t, NULL, index));
    PASSES_NULL(lk_select_rows(t, x, NULL));
    PASSES_NULL(lk_mask_rows(t, NULL, mask));
    PASSES_NULL(lk_mask_rows(t, x, NULL));
    REFUSES(lk_select_rows(t, x, x), LK_EDTYPE,
            "lk_select_rows: the index must be int64, not float32");
    REFUSES(lk_select_rows(t, x, mask), LK_EDTYPE,
            "lk_select_rows: the index must be int64, not bool; lk_mask_rows takes a mask");
    REFUSES(lk_select_rows(t, scalar, index), LK_ESHAPE,
            "lk_select_rows: x () needs at least 1 dimension and the index (2,) exactly 1");
    REFUSES(lk_select_rows(t, x, lk_zeros(t, LK_I64, LK_SHAPE(1, 1))), LK_ESHAPE,
            "lk_select_rows: x (3, 2) needs at least 1 dimension and the index (1, 1) exactly 1");
    REFUSES(lk_select_rows(t, x, lk_tensor(t, LK_I64, LK_SHAPE(2), far)), LK_EVALUE,
            "lk_select_rows: index 3 at position 1 is out of range for (3, 2)");
    REFUSES(lk_select_rows(t, x, lk_tensor(t, LK_I64, LK_SHAPE(1), below)), LK_EVALUE,
            "lk_select_rows: index -4 at position 0 is out of range for (3, 2)");
    REFUSES(lk_select_rows(t, x, lk_tensor(t, LK_I64, LK_SHAPE(1), lowest)), LK_EVALUE,
            "lk_select_rows: index -9223372036854775808 at position 0 is out of range for (3, 2)");
    REFUSES(lk_select_rows(t, lk_ones(t, LK_F32, LK_SHAPE(0, 2)), index), LK_EVALUE,
            "lk_select_rows: index 0 at position 0 is out of range for (0, 2)");
    REFUSES(lk_mask_rows(t, x, index), LK_EDTYPE,
            "lk_mask_rows: the mask must be bool, not int64");
    REFUSES(lk_mask_rows(t, x, lk_zeros(t, LK_BOOL, LK_SHAPE(2))), LK_ESHAPE,
            "lk_mask_rows: mask (2,) does not have one value for each row of (3, 2)");
    REFUSES(lk_mask_rows(t, x, lk_zeros(t, LK_BOOL, LK_SHAPE(3, 2))), LK_ESHAPE,
            "lk_mask_rows: mask (3, 2) does not have one value for each row of (3, 2)");
    REFUSES(lk_mask_rows(t, scalar, lk_zeros(t, LK_BOOL, LK_SCALAR)), LK_ESHAPE,
            "lk_mask_rows: mask () does not have one value for each row of ()");
    lk_tape_free(t);
}

/* Views of one element whose copies no memory holds. */
Test(copy, refuses_absurd_copies)
{
    if (!WIDE_ADDRESSES) return;
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x =
        lk_expand(t, lk_ones(t, LK_U8, LK_SHAPE(1)), LK_SHAPE((int64_t)1 << 31, (int64_t)1 << 30));
    REFUSES(lk_to(t, x, LK_F64), LK_EMEMORY,
            "tensor: shape (2147483648, 1073741824) of float64 is larger than any memory");
    reports = 0;
    check(!lk_contiguous(t, x) && reports == 1);
    check_error(lk_tape_error(t), LK_EMEMORY, "no memory for");
    lk_tape_clear_error(t);
    check(!lk_select_rows(t, x, lk_arange(t, 0, 2)) && reports == 2);
    check_error(lk_tape_error(t), LK_EMEMORY, "no memory for");
    lk_tape_free(t);
}

Test(copy, refuses_bad_copies_in_place)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *dst = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6),
           *row = make_tensor(LK_F32, LK_SHAPE(2), 7, 8);
    Tensor *before = lk_clone(dst, NULL);
    uint32_t version = dst->storage->version;
    static const char *const wrong[] = {
        "lk_copy_: src (2,) cannot be broadcast to dst (2, 3)",
        "lk_copy_: src (2, 3) cannot be broadcast to dst (2,)",
        "lk_copy_: src (1, 2, 3) cannot be broadcast to dst (2, 3)",
        "lk_copy_: src is NULL",
        "lk_copy_: dst is NULL",
    };
    for (int i = 0; i < LENGTH(wrong); i++) {
        Tensor *to = i == 1 ? row : dst, *from = i == 0 ? row : dst;
        if (i == 2) from = lk_unsqueeze(t, dst, 0);
        if (i == 3) from = NULL;
        if (i == 4) to = NULL;
        Error err = { 0 };
        check(!lk_copy_(to, from, &err) && !lk_copy_(to, from, NULL));
        check_error(&err, i < 3 ? LK_ESHAPE : LK_EVALUE, wrong[i]);
    }
    check_equal(dst, before);
    check(dst->storage->version == version);
    Error err = { 0 };
    check(!lk_convert_(NULL, LK_F64, &err));
    check_error(&err, LK_EVALUE, "lk_convert_: the tensor is NULL");
    err = (Error){ 0 };
    check(!lk_convert_(lk_ones(t, LK_F32, LK_SHAPE(2)), LK_F64, &err));
    check_error(&err, LK_ESTATE, "lk_convert_: only an owned leaf can change its dtype");
    lk_free(dst), lk_free(row), lk_free(before);
    lk_tape_free(t);
}
