/* test_ops_sort.c - lk_cumsum (core/ops_cumsum.c), lk_sort, lk_argsort and lk_topk
 * (core/ops_sort.c) against PyTorch (fixtures/ops_sort.h), on large rows and other dtypes, and
 * called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_distinct.h"
#include "tests/fixtures/ops_sort.h"

static Tensor *sort_index(Tape *t, Tensor **x, const Case *c)
{
    Tensor *index;
    lk_sort(t, x[0], (int)c->arg[0], c->arg[1], &index);
    return index;
}

static Tensor *topk_index(Tape *t, Tensor **x, const Case *c)
{
    Tensor *index;
    lk_topk(t, x[0], c->arg[0], (int)c->arg[1], c->arg[2], &index);
    return index;
}

CALLER(cumsum, lk_cumsum(t, x[0], (int)c->arg[0]))
CALLER(sort, lk_sort(t, x[0], (int)c->arg[0], c->arg[1], NULL))
CALLER(argsort, lk_argsort(t, x[0], (int)c->arg[0], c->arg[1]))
CALLER(topk, lk_topk(t, x[0], c->arg[0], (int)c->arg[1], c->arg[2], NULL))

static const Caller callers[] = {
    { "cumsum", cumsum },   { "sort", sort }, { "sort_index", sort_index },
    { "argsort", argsort }, { "topk", topk }, { "topk_index", topk_index },
};

TEST_CASES(ops_sort, sort_cases, callers)

/* A value that is there many times: equal elements keep their order, and topk takes the first of
 * them, in both directions. */
Test(ops_sort, large_rows_are_in_order)
{
    enum { ROWS = 3, N = 5000 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 2);
    Tensor *x = lk_to(t, lk_randint(t, &rng, -500, 500, LK_SHAPE(ROWS, N)), LK_F32);
    ((float *)x->data)[7] = NAN;
    for (int descending = 0; descending < 2; descending++) {
        Tensor *index, *y = lk_sort(t, x, 1, descending, &index);
        check_equal(lk_gather(t, x, 1, index), y);
        check_equal(lk_argsort(t, x, 1, descending), index);
        const float *v = y->data;
        const int64_t *at = index->data;
        for (int i = 1; i < ROWS * N; i++) {
            if (i % N == 0) continue;
            float before = descending ? v[i] : v[i - 1], after = descending ? v[i - 1] : v[i];
            check(before <= after || isnan(after), "row of %d, element %d", N, i);
            check(v[i - 1] != v[i] || at[i - 1] < at[i], "equal elements at %d", i);
        }
        for (int64_t k = 1; k < N; k = 3 * k + 1) {
            Tensor *places, *best = lk_topk(t, x, k, 1, descending, &places);
            check_equal(best, lk_contiguous(t, lk_slice(t, y, 1, 0, k, 1)));
            check_equal(places, lk_contiguous(t, lk_slice(t, index, 1, 0, k, 1)));
        }
    }
    lk_tape_free(t);
}

Test(ops_sort, any_number_of_threads)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 4);
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(70, 90, 7), NULL), *first[2] = { NULL };
    lk_normal_(x, 0, 1, &rng);
    for (int threads = 1; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        Tensor *sorted = lk_sort(t, x, 0, true, NULL);
        Tensor *y = lk_cumsum(t, lk_topk(t, sorted, 60, 1, true, NULL), 1);
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

Test(ops_sort, other_dtypes_and_scalars)
{
    Tape *t = lk_tape_new(NULL);
    int64_t whole[] = { INT64_MAX, -1, INT64_MAX - 1, INT64_MIN };
    Tensor *x = lk_tensor(t, LK_I64, LK_SHAPE(4), whole), *index;
    Tensor *y = lk_sort(t, x, 0, false, &index);
    check_bits(y, ((int64_t[]){ INT64_MIN, -1, INT64_MAX - 1, INT64_MAX }), 4);
    check_values(index, 0, 3, 1, 2, 0);
    check_values(lk_argsort(t, lk_tensor(t, LK_BOOL, LK_SHAPE(3), (bool[]){ 1, 0, 1 }), 0, true),
                 0, 0, 2, 1);
    check_values(
        lk_topk(t, lk_tensor(t, LK_U8, LK_SHAPE(3), (uint8_t[]){ 1, 255, 7 }), 2, 0, true, NULL),
        0, 255, 7);
    Tensor *steps = lk_tensor(t, LK_I64, LK_SHAPE(2, 3), (int64_t[]){ 1, 2, 3, 4, 5, 6 });
    check_values(lk_cumsum(t, steps, 0), 0, 1, 2, 3, 5, 7, 9);
    check_values(lk_cumsum(t, steps, 1), 0, 1, 3, 6, 4, 9, 15);
    y = lk_topk(t, lk_scalar(t, LK_F32, 3), 1, 0, true, &index);
    check_shape(y, LK_SCALAR);
    check(lk_item(y) == 3 && lk_item(index) == 0);
    lk_tape_free(t);
}

/* 2^24 + 1 + … in float32: sums are taken in double, as PyTorch does. */
Test(ops_sort, cumsum_is_taken_in_double)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(4), 0x1p24, 1, 1, 1);
    check_values(lk_cumsum(t, x, 0), 0, 0x1p24, 0x1p24, 0x1p24 + 2, 0x1p24 + 4);
    lk_free(x);
    lk_tape_free(t);
}

Test(ops_sort, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *index = x;
    PASSES_NULL(lk_cumsum(t, NULL, 0));
    REFUSES(lk_cumsum(t, x, 2), LK_ESHAPE, "lk_cumsum: dimension 2 is outside -2 … 1");
    REFUSES(lk_cumsum(t, lk_ones(t, LK_BOOL, LK_SHAPE(2)), 0), LK_EDTYPE,
            "lk_cumsum: takes float32, float64 or int64, not bool; lk_to converts");
    PASSES_NULL(lk_sort(t, NULL, 0, false, NULL));
    REFUSES(lk_sort(t, x, -3, false, &index), LK_ESHAPE,
            "lk_sort: dimension -3 is outside -2 … 1");
    check(!index);
    PASSES_NULL(lk_argsort(t, NULL, 0, false));
    REFUSES(lk_argsort(t, x, 2, false), LK_ESHAPE, "lk_argsort: dimension 2 is outside -2 … 1");
    PASSES_NULL(lk_topk(t, NULL, 1, 0, true, NULL));
    REFUSES(lk_topk(t, x, 1, 2, true, NULL), LK_ESHAPE, "lk_topk: dimension 2 is outside -2 … 1");
    REFUSES(lk_topk(t, x, 4, 1, true, NULL), LK_EVALUE,
            "lk_topk: k 4 is outside 0 … 3, dimension 1 of (2, 3)");
    REFUSES(lk_topk(t, x, -1, 0, true, NULL), LK_EVALUE,
            "lk_topk: k -1 is outside 0 … 2, dimension 0 of (2, 3)");
    lk_tape_free(t);
}
