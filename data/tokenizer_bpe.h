/* tokenizer_bpe.h - byte-pair encoding: a vocabulary, merges, and the tokens of a word.
 * data/tokenizer_load.c fills it from files, data/tokenizer.c asks it for the tokens of a text. */
#ifndef LK_TOKENIZER_BPE_H
#define LK_TOKENIZER_BPE_H

#include "data/tokenizer.h"

enum { LK_BPE_TOKEN_MAX = 4096 }; /* bytes of a spelling */

/* Texts are offsets in the names of a Bpe. */
typedef struct BpeToken {
    uint32_t spelling;    /* as vocab.json writes it; ends with '\0' */
    uint32_t bytes, size; /* the bytes it stands for */
    bool whole;           /* merging these bytes gives this one token */
} BpeToken;

typedef struct BpeMerge {
    int32_t left, right; /* left = -1: no merge in this slot */
    int32_t rank, token; /* the two become this token; lower ranks first */
} BpeMerge;

typedef struct BpeSlot {
    uint32_t hash;
    int32_t id; /* -1: none in this slot */
} BpeSlot;

/* Two hash tables with linear probing, at most half full, their sizes powers of two. */
typedef struct Bpe {
    int32_t count;
    BpeToken *tokens; /* by id */
    char *names;
    BpeSlot *slots; /* of the tokens, by their bytes */
    BpeMerge *merges;
    uint32_t slot_mask, merge_mask;
    int32_t of_byte[256]; /* the token of each single byte */
} Bpe;

/* Makes room for so many tokens, merges, and bytes of names; false: no memory. Call lk__bpe_free
 * afterwards, on failure too. */
bool lk__bpe_reserve(Bpe *bpe, int32_t tokens, size_t names, int32_t merges);
void lk__bpe_free(Bpe *bpe);

/* Puts the token `id` into the table; its entry must be filled in. No two tokens have the same
 * bytes. */
void lk__bpe_add_token(Bpe *bpe, int32_t id);
/* Find the token with these bytes, or with this spelling; -1: there is none. */
int32_t lk__bpe_find(const Bpe *bpe, const void *bytes, size_t size);
int32_t lk__bpe_find_spelling(const Bpe *bpe, const char *spelling, size_t length);
/* The slot of a merge; if there is none, an empty slot (left = -1) into which it may be put. */
BpeMerge *lk__bpe_merge(const Bpe *bpe, int32_t left, int32_t right);
/* Finds out which tokens are whole, once all merges are there; false: no memory. */
bool lk__bpe_finish(Bpe *bpe);

/* Appends the tokens of a word to ids; false: no memory. broken: U+FFFD takes the place of bytes
 * that are not UTF-8. */
bool lk__bpe_word(const Bpe *bpe, const unsigned char *word, size_t size, bool broken,
                  TokenIds *ids);

/* Makes room for `more` ids behind count; false: no memory. (tokenizer_ids.c) */
bool lk__token_ids_reserve(TokenIds *ids, size_t more);

/* Writes the bytes of a spelling into `bytes`, which has room for its length. False: it has a
 * character that stands for no byte. */
bool lk__bpe_unspell(const char *spelling, size_t length, unsigned char *bytes, size_t *size);

#endif
