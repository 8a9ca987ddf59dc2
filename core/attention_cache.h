/* attention_cache.h - the keys and values of earlier tokens, kept while a model writes text.
 *
 *     AttentionCache cache;
 *     if (!lk_attention_cache_init(&cache, LK_F32, 1, 256, 64, &err)) …
 *     lk_tape_set_grad(t, false);
 *     y = lk_attention_cached(t, &cache, q, k, v, heads, (AttentionOptions){ 0 });
 *     …
 *     lk_attention_cache_free(&cache);
 *
 * The caller owns the struct, one for each layer. cache.length = 0 begins a new text. */
#ifndef LK_ATTENTION_CACHE_H
#define LK_ATTENTION_CACHE_H

#include "core/ops.h"

typedef struct AttentionCache {
    Tensor *k, *v;  /* (B, capacity, width), owned */
    int64_t length; /* of the tokens that are there */
} AttentionCache;

/* Makes room for the keys and values of `capacity` tokens of B sequences, `width` columns each:
 * those of k. Errors: LK_ESHAPE for a negative size, LK_EDTYPE for a dtype that is not floating,
 * LK_EMEMORY; the cache is empty then. */
LK_API LK_MUST_CHECK bool lk_attention_cache_init(AttentionCache *cache, DType dtype,
                                                  int64_t batch, int64_t capacity, int64_t width,
                                                  Error *err);
LK_API void lk_attention_cache_free(AttentionCache *cache);

/* Appends k and v (B, S, width) of the next S tokens, and attends with their q (B, S, E) to them
 * and to all tokens before, causally: to rounding, the last S rows of lk_attention_with for the
 * whole text. `causal` and `position` of the options are set here; attn_mask, if any, is for the
 * keys up to these. A failure appends nothing. Errors: LK_ESTATE where a gradient would be
 * recorded (lk_tape_set_grad(t, false) first), LK_ESHAPE for k or v that do not fit the cache or
 * its rest. */
LK_API Tensor *lk_attention_cached(Tape *t, AttentionCache *cache, Tensor *q, Tensor *k, Tensor *v,
                                   int64_t heads, AttentionOptions options);

#endif
