/* embedding.h - torch.nn.Embedding: rows of a table by id. */
#ifndef LK_EMBEDDING_H
#define LK_EMBEDDING_H

#include "nn/module.h"

typedef struct Embedding {
    Module base;
    Tensor *weight; /* (num_embeddings, embedding_dim) */
    int64_t num_embeddings, embedding_dim;
    int64_t padding_idx; /* the row that gets no gradient; -1: none */
} Embedding;
LK_MODULE_TYPE(Embedding, lk_embedding_type, lk_as_embedding);

/* nn.Embedding(num_embeddings, embedding_dim, padding_idx): the weight is float32, drawn from N(0,
 * 1) with PyTorch's values for the same generator; then the row padding_idx (-1: none) is set to
 * 0. The forward takes int64 ids of any shape. Errors: LK_EVALUE for a size that is not positive,
 * or a padding_idx that is no row. */
LK_API Module *lk_embedding_new(int64_t num_embeddings, int64_t embedding_dim, int64_t padding_idx,
                                Rng *rng, Error *err);

#endif
