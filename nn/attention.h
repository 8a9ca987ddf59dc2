/* attention.h - multi-head attention as a module: three projections, lk_attention (core/ops.h),
 * and perhaps an output projection. */
#ifndef LK_ATTENTION_H
#define LK_ATTENTION_H

#include "nn/module.h"

/* The projections may be any modules (B, S, …) → (B, S, E), so that LoRA can wrap each. BERT's
 * attention.self has query, key and value, and no out_proj. */
typedef struct MultiHeadAttention {
    Module base;
    Module *query, *key, *value;
    Module *out_proj; /* NULL: none */
    int64_t num_heads;
    double dropout; /* of probabilities, in training mode */
    bool causal;    /* a token sees itself and earlier ones only; false at first */
} MultiHeadAttention;
LK_MODULE_TYPE(MultiHeadAttention, lk_multi_head_attention_type, lk_as_multi_head_attention);

/* Consumes the modules. Errors: LK_EVALUE for less than one head or a dropout outside 0 … 1. */
LK_API Module *lk_multi_head_attention_new(Module *query, Module *key, Module *value,
                                           Module *out_proj, int64_t num_heads, double dropout,
                                           Error *err);
/* The same with new Linears (embed_dim → embed_dim, with bias), drawn in the order query, key,
 * value, out_proj (if wanted). Also LK_EVALUE for an embed_dim that is no multiple of
 * num_heads. */
LK_API Module *lk_self_attention_new(int64_t embed_dim, int64_t num_heads, double dropout,
                                     bool out_proj, Rng *rng, Error *err);

/* Self-attention of x (B, S, E) under a bool mask (B, S), which is true for the tokens that may be
 * attended to. A NULL mask allows all. lk_forward(t, m, x) is the same without a mask. */
LK_API Tensor *lk_multi_head_attention(Tape *t, Module *m, Tensor *x, Tensor *mask);

#endif
