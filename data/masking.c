/* masking.c - hides tokens of a batch, for masked language modelling. */
#include "data/masking.h"

#include "core/memory.h"
#include "core/op.h"
#include "core/ops.h"

static bool is_special(const Tokenizer *k, int64_t id)
{
    return id == k->bos || id == k->pad || id == k->eos || id == k->unk || id == k->mask;
}

bool lk_masking_init(Masking *m, const Tokenizer *tok, const TextDataset *sentences, uint64_t seed,
                     Error *err)
{
    if (!m || !tok || !sentences || !tok->size)
        return lk_error_set(err, LK_EVALUE, "lk_masking_init: an argument is NULL or empty");
    int64_t count = 0, *place = lk_mem_calloc((size_t)tok->size, sizeof *place);
    *m = (Masking){ .tok = tok, .place = place };
    lk_manual_seed(&m->rng, seed);
    if (!place)
        return lk_error_set(err, LK_EMEMORY, "lk_masking_init: no memory for %lld tokens",
                            (long long)tok->size);
    for (int64_t i = 0; i < sentences->offset[sentences->count]; i++) place[sentences->ids[i]] = 1;
    for (int64_t id = 0; id < tok->size; id++)
        place[id] = place[id] && !is_special(tok, id) ? count++ : -1;
    if (count == 0)
        return lk_error_set(err, LK_EVALUE,
                            "lk_masking_init: the sentences have no token that could be hidden");
    m->tokens = lk_tensor_new(LK_I64, LK_SHAPE(count), err);
    for (int64_t id = 0; m->tokens && id < tok->size; id++)
        if (place[id] >= 0) ((int64_t *)m->tokens->data)[place[id]] = id;
    return m->tokens;
}

void lk_masking_free(Masking *m)
{
    if (!m) return;
    lk_tensor_free(m->tokens);
    lk_mem_free(m->place);
    *m = (Masking){ 0 };
}

bool lk_masking_next(Masking *m, Tape *t, Tensor *ids, MaskedBatch *b)
{
    if (!m || !m->tokens || !b || !lk_check_operands(t, "lk_masking_next", 1, &ids)) return false;
    int64_t n = lk_numel(ids), count = 0;
    const int64_t *from = ids->data, *tokens = m->tokens->data;
    b->ids = lk_tensor(t, LK_I64, ids->ndim, ids->shape, from);
    Tensor *rows = lk_zeros(t, LK_I64, LK_SHAPE(n)), *targets = lk_zeros(t, LK_I64, LK_SHAPE(n));
    if (!b->ids || !rows || !targets) return false;
    int64_t *to = b->ids->data, *row = rows->data, *target = targets->data;
    for (int64_t i = 0; i < n; i++) {
        if (m->place[from[i]] < 0 || lk_random_f64(&m->rng) >= 0.15) continue;
        double kind = lk_random_f64(&m->rng);
        if (kind < 0.8) to[i] = m->tok->mask;
        else if (kind < 0.9) to[i] = tokens[lk_random_int(&m->rng, 0, m->tokens->shape[0])];
        row[count] = i;
        target[count++] = m->place[from[i]];
    }
    b->rows = lk_slice(t, rows, 0, 0, count, 1);
    b->targets = lk_slice(t, targets, 0, 0, count, 1);
    return count > 0 && b->rows && b->targets;
}
