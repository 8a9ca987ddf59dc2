/* roberta_config.c - config.json: read with jansson, checked, written. The model that is made of
 * it: examples/roberta.c. */
#include "examples/roberta_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef LK_HAVE_JANSSON
#include <jansson.h>
#endif

#include "core/decimal.h"
#include "examples/shared/results.h"

const RobertaConfig roberta_base = {
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

/* ---- what there is in the file: one row a key ----------------------------------------------- */

/* Sizes whose product is a matrix stay far below what int64 can count; no model of this kind is
 * near the limits. */
enum { SIZE_MAX_ = 1 << 24, LAYERS_MAX = 1024 };

typedef struct Key {
    const char *name;
    size_t offset;
    bool whole;      /* int64_t, else double */
    double min, max; /* both included */
} Key;
#define WHOLE(name, min, max) \
    { \
#name, offsetof(RobertaConfig, name), true, min, max \
    }
#define NUMBER(name, min, max) \
    { \
#name, offsetof(RobertaConfig, name), false, min, max \
    }
static const Key keys[] = {
    WHOLE(vocab_size, 4, SIZE_MAX_),
    WHOLE(hidden_size, 2, SIZE_MAX_),
    WHOLE(num_hidden_layers, 1, LAYERS_MAX),
    WHOLE(num_attention_heads, 1, SIZE_MAX_),
    WHOLE(intermediate_size, 1, SIZE_MAX_),
    WHOLE(max_position_embeddings, 3, SIZE_MAX_),
    WHOLE(type_vocab_size, 1, SIZE_MAX_),
    WHOLE(num_labels, 1, SIZE_MAX_),
    WHOLE(pad_token_id, 0, SIZE_MAX_),
    WHOLE(bos_token_id, 0, SIZE_MAX_),
    WHOLE(eos_token_id, 0, SIZE_MAX_),
    NUMBER(hidden_dropout_prob, 0, 0.999),
    NUMBER(attention_probs_dropout_prob, 0, 0.999),
    NUMBER(layer_norm_eps, 1e-12, 1),
    NUMBER(initializer_range, 0, 10),
    NUMBER(classifier_dropout, 0, 0.999),
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static double value_of(const RobertaConfig *c, const Key *k)
{
    const void *at = (const char *)c + k->offset;
    return k->whole ? (double)*(const int64_t *)at : *(const double *)at;
}

/* Null is not the same as leaving it out for one key only: it means another key's value. */
static bool is_nullable(const Key *k)
{
    return k->offset == offsetof(RobertaConfig, classifier_dropout);
}

bool roberta_config_check(const RobertaConfig *c, const char *where, Error *err)
{
    for (const Key *k = keys; k < keys + KEYS; k++) {
        double value = value_of(c, k);
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
    /* In double, where nothing overflows: a clear word before terabytes are asked for. */
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
    if (roberta_max_length(c) < 2)
        return lk_error_set(
            err, LK_EVALUE,
            "%.300s: of %lld max_position_embeddings those up to pad_token_id %lld are not "
            "used; at least two more must be left for <s> and </s>",
            where, (long long)c->max_position_embeddings, (long long)c->pad_token_id);
    return true;
}

int64_t roberta_max_length(const RobertaConfig *c)
{
    return c->max_position_embeddings - c->pad_token_id - 1;
}

static bool path_of(char path[RESULTS_PATH_MAX], const char *folder, Error *err)
{
    int length = snprintf(path, RESULTS_PATH_MAX, "%s/config.json", folder);
    return (length > 0 && length < RESULTS_PATH_MAX) ||
           lk_error_set(err, LK_EIO, "%.200s…: the path is longer than %d bytes", folder,
                        RESULTS_PATH_MAX);
}

/* ---- reading -------------------------------------------------------------------------------- */

#ifdef LK_HAVE_JANSSON

/* One value; what is not there or null keeps its default. */
static bool read_key(RobertaConfig *c, const Key *k, const json_t *object, const char *path,
                     Error *err)
{
    const json_t *value = json_object_get(object, k->name);
    void *at = (char *)c + k->offset;
    if (!value || json_is_null(value)) return true;
    if (k->whole ? !json_is_integer(value) : !json_is_number(value))
        return lk_error_set(err, LK_EVALUE, "%.300s: %s is no %s", path, k->name,
                            k->whole ? "whole number" : "number");
    if (k->whole) *(int64_t *)at = json_integer_value(value);
    else *(double *)at = json_number_value(value);
    return true;
}

/* What would make it another model than the one that Lorikeet computes. */
static bool refuse_others(const json_t *object, const char *path, Error *err)
{
    static const struct {
        const char *key, *value;
    } texts[] = { { "model_type", "roberta" },
                  { "hidden_act", "gelu" },
                  { "position_embedding_type", "absolute" } };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const json_t *value = json_object_get(object, texts[i].key);
        if (!value || json_is_null(value)) continue;
        const char *text = json_string_value(value);
        if (!text || strcmp(text, texts[i].value) != 0)
            return lk_error_set(err, LK_EVALUE,
                                "%.300s: %s is \"%.60s\"; only \"%s\" is implemented", path,
                                texts[i].key, text ? text : "(no text)", texts[i].value);
    }
    if (json_is_true(json_object_get(object, "is_decoder")) ||
        json_is_true(json_object_get(object, "add_cross_attention")))
        return lk_error_set(err, LK_EVALUE,
                            "%.300s: the model is a decoder; only the encoder is implemented",
                            path);
    if (json_object_size(json_object_get(object, "pruned_heads")) > 0)
        return lk_error_set(err, LK_EVALUE,
                            "%.300s: pruned_heads is not empty; all heads must be there", path);
    return true;
}

bool roberta_config_read(RobertaConfig *c, const char *folder, Error *err)
{
    char path[RESULTS_PATH_MAX];
    json_error_t at;
    if (!path_of(path, folder, err)) return false;
    FILE *file = fopen(path, "rb");
    if (!file)
        return lk_error_set(
            err, LK_EIO,
            "%.300s: cannot be opened; the model's folder holds config.json, vocab.json and "
            "merges.txt",
            path);
    json_t *object = json_loadf(file, JSON_REJECT_DUPLICATES, &at);
    fclose(file);
    bool ok =
        object || lk_error_set(err, LK_EFORMAT, "%.300s: line %d: %.150s", path, at.line, at.text);
    if (ok && !json_is_object(object))
        ok = lk_error_set(err, LK_EFORMAT, "%.300s: is no JSON object", path);
    *c = roberta_base;
    /* transformers writes id2label and leaves num_labels out */
    if (ok && json_object_size(json_object_get(object, "id2label")) > 0)
        c->num_labels = (int64_t)json_object_size(json_object_get(object, "id2label"));
    ok = ok && refuse_others(object, path, err);
    for (const Key *k = keys; ok && k < keys + KEYS; k++) ok = read_key(c, k, object, path, err);
    json_decref(object);
    return ok && roberta_config_check(c, path, err);
}

#else

bool roberta_config_read(RobertaConfig *c, const char *folder, Error *err)
{
    (void)c;
    return lk_error_set(err, LK_ESTATE,
                        "%.300s/config.json: this build cannot read JSON; configure with "
                        "-DLORIKEET_JANSSON=ON",
                        folder);
}

#endif

/* ---- writing -------------------------------------------------------------------------------- */

bool roberta_config_write(const RobertaConfig *c, const char *architecture, const char *folder,
                          Error *err)
{
    char path[RESULTS_PATH_MAX], *text = NULL;
    size_t size = 0;
    if (!path_of(path, folder, err)) return false;
    FILE *out = open_memstream(&text, &size);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for %.300s", path);
    /* clang-format off */
    fprintf(out, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"roberta\",\n"
            "  \"hidden_act\": \"gelu\"", architecture);
    /* clang-format on */
    for (const Key *k = keys; k < keys + KEYS; k++)
        if (k->whole) fprintf(out, ",\n  \"%s\": %lld", k->name, (long long)value_of(c, k));
        else if (isnan(value_of(c, k))) fprintf(out, ",\n  \"%s\": null", k->name);
        else lk_fprintf(out, ",\n  \"%s\": %.17g", k->name, value_of(c, k));
    fputs("\n}\n", out);
    return results_put(out, &text, &size, path, err);
}
