/* test_dataset.c - datasets, subsets and class filters: what belongs to them, who owns it, what is
 * refused. */
#include "tests/check.h"

#include <math.h>

#include "core/ops.h"
#include "data/dataset.h"
#include "nn/module.h"

/* Six samples with the labels 3 9 3 0 9 9. */
static Dataset *six(DType labels)
{
    Error err = { 0 };
    Tensor *x = make_tensor(LK_U8, LK_SHAPE(6, 2), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    Tensor *y = make_tensor(labels, LK_SHAPE(6), 3, 9, 3, 0, 9, 9);
    Dataset *d = lk_dataset_new(x, y, LK_TO_TENSOR, &err);
    check_no_error(&err);
    return d;
}

/* The rows and labels of d are these pairs. */
static void check_samples(const Dataset *d, int64_t count, const int64_t pairs[][2])
{
    check(d->count == count, "%lld samples", (long long)d->count);
    for (int64_t i = 0; i < count; i++) {
        check(lk_dataset_row(d, i) == pairs[i][0], "row %lld is %lld", (long long)i,
              (long long)lk_dataset_row(d, i));
        check(lk_dataset_label(d, i) == pairs[i][1], "label %lld is %lld", (long long)i,
              (long long)lk_dataset_label(d, i));
    }
}

Test(dataset, all_samples)
{
    static const int64_t pairs[][2] = {
        { 0, 3 }, { 1, 9 }, { 2, 3 }, { 3, 0 }, { 4, 9 }, { 5, 9 }
    };
    Dataset *bytes = six(LK_U8), *ints = six(LK_I64);
    check_samples(bytes, 6, pairs);
    check_samples(ints, 6, pairs);
    check(lk_dataset_row(ints, -1) == -1 && lk_dataset_row(ints, 6) == -1);
    check(lk_dataset_label(ints, -1) == -1 && lk_dataset_label(ints, 6) == -1);
    lk_dataset_free(bytes);
    lk_dataset_free(ints);
    lk_dataset_free(NULL);
}

Test(dataset, subset)
{
    Error err = { 0 };
    Dataset *d = six(LK_I64);
    Dataset *s = lk_subset_new(d, LK_SHAPE(5, 0, 5, 3), &err);
    check_samples(s, 4, (const int64_t[][2]){ { 5, 9 }, { 0, 3 }, { 5, 9 }, { 3, 0 } });
    check(s->x == d->x && s->y == d->y, "a subset shares the tensors");
    check(lk_dataset_row(s, 4) == -1);

    /* A subset of a subset counts in the subset's numbers. */
    Dataset *inner = lk_subset_new(s, LK_SHAPE(3, 2), &err);
    check_samples(inner, 2, (const int64_t[][2]){ { 3, 0 }, { 5, 9 } });

    /* It lives on without the dataset it came from. */
    lk_dataset_free(d);
    lk_dataset_free(s);
    check_samples(inner, 2, (const int64_t[][2]){ { 3, 0 }, { 5, 9 } });

    Dataset *none = lk_subset_new(inner, 0, NULL, &err);
    check_no_error(&err);
    check(none && none->count == 0 && lk_dataset_row(none, 0) == -1);
    lk_dataset_free(none);
    lk_dataset_free(inner);
}

Test(dataset, filter)
{
    Error err = { 0 };
    for (int wide = 0; wide < 2; wide++) {
        Dataset *d = six(wide ? LK_I64 : LK_U8);
        Dataset *nines = lk_filter_classes_new(d, LK_SHAPE(9), &err);
        check_samples(nines, 3, (const int64_t[][2]){ { 1, 9 }, { 4, 9 }, { 5, 9 } });
        Dataset *two = lk_filter_classes_new(d, LK_SHAPE(3, 7, 0), &err);
        check_samples(two, 3, (const int64_t[][2]){ { 0, 3 }, { 2, 3 }, { 3, 0 } });
        Dataset *inner = lk_filter_classes_new(two, LK_SHAPE(0), &err);
        check_samples(inner, 1, (const int64_t[][2]){ { 3, 0 } });
        check_no_error(&err);
        lk_dataset_free(inner);
        lk_dataset_free(two);
        lk_dataset_free(nines);
        lk_dataset_free(d);
    }
}

/* ---- errors --------------------------------------------------------------------------------- */

/* Both tensors are consumed, although nothing comes of it. */
static void check_refused(Tensor *x, Tensor *y, Transform transform, ErrorCode code,
                          const char *text)
{
    Error err = { 0 };
    check(lk_dataset_new(x, y, transform, &err) == NULL);
    check_error(&err, code, text);
    check(check_alloc_live() == 0, "%s: a tensor was left behind", text);
}

Test(dataset, errors)
{
    check_alloc_begin();
#define SOME_X make_tensor(LK_U8, LK_SHAPE(2, 1), 1, 2)
#define SOME_Y make_tensor(LK_U8, LK_SHAPE(2), 1, 2)
    check_refused(make_tensor(LK_U8, LK_SHAPE(3, 1), 1, 2, 3), SOME_Y, LK_TO_TENSOR, LK_ESHAPE,
                  "(3, 1) and targets (2,)");
    check_refused(make_tensor(LK_U8, LK_SCALAR, 1), SOME_Y, LK_TO_TENSOR, LK_ESHAPE, "samples ()");
    check_refused(SOME_X, make_tensor(LK_F32, LK_SCALAR, 1), LK_TO_TENSOR, LK_ESHAPE,
                  "targets ()");
    check_refused(SOME_X, make_tensor(LK_F32, LK_SHAPE(1, 2), 1, 2), LK_TO_TENSOR, LK_ESHAPE,
                  "targets (1, 2)");
    check_refused(make_tensor(LK_BOOL, LK_SHAPE(2, 1), 1, 0), SOME_Y, LK_TO_TENSOR, LK_EDTYPE,
                  "not bool");
    check_refused(SOME_X, SOME_Y, (Transform){ 0, 0 }, LK_EVALUE, "std 0");
    check_refused(SOME_X, SOME_Y, (Transform){ NAN, 1 }, LK_EVALUE, "mean nan");
    check_refused(SOME_X, SOME_Y, (Transform){ 0, INFINITY }, LK_EVALUE, "std inf");
    check_refused(NULL, SOME_Y, LK_TO_TENSOR, LK_EVALUE, "x is NULL");
    check_refused(SOME_X, NULL, LK_TO_TENSOR, LK_EVALUE, "y is NULL");

    /* The transform means nothing to samples that are floats already. */
    Error err = { 0 };
    Dataset *d = lk_dataset_new(make_tensor(LK_F32, LK_SHAPE(2, 1), 1, 2), SOME_Y,
                                (Transform){ 0, 0 }, &err);
    check_no_error(&err);
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}

/* A dataset may outlive a step, a tape's tensors do not. */
Test(dataset, tensors_of_a_tape_are_refused)
{
    Error err = { 0 };
    Tape *t = lk_tape_new(&err);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(2, 3)), *y = lk_arange(t, 0, 2);
    check(lk_dataset_new(x, lk_clone(y, &err), LK_TO_TENSOR, &err) == NULL);
    check_error(&err, LK_ESTATE, "x belongs to a tape");
    err = (Error){ 0 };
    check(lk_dataset_new(lk_clone(x, &err), y, LK_TO_TENSOR, &err) == NULL);
    check_error(&err, LK_ESTATE, "y belongs to a tape");
    err = (Error){ 0 };
    Dataset *d = lk_dataset_new(lk_clone(x, &err), lk_clone(y, &err), LK_TO_TENSOR, &err);
    check_no_error(&err);
    lk_tape_free(t);
    check(lk_dataset_label(d, 1) == 1);
    lk_dataset_free(d);
}

Test(dataset, errors_of_subsets)
{
    Error err = { 0 };
    Dataset *d = six(LK_U8);
    check(lk_subset_new(d, LK_SHAPE(0, 6), &err) == NULL);
    check_error(&err, LK_EVALUE, "index[1] is 6; the dataset has 6 samples");
    err = (Error){ 0 };
    check(lk_subset_new(d, LK_SHAPE(-1), &err) == NULL);
    check_error(&err, LK_EVALUE, "index[0] is -1");
    err = (Error){ 0 };
    check(lk_subset_new(d, -3, NULL, &err) == NULL);
    check_error(&err, LK_EVALUE, "-3 indices");
    err = (Error){ 0 };
    check(lk_filter_classes_new(d, LK_SHAPE(7, 8), &err) == NULL);
    check_error(&err, LK_EVALUE, "none of 6 samples has a label out of { 7, 8 }");
    err = (Error){ 0 };
    check(lk_filter_classes_new(d, LK_SHAPE(1, 2, 4, 5), &err) == NULL);
    check_error(&err, LK_EVALUE, "{ 1, 2, 4, ... }");
    err = (Error){ 0 };
    check(lk_filter_classes_new(d, 0, NULL, &err) == NULL);
    check_error(&err, LK_EVALUE, "{ }");

    /* The first failure stays: `lk_subset_new(lk_mnist_new(…, &err), …, &err)`. */
    err = (Error){ 0 };
    lk_error_set(&err, LK_EIO, "no such file");
    check(lk_subset_new(NULL, LK_SHAPE(0), &err) == NULL &&
          lk_filter_classes_new(NULL, LK_SHAPE(0), &err) == NULL);
    check_error(&err, LK_EIO, "no such file");
    lk_dataset_free(d);
}

Test(dataset, out_of_memory)
{
    check_alloc_begin();
    Dataset *d = six(LK_I64);
    int64_t before = check_alloc_live(), tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        Dataset *copy =
            lk_dataset_new(lk_tensor_retain(d->x), lk_tensor_retain(d->y), LK_TO_TENSOR, &err);
        Dataset *nines = lk_filter_classes_new(copy, LK_SHAPE(9), &err);
        Dataset *first = lk_subset_new(nines, LK_SHAPE(0), &err);
        failed = check_alloc_failed();
        check(!first == (failed > 0));
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_dataset_free(copy);
        lk_dataset_free(nines);
        lk_dataset_free(first);
        check(check_alloc_live() == before);
    }
    /* one block for the first, two for each of the others, and the run that succeeds */
    check(tried == 6);
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}
