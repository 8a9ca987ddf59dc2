/* tokenizer_files.h - the small vocabulary of tests/fixtures/tokenizer, and RoBERTa's own where it
 * is at hand; for the tests of the tokenizer. */
#ifndef TOKENIZER_FILES_H
#define TOKENIZER_FILES_H

#include <unistd.h>

#include "core/memory.h"
#include "data/tokenizer.h"
#include "tests/shared/programs.h"

static inline Tokenizer *load_tokenizer(const char *folder)
{
    Error err = { 0 };
    Tokenizer *tok = lk_tokenizer_new(folder, &err);
    check_no_error(&err);
    return tok;
}

static inline Tokenizer *small_tokenizer(void)
{
    return load_tokenizer(check_fixture("tokenizer"));
}

/* The folder roberta-base in $LORIKEET_DATA or beside the source tree; NULL, and a line that says
 * so: neither. */
static inline const char *roberta_folder(void)
{
    static char path[1200], file[1300];
    const char *data = getenv("LORIKEET_DATA");
    print_to(path, sizeof path, "%s/roberta-base", data ? data : check_source("../shared/data"));
    print_to(file, sizeof file, "%s/merges.txt", path);
    if (access(file, R_OK) == 0) return path;
    fprintf(stderr, "not tested, no data: %s\n", path);
    return NULL;
}

/* The ids of a text with special tokens, in place of what was there. */
static inline void encode_text(const Tokenizer *tok, const void *text, size_t bytes, TokenIds *ids)
{
    Error err = { 0 };
    ids->count = 0;
    check(lk_tokenizer_encode(tok, text, bytes, true, 0, ids, &err), "%s", err.message);
}

static inline void check_ids(const TokenIds *ids, const int64_t *expected, int64_t count,
                             const char *what)
{
    for (int64_t i = 0; i < count && i < ids->count; i++)
        check(ids->items[i] == expected[i], "%s: id %lld is %lld, expected %lld", what,
              (long long)i, (long long)ids->items[i], (long long)expected[i]);
    check(ids->count == count, "%s: %lld ids, expected %lld", what, (long long)ids->count,
          (long long)count);
}

#endif
