/* embedding.c - torch.nn.Embedding. How rows are taken: core/ops_embedding.c. */
#include "nn/embedding.h"

#include <string.h>

#include "core/ops.h"
#include "nn/constructor.h"

static Tensor *embedding_forward(Tape *t, Module *self, Tensor *ids)
{
    Embedding *e = (Embedding *)self;
    LowRank w = lk_param_low_rank(t, self, &e->weight);
    Tensor *rows = lk_embedding(t, w.weight, ids, e->padding_idx);
    if (!w.A) return rows;
    /* the rows of B A are rows of B times A; B A itself is as large as the table */
    Tensor *B = lk_scale(t, lk_embedding(t, w.B, ids, e->padding_idx), w.scale);
    return lk_add(t, rows, lk_matmul(t, B, w.A));
}

const ModuleType lk_embedding_type = {
    LK_CLASS(Embedding),
    .forward = embedding_forward,
    .fields = LK_FIELDS(LK_PARAM(Embedding, weight), LK_INT(Embedding, num_embeddings),
                        LK_INT(Embedding, embedding_dim), LK_INT(Embedding, padding_idx)),
    .lora = LK_LORA_WEIGHT,
    .repr = "{num_embeddings}, {embedding_dim}[, padding_idx={padding_idx}]",
};
LK_DOWNCAST(Embedding, lk_embedding_type, lk_as_embedding)

Module *lk_embedding_new(int64_t rows, int64_t dim, int64_t padding_idx, Rng *rng, Error *err)
{
    const NamedSize sizes[] = { { "num_embeddings", rows }, { "embedding_dim", dim } };
    if (!lk__can_draw("lk_embedding_new", 2, sizes, rng, err)) return NULL;
    if (padding_idx < -1 || padding_idx >= rows) {
        lk_error_set(err, LK_EVALUE,
                     "lk_embedding_new: padding_idx %lld is none of the %lld rows; -1 is none",
                     (long long)padding_idx, (long long)rows);
        return NULL;
    }
    Embedding *e = lk_module_with_params_new(&lk_embedding_type,
                                             LK_PARAM_SHAPES({ LK_SHAPE(rows, dim) }), err);
    if (!e) return NULL;
    e->num_embeddings = rows;
    e->embedding_dim = dim;
    e->padding_idx = padding_idx;
    lk_normal_(e->weight, 0, 1, rng);
    if (padding_idx >= 0)
        memset((float *)e->weight->data + padding_idx * dim, 0, (size_t)dim * sizeof(float));
    return &e->base;
}
