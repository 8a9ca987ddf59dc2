/* roberta_files.c - the folder of a RoBERTa on the hub: config.json, and the tensors of
 * model.safetensors by their names. The format of the latter: data/safetensors.h. */
#include "data/roberta_files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/atomic_file.h"
#include "data/json_write.h"

/* ---- config.json: reading ------------------------------------------------------------------- */

/* Reads one value; a missing one, or null, keeps its default. */
static bool read_key(RobertaConfig *c, const RobertaSetting *k, const Json *object,
                     const char *path, Error *err)
{
    const Json *value = lk__json_get(object, k->name);
    void *at = (char *)c + k->offset;
    if (!value || value->kind == JSON_NULL) return true;
    if (k->whole ? value->kind != JSON_INTEGER : isnan(lk__json_number(value)))
        return lk_error_set(err, LK_EVALUE, "%.300s: %s is no %s", path, k->name,
                            k->whole ? "whole number" : "number");
    if (k->whole) *(int64_t *)at = value->integer;
    else *(double *)at = lk__json_number(value);
    return true;
}

/* Refuses settings of models that Lorikeet does not compute. */
static bool refuse_others(const Json *object, const char *path, Error *err)
{
    static const struct {
        const char *key, *value;
    } texts[] = { { "model_type", "roberta" },
                  { "hidden_act", "gelu" },
                  { "position_embedding_type", "absolute" } };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const Json *value = lk__json_get(object, texts[i].key);
        if (!value || value->kind == JSON_NULL) continue;
        const char *text = lk__json_text(value);
        if (!text || strcmp(text, texts[i].value) != 0)
            return lk_error_set(err, LK_EVALUE,
                                "%.300s: %s is \"%.60s\"; only \"%s\" is implemented", path,
                                texts[i].key, text ? text : "(no text)", texts[i].value);
    }
    if (lk__json_is(lk__json_get(object, "is_decoder"), JSON_TRUE) ||
        lk__json_is(lk__json_get(object, "add_cross_attention"), JSON_TRUE))
        return lk_error_set(err, LK_EVALUE,
                            "%.300s: the model is a decoder; only the encoder is implemented",
                            path);
    if (lk__json_count(lk__json_get(object, "pruned_heads")) > 0)
        return lk_error_set(err, LK_EVALUE,
                            "%.300s: pruned_heads is not empty; all heads must be there", path);
    return true;
}

bool lk_roberta_config_read(RobertaConfig *c, const char *folder, Error *err)
{
    char path[LK_PATH_MAX];
    if (!c) return lk_error_set(err, LK_EVALUE, "lk_roberta_config_read: the config is NULL");
    if (!lk_path_join(path, folder, "config.json", err)) return false;
    Error reason = { 0 };
    Json *object = lk__json_file_new(&(FileReport){ "lk_roberta_config_read", path, &reason, 0 });
    *c = lk_roberta_base;
    if (!object)
        return lk_error_set(
            err, reason.code, "%s%s", reason.message,
            reason.code == LK_EIO
                ? "; the model's folder holds config.json, vocab.json and merges.txt"
                : "");
    bool ok = object->kind == JSON_OBJECT ||
              lk_error_set(err, LK_EFORMAT, "%.300s: is no JSON object", path);
    /* transformers writes id2label and leaves num_labels out */
    const size_t labels = lk__json_count(lk__json_get(object, "id2label"));
    if (labels > 0) c->num_labels = (int64_t)labels;
    ok = ok && refuse_others(object, path, err);
    for (const RobertaSetting *k = lk_roberta_settings; ok && k->name; k++)
        ok = read_key(c, k, object, path, err);
    lk_mem_free(object);
    return ok && lk_roberta_config_check(c, path, err);
}

/* ---- config.json: writing ------------------------------------------------------------------- */

bool lk_roberta_config_write(const RobertaConfig *c, const char *architecture, const char *folder,
                             Error *err)
{
    char path[LK_PATH_MAX];
    Buffer text = { 0 };
    JsonWriter out = { .out = &text, .indent = 2 };
    if (!c || !architecture)
        return lk_error_set(err, LK_EVALUE,
                            "lk_roberta_config_write: the config or the architecture is NULL");
    if (!lk_path_join(path, folder, "config.json", err)) return false;
    lk__json_open(&out, NULL, '{');
    lk__json_open(&out, "architectures", '[');
    lk__json_put_text(&out, NULL, architecture);
    lk__json_close(&out, ']');
    lk__json_put_text(&out, "model_type", "roberta");
    lk__json_put_text(&out, "hidden_act", "gelu");
    for (const RobertaSetting *k = lk_roberta_settings; k->name; k++) {
        const double value = lk_roberta_setting(c, k);
        char number[32];
        lk_snprintf(number, sizeof number, "%.17g", value);
        lk__json_put_word(&out, k->name, isnan(value) ? "null" : number);
    }
    lk__json_close(&out, '}');
    lk_buffer_put(&text, "\n", 1);
    bool ok = !text.failed || lk_error_set(err, LK_EMEMORY, "no memory for %.300s", path);
    ok = ok && lk_atomic_save(NULL, path, text.bytes, text.length, err);
    lk_buffer_free(&text);
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
