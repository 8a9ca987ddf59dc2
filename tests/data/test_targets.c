/* test_targets.c - datasets whose samples are token ids, whose targets are no labels, or whose
 * batches a function makes; and random parts of a dataset. tests/data/test_loader.c has the order
 * of the batches. */
#include "tests/check.h"

#include "core/ops.h"
#include "data/loader.h"
#include "data/trainer_batches.h"
#include "tests/fixtures/loader_orders.h"

static Dataset *dataset_of(Tensor *x, Tensor *y)
{
    Error err = { 0 };
    Dataset *d = lk_dataset_new(x, y, LK_TO_TENSOR, &err);
    check_no_error(&err);
    return d;
}

/* The first batch of two samples, in order. */
static Batch first_batch(const Dataset *d, DType dtype, DataLoader **loader)
{
    static Rng rng;
    Error err = { 0 };
    Batch b;
    lk_manual_seed(&rng, 0);
    *loader = lk_loader_as_new(d, 2, false, dtype, &rng, &err);
    check_no_error(&err);
    lk_loader_begin(*loader);
    check(lk_loader_next(*loader, &b));
    return b;
}

/* ---- dtypes and shapes ---------------------------------------------------------------------- */

Test(targets, floats_come_in_the_dtype_of_the_loader)
{
    for (DType from = LK_F32; from <= LK_F64; from++)
        for (DType to = LK_F32; to <= LK_F64; to++) {
            DataLoader *l;
            Dataset *d = dataset_of(make_tensor(LK_U8, LK_SHAPE(3, 1), 0, 255, 51),
                                    make_tensor(from, LK_SHAPE(3, 2, 1), 0.1, 2, -3, 4, 5, 6));
            Batch b = first_batch(d, to, &l);
            check(b.x->dtype == to && b.y->dtype == to);
            check_values(b.x, 0, 0, 1);
            check_shape(b.y, LK_SHAPE(2, 2, 1));
            check_values(b.y, from == LK_F64 && to == LK_F64 ? 0 : 1e-7, 0.1, 2, -3, 4);
            check(lk_loader_next(l, &b));
            check_shape(b.y, LK_SHAPE(1, 2, 1));
            check_values(b.y, 0, 5, 6);
            lk_loader_free(l);
            lk_dataset_free(d);
        }
}

Test(targets, integers_and_truth_values_stay_what_they_are)
{
    DataLoader *l;
    Dataset *tokens = dataset_of(make_tensor(LK_I64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6),
                                 make_tensor(LK_I64, LK_SHAPE(2, 3), 2, 3, 9, 5, 6, 9));
    Batch b = first_batch(tokens, LK_F32, &l);
    check(b.x->dtype == LK_I64 && b.y->dtype == LK_I64);
    check_shape(b.x, LK_SHAPE(2, 3));
    check_values(b.x, 0, 1, 2, 3, 4, 5, 6);
    check_values(b.y, 0, 2, 3, 9, 5, 6, 9);
    lk_loader_free(l);
    lk_dataset_free(tokens);

    Dataset *masks = dataset_of(make_tensor(LK_F32, LK_SHAPE(2), 0.5, 1.5),
                                make_tensor(LK_BOOL, LK_SHAPE(2, 2), 1, 0, 0, 1));
    b = first_batch(masks, LK_F64, &l);
    check(b.x->dtype == LK_F64 && b.y->dtype == LK_BOOL);
    check_shape(b.x, LK_SHAPE(2));
    check_values(b.y, 0, 1, 0, 0, 1);
    lk_loader_free(l);
    lk_dataset_free(masks);

    /* a label a pixel: bytes of y are never transformed */
    Dataset *pixels = dataset_of(make_tensor(LK_U8, LK_SHAPE(2, 2), 0, 255, 0, 255),
                                 make_tensor(LK_U8, LK_SHAPE(2, 2), 7, 255, 0, 1));
    b = first_batch(pixels, LK_F32, &l);
    check(b.y->dtype == LK_I64);
    check_values(b.y, 0, 7, 255, 0, 1);
    lk_loader_free(l);
    lk_dataset_free(pixels);
}

Test(targets, what_is_no_label_has_none)
{
    Error err = { 0 };
    Dataset *d = dataset_of(make_tensor(LK_U8, LK_SHAPE(2, 1), 1, 2),
                            make_tensor(LK_I64, LK_SHAPE(2, 1), 1, 2));
    check(lk_dataset_label(d, 0) == -1 && lk_dataset_row(d, 1) == 1);
    check(!lk_filter_classes_new(d, LK_SHAPE(1), &err));
    check_error(&err, LK_EDTYPE, "the targets are int64 (2, 1); classes are told by labels");
    Dataset *one = lk_subset_new(d, LK_SHAPE(1), NULL);
    check(one->count == 1);
    lk_dataset_free(one);
    lk_dataset_free(d);
}

/* ---- collate -------------------------------------------------------------------------------- */

/* Sample i is the number i, i times, padded with -1; its target is i. */
static bool repeat(const Dataset *d, const int64_t *rows, int64_t n, Batch *b, void *user,
                   Error *err)
{
    const int64_t *lengths = d->x->data;
    int64_t longest = 1;
    if (*(int *)user > 0 && rows[0] >= *(int *)user)
        return lk_error_set(err, LK_EVALUE, "row %lld is too long", (long long)rows[0]);
    for (int64_t i = 0; i < n; i++)
        if (lengths[rows[i]] > longest) longest = lengths[rows[i]];
    b->x = lk_tensor_new(LK_I64, LK_SHAPE(n, longest), err);
    b->y = lk_tensor_new(LK_I64, LK_SHAPE(n), err);
    if (!b->x || !b->y) return false;
    lk_fill_(b->x, -1);
    for (int64_t i = 0; i < n; i++) {
        int64_t length = lengths[rows[i]], *x = (int64_t *)b->x->data + i * longest;
        for (int64_t k = 0; k < length; k++) x[k] = length;
        ((int64_t *)b->y->data)[i] = length;
    }
    return true;
}

Test(targets, a_function_makes_batches_of_several_lengths)
{
    check_alloc_begin();
    Error err = { 0 };
    Rng rng;
    int limit = 0;
    lk_manual_seed(&rng, 0);
    Tensor *lengths = make_tensor(LK_I64, LK_SHAPE(5), 1, 3, 2, 4, 1);
    Dataset *d = dataset_of(lengths, lk_tensor_retain(lengths));
    DataLoader *l = lk_loader_collate_new(d, 2, false, repeat, &limit, &rng, &err);
    check_no_error(&err);
    check(lk_loader_len(l) == 3);
    for (int pass = 0; pass < 2; pass++) {
        Batch b;
        lk_loader_begin(l);
        check(lk_loader_next(l, &b));
        check_shape(b.x, LK_SHAPE(2, 3));
        check_values(b.x, 0, 1, -1, -1, 3, 3, 3);
        check_values(b.y, 0, 1, 3);
        check(lk_loader_next(l, &b) && b.first == 2);
        check_shape(b.x, LK_SHAPE(2, 4));
        check(lk_loader_next(l, &b));
        check_shape(b.x, LK_SHAPE(1, 1));
        check(!lk_loader_next(l, &b) && l->error.code == LK_OK);
    }

    /* shuffled: the order of a loader that copies; through subsets, too */
    Dataset *some = lk_subset_new(d, LK_SHAPE(3, 1, 2), &err);
    Rng first = rng;
    DataLoader *copies = lk_loader_new(some, 1, true, &rng, &err);
    DataLoader *made = lk_loader_collate_new(some, 1, true, repeat, &limit, &first, &err);
    lk_loader_begin(copies);
    lk_loader_begin(made);
    for (Batch a, b; lk_loader_next(copies, &a);) {
        check(lk_loader_next(made, &b));
        check_equal(a.y, b.y);
    }
    lk_loader_free(copies);
    lk_loader_free(made);
    lk_dataset_free(some);

    /* a failure ends the pass, with the reason, and the next pass begins without it */
    Batch b;
    limit = 2;
    lk_loader_begin(l);
    check(lk_loader_next(l, &b));
    check(!lk_loader_next(l, &b));
    check_error(&l->error, LK_EVALUE, "row 2 is too long");
    check(!lk_loader_next(l, &b));
    lk_loader_begin(l);
    check(l->error.code == LK_OK && lk_loader_next(l, &b));

    /* the Trainer hears the reason */
    TrainerBatches batches = lk_loader_batches(l);
    TrainerBatch t;
    check(!batches.next(l, &t, &err));
    check_error(&err, LK_EVALUE, "row 2 is too long");
    lk_loader_free(l);
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}

static bool on_tape(const Dataset *d, const int64_t *rows, int64_t n, Batch *b, void *user,
                    Error *err)
{
    (void)d, (void)rows, (void)err;
    b->x = lk_ones(user, LK_F32, LK_SHAPE(n, 2));
    return b->x;
}

/* The batch's tensors may belong to a tape, which may go before the loader does. */
Test(targets, a_function_makes_batches_on_a_tape)
{
    check_alloc_begin();
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(3), 1, 2, 3);
    Dataset *d = dataset_of(x, lk_tensor_retain(x));
    DataLoader *l = lk_loader_collate_new(d, 2, true, on_tape, t, &rng, &err);
    Batch b;
    lk_loader_begin(l);
    check(lk_loader_next(l, &b) && b.x && !b.y);
    lk_tape_reset(t);
    check(lk_loader_next(l, &b));
    check_values(b.x, 0, 1, 1);
    lk_tape_free(t);
    lk_loader_free(l);
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}

Test(targets, a_loader_needs_its_function_and_memory)
{
    check_alloc_begin();
    Error err = { 0 };
    Rng rng;
    int limit = 0;
    lk_manual_seed(&rng, 0);
    Tensor *x = make_tensor(LK_I64, LK_SHAPE(3), 1, 2, 3);
    Dataset *d = dataset_of(x, lk_tensor_retain(x));
    check(!lk_loader_collate_new(d, 2, true, NULL, NULL, &rng, &err));
    check_error(&err, LK_EVALUE, "lk_loader_collate_new: the function is NULL");
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        err = (Error){ 0 };
        check_fail_after(n);
        DataLoader *l = lk_loader_collate_new(d, 2, true, repeat, &limit, &rng, &err);
        Batch b;
        lk_loader_begin(l);
        bool ok = lk_loader_next(l, &b);
        failed = check_alloc_failed();
        check(ok == !failed);
        if (l && failed) check_error(&l->error, LK_EMEMORY, "memory");
        if (!l) check_error(&err, LK_EMEMORY, "memory");
        lk_loader_free(l);
        check(check_alloc_live() == live);
    }
    lk_dataset_free(d);
}

/* ---- random parts --------------------------------------------------------------------------- */

Test(targets, parts_are_those_of_pytorch)
{
    for (size_t k = 0; k < sizeof split_cases / sizeof *split_cases; k++) {
        const struct SplitCase *c = &split_cases[k];
        int64_t n = 0;
        for (int i = 0; i < c->count; i++) n += c->lengths[i];
        Dataset *d = dataset_of(lk_tensor_new(LK_F32, LK_SHAPE(n), NULL),
                                lk_tensor_new(LK_F32, LK_SHAPE(n, 2), NULL));
        Dataset *parts[3];
        Rng rng;
        lk_manual_seed(&rng, c->seed);
        check(lk_random_split(d, c->count, c->lengths, &rng, parts, NULL));
        lk_dataset_free(d); /* the parts keep the tensors */
        for (int i = 0, at = 0; i < c->count; i++) {
            check(parts[i]->count == c->lengths[i]);
            for (int64_t j = 0; j < parts[i]->count; j++, at++)
                check(lk_dataset_row(parts[i], j) == c->index[at], "case %zu at %d", k, at);
            lk_dataset_free(parts[i]);
        }
        check(lk_random_seed(&rng) == c->after, "case %zu: another number of draws", k);
    }
}

static void check_split_refused(const Dataset *d, int count, const int64_t *lengths, Rng *rng,
                                const char *text)
{
    Error err = { 0 };
    Dataset *parts[3] = { (Dataset *)d, (Dataset *)d, (Dataset *)d };
    check(!lk_random_split(d, count, lengths, rng, parts, &err));
    check_error(&err, LK_EVALUE, text);
    for (int i = 0; d && i < count; i++) check(!parts[i] || !rng || !lengths);
}

Test(targets, lengths_that_do_not_add_up_are_refused)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    const Rng before = rng;
    Dataset *d = dataset_of(lk_tensor_new(LK_F32, LK_SHAPE(10), NULL),
                            lk_tensor_new(LK_F32, LK_SHAPE(10), NULL));
    check_split_refused(d, LK_SHAPE(7, 2), &rng, "the lengths add up to 9; the dataset has 10");
    check_split_refused(d, LK_SHAPE(7, 4), &rng, "add up to more than the 10 samples");
    check_split_refused(d, LK_SHAPE(INT64_MAX, INT64_MAX), &rng, "add up to more than the 10");
    check_split_refused(d, LK_SHAPE(11, -1), &rng, "more than the 10 samples");
    check_split_refused(d, LK_SHAPE(5, -1, 6), &rng, "lk_random_split: length 1 is -1");
    check_split_refused(d, 0, NULL, &rng, "add up to 0");
    check_split_refused(d, LK_SHAPE(10), NULL, "an argument is NULL");
    check_split_refused(NULL, LK_SHAPE(10), &rng, "an argument is NULL");
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        Dataset *parts[2];
        check_fail_after(n);
        bool ok = lk_random_split(d, LK_SHAPE(6, 4), &rng, parts, &err);
        failed = check_alloc_failed();
        check(ok == !failed);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
        if (failed) check(!parts[0] && !parts[1]);
        if (failed) check(rng.next == before.next, "a split that failed draws nothing");
        for (int i = 0; i < 2; i++) lk_dataset_free(parts[i]);
        check(check_alloc_live() == live);
    }
    lk_dataset_free(d);
}
