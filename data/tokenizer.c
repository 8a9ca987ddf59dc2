/* tokenizer.c - text to ids and back: finds special tokens, cuts the text between them into words
 * (data/tokenizer_words.c), and has each word merged (data/tokenizer_bpe.c). Its files are read by
 * data/tokenizer_load.c. */
#include "data/tokenizer.h"

#include <string.h>

#include "core/memory.h"
#include "data/tokenizer_bpe.h"
#include "data/tokenizer_words.h"
#include "data/utf8.h"

void lk_tokenizer_free(Tokenizer *tok)
{
    if (!tok) return;
    lk__bpe_free(tok->bpe);
    lk_mem_free(tok); /* the Bpe is in the same block */
}

/* ---- text → ids ----------------------------------------------------------------------------- */

/* Returns the special token that the text begins with, and its bytes; -1: none. */
static int64_t special_at(const Tokenizer *tok, const unsigned char *text, size_t size,
                          size_t *length)
{
    const int64_t specials[] = { tok->bos, tok->pad, tok->eos, tok->unk, tok->mask };
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        const BpeToken *token = &tok->bpe->tokens[specials[i]];
        *length = token->size;
        if (size >= token->size && memcmp(text, tok->bpe->names + token->bytes, token->size) == 0)
            return specials[i];
    }
    return -1;
}

/* Finds the first special token in the text: its id, its begin and its end; -1: none, then both
 * are `size`. */
static int64_t find_special(const Tokenizer *tok, const unsigned char *text, size_t size,
                            size_t *begin, size_t *end)
{
    for (const unsigned char *at = text; (at = memchr(at, '<', size - (size_t)(at - text)));
         at++) {
        size_t length;
        *begin = (size_t)(at - text);
        int64_t id = special_at(tok, at, size - *begin, &length);
        *end = *begin + length;
        if (id == tok->mask) *begin -= lk__space_at_end(text, *begin);
        if (id >= 0) return id;
    }
    *begin = *end = size;
    return -1;
}

static bool put_words(const Tokenizer *tok, const unsigned char *text, size_t size, TokenIds *ids)
{
    while (size > 0) {
        bool broken;
        size_t n = lk__word(text, size, &broken);
        if (!lk__bpe_word(tok->bpe, text, n, broken, ids)) return false;
        text += n;
        size -= n;
    }
    return true;
}

static bool put_text(const Tokenizer *tok, const char *start, size_t size, TokenIds *ids)
{
    for (const unsigned char *text = (const unsigned char *)start; size > 0;) {
        size_t begin, end;
        int64_t id = find_special(tok, text, size, &begin, &end);
        if (!put_words(tok, text, begin, ids)) return false;
        if (id >= 0 && !lk_token_ids_add(ids, id, NULL)) return false;
        text += end;
        size -= end;
    }
    return true;
}

/* Cuts na and nb to at most `room` together: Hugging Face's longest_first. */
static void truncate_ids(int64_t *na, int64_t *nb, int64_t room)
{
    int64_t *less = *na > *nb ? nb : na, *more = *na > *nb ? na : nb;
    if (*less + *more <= room) return;
    if (*less > room / 2) *less = room / 2;
    *more = room - *less;
}

typedef struct Texts {
    const char *function; /* for messages */
    const char *a, *b;
    size_t a_bytes, b_bytes;
    bool pair; /* else b is not there */
} Texts;

static bool encode(const Tokenizer *tok, const Texts *x, bool specials, int64_t max_length,
                   TokenIds *ids, Error *err)
{
    int extra = x->pair ? 4 : 2; /* special tokens */
    if (!specials) extra = 0;
    if (x->a_bytes > LK_TEXT_MAX || x->b_bytes > LK_TEXT_MAX)
        return lk_error_set(err, LK_EVALUE, "%s: a text of %zu bytes; at most %d are possible",
                            x->function, x->a_bytes > x->b_bytes ? x->a_bytes : x->b_bytes,
                            LK_TEXT_MAX);
    if (max_length < 0 || (max_length > 0 && max_length < extra))
        return lk_error_set(
            err, LK_EVALUE,
            "%s: max_length is %lld; with %d special tokens it is at least %d, or 0 for no limit",
            x->function, (long long)max_length, extra, extra > 0 ? extra : 1);
    int64_t before = ids->count;
    bool ok = put_text(tok, x->a, x->a_bytes, ids);
    int64_t na = ids->count - before;
    /* with room for one id more, so that the items are never NULL */
    ok = ok && put_text(tok, x->b, x->b_bytes, ids) &&
         lk__token_ids_reserve(ids, (size_t)extra + 1);
    int64_t nb = ids->count - before - na, cut_a = na, cut_b = nb;
    ids->count = before;
    if (!ok)
        return lk_error_set(err, LK_EMEMORY, "%s: no memory for the ids of %zu bytes", x->function,
                            x->a_bytes + x->b_bytes);

    /* Moves B to its place first, which never lies before the end of the part of A that stays. */
    if (max_length > 0) truncate_ids(&cut_a, &cut_b, max_length - extra);
    int64_t *a = &ids->items[before], *b = a + cut_a + (specials ? 3 : 0);
    memmove(b, a + na, (size_t)cut_b * sizeof *b);
    if (specials) {
        memmove(a + 1, a, (size_t)cut_a * sizeof *a);
        a[0] = tok->bos;
        a[1 + cut_a] = tok->eos;
        if (x->pair) b[-1] = b[cut_b] = tok->eos;
    }
    ids->count += extra + cut_a + cut_b;
    return true;
}

bool lk_tokenizer_encode(const Tokenizer *tok, const char *text, size_t bytes, bool specials,
                         int64_t max_length, TokenIds *ids, Error *err)
{
    const Texts x = { .function = "lk_tokenizer_encode", .a = text, .a_bytes = bytes };
    return encode(tok, &x, specials, max_length, ids, err);
}

bool lk_tokenizer_encode_pair(const Tokenizer *tok, const char *a, size_t a_bytes, const char *b,
                              size_t b_bytes, bool specials, int64_t max_length, TokenIds *ids,
                              Error *err)
{
    const Texts x = { "lk_tokenizer_encode_pair", a, b, a_bytes, b_bytes, true };
    return encode(tok, &x, specials, max_length, ids, err);
}

/* ---- ids → text ----------------------------------------------------------------------------- */

static bool is_special(const Tokenizer *tok, int64_t id)
{
    return id == tok->bos || id == tok->pad || id == tok->eos || id == tok->unk || id == tok->mask;
}

/* Copies text with U+FFFD for broken UTF-8, and returns the bytes of the copy; to NULL: only
 * counts them. */
static size_t repair(const char *text, size_t size, char *to)
{
    size_t n = 0;
    for (size_t at = 0, step, bytes; at < size; at += step, n += bytes) {
        uint32_t code;
        step = lk__utf8((const unsigned char *)text + at, size - at, &code);
        bytes = code == LK_UTF8_BROKEN ? 3 : step;
        if (to) memcpy(to + n, code == LK_UTF8_BROKEN ? LK_UTF8_REPLACEMENT : text + at, bytes);
    }
    return n;
}

/* Copies the bytes of all tokens, one after the other, and returns their number; to NULL: only
 * counts them. */
static size_t join(const Tokenizer *tok, const int64_t *ids, int64_t count, bool skip_specials,
                   char *to)
{
    size_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        const BpeToken *token = &tok->bpe->tokens[ids[i]];
        if (skip_specials && is_special(tok, ids[i])) continue;
        if (to) memcpy(to + n, tok->bpe->names + token->bytes, token->size);
        n += token->size;
    }
    return n;
}

char *lk_tokenizer_decode_new(const Tokenizer *tok, const int64_t *ids, int64_t count,
                              bool skip_specials, size_t *bytes, Error *err)
{
    if (!tok || (!ids && count > 0)) {
        lk_error_set(err, LK_EVALUE, "lk_tokenizer_decode_new: the %s NULL",
                     tok ? "ids are" : "tokenizer is");
        return NULL;
    }
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= tok->size) {
            lk_error_set(
                err, LK_EVALUE,
                "lk_tokenizer_decode_new: id %lld at %lld is no token's; ids are 0 to %lld",
                (long long)ids[i], (long long)i, (long long)tok->size - 1);
            return NULL;
        }
    size_t joined = join(tok, ids, count, skip_specials, NULL), size = 0;
    char *raw = lk_mem_alloc(joined + 1), *text = NULL;
    if (raw) {
        join(tok, ids, count, skip_specials, raw);
        size = repair(raw, joined, NULL);
        text = lk_mem_alloc(size + 1);
    }
    if (text) {
        repair(raw, joined, text);
        text[size] = '\0';
        if (bytes) *bytes = size;
    } else
        lk_error_set(err, LK_EMEMORY,
                     "lk_tokenizer_decode_new: no memory for the text of %lld ids",
                     (long long)count);
    lk_mem_free(raw);
    return text;
}

const char *lk_tokenizer_token(const Tokenizer *tok, int64_t id)
{
    return tok && id >= 0 && id < tok->size ? tok->bpe->names + tok->bpe->tokens[id].spelling
                                            : NULL;
}

int64_t lk_tokenizer_id(const Tokenizer *tok, const char *token)
{
    return tok && token ? lk__bpe_find_spelling(tok->bpe, token, strlen(token)) : -1;
}
