/* transformer.h - torch.nn.MultiheadAttention and TransformerEncoderLayer, with PyTorch's names of
 * parameters. MultiHeadAttention of nn/attention.h has three projections that LoRA can wrap one by
 * one; here they are one matrix, in_proj_weight, to which LoRA goes as a parametrization. */
#ifndef LK_TRANSFORMER_H
#define LK_TRANSFORMER_H

#include "nn/module.h"

/* ---- MultiheadAttention --------------------------------------------------------------------- */

typedef struct MultiheadAttention {
    Module base;
    Tensor *in_proj_weight, *in_proj_bias; /* (3 E, E): of q, k and v, and (3 E) or NULL */
    Module *out_proj;                      /* a Linear; PyTorch prints it as a special one */
    int64_t embed_dim, num_heads;
    double dropout; /* of probabilities, in training mode */
    bool batch_first;
    bool causal; /* a token sees itself and earlier ones only; false at first */
} MultiheadAttention;
LK_MODULE_TYPE(MultiheadAttention, lk_multihead_attention_type, lk_as_multihead_attention);

/* nn.MultiheadAttention(embed_dim, num_heads, dropout, bias, batch_first=…), with PyTorch's bits
 * for the same generator. Errors: LK_EVALUE for sizes that are not positive, an embed_dim that is
 * no multiple of num_heads, a dropout outside 0 … 1. */
LK_API Module *lk_multihead_attention_new(int64_t embed_dim, int64_t num_heads, double dropout,
                                          bool bias, bool batch_first, Rng *rng, Error *err);
/* Self-attention of x (S, B, E), or (B, S, E) with batch_first. mask is bool (B, S), true for the
 * tokens that may be attended to (PyTorch's key_padding_mask is true for the others). attn_mask
 * broadcasts to (B, heads, S, S) (AttentionOptions, core/ops.h). Both may be NULL; lk_forward has
 * neither. */
LK_API Tensor *lk_multihead_attention_forward(Tape *t, Module *m, Tensor *x, Tensor *mask,
                                              Tensor *attn_mask);

/* ---- TransformerEncoderLayer ---------------------------------------------------------------- */

typedef struct TransformerEncoderLayer {
    Module base;
    Module *self_attn, *linear1, *dropout, *linear2, *norm1, *norm2, *dropout1, *dropout2;
    bool norm_first, gelu;
} TransformerEncoderLayer;
LK_MODULE_TYPE(TransformerEncoderLayer, lk_transformer_encoder_layer_type,
               lk_as_transformer_encoder_layer);

typedef struct EncoderOptions {
    double dropout;        /* PyTorch's default is 0.1 */
    bool gelu;             /* activation="gelu"; false: ReLU */
    bool norm_first;       /* x + f(norm(x)) in place of norm(x + f(x)) */
    bool batch_first;      /* (B, S, E) in place of (S, B, E) */
    bool causal;           /* a token sees itself and earlier ones only */
    double layer_norm_eps; /* 0: 1e-5 */
} EncoderOptions;

/* nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward, …), with PyTorch's bits for the same
 * generator. Errors: as above. */
LK_API Module *lk_transformer_encoder_layer_new(int64_t d_model, int64_t nhead,
                                                int64_t dim_feedforward, EncoderOptions options,
                                                Rng *rng, Error *err);
/* The layer of x, with masks as above. lk_forward has none. */
LK_API Tensor *lk_transformer_encoder_layer_forward(Tape *t, Module *m, Tensor *x, Tensor *mask,
                                                    Tensor *attn_mask);

#endif
