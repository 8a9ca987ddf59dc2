/* tokenizer.c - RoBERTa's tokenizer on the sentences of SST-2, one after the other in one thread:
 * GB/s are bytes of text. Without the tokenizer's files and the sentences nothing is measured. */
#include "data/tokenizer.h"
#include "data/tsv.h"
#include "examples/roberta/inputs.h"

#include "tests/bench/bench.h"

typedef struct Task {
    Tokenizer *tok;
    Tsv *sentences;
    TokenIds ids;
    Error err;
} Task;

static void encode_all(void *state)
{
    Task *k = state;
    for (int64_t i = 0; i < k->sentences->count; i++) {
        const TsvRow *row = &k->sentences->rows[i];
        k->ids.count = 0;
        if (!lk_tokenizer_encode(k->tok, row->sentence, (size_t)row->length, true, 512, &k->ids,
                                 &k->err))
            return;
    }
}

static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    (void)w;
    char model[LK_PATH_MAX], path[LK_PATH_MAX];
    Error missing = { 0 };
    Task k = { 0 };
    if (!input_model_folder(NULL, model, &missing) ||
        !input_sst2_path(b->data, "dev.tsv", path, &missing))
        return true;
    k.tok = lk_tokenizer_new(model, err);
    k.sentences = k.tok ? lk_tsv_new(path, 0, err) : NULL;
    if (k.sentences) {
        for (int64_t i = 0; i < k.sentences->count; i++)
            r->bytes += (double)k.sentences->rows[i].length;
        bench_time(b, encode_all, &k, r);
    }
    lk_token_ids_free(&k.ids);
    lk_tsv_free(k.sentences);
    lk_tokenizer_free(k.tok);
    return err->code == LK_OK &&
           (k.err.code == LK_OK || lk_error_set(err, k.err.code, "%s", k.err.message));
}

const Workload bench_tokenizer[] = {
    { "tokenizer", "token ids of the sentences of SST-2's dev.tsv", run, NO_LIMIT, { 0 }, 0 },
    { .name = NULL },
};
