/* embedding.c - torch.nn.Embedding. How rows are taken: core/ops_embedding.c. */
#include "nn/embedding.h"

#include <string.h>

#include "core/ops.h"
#include "nn/fields.h"

static Tensor *embedding_forward(Tape *t, Module *self, Tensor *ids)
{
    Embedding *e = (Embedding *)self;
    return lk_embedding(t, lk_param(t, self, &e->weight), ids, e->padding_idx);
}

const ModuleType lk_embedding_type = {
    .name = "Embedding",
    .size = sizeof(Embedding),
    .forward = embedding_forward,
    .fields = LK_FIELDS(LK_PARAM(Embedding, weight), LK_INT(Embedding, num_embeddings),
                        LK_INT(Embedding, embedding_dim), LK_INT(Embedding, padding_idx)),
    .repr = "{num_embeddings}, {embedding_dim}[, padding_idx={padding_idx}]",
};

Module *lk_embedding_new(int64_t num_embeddings, int64_t embedding_dim, int64_t padding_idx,
                         Rng *rng, Error *err)
{
    if (num_embeddings <= 0 || embedding_dim <= 0) {
        lk_error_set(err, LK_EVALUE, "lk_embedding_new: %lld rows of %lld; both must be positive",
                     (long long)num_embeddings, (long long)embedding_dim);
        return NULL;
    }
    if (padding_idx < -1 || padding_idx >= num_embeddings) {
        lk_error_set(err, LK_EVALUE,
                     "lk_embedding_new: padding_idx %lld is none of the %lld rows; -1 is none",
                     (long long)padding_idx, (long long)num_embeddings);
        return NULL;
    }
    if (!lk_has_rng("lk_embedding_new", rng, err)) return NULL;
    Embedding *e = lk_module_new(&lk_embedding_type, err);
    if (!e) return NULL;
    e->num_embeddings = num_embeddings;
    e->embedding_dim = embedding_dim;
    e->padding_idx = padding_idx;
    e->weight = lk_param_new(LK_F32, LK_SHAPE(num_embeddings, embedding_dim), err);
    if (!e->weight) {
        lk_module_free(&e->base);
        return NULL;
    }
    lk_normal_(e->weight, 0, 1, rng);
    if (padding_idx >= 0)
        memset((float *)e->weight->data + padding_idx * embedding_dim, 0,
               (size_t)embedding_dim * sizeof(float));
    return &e->base;
}

Embedding *lk_as_embedding(Module *m)
{
    return m && m->type == &lk_embedding_type ? (Embedding *)m : NULL;
}
