/* roberta_config.c - the settings of a RoBERTa and their limits. Their file, config.json:
 * data/roberta_files.c. */
#include "nn/models/roberta_config.h"

#include <math.h>
#include <stddef.h>

const RobertaConfig lk_roberta_base = {
    .vocab_size = 50265,
    .hidden_size = 768,
    .num_hidden_layers = 12,
    .num_attention_heads = 12,
    .intermediate_size = 3072,
    .max_position_embeddings = 514,
    .type_vocab_size = 1,
    .num_labels = 2,
    .pad_token_id = 1,
    .bos_token_id = 0,
    .eos_token_id = 2,
    .hidden_dropout_prob = 0.1,
    .attention_probs_dropout_prob = 0.1,
    .layer_norm_eps = 1e-5,
    .initializer_range = 0.02,
    .classifier_dropout = NAN,
};

/* ---- settings: one row each ----------------------------------------------------------------- */

/* The limits keep the product of two sizes far below the end of int64. No model of this kind comes
 * near them. */
enum { MOST = 1 << 24, MOST_LAYERS = 1024 };

#define WHOLE(name, min, max) \
    { \
#name, offsetof(RobertaConfig, name), true, min, max \
    }
#define NUMBER(name, min, max) \
    { \
#name, offsetof(RobertaConfig, name), false, min, max \
    }
const RobertaSetting lk_roberta_settings[] = {
    WHOLE(vocab_size, 4, MOST),
    WHOLE(hidden_size, 2, MOST),
    WHOLE(num_hidden_layers, 1, MOST_LAYERS),
    WHOLE(num_attention_heads, 1, MOST),
    WHOLE(intermediate_size, 1, MOST),
    WHOLE(max_position_embeddings, 3, MOST),
    WHOLE(type_vocab_size, 1, MOST),
    WHOLE(num_labels, 1, MOST),
    WHOLE(pad_token_id, 0, MOST),
    WHOLE(bos_token_id, 0, MOST),
    WHOLE(eos_token_id, 0, MOST),
    NUMBER(hidden_dropout_prob, 0, 0.999),
    NUMBER(attention_probs_dropout_prob, 0, 0.999),
    NUMBER(layer_norm_eps, 1e-12, 1),
    NUMBER(initializer_range, 0, 10),
    NUMBER(classifier_dropout, 0, 0.999),
    { 0 },
};

double lk_roberta_setting(const RobertaConfig *c, const RobertaSetting *k)
{
    if (!c || !k) return NAN;
    const void *at = (const char *)c + k->offset;
    return k->whole ? (double)*(const int64_t *)at : *(const double *)at;
}

/* Whether null means the value of another key, not the default of a key that is left out. That is
 * so for one key only. */
static bool is_nullable(const RobertaSetting *k)
{
    return k->offset == offsetof(RobertaConfig, classifier_dropout);
}

bool lk_roberta_config_check(const RobertaConfig *c, const char *where, Error *err)
{
    if (!where) where = "lk_roberta_config_check";
    if (!c) return lk_error_set(err, LK_EVALUE, "%.300s: the config is NULL", where);
    for (const RobertaSetting *k = lk_roberta_settings; k->name; k++) {
        double value = lk_roberta_setting(c, k);
        bool null = isnan(value) && is_nullable(k);
        if (null || (value >= k->min && value <= k->max)) continue; /* NaN fails too */
        return lk_error_set(err, LK_EVALUE, "%.300s: %s is %g; it must be between %g and %g",
                            where, k->name, value, k->min, k->max);
    }
    if (c->hidden_size % c->num_attention_heads != 0)
        return lk_error_set(
            err, LK_EVALUE,
            "%.300s: hidden_size %lld cannot be shared by %lld num_attention_heads without "
            "a rest",
            where, (long long)c->hidden_size, (long long)c->num_attention_heads);
    /* Computes in double, where nothing overflows, to refuse absurd sizes with a clear message
     * before terabytes are asked for. */
    double layer =
        (double)c->hidden_size * (double)(4 * c->hidden_size + 2 * c->intermediate_size);
    double rows =
        (double)(c->vocab_size + c->max_position_embeddings + c->type_vocab_size + c->num_labels);
    double all = layer * (double)c->num_hidden_layers + rows * (double)c->hidden_size;
    if (all > 1e11)
        return lk_error_set(
            err, LK_EVALUE,
            "%.300s: these sizes make a model of %.3g parameters; at most 1e11 are allowed", where,
            all);
    if (c->pad_token_id >= c->vocab_size || c->bos_token_id >= c->vocab_size ||
        c->eos_token_id >= c->vocab_size)
        return lk_error_set(
            err, LK_EVALUE,
            "%.300s: pad, bos, eos are the tokens %lld, %lld, %lld of %lld; each must be "
            "less than vocab_size",
            where, (long long)c->pad_token_id, (long long)c->bos_token_id,
            (long long)c->eos_token_id, (long long)c->vocab_size);
    if (lk_roberta_max_length(c) < 2)
        return lk_error_set(
            err, LK_EVALUE,
            "%.300s: of %lld max_position_embeddings those up to pad_token_id %lld are not "
            "used; at least two more must be left for <s> and </s>",
            where, (long long)c->max_position_embeddings, (long long)c->pad_token_id);
    return true;
}

int64_t lk_roberta_max_length(const RobertaConfig *c)
{
    if (!c) return 0;
    return c->max_position_embeddings - c->pad_token_id - 1;
}
