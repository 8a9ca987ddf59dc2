/* roberta_files.c - the folder of a RoBERTa on the hub: config.json, and the tensors of
 * model.safetensors by their names. The format of the latter: data/safetensors.h. */
#include "data/roberta_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef LK_HAVE_JANSSON
#include <jansson.h>
#endif

#include "core/decimal.h"
#include "data/atomic_file.h"

/* ---- config.json: reading ------------------------------------------------------------------- */

#ifdef LK_HAVE_JANSSON

/* Reads one value; a missing one, or null, keeps its default. */
static bool read_key(RobertaConfig *c, const RobertaSetting *k, const json_t *object,
                     const char *path, Error *err)
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

/* Refuses settings of models that Lorikeet does not compute. */
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

bool lk_roberta_config_read(RobertaConfig *c, const char *folder, Error *err)
{
    char path[LK_PATH_MAX];
    json_error_t at = { 0 };
    if (!c) return lk_error_set(err, LK_EVALUE, "lk_roberta_config_read: the config is NULL");
    if (!lk_path_join(path, folder, "config.json", err)) return false;
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
    *c = lk_roberta_base;
    /* transformers writes id2label and leaves num_labels out */
    if (ok && json_object_size(json_object_get(object, "id2label")) > 0)
        c->num_labels = (int64_t)json_object_size(json_object_get(object, "id2label"));
    ok = ok && refuse_others(object, path, err);
    for (const RobertaSetting *k = lk_roberta_settings; ok && k->name; k++)
        ok = read_key(c, k, object, path, err);
    json_decref(object);
    return ok && lk_roberta_config_check(c, path, err);
}

#else

bool lk_roberta_config_read(RobertaConfig *c, const char *folder, Error *err)
{
    (void)c;
    return lk_error_set(err, LK_ESTATE,
                        "%.300s/config.json: this build cannot read JSON; configure with "
                        "-DLORIKEET_JANSSON=ON",
                        folder);
}

#endif

/* ---- config.json: writing ------------------------------------------------------------------- */

bool lk_roberta_config_write(const RobertaConfig *c, const char *architecture, const char *folder,
                             Error *err)
{
    char path[LK_PATH_MAX], *text = NULL;
    size_t size = 0;
    if (!c || !architecture)
        return lk_error_set(err, LK_EVALUE,
                            "lk_roberta_config_write: the config or the architecture is NULL");
    if (!lk_path_join(path, folder, "config.json", err)) return false;
    FILE *out = open_memstream(&text, &size);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for %.300s", path);
    /* clang-format off */
    fprintf(out, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"roberta\",\n"
            "  \"hidden_act\": \"gelu\"", architecture);
    /* clang-format on */
    for (const RobertaSetting *k = lk_roberta_settings; k->name; k++)
        if (k->whole)
            fprintf(out, ",\n  \"%s\": %lld", k->name, (long long)lk_roberta_setting(c, k));
        else if (isnan(lk_roberta_setting(c, k))) fprintf(out, ",\n  \"%s\": null", k->name);
        else lk_fprintf(out, ",\n  \"%s\": %.17g", k->name, lk_roberta_setting(c, k));
    fputs("\n}\n", out);
    bool ok = !ferror(out);
    ok = fclose(out) == 0 && ok;
    if (!ok) lk_error_set(err, LK_EMEMORY, "no memory for %.300s", path);
    ok = ok && lk_atomic_save(NULL, path, text, size, err);
    free(text);
    return ok;
}

/* ---- weights -------------------------------------------------------------------------------- */

static const NameRule rules[] = {
    { "lm_head.*", NULL },                      /* of RobertaForMaskedLM, as roberta-base is */
    { "*pooler.*", NULL },                      /* the classifier has a dense layer of its own */
    { "*embeddings.position_ids", NULL },       /* 0, 1, 2, … as a buffer */
    { "embeddings.*", "roberta.embeddings.*" }, /* saved from a bare RobertaModel */
    { "encoder.*", "roberta.encoder.*" },
    { "*.LayerNorm.gamma", "*.LayerNorm.weight" },
    { "*.LayerNorm.beta", "*.LayerNorm.bias" },
};
static const char *const optional[] = { "classifier.*" };

static bool has_lora(const Names *names)
{
    for (int i = 0; i < names->count; i++)
        if (lk_name_matches("*.lora.A", names->items[i])) return true;
    return false;
}

bool lk_roberta_load_base(Module *classifier, const char *path, LoadReport *report, Error *err)
{
    const LoadOptions options = { .rule_count = sizeof rules / sizeof rules[0],
                                  .rules = rules,
                                  .optional_count = sizeof optional / sizeof optional[0],
                                  .optional = optional };
    LoadReport own = { 0 }, *r = report ? report : &own;
    Error reason = { 0 };
    bool ok = lk_load_module_mapped(classifier, path, &options, r, &reason);
    if (!ok && has_lora(&r->unexpected))
        lk_error_set(
            err, LK_EVALUE,
            "%.300s: has LoRA beside its Linears and is no base model; load its base, and "
            "the adapter with lk_load_peft",
            path);
    else if (!ok) lk_error_pass(err, &reason);
    lk_load_report_free(&own);
    return ok;
}
