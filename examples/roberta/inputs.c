/* inputs.c - finds the files, reads the sentences, makes ids of them (data/tokenizer.h,
 * data/tsv.h). */
#include "examples/roberta/inputs.h"

#include <string.h>
#include <sys/stat.h>

#include "data/tsv.h"

bool input_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_file(const char *folder, const char *name)
{
    char path[LK_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return input_is_file(path);
}

static bool holds_model(const char *folder)
{
    return has_file(folder, "vocab.json"); /* all that pre-training needs, beside merges.txt */
}

static bool holds_sst2(const char *folder)
{
    return has_file(folder, "train.tsv") || has_file(folder, "dev.tsv");
}

bool input_model_folder(const char *model, char path[LK_PATH_MAX], Error *err)
{
    if (model) {
        if (strlen(model) >= LK_PATH_MAX)
            return lk_error_set(err, LK_EIO, "--model: the path is too long");
        strcpy(path, model);
        return true; /* the functions that read its files report what is missing */
    }
    return cli_find(NULL, "roberta-base", holds_model, path, err) ||
           lk_error_set(err, LK_EIO,
                        "no model: neither --model DIR nor roberta-base in $LORIKEET_DATA or "
                        "~/.cache/lorikeet");
}

/* Adds the ids of the sentences. *cut counts those that were longer than max_length. */
static bool add_rows(TextDataset *d, const Tsv *tsv, int64_t rows, const Tokenizer *tok,
                     int64_t max_length, int64_t *cut, Error *err)
{
    TokenIds ids = { 0 };
    bool ok = true;
    for (int64_t i = 0; ok && i < tsv->count && (rows == 0 || i < rows); i++) {
        const TsvRow *row = &tsv->rows[i];
        ids.count = 0;
        ok = lk_tokenizer_encode(tok, row->sentence, (size_t)row->length, true, max_length, &ids,
                                 err) &&
             lk_text_add(d, ids.items, ids.count, row->label, err);
        if (!ok || ids.count < max_length) continue;
        ids.count = 0; /* it has max_length ids: it was longer, or just fits */
        ok = lk_tokenizer_encode(tok, row->sentence, (size_t)row->length, true, 0, &ids, err);
        *cut += ids.count > max_length;
    }
    lk_token_ids_free(&ids);
    return ok;
}

bool input_sst2_path(const char *data, const char *file, char path[LK_PATH_MAX], Error *err)
{
    char folder[LK_PATH_MAX];
    if (!cli_find(data, "sst2", holds_sst2, folder, err))
        return lk_error_set(
            err, LK_EIO,
            "no SST-2: neither --data DIR nor sst2/ in $LORIKEET_DATA or ~/.cache/lorikeet");
    return lk_path_join(path, folder, file, err);
}

TextDataset *input_sentences_new(const char *data, const char *file, const Tokenizer *tok,
                                 int64_t max_length, int64_t rows, Error *err)
{
    enum { CLASSES = 2 };
    char path[LK_PATH_MAX];
    Tsv *tsv = input_sst2_path(data, file, path, err) ? lk_tsv_new(path, CLASSES, err) : NULL;
    TextDataset *d = tsv ? lk_text_dataset_new(err) : NULL;
    int64_t cut = 0;
    if (d && !add_rows(d, tsv, rows, tok, max_length, &cut, err)) {
        lk_text_dataset_free(d);
        d = NULL;
    }
    lk_tsv_free(tsv);
    if (d && cut)
        printf("%s: %lld of %lld sentences are cut to %lld tokens\n", file, (long long)cut,
               (long long)d->count, (long long)max_length);
    return d;
}
