/* attention.c - multi-head attention as a module. The arithmetic: core/ops_attention.c. */
#include "nn/attention.h"

#include "core/op.h"
#include "core/ops.h"
#include "nn/linear.h"

static Tensor *attention_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_multi_head_attention(t, self, x, NULL);
}

const ModuleType lk_multi_head_attention_type = {
    LK_CLASS(MultiHeadAttention),
    .forward = attention_forward,
    .fields =
        LK_FIELDS(LK_CHILD(MultiHeadAttention, query), LK_CHILD(MultiHeadAttention, key),
                  LK_CHILD(MultiHeadAttention, value), LK_CHILD(MultiHeadAttention, out_proj),
                  LK_INT(MultiHeadAttention, num_heads), LK_DOUBLE(MultiHeadAttention, dropout),
                  LK_BOOL_FIELD(MultiHeadAttention, causal)),
    .repr = "num_heads={num_heads}, dropout={dropout}, causal={causal}",
};
LK_DOWNCAST(MultiHeadAttention, lk_multi_head_attention_type, lk_as_multi_head_attention)

static void free_all(int count, Module *const *modules)
{
    for (int i = 0; i < count; i++) lk_module_free(modules[i]);
}

Module *lk_multi_head_attention_new(Module *query, Module *key, Module *value, Module *out_proj,
                                    int64_t num_heads, double dropout, Error *err)
{
    const char *missing = NULL;
    if (!value) missing = "value";
    if (!key) missing = "key";
    if (!query) missing = "query";
    /* If out_proj is NULL, it was left out on purpose or could not be made. Only err tells
     * which. */
    bool ok = !(err && err->code != LK_OK) && !missing;
    if (missing)
        lk_error_set(err, LK_EVALUE, "lk_multi_head_attention_new: the %s is NULL", missing);
    else if (num_heads < 1 || !(dropout >= 0 && dropout <= 1))
        ok = lk_error_set(
            err, LK_EVALUE,
            "lk_multi_head_attention_new: %lld heads and dropout %g; at least one head, dropout "
            "from 0 to 1",
            (long long)num_heads, dropout);
    MultiHeadAttention *a = ok ? lk_module_new(&lk_multi_head_attention_type, err) : NULL;
    if (!a) {
        free_all(4, (Module *[]){ query, key, value, out_proj });
        return NULL;
    }
    a->query = query;
    a->key = key;
    a->value = value;
    a->out_proj = out_proj;
    a->num_heads = num_heads;
    a->dropout = dropout;
    return &a->base;
}

Module *lk_self_attention_new(int64_t embed_dim, int64_t num_heads, double dropout, bool out_proj,
                              Rng *rng, Error *err)
{
    if (num_heads < 1 || embed_dim % num_heads != 0) {
        lk_error_set(err, LK_EVALUE,
                     "lk_self_attention_new: embed_dim %lld is not a multiple of %lld heads",
                     (long long)embed_dim, (long long)num_heads);
        return NULL;
    }
    Module *linear[4] = { NULL };
    for (int i = 0; i < 3 + out_proj; i++) {
        linear[i] = lk_linear_new(embed_dim, embed_dim, true, rng, err);
        if (linear[i]) continue;
        free_all(i, linear);
        return NULL;
    }
    return lk_multi_head_attention_new(linear[0], linear[1], linear[2], linear[3], num_heads,
                                       dropout, err);
}

typedef struct Attend {
    MultiHeadAttention *a;
    Tensor *mask;
} Attend;

static Tensor *attend(Tape *t, const void *state, Tensor *x)
{
    const Attend *s = state;
    MultiHeadAttention *a = s->a;
    TapeMark mark = lk_tape_mark(t);
    Tensor *q = lk_forward(t, a->query, x), *k = lk_forward(t, a->key, x),
           *v = lk_forward(t, a->value, x);
    Tensor *y = lk_attention_with(
        t, q, k, v, s->mask, a->num_heads,
        (AttentionOptions){ .dropout = a->base.training ? a->dropout : 0, .causal = a->causal });
    if (a->out_proj) y = lk_forward(t, a->out_proj, y);
    return lk_tape_release(t, mark, y);
}

Tensor *lk_multi_head_attention(Tape *t, Module *m, Tensor *x, Tensor *mask)
{
    MultiHeadAttention *a = lk_as_multi_head_attention(m);
    if (!lk_check_operands(t, "lk_multi_head_attention", 1, &x)) return NULL;
    if (!lk_check_optional(t, "lk_multi_head_attention", "mask", mask)) return NULL;
    if (a) return lk_forward_with(t, m, attend, &(Attend){ a, mask }, x);
    return lk_fail(t, LK_EVALUE, "lk_multi_head_attention: not a MultiHeadAttention but %s",
                   m ? m->type->name : "NULL");
}
