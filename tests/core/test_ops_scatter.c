/* test_ops_scatter.c - lk_scatter_add, lk_index_add and lk_one_hot (core/ops_index.c) against
 * PyTorch (fixtures/ops_scatter.h), for any number of threads, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_scatter.h"

/* An index from the number of its dimensions, its sizes, and its values. */
static Tensor *shaped(Tape *t, const int64_t *a)
{
    Tensor *x = lk_zeros(t, LK_I64, (int)a[0], a + 1);
    for (int64_t i = 0; i < lk_numel(x); i++) ((int64_t *)x->data)[i] = a[1 + a[0] + i];
    return x;
}

static Tensor *index_add(Tape *t, Tensor **x, const Case *c)
{
    Tensor *index = lk_tensor(t, LK_I64, LK_SHAPE(c->args - 1), c->arg + 1);
    return lk_index_add(t, x[0], (int)c->arg[0], index, x[1]);
}

CALLER(scatter_add, lk_scatter_add(t, x[0], (int)c->arg[0], shaped(t, c->arg + 1), x[1]))

static Tensor *one_hot(Tape *t, Tensor **x, const Case *c)
{
    (void)x; /* a case needs an input, but this one has no gradient */
    return lk_one_hot(t, shaped(t, c->arg + 1), c->arg[0]);
}

static const Caller callers[] = { { "scatter_add", scatter_add },
                                  { "index_add", index_add },
                                  { "one_hot", one_hot } };

TEST_CASES(ops_scatter, scatter_cases, callers)

/* Only the part of src that the index covers is added, and gets a gradient. The backward of
 * PyTorch 1.13 fails for it. */
Test(ops_scatter, a_src_larger_than_the_index)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor *src = make_param(LK_F64, LK_SHAPE(3, 2), 10, 20, 30, 40, 50, 60);
    Tensor *index = lk_tensor(t, LK_I64, LK_SHAPE(2, 1), (int64_t[]){ 2, 2 });
    Tensor *y = lk_scatter_add(t, x, 1, index, src);
    check_values(y, 0, 1, 2, 13, 4, 5, 36);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
    check_values(lk_grad(x), 0, 2, 4, 26, 8, 10, 72);
    check_values(lk_grad(src), 0, 26, 0, 72, 0, 0, 0);
    lk_free(x), lk_free(src);
    lk_tape_free(t);
}

/* Repeated places are added in the order of the index: the bits do not depend on threads. */
Test(ops_scatter, repeated_places_for_any_number_of_threads)
{
    enum { PLACES = 7, COUNT = 900, N = 150 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(PLACES, N), NULL),
           *src = lk_param_new(LK_F32, LK_SHAPE(COUNT, N), NULL), *first[3] = { NULL };
    lk_normal_(x, 0, 1, &rng);
    lk_normal_(src, 0, 1, &rng);
    Tensor *at = lk_tensor_new(LK_I64, LK_SHAPE(COUNT), NULL);
    for (int i = 0; i < COUNT; i++) ((int64_t *)at->data)[i] = lk_random_int(&rng, 0, PLACES);
    for (int threads = 1; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        Tensor *y = lk_index_add(t, x, 0, at, src);
        Tensor *wide = lk_expand(t, lk_unsqueeze(t, at, 1), LK_SHAPE(COUNT, N));
        check_equal(lk_scatter_add(t, x, 0, wide, src), y);
        Tensor *across = lk_index_add(t, lk_T(t, x), 1, at, lk_T(t, src));
        check_equal(lk_contiguous(t, lk_T(t, across)), y);
        check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
        Tensor *now[] = { y, lk_grad(x), lk_grad(src) };
        for (int i = 0; i < 3; i++) {
            if (threads == 1) first[i] = lk_clone(now[i], NULL);
            else check_equal(now[i], first[i]);
        }
        lk_zero_grad_(x), lk_zero_grad_(src);
        lk_tape_reset(t);
    }
    for (int i = 0; i < 3; i++) lk_free(first[i]);
    lk_free(x), lk_free(src), lk_free(at);
    lk_tape_free(t);
}

Test(ops_scatter, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *at = lk_zeros(t, LK_I64, LK_SHAPE(2, 2));
    Tensor *wide = lk_ones(t, LK_F64, LK_SHAPE(2, 3)), *row = lk_zeros(t, LK_I64, LK_SHAPE(2));
    PASSES_NULL(lk_scatter_add(t, NULL, 0, at, x));
    PASSES_NULL(lk_scatter_add(t, x, 0, NULL, x));
    PASSES_NULL(lk_scatter_add(t, x, 0, at, NULL));
    REFUSES(lk_scatter_add(t, x, 0, x, x), LK_EDTYPE,
            "lk_scatter_add: the index must be int64, not float32");
    REFUSES(lk_scatter_add(t, x, 0, at, wide), LK_EDTYPE,
            "lk_scatter_add: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_scatter_add(t, x, 2, at, x), LK_ESHAPE,
            "lk_scatter_add: dimension 2 is outside -2 … 1");
    REFUSES(lk_scatter_add(t, x, 1, lk_zeros(t, LK_I64, LK_SHAPE(3, 2)), x), LK_ESHAPE,
            "lk_scatter_add: the index (3, 2) must have as many dimensions as x (2, 3) and src "
            "(2, 3), and be no larger than either, except than x along dimension 1");
    REFUSES(lk_scatter_add(t, x, 1, at, lk_ones(t, LK_F32, LK_SHAPE(2, 1))), LK_ESHAPE,
            "lk_scatter_add: the index (2, 2) must have as many dimensions as x (2, 3) and src "
            "(2, 1), and be no larger than either, except than x along dimension 1");
    lk_fill_(at, 3);
    REFUSES(lk_scatter_add(t, x, 1, at, x), LK_EVALUE,
            "lk_scatter_add: index 3 is out of bounds for dimension 1 of (2, 3)");

    PASSES_NULL(lk_index_add(t, NULL, 0, row, x));
    PASSES_NULL(lk_index_add(t, x, 0, NULL, x));
    PASSES_NULL(lk_index_add(t, x, 0, row, NULL));
    REFUSES(lk_index_add(t, x, 0, x, x), LK_EDTYPE,
            "lk_index_add: the index must be int64, not float32");
    REFUSES(lk_index_add(t, at, 0, row, at), LK_EDTYPE,
            "lk_index_add: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_index_add(t, x, -3, row, x), LK_ESHAPE,
            "lk_index_add: dimension -3 is outside -2 … 1");
    REFUSES(lk_index_add(t, x, 1, row, x), LK_ESHAPE,
            "lk_index_add: src (2, 3) must have the sizes of x (2, 3), but along dimension 1 that "
            "of the index (2,), which has 1 dimension");
    lk_fill_(row, -1);
    REFUSES(lk_index_add(t, x, 0, row, x), LK_EVALUE,
            "lk_index_add: index -1 is out of bounds for dimension 0 of (2, 3)");

    PASSES_NULL(lk_one_hot(t, NULL, 3));
    REFUSES(lk_one_hot(t, x, 3), LK_EDTYPE,
            "lk_one_hot: ids must be int64, not float32; lk_to converts");
    REFUSES(lk_one_hot(t, at, 0), LK_EVALUE, "lk_one_hot: 0 classes; there must be one at least");
    REFUSES(lk_one_hot(t, at, 3), LK_EVALUE,
            "lk_one_hot: id 3 at position 0 of ids (2, 2) is outside 0 … 2");
    REFUSES(lk_one_hot(t, lk_zeros(t, LK_I64, LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), 2), LK_ESHAPE,
            "lk_one_hot: ids (1, 1, 1, 1, 1, 1, 1, 1) already have 8 dimensions");
    lk_tape_free(t);
}
