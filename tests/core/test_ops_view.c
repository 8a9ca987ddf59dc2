/* test_ops_view.c - views (core/ops_view.c) against PyTorch (fixtures/ops_view.h, ops_reshape.h)
 * and Python's slices, for every dtype, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_view.h"

CALLER(reversed, lk_T(t, x[0]))
CALLER(transpose, lk_transpose(t, x[0], (int)c->arg[0], (int)c->arg[1]))
CALLER(permute, lk_permute(t, x[0], c->args, c->arg))
CALLER(view, lk_view(t, x[0], c->args, c->arg))
CALLER(reshape, lk_reshape(t, x[0], c->args, c->arg))
CALLER(slice, lk_slice(t, x[0], (int)c->arg[0], c->arg[1], c->arg[2], c->arg[3]))
CALLER(pick, lk_select(t, x[0], (int)c->arg[0], c->arg[1]))
CALLER(expand, lk_expand(t, x[0], c->args, c->arg))
CALLER(unsqueeze, lk_unsqueeze(t, x[0], (int)c->arg[0]))
CALLER(squeeze, lk_squeeze(t, x[0], (int)c->arg[0]))
CALLER(detach, lk_detach(t, x[0]))

static const Caller callers[] = {
    { "T", reversed },      { "transpose", transpose }, { "permute", permute },
    { "view", view },       { "reshape", reshape },     { "slice", slice },
    { "select", pick },     { "expand", expand },       { "unsqueeze", unsqueeze },
    { "squeeze", squeeze }, { "detach", detach },
};

TEST_CASES(view, view_cases, callers)

/* ---- reshape: a view where PyTorch finds one, a copy elsewhere ------------------------------ */

typedef struct Reshape {
    int ndim;
    int64_t shape[6], order[6]; /* of a contiguous tensor, and the permutation of it */
    int64_t part[18];           /* start, end, step for each dimension of that */
    int64_t repeat;             /* not 0: expanded by a new first dimension */
    int target_ndim;
    int64_t target[8];
    bool is_view;
    int64_t stride[8];
} Reshape;

#include "tests/fixtures/ops_reshape.h"

/* The elements of x in logical order as a contiguous tensor. */
static Tensor *flat(Tape *t, Tensor *x)
{
    Tensor *y = lk_zeros(t, x->dtype, LK_SHAPE(lk_numel(x)));
    int64_t at[LK_MAX_DIMS] = { 0 };
    for (int64_t i = 0; i < lk_numel(x); i++) {
        ((double *)y->data)[i] = lk_at(x, at);
        for (int d = x->ndim - 1; d >= 0 && ++at[d] == x->shape[d]; d--) at[d] = 0;
    }
    return y;
}

static void check_reshape(Tape *t, const Reshape *r, int number)
{
    Tensor *base = lk_param_new(LK_F64, r->ndim, r->shape, NULL);
    for (int64_t i = 0; i < lk_numel(base); i++) ((double *)base->data)[i] = (double)i;
    Tensor *x = lk_permute(t, base, r->ndim, r->order);
    for (int d = 0; d < r->ndim; d++)
        x = lk_slice(t, x, d, r->part[3 * d], r->part[3 * d + 1], r->part[3 * d + 2]);
    if (r->repeat) {
        int64_t shape[LK_MAX_DIMS] = { r->repeat };
        for (int d = 0; d < r->ndim; d++) shape[d + 1] = -1;
        x = lk_expand(t, x, r->ndim + 1, shape);
    }
    check(x != NULL, "reshape %d: %s", number, lk_tape_error(t)->message);
    Tensor *y = lk_view(t, x, r->target_ndim, r->target),
           *z = lk_reshape(t, x, r->target_ndim, r->target);
    check(!y == !r->is_view, "reshape %d: %s", number,
          y ? "a view, unlike PyTorch" : lk_tape_error(t)->message);
    if (!y) {
        check_error(lk_tape_error(t), LK_ESHAPE, "lk_reshape copies");
        lk_tape_clear_error(t);
        z = lk_reshape(t, x, r->target_ndim, r->target);
    }
    check(z != NULL, "reshape %d: %s", number, lk_tape_error(t)->message);
    check((z->storage == x->storage) == r->is_view);
    check(strcmp(lk_grad_fn(z), r->is_view ? "ReshapeAliasBackward0" : "UnsafeViewBackward0") ==
          0);
    check_equal(flat(t, z), flat(t, x));
    check(r->is_view || lk_is_contiguous(z));
    for (int d = 0; y && d < y->ndim; d++) {
        if (lk_numel(y) == 0 || y->shape[d] == 1) continue; /* a stride that is never gone */
        check(y->stride[d] == r->stride[d] && z->stride[d] == r->stride[d],
              "reshape %d: stride %d of dimension %d", number, (int)y->stride[d], d);
    }
    /* Backward: each element of base is counted as often as it is shown, 1 + its position in z the
     * last time. */
    Tensor *dy = lk_ones(t, LK_F64, z->ndim, z->shape);
    for (int64_t i = 0; i < lk_numel(dy); i++) ((double *)dy->data)[i] = (double)(i + 1);
    check(lk_backward_with(t, z, dy, false), "reshape %d: %s", number, lk_tape_error(t)->message);
    Tensor *order = flat(t, x), *expected = lk_zeros(t, LK_F64, r->ndim, r->shape);
    for (int64_t i = 0; i < lk_numel(order); i++)
        ((double *)expected->data)[(int64_t)((double *)order->data)[i]] += (double)(i + 1);
    check_equal(lk_grad(base), expected);
    lk_free(base);
    lk_tape_reset(t);
}

Test(view, random_reshapes_as_in_pytorch)
{
    int reports;
    Tape *t = counting_tape(&reports);
    for (int i = 0; i < LENGTH(reshapes); i++) check_reshape(t, &reshapes[i], i);
    lk_tape_free(t);
}

/* A position that may count from the end of n elements; at least 0. */
static int64_t position(int64_t i, int64_t n)
{
    if (i >= 0) return i;
    return i < -n ? 0 : i + n;
}

/* ---- slices: Python's rule for every begin, end and step ------------------------------------ */

Test(view, slices_follow_python)
{
    static const int64_t far[] = { INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX };
    Tape *t = lk_tape_new(NULL);
    for (int64_t n = 0; n <= 4; n++) {
        Tensor *x = lk_arange(t, 0, n);
        for (int b = -7; b < 11; b++)
            for (int e = -7; e < 11; e++)
                for (int s = 1; s < 8; s++) {
                    int64_t begin = b < 7 ? b : far[b - 7], end = e < 7 ? e : far[e - 7];
                    int64_t step = s < 6 ? s : INT64_MAX - s;
                    Tensor *y = lk_slice(t, x, 0, begin, end, step);
                    /* Positions count from the end when negative; what lies before 0 or behind n -
                     * 1 is cut off. */
                    int64_t from = position(begin, n), to = position(end, n), count = 0;
                    if (to > n) to = n;
                    for (int64_t i = from; i < to;) {
                        check(count < lk_numel(y) && lk_at(y, LK_INDEX(count)) == (double)i);
                        count++;
                        i = step > n ? n : i + step;
                    }
                    check_shape(y, LK_SHAPE(count));
                }
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* ---- every dtype ---------------------------------------------------------------------------- */

Test(view, moves_elements_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(2, 3), 1, 0, 1, 0, 0, 1);
        check_values(lk_T(t, x), 0, 1, 0, 0, 0, 1, 1);
        check_values(lk_slice(t, x, 1, 0, 3, 2), 0, 1, 1, 0, 1);
        check_values(lk_select(t, x, 1, -1), 0, 1, 1);
        check_values(lk_reshape(t, lk_T(t, x), LK_SHAPE(6)), 0, 1, 0, 0, 0, 1, 1);
        check_values(lk_view(t, x, LK_SHAPE(3, -1)), 0, 1, 0, 1, 0, 0, 1);
        check_values(lk_expand(t, lk_slice(t, x, 0, 1, 2, 1), LK_SHAPE(2, 3)), 0, 0, 0, 1, 0, 0,
                     1);
        check_values(lk_permute(t, lk_unsqueeze(t, x, 0), LK_DIMS(2, 0, 1)), 0, 1, 0, 0, 0, 1, 1);
        check(lk_squeeze(t, lk_detach(t, x), 0)->dtype == d);
        lk_free(x);
    }
    check_no_error(lk_tape_error(t));
    lk_tape_free(t);
}

/* A view shows what is written into what it was made of, and the other way round. */
Test(view, shares_its_memory)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4);
    Tensor *column = lk_select(t, lk_T(t, x), 0, 1), *cut = lk_detach(t, x);
    lk_fill_(column, 7);
    check_values(x, 0, 1, 7, 3, 7);
    check_values(cut, 0, 1, 7, 3, 7);
    check(cut->storage == x->storage && cut != x);
    lk_free(x);
    lk_tape_free(t);
}

Test(view, detach_cuts_the_graph)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4);
    Tensor *y = lk_mul(t, x, lk_detach(t, lk_mul(t, x, x)));
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    check_values(lk_grad(x), 0, 9, 16); /* x² is a constant here */
    lk_free(x);
    lk_tape_free(t);
}

Test(view, eight_dimensions)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_reshape(t, lk_arange(t, 0, 256), LK_SHAPE(2, 2, 2, 2, 2, 2, 2, 2));
    Tensor *y = lk_reshape(t, lk_T(t, x), LK_SHAPE(256));
    for (int64_t i = 0; i < 256; i++) {
        int64_t mirrored = 0;
        for (int bit = 0; bit < 8; bit++) mirrored |= (i >> bit & 1) << (7 - bit);
        check(lk_at(y, LK_INDEX(i)) == (double)mirrored);
    }
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(view, refuses_bad_dimensions)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *scalar = lk_scalar(t, LK_F32, 1);
    Tensor *full = lk_ones(t, LK_F32, LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 2));
    PASSES_NULL(lk_T(t, NULL));
    PASSES_NULL(lk_transpose(t, NULL, 0, 1));
    PASSES_NULL(lk_permute(t, NULL, LK_DIMS(0)));
    PASSES_NULL(lk_unsqueeze(t, NULL, 0));
    PASSES_NULL(lk_squeeze(t, NULL, 0));
    PASSES_NULL(lk_detach(t, NULL));
    REFUSES(lk_transpose(t, x, 0, 2), LK_ESHAPE, "lk_transpose: dimension 2 is outside -2 … 1");
    REFUSES(lk_transpose(t, x, -3, 5), LK_ESHAPE, "lk_transpose: dimension -3 is outside -2 … 1");
    REFUSES(lk_transpose(t, scalar, 0, 1), LK_ESHAPE,
            "lk_transpose: dimension 1 is outside -1 … 0");
    check_shape(lk_transpose(t, scalar, 0, -1), LK_SCALAR);
    REFUSES(lk_transpose(t, x, INT32_MIN, INT32_MAX), LK_ESHAPE,
            "lk_transpose: dimension -2147483648 is outside -2 … 1");
    REFUSES(lk_permute(t, x, LK_DIMS(0)), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_permute(t, x, LK_DIMS(0, -2)), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_permute(t, x, LK_DIMS(0, 2)), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_permute(t, x, LK_DIMS(INT64_MIN, 1)), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_permute(t, x, LK_DIMS(0, 1, 2, 3, 4, 5, 6, 7, 8)), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_permute(t, x, -1, NULL), LK_ESHAPE,
            "lk_permute: the dimensions given must be all 2 of (2, 3), each once");
    REFUSES(lk_unsqueeze(t, x, 3), LK_ESHAPE, "lk_unsqueeze: dimension 3 is outside -3 … 2");
    REFUSES(lk_unsqueeze(t, x, -4), LK_ESHAPE, "lk_unsqueeze: dimension -4 is outside -3 … 2");
    REFUSES(lk_unsqueeze(t, full, 0), LK_ESHAPE,
            "lk_unsqueeze: (1, 1, 1, 1, 1, 1, 1, 2) already has 8 dimensions");
    REFUSES(lk_squeeze(t, x, 2), LK_ESHAPE, "lk_squeeze: dimension 2 is outside -2 … 1");
    REFUSES(lk_squeeze(t, scalar, -2), LK_ESHAPE, "lk_squeeze: dimension -2 is outside -1 … 0");
    check_shape(lk_squeeze(t, scalar, -1), LK_SCALAR);
    check_shape(lk_squeeze(t, scalar, 0), LK_SCALAR);
    lk_tape_free(t);
}

Test(view, refuses_bad_positions)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *scalar = lk_scalar(t, LK_F32, 1);
    PASSES_NULL(lk_slice(t, NULL, 0, 0, 1, 1));
    PASSES_NULL(lk_select(t, NULL, 0, 0));
    REFUSES(lk_slice(t, x, 2, 0, 1, 1), LK_ESHAPE, "lk_slice: dimension 2 is outside -2 … 1");
    REFUSES(lk_slice(t, scalar, 0, 0, 1, 1), LK_ESHAPE, "lk_slice: a scalar has no dimension 0");
    REFUSES(lk_slice(t, x, 0, 0, 1, 0), LK_EVALUE, "lk_slice: step 0 must be at least 1");
    REFUSES(lk_slice(t, x, 0, 1, 0, -1), LK_EVALUE, "lk_slice: step -1 must be at least 1");
    REFUSES(lk_slice(t, x, 0, 0, 1, INT64_MIN), LK_EVALUE,
            "lk_slice: step -9223372036854775808 must be at least 1");
    REFUSES(lk_select(t, x, 0, 2), LK_EVALUE,
            "lk_select: index 2 is out of range for dimension 0 of (2, 3)");
    REFUSES(lk_select(t, x, -1, -4), LK_EVALUE,
            "lk_select: index -4 is out of range for dimension 1 of (2, 3)");
    REFUSES(lk_select(t, x, 0, INT64_MIN), LK_EVALUE,
            "lk_select: index -9223372036854775808 is out of range for dimension 0 of (2, 3)");
    REFUSES(lk_select(t, lk_ones(t, LK_F32, LK_SHAPE(0, 3)), 0, 0), LK_EVALUE,
            "lk_select: index 0 is out of range for dimension 0 of (0, 3)");
    REFUSES(lk_select(t, x, 2, 0), LK_ESHAPE, "lk_select: dimension 2 is outside -2 … 1");
    REFUSES(lk_select(t, scalar, 0, 0), LK_ESHAPE, "lk_select: a scalar has no dimension 0");
    lk_tape_free(t);
}

Test(view, refuses_bad_shapes)
{
    const int64_t nine[] = { 1, 1, 1, 1, 1, 1, 1, 1, 6 }, huge = (int64_t)1 << 40;
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *one = lk_ones(t, LK_F32, LK_SHAPE(1));
    Tensor *empty = lk_ones(t, LK_F32, LK_SHAPE(0, 3));
    PASSES_NULL(lk_view(t, NULL, LK_SHAPE(6)));
    PASSES_NULL(lk_reshape(t, NULL, LK_SHAPE(6)));
    PASSES_NULL(lk_expand(t, NULL, LK_SHAPE(6)));
    REFUSES(lk_view(t, x, LK_SHAPE(5)), LK_ESHAPE,
            "lk_view: (2, 3) has 6 elements and cannot become (5,)");
    REFUSES(lk_view(t, x, LK_SCALAR), LK_ESHAPE,
            "lk_view: (2, 3) has 6 elements and cannot become ()");
    REFUSES(lk_reshape(t, x, LK_SHAPE(4, -1)), LK_ESHAPE,
            "lk_reshape: (2, 3) has 6 elements and cannot become (4, -1)");
    REFUSES(lk_reshape(t, x, LK_SHAPE(-1, -1)), LK_ESHAPE,
            "lk_reshape: (2, 3) has 6 elements and cannot become (-1, -1)");
    REFUSES(lk_reshape(t, x, LK_SHAPE(-2, -3)), LK_ESHAPE,
            "lk_reshape: (2, 3) has 6 elements and cannot become (-2, -3)");
    REFUSES(lk_reshape(t, x, LK_SHAPE(0, -1)), LK_ESHAPE,
            "lk_reshape: (2, 3) has 6 elements and cannot become (0, -1)");
    REFUSES(lk_reshape(t, empty, LK_SHAPE(0, -1)), LK_ESHAPE, /* any size would do */
            "lk_reshape: (0, 3) has 0 elements and cannot become (0, -1)");
    REFUSES(lk_reshape(t, x, 9, nine), LK_ESHAPE,
            "lk_reshape: (2, 3) cannot become 9 dimensions; 0 to 8 are possible");
    REFUSES(lk_reshape(t, x, -1, NULL), LK_ESHAPE,
            "lk_reshape: (2, 3) cannot become -1 dimensions; 0 to 8 are possible");
    REFUSES(lk_view(t, x, LK_SHAPE(huge, huge)), LK_ESHAPE,
            "lk_view: (2, 3) has 6 elements and cannot become (1099511627776, 1099511627776)");
    REFUSES(lk_view(t, empty, LK_SHAPE(huge, huge, 0)), LK_EMEMORY,
            "lk_view: (1099511627776, 1099511627776, 0) of float32 is larger than any memory");
    REFUSES(lk_reshape(t, empty, LK_SHAPE(0, huge, huge)), LK_EMEMORY,
            "lk_reshape: (0, 1099511627776, 1099511627776) of float32 is larger than any memory");
    REFUSES(lk_view(t, lk_T(t, x), LK_SHAPE(6)), LK_ESHAPE,
            "lk_view: the strides of (3, 2) allow no view as (6,); lk_reshape copies");
    REFUSES(lk_expand(t, x, LK_SHAPE(3)), LK_ESHAPE,
            "lk_expand: (2, 3) cannot be expanded to 1 dimensions");
    REFUSES(lk_expand(t, one, 9, nine), LK_ESHAPE,
            "lk_expand: (1,) cannot be expanded to 9 dimensions");
    REFUSES(lk_expand(t, one, -1, NULL), LK_ESHAPE,
            "lk_expand: (1,) cannot be expanded to -1 dimensions");
    REFUSES(
        lk_expand(t, x, LK_SHAPE(4, 3)), LK_ESHAPE,
        "lk_expand: size 4 of dimension 0 does not fit (2, 3): only dimensions of size 1 expand");
    REFUSES(
        lk_expand(t, x, LK_SHAPE(-1, 2, 3)), LK_ESHAPE,
        "lk_expand: size -1 of dimension 0 does not fit (2, 3): only dimensions of size 1 expand");
    REFUSES(
        lk_expand(t, x, LK_SHAPE(2, -3)), LK_ESHAPE,
        "lk_expand: size -3 of dimension 1 does not fit (2, 3): only dimensions of size 1 expand");
    REFUSES(
        lk_expand(t, x, LK_SHAPE(0, 3)), LK_ESHAPE,
        "lk_expand: size 0 of dimension 0 does not fit (2, 3): only dimensions of size 1 expand");
    REFUSES(lk_expand(t, one, LK_SHAPE(huge, huge)), LK_EMEMORY,
            "lk_expand: (1099511627776, 1099511627776) of float32 is larger than any memory");
    lk_tape_free(t);
}
