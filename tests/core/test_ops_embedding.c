/* test_ops_embedding.c - lk_embedding (core/ops_embedding.c) against PyTorch
 * (fixtures/ops_embedding.h), with a large table, strided ids, for every number of threads, and
 * called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_embedding.h"

/* arg: padding_idx, number of dimensions of the ids, their sizes, the ids */
static Tensor *embedding(Tape *t, Tensor **x, const Case *c)
{
    int ndim = (int)c->arg[1];
    Tensor *ids = lk_tensor(t, LK_I64, ndim, c->arg + 2, c->arg + 2 + ndim);
    return lk_embedding(t, x[0], ids, c->arg[0]);
}
static const Caller callers[] = { { "embedding", embedding } };

TEST_CASES(embedding, embedding_cases, callers)

/* Repeated ids add up in one order, whatever the number of threads: the one that a loop over the
 * ids has. */
Test(embedding, large_table_any_number_of_threads)
{
    enum { ROWS = 5000, D = 200, COUNT = 600 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *w = lk_param_new(d, LK_SHAPE(ROWS, D), NULL),
               *dy = lk_tensor_new(d, LK_SHAPE(3, COUNT / 3, D), NULL);
        Tensor *expected = lk_tensor_new(d, LK_SHAPE(ROWS, D), NULL);
        lk_normal_(w, 0, 1, &rng), lk_normal_(dy, 0, 1, &rng);
        /* Few rows, many times each; strided: the ids are every second one of a larger tensor. */
        Tensor *many = lk_randint(t, &rng, 4990, ROWS, LK_SHAPE(3, COUNT / 3, 2)),
               *ids = lk_select(t, many, 2, 1);
        Tensor *flat = lk_reshape(t, ids, LK_SHAPE(COUNT)),
               *rows = lk_view(t, dy, LK_SHAPE(COUNT, D));
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t id = (int64_t)lk_at(flat, LK_INDEX(i));
            Tensor *row = lk_select(t, expected, 0, id);
            if (id != 4993) check(lk_copy_(row, lk_add(t, row, lk_select(t, rows, 0, i)), NULL));
        }
        for (int threads = 1; threads <= 3; threads++) {
            lk_set_num_threads(threads);
            Tensor *y = lk_embedding(t, w, ids, 4993);
            check_shape(y, LK_SHAPE(3, COUNT / 3, D));
            check_equal(lk_view(t, lk_detach(t, y), LK_SHAPE(COUNT, D)),
                        lk_detach(t, lk_select_rows(t, w, flat)));
            check(lk_backward_with(t, y, dy, false), "%s", lk_tape_error(t)->message);
            check_equal(lk_grad(w), expected);
            lk_zero_grad_(w);
        }
        lk_free(w), lk_free(dy), lk_free(expected);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

Test(embedding, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *w = lk_ones(t, LK_F32, LK_SHAPE(4, 3));
    Tensor *ids = lk_tensor(t, LK_I64, LK_SHAPE(2, 2), (int64_t[]){ 0, 1, 4, 2 });
    Tensor *good = lk_tensor(t, LK_I64, LK_SHAPE(1), (int64_t[]){ 3 });
    PASSES_NULL(lk_embedding(t, NULL, ids, -1));
    PASSES_NULL(lk_embedding(t, w, NULL, -1));
    REFUSES(lk_embedding(t, w, ids, -1), LK_EVALUE,
            "lk_embedding: index out of range: id 4 at position 2 of ids (2, 2), but weight (4, "
            "3) has rows 0 … 3");
    REFUSES(lk_embedding(t, w, lk_tensor(t, LK_I64, LK_SCALAR, (int64_t[]){ -1 }), -1), LK_EVALUE,
            "lk_embedding: index out of range: id -1 at position 0 of ids (), but weight (4, 3) "
            "has rows 0 … 3");
    REFUSES(lk_embedding(t, w, good, 4), LK_EVALUE,
            "lk_embedding: padding_idx 4 is no row of weight (4, 3); -1 is none");
    REFUSES(lk_embedding(t, w, good, -2), LK_EVALUE,
            "lk_embedding: padding_idx -2 is no row of weight (4, 3); -1 is none");
    REFUSES(lk_embedding(t, w, lk_ones(t, LK_F32, LK_SHAPE(1)), -1), LK_EDTYPE,
            "lk_embedding: ids must be int64, not float32; lk_to converts");
    REFUSES(lk_embedding(t, good, good, -1), LK_EDTYPE,
            "lk_embedding: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_embedding(t, lk_ones(t, LK_F32, LK_SHAPE(4)), good, -1), LK_ESHAPE,
            "lk_embedding: weight (4,) must have 2 dimensions and ids (1,) at most 7");
    REFUSES(lk_embedding(t, w, lk_zeros(t, LK_I64, LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), -1),
            LK_ESHAPE,
            "lk_embedding: weight (4, 3) must have 2 dimensions and ids (1, 1, 1, 1, 1, 1, 1, 1) "
            "at most 7");
    check(lk_embedding(t, w, good, -1) && lk_tape_error(t)->code == LK_OK);
    lk_tape_free(t);
}
