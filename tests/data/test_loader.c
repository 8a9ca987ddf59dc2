/* test_loader.c - batches come in PyTorch's order, with PyTorch's numbers, and cost no memory. */
#include "tests/check.h"

#include <string.h>

#include "core/ops.h"
#include "data/loader.h"
#include "nn/module.h"
#include "tests/fixtures/loader_orders.h"

/* n samples; sample i is { i % 256, 255 - i % 256 } in bytes, and its label is i. */
static Dataset *numbered(int64_t n, Transform transform)
{
    Error err = { 0 };
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(n, 2), &err),
           *y = lk_tensor_new(LK_I64, LK_SHAPE(n), &err);
    check_no_error(&err);
    for (int64_t i = 0; i < n; i++) {
        ((uint8_t *)x->data)[2 * i] = (uint8_t)(i % 256);
        ((uint8_t *)x->data)[2 * i + 1] = (uint8_t)(255 - i % 256);
        ((int64_t *)y->data)[i] = i;
    }
    Dataset *d = lk_dataset_new(x, y, transform, &err);
    check_no_error(&err);
    return d;
}

static DataLoader *loader_of(const Dataset *d, int64_t batch_size, bool shuffle, Rng *rng)
{
    Error err = { 0 };
    DataLoader *l = lk_loader_new(d, batch_size, shuffle, rng, &err);
    check_no_error(&err);
    return l;
}

/* ---- PyTorch's order ------------------------------------------------------------------------ */

typedef struct Seen { /* the indices that came out */
    int64_t count, index[512];
} Seen;

/* The next batch: its samples belong to its labels, and are the next ones of the pass. */
static bool see(DataLoader *l, Seen *seen)
{
    int64_t first = l->next;
    Batch b;
    if (!lk_loader_next(l, &b)) return false;
    check(b.first == first);
    check_shape(b.y, LK_SHAPE(b.y->shape[0]));
    check_shape(b.x, LK_SHAPE(b.y->shape[0], 2));
    for (int64_t i = 0; i < b.y->shape[0]; i++) {
        int64_t label = ((int64_t *)b.y->data)[i];
        check(((float *)b.x->data)[2 * i] == to_tensor[label % 256]);
        check(((float *)b.x->data)[2 * i + 1] == to_tensor[255 - label % 256]);
        check(seen->count < 512);
        seen->index[seen->count++] = label;
    }
    return true;
}

static void act(char action, DataLoader *loader, DataLoader *plain, Rng *rng, Seen *seen)
{
    DataLoader *l = action == 'e' ? plain : loader;
    lk_loader_begin(l);
    if (action == 'w') lk_random_seed(rng);
    if (action == 'b' || action == 'w') see(l, seen);
    if (action == 'p' || action == 'e')
        while (see(l, seen)) continue;
}

Test(loader, order_is_that_of_pytorch)
{
    for (size_t k = 0; k < sizeof loader_cases / sizeof *loader_cases; k++) {
        const struct LoaderCase *c = &loader_cases[k];
        Rng rng;
        lk_manual_seed(&rng, c->seed);
        Dataset *d = numbered(c->n, LK_TO_TENSOR);
        DataLoader *loader = loader_of(d, c->batch_size, c->shuffle, &rng);
        DataLoader *plain = loader_of(d, c->batch_size, false, &rng);
        loader->drop_last = c->drop_last;
        Seen seen = { 0 };
        for (const char *a = c->actions; *a; a++) act(*a, loader, plain, &rng, &seen);
        check(seen.count == c->count, "case %zu: %lld indices, expected %d", k,
              (long long)seen.count, c->count);
        for (int i = 0; i < c->count; i++)
            check(seen.index[i] == c->index[i], "case %zu at %d: expected %d, got %lld", k, i,
                  c->index[i], (long long)seen.index[i]);
        check(lk_random_seed(&rng) == c->after, "case %zu: another number of draws", k);
        lk_loader_free(loader);
        lk_loader_free(plain);
        lk_dataset_free(d);
    }
}

static void draw(Rng *rng, int64_t words)
{
    for (int64_t i = 0; i < words; i++) lk_random_u32(rng);
}

/* One pass over the loader, `limit` batches at most, compared with what PyTorch gave. */
static void check_pass(DataLoader *l, int64_t limit, const LoaderPass *expected)
{
    enum { EDGE = 8 };
    uint64_t hash = 0xcbf29ce484222325u;
    int64_t count = 0;
    lk_loader_begin(l);
    for (Batch b; limit > 0 && lk_loader_next(l, &b); limit--) {
        for (int64_t i = 0; i < b.y->shape[0]; i++, count++) {
            int64_t index = ((int64_t *)b.y->data)[i];
            int64_t edge = count < EDGE ? count : count - expected->count + 2 * EDGE;
            if (count < EDGE || edge >= EDGE)
                check(index == expected->edge[edge], "at %lld: expected %lld, got %lld",
                      (long long)count, (long long)expected->edge[edge], (long long)index);
            hash = (hash ^ (uint64_t)index) * 0x100000001b3u;
        }
    }
    check(count == expected->count, "%lld indices", (long long)count);
    check(hash == expected->hash, "the ends are right, but something in between differs");
}

static void check_course_n1(uint64_t seed, const LoaderPass *expected)
{
    enum {
        MODEL = 785 * 128 + 129 * 64 + 65 * 10,
        ADAPTERS = (784 + 128 + 64) * 4,
        ALL = INT32_MAX
    };
    Rng rng;
    lk_manual_seed(&rng, seed);
    Dataset *samples = numbered(60000, LK_TO_TENSOR), *tests = numbered(10000, LK_TO_TENSOR);
    DataLoader *train = loader_of(samples, 64, true, &rng),
               *test = loader_of(tests, 64, false, &rng);
    draw(&rng, MODEL);
    for (int adapters = 0; adapters < 2; adapters++) {
        if (adapters) {
            draw(&rng, ADAPTERS);
            lk_loader_begin(test);
        }
        /* epoch, accuracy, epoch, accuracy */
        for (int pass = 0; pass < 4; pass++) check_pass(train, ALL, expected++);
        lk_loader_begin(test);
    }
    lk_loader_free(train);
    lk_loader_free(test);
    lk_dataset_free(samples);
    lk_dataset_free(tests);
}

Test(loader, course_of_n1)
{
    check_course_n1(0, n1_seed_0);
    check_course_n1(1, n1_seed_1);
}

/* The test loader is shuffled too, and the pass over the nines is left after 100 batches. */
Test(loader, course_of_n2)
{
    enum {
        MODEL = 785 * 1000 + 1001 * 2000 + 2001 * 10,
        ADAPTERS = 784 + (1000 + 16) + 2000,
        ALL = INT32_MAX
    };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *samples = numbered(60000, LK_TO_TENSOR), *tests = numbered(10000, LK_TO_TENSOR);
    Dataset *nines = numbered(5949, LK_TO_TENSOR);
    DataLoader *train = loader_of(samples, 10, true, &rng),
               *test = loader_of(tests, 10, true, &rng);
    DataLoader *fine_tune = loader_of(nines, 10, true, &rng);
    draw(&rng, MODEL);
    check_pass(train, ALL, &n2_seed_0[0]);
    check_pass(test, ALL, &n2_seed_0[1]);
    draw(&rng, ADAPTERS);
    check_pass(fine_tune, 100, &n2_seed_0[2]);
    check_pass(test, ALL, &n2_seed_0[3]);
    check_pass(test, ALL, &n2_seed_0[4]);
    lk_loader_free(train);
    lk_loader_free(test);
    lk_loader_free(fine_tune);
    lk_dataset_free(samples);
    lk_dataset_free(tests);
    lk_dataset_free(nines);
}

/* ---- values --------------------------------------------------------------------------------- */

/* Every byte through a batch, in both dtypes, bit for bit. */
static void check_transform(Transform transform, const float expected[256])
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *d = numbered(256, transform);
    for (int wide = 0; wide < 2; wide++) {
        Error err = { 0 };
        DataLoader *l = lk_loader_as_new(d, 256, false, wide ? LK_F64 : LK_F32, &rng, &err);
        check_no_error(&err);
        float singles[512];
        double doubles[512];
        for (int i = 0; i < 512; i++)
            doubles[i] = singles[i] = expected[i % 2 ? 255 - i / 2 : i / 2];
        Batch b;
        lk_loader_begin(l);
        check(lk_loader_next(l, &b));
        check_bits(b.x, wide ? (void *)doubles : (void *)singles, 512);
        lk_loader_free(l);
    }
    lk_dataset_free(d);
}

Test(loader, transforms_are_those_of_torchvision)
{
    check_transform(LK_TO_TENSOR, to_tensor);
    check_transform(LK_MNIST_NORMALIZE, normalized);
}

/* Samples that are floats already are taken as they are, whatever the transform. */
Test(loader, floats_are_not_transformed)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    for (int from = 0; from < 2; from++) {
        for (int to = 0; to < 2; to++) {
            Error err = { 0 };
            Tensor *x = make_tensor(from ? LK_F64 : LK_F32, LK_SHAPE(3, 1, 2), 0.1, -2, 1e10, 0,
                                    255, 1e-9);
            Tensor *y = make_tensor(LK_U8, LK_SHAPE(3), 7, 0, 255);
            Dataset *d = lk_dataset_new(x, y, LK_MNIST_NORMALIZE, &err);
            DataLoader *l = lk_loader_as_new(d, 2, false, to ? LK_F64 : LK_F32, &rng, &err);
            check_no_error(&err);
            double tol = from && to ? 0 : 1e-7;
            Batch b;
            lk_loader_begin(l);
            check(lk_loader_next(l, &b));
            check(b.x->dtype == (to ? LK_F64 : LK_F32) && b.y->dtype == LK_I64);
            check_shape(b.x, LK_SHAPE(2, 1, 2));
            check_values(b.x, tol, 0.1, -2, 1e10, 0);
            check_values(b.y, 0, 7, 0);
            check(lk_loader_next(l, &b));
            check_shape(b.x, LK_SHAPE(1, 1, 2));
            check_values(b.x, tol, 255, 1e-9);
            check_values(b.y, 0, 255);
            lk_loader_free(l);
            lk_dataset_free(d);
        }
    }
}

/* A loader over a filtered dataset sees its samples only, in its numbering. */
Test(loader, subsets)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *all = numbered(300, LK_TO_TENSOR);
    Dataset *some = lk_subset_new(all, LK_SHAPE(299, 7, 7, 0, 258), &err);
    DataLoader *l = loader_of(some, 3, false, &rng);
    check(lk_loader_len(l) == 2);
    Seen seen = { 0 };
    lk_loader_begin(l);
    while (see(l, &seen)) continue;
    check(seen.count == 5);
    const int64_t expected[] = { 299, 7, 7, 0, 258 };
    check(memcmp(seen.index, expected, sizeof expected) == 0);
    lk_loader_free(l);
    lk_dataset_free(some);
    lk_dataset_free(all);
}

/* ---- passes --------------------------------------------------------------------------------- */

Test(loader, length)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    static const int64_t cases[][4] = {
        /* samples, batch size, batches, full batches */
        { 10, 10, 1, 1 }, { 10, 3, 4, 3 }, { 9, 3, 3, 3 },
        { 2, 3, 1, 0 },   { 1, 1, 1, 1 },  { 5, INT64_MAX, 1, 0 },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Dataset *d = numbered(cases[k][0], LK_TO_TENSOR);
        DataLoader *l = loader_of(d, cases[k][1], false, &rng);
        for (int drop = 0; drop < 2; drop++) {
            l->drop_last = drop;
            check(lk_loader_len(l) == cases[k][2 + drop], "case %zu", k);
            int64_t batches = 0, samples = 0;
            lk_loader_begin(l);
            for (Batch b; lk_loader_next(l, &b); batches++) samples += b.x->shape[0];
            check(batches == cases[k][2 + drop], "case %zu: %lld batches", k, (long long)batches);
            check(samples == (drop ? batches * cases[k][1] : cases[k][0]), "case %zu", k);
        }
        lk_loader_free(l);
        lk_dataset_free(d);
    }
}

/* There is nothing before begin and nothing after the end, however often one asks, and asking
 * draws nothing. */
Test(loader, outside_of_a_pass)
{
    Rng rng, untouched;
    lk_manual_seed(&rng, 11);
    Dataset *d = numbered(4, LK_TO_TENSOR);
    DataLoader *l = loader_of(d, 4, true, &rng);
    Batch b;
    check(!lk_loader_next(l, &b));
    check_error(&l->error, LK_ESTATE, "lk_loader_next: no pass has begun; lk_loader_begin comes");
    lk_loader_begin(l);
    check(lk_loader_next(l, &b));
    untouched = rng;
    for (int i = 0; i < 3; i++) {
        check(!lk_loader_next(l, &b));
        check((l->error.code == LK_OK) == (i == 0)); /* the first call ends the pass */
    }
    check(lk_random_u32(&rng) == lk_random_u32(&untouched));
    lk_loader_free(l);
    lk_dataset_free(d);
}

Test(loader, passes_allocate_nothing)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *d = numbered(100, LK_MNIST_NORMALIZE);
    DataLoader *l = loader_of(d, 32, true, &rng);
    int64_t before = check_alloc_count();
    for (int pass = 0; pass < 3; pass++) {
        lk_loader_begin(l);
        for (Batch b; lk_loader_next(l, &b);) check(b.x == l->x && b.y == l->y);
    }
    check(check_alloc_count() == before);
    lk_loader_free(l);
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}

/* The room of a batch is written again by the next one: a graph that still needs the old values
 * must notice. */
Test(loader, a_refilled_batch_is_a_change_in_place)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *d = numbered(4, LK_TO_TENSOR);
    DataLoader *l = loader_of(d, 2, false, &rng);
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *w = make_param(LK_F32, LK_SHAPE(2, 1), 1, 2);
    Batch b;
    lk_loader_begin(l);
    check(lk_loader_next(l, &b));
    check(b.x->requires_grad == false);
    Tensor *loss = lk_sum(t, lk_matmul(t, b.x, w), LK_ALL, false);
    check(lk_loader_next(l, &b));
    check(!lk_backward(t, loss));
    check_error(lk_tape_error(t), LK_ESTATE, "");
    lk_free(w);
    lk_tape_free(t);
    lk_loader_free(l);
    lk_dataset_free(d);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void check_refused(const Dataset *d, int64_t batch_size, DType dtype, Rng *rng,
                          ErrorCode code, const char *text)
{
    Error err = { 0 };
    check(lk_loader_as_new(d, batch_size, true, dtype, rng, &err) == NULL);
    check_error(&err, code, text);
}

Test(loader, errors)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *d = numbered(3, LK_TO_TENSOR), *empty = numbered(0, LK_TO_TENSOR);
    check_refused(d, 0, LK_F32, &rng, LK_EVALUE, "batch size 0;");
    check_refused(d, -5, LK_F32, &rng, LK_EVALUE, "batch size -5;");
    check_refused(empty, 1, LK_F32, &rng, LK_EVALUE, "the dataset is empty");
    check_refused(d, 1, LK_I64, &rng, LK_EDTYPE, "not int64");
    check_refused(d, 1, LK_F32, NULL, LK_EVALUE, "rng is NULL");
    check_refused(NULL, 1, LK_F32, &rng, LK_EVALUE, "dataset is NULL");
    lk_loader_free(NULL);

    /* The dataset could not be made: that is what is reported. */
    Error err = { 0 };
    lk_error_set(&err, LK_EIO, "the first failure");
    check(lk_loader_new(NULL, 1, false, &rng, &err) == NULL);
    check_error(&err, LK_EIO, "the first failure");
    lk_dataset_free(d);
    lk_dataset_free(empty);
}

Test(loader, out_of_memory)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Dataset *d = numbered(3, LK_TO_TENSOR);
    int64_t before = check_alloc_live(), tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        DataLoader *l = lk_loader_new(d, 2, true, &rng, &err);
        failed = check_alloc_failed();
        check(!l == (failed > 0));
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_loader_free(l);
        check(check_alloc_live() == before);
    }
    check(tried > 3);
    check_fail_after(-1);
    lk_dataset_free(d);
}
