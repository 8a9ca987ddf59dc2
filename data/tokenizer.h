/* tokenizer.h - text ↔ token ids: the byte-level BPE of GPT-2 with the special tokens of RoBERTa.
 *
 *     Tokenizer *tok = lk_tokenizer_new("roberta-base", &err);
 *     TokenIds ids = { 0 };
 *     if (lk_tokenizer_encode(tok, "Hello world", 11, true, 512, &ids, &err)) …  -- 0 31414 232 2
 *     ids.count = 0;  -- the next text, in the same memory
 *     lk_token_ids_free(&ids);
 *     lk_tokenizer_free(tok);
 *
 * The ids are those of Hugging Face's RobertaTokenizerFast (add_prefix_space=False). Text is UTF-8
 * and may contain any character, U+0000 too. Broken UTF-8 is read as with Python's
 * errors="replace": one U+FFFD stands for each maximal part of a character that breaks off, and
 * for each byte that begins none. */
#ifndef LK_TOKENIZER_H
#define LK_TOKENIZER_H

#include "core/error.h"

typedef struct Tokenizer {
    int64_t size;                     /* tokens; their ids are 0 … size - 1 */
    int64_t bos, pad, eos, unk, mask; /* ids of <s>, <pad>, </s>, <unk>, <mask> */
    struct Bpe *bpe;                  /* vocabulary and merges; private */
} Tokenizer;

/* Reads vocab.json and merges.txt in the folder. The message of an error names the file and, where
 * there is one, the line or token. LK_EIO: cannot be read. LK_EMEMORY. LK_ESTATE: built without
 * utf8proc. LK_EFORMAT:
 *     in both: CR LF, byte order marks, an empty file;
 *     vocab.json: no JSON object of texts with ids, a token or id twice, a missing id, a token
 *         with a character that stands for no byte, a byte without a token, a missing special
 *         token;
 *     merges.txt: a merge that is not two tokens with one space between, that makes no token, or
 *         that is there twice. */
LK_API Tokenizer *lk_tokenizer_new(const char *folder, Error *err);
LK_API void lk_tokenizer_free(Tokenizer *tok); /* NULL allowed */

/* ---- text → ids ----------------------------------------------------------------------------- */

/* A growing array of ids, which starts as { 0 }. Set count to 0 to use the array again, without
 * new memory. */
typedef struct TokenIds {
    int64_t *items;
    int64_t count, room;
    void *scratch; /* for merging long words */
    size_t scratch_bytes;
} TokenIds;
/* Appends one id. Error: LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_token_ids_add(TokenIds *ids, int64_t id, Error *err);
LK_API void lk_token_ids_free(TokenIds *ids); /* leaves { 0 } */

/* Appends the ids of a text, with specials between <s> and </s>. Special tokens that are written
 * in the text are found ("<mask>" also takes the white space before it). When there are more than
 * max_length ids (0: no limit), the last ones of the text are left out, never the </s>. Threads
 * may use one Tokenizer, each with its own ids. Errors, with ids as it was: LK_EMEMORY; LK_EVALUE
 * for a text above LK_TEXT_MAX bytes, or a max_length that is negative or has no room for the
 * specials. */
enum { LK_TEXT_MAX = 1 << 29 };
LK_API LK_MUST_CHECK bool lk_tokenizer_encode(const Tokenizer *tok, const char *text, size_t bytes,
                                              bool specials, int64_t max_length, TokenIds *ids,
                                              Error *err);

/* The same for two texts: <s> A </s></s> B </s>. Truncation is Hugging Face's longest_first: the
 * longer one is cut until both have half of the room (an odd id goes to the longer). */
LK_API LK_MUST_CHECK bool lk_tokenizer_encode_pair(const Tokenizer *tok, const char *a,
                                                   size_t a_bytes, const char *b, size_t b_bytes,
                                                   bool specials, int64_t max_length,
                                                   TokenIds *ids, Error *err);

/* ---- ids → text ----------------------------------------------------------------------------- */

/* Makes the text of the ids; the caller frees it with lk_mem_free. The text ends with a '\0', and
 * may contain others. *bytes (unless NULL) is its length without that last '\0'. The bytes of all
 * tokens are joined; where they are not UTF-8, they become U+FFFD as above. Errors: LK_EMEMORY,
 * LK_EVALUE for an id that no token has. */
LK_API char *lk_tokenizer_decode_new(const Tokenizer *tok, const int64_t *ids, int64_t count,
                                     bool skip_specials, size_t *bytes, Error *err);

/* The token of an id as vocab.json spells it ("Ġworld": Ġ is a space), owned by the tokenizer;
 * NULL: no such id. lk_tokenizer_id returns the id of a token; -1: no such token. */
LK_API const char *lk_tokenizer_token(const Tokenizer *tok, int64_t id);
LK_API int64_t lk_tokenizer_id(const Tokenizer *tok, const char *token);

#endif
