/* masking.h - hides tokens for masked language modelling (Devlin et al. 2018), drawn anew for
 * every batch as in Liu et al. 2019.
 *
 *     Masking mask;
 *     bool ok = lk_masking_init(&mask, tok, train_set, seed, &err);
 *     MaskedBatch m;
 *     if (lk_masking_next(&mask, t, batch.ids, &m))
 *         … lk_roberta_token_logits(t, model, m.ids, …, m.rows, mask.tokens) …
 *     lk_masking_free(&mask); */
#ifndef LK_MASKING_H
#define LK_MASKING_H

#include "core/tape.h"
#include "data/text.h"
#include "data/tokenizer.h"

typedef struct Masking {
    const Tokenizer *tok; /* borrowed */
    Tensor *tokens; /* (V) int64: ids that occur in the sentences, without special ones, sorted */
    int64_t *place; /* for each token of the vocabulary its place in `tokens`; -1: none */
    Rng rng;        /* chooses the tokens to hide */
} Masking;
/* Errors: LK_EVALUE for sentences without any token that could be hidden, LK_EMEMORY. */
LK_API bool lk_masking_init(Masking *m, const Tokenizer *tok, const TextDataset *sentences,
                            uint64_t seed, Error *err);
LK_API void lk_masking_free(Masking *m);

typedef struct MaskedBatch {
    Tensor *ids;     /* (B, S): the model's input */
    Tensor *rows;    /* (K): positions of the hidden tokens, counted over all rows of ids */
    Tensor *targets; /* (K): the hidden tokens, as places in `tokens` */
} MaskedBatch;
/* Chooses 15 % of the tokens that are in `tokens`; of these 80 % become <mask>, 10 % one of
 * `tokens`, 10 % stay. ids: (B, S) int64, contiguous. False: no token was chosen, or the tape has
 * an error. */
LK_API bool lk_masking_next(Masking *m, Tape *t, Tensor *ids, MaskedBatch *b);

#endif
