/* test_text.c - sentences as ids, and batches of them: transformers' order, padding, memory,
 * resuming. */
#include "data/text.h"

#include <string.h>

#include "data/sampler.h"
#include "data/tokenizer.h"
#include "data/tsv.h"
#include "tests/check.h"
#include "tests/fixtures/text_orders.h"
#include "tests/shared/tokenizer_files.h"

enum { PAD = -7 };

/* Sentence i of tests/fixtures/make_text.py; its ids tell where they are: 1000 i, 1000 i + 1, …
 * Its label is -i. */
static int64_t length_of(int64_t i, int64_t spread)
{
    return 2 + (int64_t)((uint32_t)(i * 2654435761 + 12345) >> 8) % spread;
}

static TextDataset *numbered(int64_t n, int64_t spread)
{
    Error err = { 0 };
    TextDataset *d = lk_text_dataset_new(&err);
    for (int64_t i = 0; i < n; i++) {
        int64_t ids[64], count = length_of(i, spread);
        for (int64_t k = 0; k < count; k++) ids[k] = 1000 * i + k;
        check(lk_text_add(d, ids, count, -i, &err), "%s", err.message);
    }
    return d;
}

static TextLoader *loader_of(const TextDataset *d, TextOptions options, Rng *rng)
{
    Error err = { 0 };
    options.pad = PAD;
    TextLoader *l = lk_text_loader_new(d, &options, rng, &err);
    check_no_error(&err);
    return l;
}

/* The batch is what its rows say, as wide as its longest sentence, or as wide as the options
 * want. */
static void check_batch(const TextLoader *l, const TextBatch *b)
{
    int64_t n = b->labels->shape[0], length = l->options.length, longest = 0;
    const int64_t *ids = b->ids->data, *labels = b->labels->data;
    const bool *mask = b->mask->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t size = lk_text_length(l->dataset, b->rows[i]);
        if (size > longest) longest = size;
    }
    if (length == 0) length = longest;
    check_shape(b->ids, LK_SHAPE(n, length));
    check_shape(b->mask, LK_SHAPE(n, length));
    check(b->ids->dtype == LK_I64 && b->mask->dtype == LK_BOOL && b->labels->dtype == LK_I64);
    check(lk_is_contiguous(b->ids) && lk_is_contiguous(b->mask));
    for (int64_t i = 0; i < n; i++) {
        check(labels[i] == -b->rows[i]);
        for (int64_t k = 0; k < length; k++) {
            bool real = k < lk_text_length(l->dataset, b->rows[i]);
            check(mask[i * length + k] == real &&
                      ids[i * length + k] == (real ? 1000 * b->rows[i] + k : PAD),
                  "row %lld at %lld: %lld", (long long)b->rows[i], (long long)k,
                  (long long)ids[i * length + k]);
        }
    }
}

/* ---- order ---------------------------------------------------------------------------------- */

static void check_pass(TextLoader *l, const TextPass *expected)
{
    uint64_t hash = 0xcbf29ce484222325u;
    int64_t n = l->dataset->count, count = 0, padded = 0;
    lk_text_loader_begin(l);
    for (TextBatch b; lk_text_loader_next(l, &b);) {
        check_batch(l, &b);
        check(b.first == count);
        padded += lk_numel(b.ids);
        for (int64_t i = 0; i < b.labels->shape[0]; i++, count++) {
            int64_t last = count - n + 2 * TEXT_EDGE;
            if (count < TEXT_EDGE)
                check(b.rows[i] == expected->edge[count], "at %lld: %lld, not %lld",
                      (long long)count, (long long)b.rows[i], (long long)expected->edge[count]);
            if (last >= TEXT_EDGE) check(b.rows[i] == expected->edge[last]);
            hash = (hash ^ (uint64_t)b.rows[i]) * 0x100000001b3u;
        }
    }
    check(count == n && hash == expected->hash,
          "the ends are right, but something in between differs");
    check(padded == expected->padded, "%lld positions, not %lld", (long long)padded,
          (long long)expected->padded);
}

Test(text, order_is_that_of_transformers)
{
    for (size_t k = 0; k < sizeof text_cases / sizeof *text_cases; k++) {
        const struct TextCase *c = &text_cases[k];
        Rng rng;
        lk_manual_seed(&rng, c->seed);
        TextDataset *d = numbered(c->n, c->spread);
        TextOptions options = { .batch_size = c->batch_size,
                                .order = c->order,
                                .group = c->group };
        TextLoader *l = loader_of(d, options, &rng);
        for (int pass = 0; pass < 2; pass++) check_pass(l, &c->pass[pass]);
        check(lk_random_seed(&rng) == c->after, "case %zu: another number of draws", k);
        lk_text_loader_free(l);
        lk_text_dataset_free(d);
    }
}

Test(text, length)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    TextDataset *d = numbered(10, 7);
    static const int64_t cases[][2] = { { 1, 10 }, { 3, 4 },  { 5, 2 },
                                        { 9, 2 },  { 10, 1 }, { INT64_MAX, 1 } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        TextLoader *l =
            loader_of(d, (TextOptions){ .batch_size = cases[k][0], .order = LK_GROUPED }, &rng);
        check(lk_text_loader_len(l) == cases[k][1]);
        int64_t batches = 0;
        TextBatch b;
        check(!lk_text_loader_next(l, &b)); /* not begun */
        check_error(&l->error, LK_ESTATE, "lk_text_loader_next: no pass has begun; ");
        for (lk_text_loader_begin(l); lk_text_loader_next(l, &b); batches++) check_batch(l, &b);
        check(batches == cases[k][1] && l->error.code == LK_OK);
        check(!lk_text_loader_next(l, &b) && l->error.code == LK_ESTATE); /* over */
        lk_text_loader_free(l);
    }
    lk_text_dataset_free(d);
}

Test(text, padded_to_a_fixed_length)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    TextDataset *d = numbered(10, 7); /* the longest has 8 */
    for (int64_t length = 8; length < 12; length++) {
        TextLoader *l = loader_of(
            d, (TextOptions){ .batch_size = 4, .order = LK_SHUFFLED, .length = length }, &rng);
        lk_text_loader_begin(l);
        for (TextBatch b; lk_text_loader_next(l, &b);) check_batch(l, &b);
        lk_text_loader_free(l);
    }
    lk_text_dataset_free(d);
}

/* ---- the homework's sentences, where they are at hand --------------------------------------- */

#ifdef LK_HAVE_UTF8PROC

/* The first 10,000 of SST-2. */
static TextDataset *read_sst2(void)
{
    char path[1300];
    const char *folder = roberta_folder();
    if (!folder) return NULL;
    print_to(path, sizeof path, "%s/../sst2/train.tsv", folder);
    Error err = { 0 };
    Tokenizer *tok = load_tokenizer(folder);
    Tsv *tsv = lk_tsv_new(path, 2, &err);
    check_no_error(&err);
    TextDataset *d = lk_text_dataset_new(&err);
    TokenIds ids = { 0 };
    for (int64_t i = 0; i < 10000; i++, ids.count = 0) {
        const TsvRow *row = &tsv->rows[i];
        check(lk_tokenizer_encode(tok, row->sentence, (size_t)row->length, true, 512, &ids, &err),
              "%s", err.message);
        check(lk_text_add(d, ids.items, ids.count, row->label, &err), "%s", err.message);
    }
    lk_token_ids_free(&ids);
    lk_tsv_free(tsv);
    lk_tokenizer_free(tok);
    return d;
}

/* Positions of one pass in this order, in batches of 32 as wide as their longest sentence. */
static int64_t positions(const TextDataset *d, const int64_t *order)
{
    int64_t sum = 0;
    for (int64_t first = 0; first < d->count; first += 32) {
        int64_t size = d->count - first < 32 ? d->count - first : 32, longest = 0;
        for (int64_t i = first; i < first + size; i++)
            if (lk_text_length(d, order[i]) > longest) longest = lk_text_length(d, order[i]);
        sum += size * longest;
    }
    return sum;
}

Test(text, positions_of_the_homework)
{
    TextDataset *d = read_sst2();
    if (!d) return;
    check(d->offset[d->count] == 144184, "%lld ids", (long long)d->offset[d->count]);
    Rng rng;
    lk_manual_seed(&rng, 42);
    static int64_t order[10000], room[10000];
    lk__sample_by_length(&rng, d->count, d->offset, 32, order, room);
    check(positions(d, order) == 151440, "%lld positions", (long long)positions(d, order));

    TextLoader *l = loader_of(d, (TextOptions){ .batch_size = 32 }, &rng);
    int64_t padded = 0;
    lk_text_loader_begin(l);
    for (TextBatch b; lk_text_loader_next(l, &b);) padded += lk_numel(b.ids);
    check(padded == 411760, "%lld positions", (long long)padded);
    lk_text_loader_free(l);
    lk_text_dataset_free(d);
}

#endif

/* ---- resuming ------------------------------------------------------------------------------- */

/* The labels of the rest of this pass and of the next one. */
static int64_t rest(TextLoader *l, int64_t *labels)
{
    int64_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (TextBatch b; lk_text_loader_next(l, &b);)
            for (int64_t i = 0; i < b.labels->shape[0]; i++)
                labels[count++] = ((int64_t *)b.labels->data)[i];
        lk_text_loader_begin(l);
    }
    return count;
}

Test(text, resumed_at_any_batch)
{
    enum { N = 30 };
    TextDataset *d = numbered(N, 9);
    for (int order = 0; order < 3; order++) {
        for (int batches = -1; batches <= 8; batches++) { /* -1: before the pass */
            Rng rng, other;
            lk_manual_seed(&rng, 5);
            TextOptions options = { .batch_size = 4, .order = (TextOrder)order };
            TextLoader *l = loader_of(d, options, &rng), *resumed = loader_of(d, options, &other);
            TextBatch b;
            if (batches >= 0) lk_text_loader_begin(l);
            for (int i = 0; i < batches; i++) check(lk_text_loader_next(l, &b));
            TextPosition at = lk_text_loader_position(l);
            other = rng; /* which a checkpoint holds too */
            Error err = { 0 };
            check(lk_text_loader_restore(resumed, &at, &err), "%s", err.message);
            check(memcmp(&other, &rng, sizeof rng) == 0); /* nothing was drawn */
            int64_t expected[2 * N], got[2 * N], n = rest(l, expected);
            check(n == (batches < 0 || batches == 8 ? N : 2 * N - 4 * batches));
            check(rest(resumed, got) == n && memcmp(got, expected, (size_t)n * sizeof *got) == 0,
                  "order %d after %d batches", order, batches);
            lk_text_loader_free(l);
            lk_text_loader_free(resumed);
        }
    }
    lk_text_dataset_free(d);
}

Test(text, positions_of_another_loader)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    TextDataset *d = numbered(10, 7);
    TextLoader *l = loader_of(d, (TextOptions){ .batch_size = 4, .order = LK_GROUPED }, &rng);
    const TextPosition good = { rng, true, 4 };
    TextPosition bad[6];
    for (int i = 0; i < 6; i++) bad[i] = good;
    bad[0].next = 3;
    bad[1].next = -4;
    bad[2].next = 12;
    bad[3].ordered = false;
    bad[4].rng.next = -1;
    bad[5].rng.next = 625;
    check(lk_text_loader_restore(l, &good, NULL));
    for (int i = 0; i < 6; i++) {
        Error err = { 0 };
        check(!lk_text_loader_restore(l, &bad[i], &err), "%d", i);
        check_error(&err, LK_EVALUE, "lk_text_loader_restore: no position of this loader: ");
        check(l->at.next == 4 && l->at.ordered);
    }
    lk_text_loader_free(l);
    lk_text_dataset_free(d);
}

/* ---- the sentences -------------------------------------------------------------------------- */

Test(text, dataset)
{
    check_alloc_begin();
    TextDataset *d = numbered(1000, 60);
    check(check_alloc_count() < 40); /* arrays that double */
    check(d->count == 1000 && lk_text_length(d, 999) == length_of(999, 60) &&
          d->labels[999] == -999);
    check(lk_text_length(d, -1) == -1 && lk_text_length(d, 1000) == -1);
    lk_text_keep(d, 2000);
    lk_text_keep(d, -1);
    check(d->count == 1000);
    lk_text_keep(d, 10);
    check(d->count == 10 && lk_text_length(d, 10) == -1 &&
          lk_text_length(d, 9) == length_of(9, 60));
    check(lk_text_add(d, (int64_t[]){ 5, 6 }, 2, 3, NULL)); /* goes on where it ends */
    check(d->count == 11 && d->ids[d->offset[10] + 1] == 6 && d->labels[10] == 3);

    Error err = { 0 };
    check(!lk_text_add(d, (int64_t[]){ 5 }, 0, 3, &err));
    check_error(&err, LK_EVALUE, "lk_text_add: a sentence without ids");
    err = (Error){ 0 };
    check(!lk_text_add(NULL, (int64_t[]){ 5 }, 1, 3, &err));
    check_error(&err, LK_EVALUE, "lk_text_add: the dataset is NULL");
    lk_text_dataset_free(d);
    lk_text_dataset_free(NULL);
    check(check_alloc_live() == 0);
}

static void check_not_made(const TextDataset *d, TextOptions options, Rng *rng, const char *text)
{
    Error err = { 0 };
    check(!lk_text_loader_new(d, &options, rng, &err), "made, but expected \"%s\"", text);
    check_error(&err, LK_EVALUE, text);
}

Test(text, refused)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    TextDataset *d = numbered(10, 7), *empty = numbered(0, 7);
    check_not_made(NULL, (TextOptions){ .batch_size = 4 }, &rng, "dataset is NULL");
    check_not_made(d, (TextOptions){ .batch_size = 4 }, NULL, "rng is NULL");
    check_not_made(empty, (TextOptions){ .batch_size = 4 }, &rng, "the dataset is empty");
    check_not_made(d, (TextOptions){ .batch_size = 0 }, &rng, "batch size 0");
    check_not_made(d, (TextOptions){ .batch_size = -1 }, &rng, "batch size -1");
    check_not_made(d, (TextOptions){ .batch_size = 4, .group = -1 }, &rng, "group -1");
    check_not_made(d, (TextOptions){ .batch_size = 4, .length = -1 }, &rng, "length -1");
    check_not_made(d, (TextOptions){ .batch_size = 4, .length = 7 }, &rng,
                   "has 8 ids, more than the length of 7");
    Error err = { 0 };
    check(!lk_text_loader_new(d, NULL, &rng, &err));
    check_error(&err, LK_EVALUE, "options is NULL");
    lk_text_loader_free(NULL);
    lk_text_dataset_free(d);
    lk_text_dataset_free(empty);
}

/* ---- memory --------------------------------------------------------------------------------- */

Test(text, passes_allocate_nothing)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    TextDataset *d = numbered(500, 60);
    TextLoader *l = loader_of(d, (TextOptions){ .batch_size = 16, .order = LK_GROUPED }, &rng);
    int64_t before = check_alloc_count();
    for (int pass = 0; pass < 3; pass++) {
        lk_text_loader_begin(l);
        for (TextBatch b; lk_text_loader_next(l, &b);) check(b.ids == l->ids && b.mask == l->mask);
    }
    check(check_alloc_count() == before);
    lk_text_loader_free(l);
    lk_text_dataset_free(d);
    check(check_alloc_live() == 0);
}

Test(text, out_of_memory)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    int64_t tried = 0;
    for (bool failed = true; failed; tried++) {
        Error err = { 0 };
        check_fail_after(tried);
        TextDataset *d = lk_text_dataset_new(&err);
        int64_t added = 0;
        while (d && added < 100 && lk_text_add(d, (int64_t[]){ added, added + 1 }, 2, added, &err))
            added++;
        for (int64_t i = 0; i < added; i++) check(d->ids[d->offset[i]] == i && d->labels[i] == i);
        check(!d || d->count == added);
        const TextOptions options = { .batch_size = 4, .order = LK_GROUPED };
        TextLoader *l = added == 100 ? lk_text_loader_new(d, &options, &rng, &err) : NULL;
        failed = check_alloc_failed() > 0;
        check(!l == failed);
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_text_loader_free(l);
        lk_text_dataset_free(d);
        check(check_alloc_live() == 0);
    }
    check(tried > 10);
    check_fail_after(-1);
}
