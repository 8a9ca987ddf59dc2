/* lora_layers.h - low-rank adaptation around a Conv1d, a Conv2d or an Embedding, as LinearWithLoRA
 * (nn/lora.h) is around a Linear. They compute what PEFT's lora.Conv2d and lora.Embedding compute.
 *
 * alpha is NOT divided by the rank. These have no merged form: LoRA as a parametrization
 * (nn/adapter.h) computes W + ΔW in the shape of any weight, and keeps it in no-grad mode. */
#ifndef LK_LORA_LAYERS_H
#define LK_LORA_LAYERS_H

#include "nn/conv.h"
#include "nn/embedding.h"
#include "nn/lora.h"

/* y = conv(x) + alpha · conv1x1(conv(x; A); B), where the second convolution has the stride, the
 * padding and the dilation of the first one. The LoRALayer has A (in / groups · kh · kw, rank) and
 * B (rank, out). Aᵀ is taken as (rank, in / groups, kh, kw), Bᵀ as (out, rank, 1, 1). So this is
 * the convolution with the weight W + alpha · (A B)ᵀ. With groups all of them have the same A, and
 * each has its own columns of B; PEFT's A differs there. A Conv1d has no kw. */
typedef struct ConvWithLoRA {
    Module base;
    Module *conv; /* a Conv1d, or a Conv2d */
    Module *lora; /* a LoRALayer of these sizes */
} ConvWithLoRA;
typedef ConvWithLoRA Conv1dWithLoRA, Conv2dWithLoRA;
LK_MODULE_TYPE(Conv1dWithLoRA, lk_conv1d_with_lora_type, lk_as_conv1d_with_lora);
LK_MODULE_TYPE(Conv2dWithLoRA, lk_conv2d_with_lora_type, lk_as_conv2d_with_lora);

/* y = embedding(x) + alpha · A[x] B for int64 ids x, with A (num_embeddings, rank) and B (rank,
 * embedding_dim). The row padding_idx of A gets no gradient either. */
typedef struct EmbeddingWithLoRA {
    Module base;
    Module *embedding; /* an Embedding */
    Module *lora;      /* a LoRALayer of these sizes */
} EmbeddingWithLoRA;
LK_MODULE_TYPE(EmbeddingWithLoRA, lk_embedding_with_lora_type, lk_as_embedding_with_lora);

/* Each consumes its layer; the LoRALayer gets the layer's dtype. Errors: LK_EVALUE for a layer of
 * another class, or a rank that is not positive. */
LK_API Module *lk_conv1d_with_lora_new(Module *conv, int64_t rank, double alpha, Rng *rng,
                                       Error *err);
LK_API Module *lk_conv2d_with_lora_new(Module *conv, int64_t rank, double alpha, Rng *rng,
                                       Error *err);
LK_API Module *lk_embedding_with_lora_new(Module *embedding, int64_t rank, double alpha, Rng *rng,
                                          Error *err);

#endif
