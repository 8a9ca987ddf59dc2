/* tokenizer_load.c - reads vocab.json and merges.txt, and says what is wrong with bad ones.
 * They are used by data/tokenizer.c and data/tokenizer_bpe.c.
 *
 *     vocab.json    {"<s>": 0, "Ġthe": 5, …}: every id from 0 on exactly once
 *     merges.txt    a line for each merge, "Ġt he", in the order in which they are made;
 *                   line 1 may be a comment, "#version: 0.2" */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/decimal.h"
#include "data/file_report.h"
#include "data/json.h"
#include "data/path.h"
#include "data/tokenizer_bpe.h"
#include "data/whole_file.h"

#ifdef LK_HAVE_UTF8PROC

enum { FILE_MAX = 1 << 29 };
#define CALLER "lk_tokenizer_new"

/* A file, whole. */
typedef struct File {
    FileReport report;
    char path[LK_PATH_MAX];
    char *text; /* with a '\0' behind it */
    size_t size;
} File;

/* ---- files ---------------------------------------------------------------------------------- */

static bool read_file(File *f, const char *folder, const char *name)
{
    WholeFile whole = { .limit = FILE_MAX };
    int length = snprintf(f->path, LK_PATH_MAX, "%s/%s", folder, name);
    if (length >= LK_PATH_MAX) return lk__file_fail(&f->report, LK_EIO, "the path is too long");
    bool ok = lk__read_whole_file(&whole, &f->report);
    f->text = whole.bytes;
    f->size = whole.size;
    if (ok && f->size >= 3 && memcmp(f->text, "\xEF\xBB\xBF", 3) == 0)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "begins with a byte order mark; save it without one");
    return ok;
}

/* ---- vocab.json ----------------------------------------------------------------------------- */

/* Copies a spelling and its bytes into names at *used, and moves *used behind them. */
static bool put_token(const File *f, Bpe *bpe, const Json *value, size_t *used)
{
    const char *spelling = value->key;
    size_t length = strlen(spelling), size;
    if (value->kind != JSON_INTEGER)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "the id of token \"%.60s\" is no whole number", spelling);
    const int64_t id = value->integer;
    if (id < 0 || id > INT32_MAX)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "token \"%.60s\" has id %lld; ids are 0 to %d", spelling,
                             (long long)id, bpe->count - 1);
    if (id >= bpe->count) return true; /* so another id is missing, which check_tokens reports */
    BpeToken *token = &bpe->tokens[id];
    if (token->size > 0)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "tokens \"%.60s\" and \"%.60s\" have the same id %lld",
                             bpe->names + token->spelling, spelling, (long long)id);
    token->spelling = (uint32_t)*used;
    memcpy(bpe->names + *used, spelling, length + 1);
    *used += length + 1;
    token->bytes = (uint32_t)*used;
    if (length == 0)
        return lk__file_fail(&f->report, LK_EFORMAT, "the token with id %lld is empty",
                             (long long)id);
    if (length > LK_BPE_TOKEN_MAX)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "token \"%.60s…\" (id %lld) has %zu bytes; at most %d are possible",
                             spelling, (long long)id, length, LK_BPE_TOKEN_MAX);
    if (!lk__bpe_unspell(spelling, length, (unsigned char *)bpe->names + *used, &size))
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "token \"%.60s\" (id %lld) has a character that stands for no byte",
                             spelling, (long long)id);
    token->size = (uint32_t)size;
    *used += size;
    lk__bpe_add_token(bpe, (int32_t)id); /* spellings differ, so bytes do */
    return true;
}

static bool check_tokens(const File *f, Bpe *bpe)
{
    for (int32_t id = 0; id < bpe->count; id++)
        if (bpe->tokens[id].size == 0)
            return lk__file_fail(
                &f->report, LK_EFORMAT,
                "no token has id %d; %d tokens have the ids 0 to %d, without a hole", id,
                bpe->count, bpe->count - 1);
    for (int byte = 0; byte < 256; byte++) {
        bpe->of_byte[byte] = lk__bpe_find(bpe, &(unsigned char){ (unsigned char)byte }, 1);
        if (bpe->of_byte[byte] < 0)
            return lk__file_fail(
                &f->report, LK_EFORMAT,
                "no token stands for the byte 0x%02X: not a byte-level vocabulary", byte);
    }
    return true;
}

/* Reads the tokens. merges: how many merges there may be. */
static bool read_tokens(const File *f, const Json *object, Bpe *bpe, int32_t merges)
{
    if (object->kind != JSON_OBJECT)
        return lk__file_fail(&f->report, LK_EFORMAT, "is no JSON object");
    size_t count = 0, names = 0, used = 0;
    for (const Json *value = NULL; (value = lk__json_next(object, value)); count++)
        names += 2 * strlen(value->key) + 1;
    if (count == 0) return lk__file_fail(&f->report, LK_EFORMAT, "has no tokens");
    if (!lk__bpe_reserve(bpe, (int32_t)count, names, merges))
        return lk__file_fail(&f->report, LK_EMEMORY, "no memory for %zu tokens", count);
    for (const Json *value = NULL; (value = lk__json_next(object, value));)
        if (!put_token(f, bpe, value, &used)) return false;
    return check_tokens(f, bpe);
}

static bool read_vocabulary(const File *f, Bpe *bpe, int32_t merges)
{
    Json *object = lk__json_new(f->text, f->size, "", &f->report);
    bool ok = object && read_tokens(f, object, bpe, merges);
    lk_mem_free(object);
    return ok;
}

/* ---- merges.txt ----------------------------------------------------------------------------- */

/* The length of a text that is shown in a message. */
static int shown(size_t length) { return length < 60 ? (int)length : 60; }

/* Reads one merge. line has no '\0' and no line end. */
static bool read_merge(const File *f, Bpe *bpe, int32_t number, int32_t rank, const char *line,
                       size_t length)
{
    const char *space = memchr(line, ' ', length), *end = line + length;
    if (length > 0 && end[-1] == '\r')
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "line %d ends with CR LF; save the file with LF alone", number);
    if (!space || space == line || space + 1 == end ||
        memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "line %d, \"%.*s\", is not two tokens with one space between", number,
                             shown(length), line);
    const char *spelling[2] = { line, space + 1 };
    const size_t lengths[2] = { (size_t)(space - line), (size_t)(end - space - 1) };
    int32_t id[2];
    char bytes[2 * LK_BPE_TOKEN_MAX];
    size_t size = 0;
    for (int i = 0; i < 2; i++) {
        id[i] = lk__bpe_find_spelling(bpe, spelling[i], lengths[i]);
        if (id[i] < 0)
            return lk__file_fail(&f->report, LK_EFORMAT,
                                 "line %d names \"%.*s\", which is not in the vocabulary", number,
                                 shown(lengths[i]), spelling[i]);
        const BpeToken *token = &bpe->tokens[id[i]];
        memcpy(bytes + size, bpe->names + token->bytes, token->size);
        size += token->size;
    }
    int32_t token = lk__bpe_find(bpe, bytes, size);
    if (token < 0)
        return lk__file_fail(&f->report, LK_EFORMAT,
                             "line %d: the token that \"%.*s\" make is not in the vocabulary",
                             number, shown(length), line);
    BpeMerge *merge = lk__bpe_merge(bpe, id[0], id[1]);
    if (merge->left >= 0)
        return lk__file_fail(&f->report, LK_EFORMAT, "line %d: \"%.*s\" is there a second time",
                             number, shown(length), line);
    *merge = (BpeMerge){ id[0], id[1], rank, token };
    return true;
}

static bool is_comment(const File *f)
{
    return f->size >= 8 && memcmp(f->text, "#version", 8) == 0;
}

/* Counts the lines, the last one with or without its end. */
static int32_t count_lines(const File *f)
{
    int32_t n = f->text[f->size - 1] != '\n';
    for (size_t i = 0; i < f->size; i++) n += f->text[i] == '\n';
    return n;
}

static bool read_merges(const File *f, Bpe *bpe)
{
    const char *end = f->text + f->size;
    int32_t number = 1, rank = 0;
    for (const char *line = f->text, *next; line < end; line = next, number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        next = stop + (stop < end);
        if (number == 1 && is_comment(f)) continue;
        if (!read_merge(f, bpe, number, rank++, line, (size_t)(stop - line))) return false;
    }
    return rank > 0 || lk__file_fail(&f->report, LK_EFORMAT, "has no merges");
}

/* ---- both ----------------------------------------------------------------------------------- */

static bool find_specials(const File *f, Tokenizer *tok)
{
    const struct {
        const char *spelling;
        int64_t *id;
    } specials[] = { { "<s>", &tok->bos },
                     { "<pad>", &tok->pad },
                     { "</s>", &tok->eos },
                     { "<unk>", &tok->unk },
                     { "<mask>", &tok->mask } };
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        *specials[i].id = lk_tokenizer_id(tok, specials[i].spelling);
        if (*specials[i].id < 0)
            return lk__file_fail(&f->report, LK_EFORMAT, "has no token \"%s\"",
                                 specials[i].spelling);
    }
    return true;
}

static bool load(Tokenizer *tok, const char *folder, Error *err)
{
    File vocabulary = { .report = { CALLER, vocabulary.path, err, 0 } },
         merges = { .report = { CALLER, merges.path, err, 0 } };
    bool ok = read_file(&vocabulary, folder, "vocab.json") &&
              read_file(&merges, folder, "merges.txt") &&
              read_vocabulary(&vocabulary, tok->bpe, count_lines(&merges)) &&
              find_specials(&vocabulary, tok) && read_merges(&merges, tok->bpe) &&
              (lk__bpe_finish(tok->bpe) ||
               lk__file_fail(&merges.report, LK_EMEMORY, "no memory for the merges"));
    tok->size = tok->bpe->count;
    lk_mem_free(vocabulary.text);
    lk_mem_free(merges.text);
    return ok;
}

#else

static bool load(Tokenizer *tok, const char *folder, Error *err)
{
    (void)tok;
    return lk_error_set(err, LK_ESTATE,
                        "lk_tokenizer_new: %.200s: cannot be read: Lorikeet was built without "
                        "utf8proc (LORIKEET_UTF8PROC=ON)",
                        folder);
}

#endif

Tokenizer *lk_tokenizer_new(const char *folder, Error *err)
{
    if (!folder) {
        lk_error_set(err, LK_EVALUE, "lk_tokenizer_new: folder is NULL");
        return NULL;
    }
    struct {
        Tokenizer tok;
        Bpe bpe;
    } *both = lk_mem_calloc(1, sizeof *both);
    if (!both) {
        lk_error_set(err, LK_EMEMORY, "lk_tokenizer_new: no memory for a tokenizer");
        return NULL;
    }
    both->tok.bpe = &both->bpe;
    if (load(&both->tok, folder, err)) return &both->tok;
    lk_tokenizer_free(&both->tok);
    return NULL;
}
