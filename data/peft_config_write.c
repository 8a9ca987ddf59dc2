/* peft_config_write.c - makes adapter_config.json as PEFT writes it. Before the text is used, it
 * is read again: it must describe every module of the model as it is. Reading: data/peft_config.c.
 * Called by data/peft_save.c. */
#include "data/peft_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "data/json_write.h"
#include "data/utf8.h"

typedef struct Writer {
    Module *module;
    const PeftOptions *options;
    const PeftLayer *layers;
    int count;
    Error *err;
} Writer;

/* A key of rank_pattern, of alpha_pattern or of the scales, with its value. */
typedef struct Pattern {
    char key[2 * LK_NAME_MAX + 2];
    double value;
} Pattern;

static bool fail(const Writer *w, const char *name, const char *text)
{
    return lk_error_set(w->err, LK_EVALUE, "lk_save_peft: %.40s: %.200s: %s",
                        w->module->type->name, name, text);
}

static bool no_memory(const Writer *w)
{
    return lk_error_set(w->err, LK_EMEMORY, "lk_save_peft: no memory for the settings");
}

static PeftIter modules_of(const Writer *w)
{
    return lk__peft_modules(w->module, w->options->adapter);
}

static const PeftLayer *find_layer(const Writer *w, const char *name)
{
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->layers[i].name, name) == 0) return &w->layers[i];
    return NULL;
}

/* ---- target_modules ------------------------------------------------------------------------- */

/* Whether a target adapts nothing but our layers: PEFT adapts every module whose name ends with
 * it. */
static bool names_only_layers(const Writer *w, const char *end)
{
    for (PeftIter it = modules_of(w); lk__peft_next(&it);)
        if (lk__peft_ends_with(it.name, end) && !find_layer(w, it.name)) return false;
    return true;
}

/* Finds for each layer the shortest end of its name that only layers have: "query",
 * "attention.output.dense". *all: whether each layer has one. */
static bool find_ends(const Writer *w, Names *ends, bool *all)
{
    *all = true;
    for (int i = 0; i < w->count && *all; i++) {
        const char *name = w->layers[i].name, *end = name + strlen(name);
        bool found = false;
        while (!found && end > name) {
            do end--;
            while (end > name && end[-1] != '.');
            found = lk_names_has(ends, end) || names_only_layers(w, end);
        }
        *all = found;
        if (found && !lk_names_has(ends, end) && !lk_names_add(ends, w->err, "%s", end))
            return false;
    }
    /* Sorts by alphabet, as PEFT's tools do. A simple sort will do, since there are few. */
    for (int i = 1; i < ends->count; i++)
        for (int k = i; k > 0 && strcmp(ends->items[k - 1], ends->items[k]) > 0; k--) {
            char *item = ends->items[k];
            ends->items[k] = ends->items[k - 1];
            ends->items[k - 1] = item;
        }
    return true;
}

static void put_list(JsonWriter *out, const char *key, int count, const char *const *items)
{
    lk__json_open(out, key, '[');
    for (int i = 0; i < count; i++) lk__json_put_text(out, NULL, items[i]);
    lk__json_close(out, ']');
}

/* Puts a regular expression of the whole names, for names that no list of ends can tell apart:
 * "0\.1|2" */
static bool put_whole_names(const Writer *w, JsonWriter *out)
{
    size_t size = 1;
    for (int i = 0; i < w->count; i++) size += 2 * strlen(w->layers[i].name) + 1;
    char *text = lk_mem_alloc(size), *end = text;
    for (int i = 0; text && i < w->count; i++) {
        if (i > 0) *end++ = '|';
        lk__regex_escape(w->layers[i].name, end);
        end += strlen(end);
    }
    if (text) lk__json_put_text(out, "target_modules", text);
    lk_mem_free(text);
    return text || no_memory(w);
}

static bool put_targets(const Writer *w, JsonWriter *out)
{
    Names ends = { 0 };
    bool all, ok = find_ends(w, &ends, &all);
    if (ok && all) put_list(out, "target_modules", ends.count, (const char *const *)ends.items);
    else ok = ok && put_whole_names(w, out);
    lk_names_free(&ends);
    return ok;
}

/* ---- rank_pattern, alpha_pattern ------------------------------------------------------------ */

/* Puts 16, not 16.0, since most readers expect a whole number. */
static void put_number(JsonWriter *out, const char *key, double x)
{
    bool whole = x == floor(x) && fabs(x) < 0x1p53 && !(x == 0 && signbit(x));
    if (whole) lk__json_put_integer(out, key, (int64_t)x);
    else lk__json_put_real(out, key, x);
}

static double value_of(const PeftLayer *l, PeftSetting setting)
{
    return setting == PEFT_RANK ? (double)l->rank : l->alpha;
}

/* Makes a pattern for one layer that fits no layer with another value. So the order of the
 * patterns, which PEFT does not keep, does not matter. The pattern is the layer's name or, if that
 * fits another value's layer too ("1" fits "0.1"), the whole name ("^1"). False: without
 * memory. */
static bool pattern_of(const Writer *w, const PeftLayer *l, PeftSetting setting, Pattern *out)
{
    char text[LK_NAME_MAX + sizeof LK_PEFT_KEY];
    snprintf(text, sizeof text, LK_PEFT_KEY, l->name);
    Error reason = { 0 };
    Regex *regex = lk__regex_new(text, &reason);
    if (reason.code == LK_EMEMORY) return false;
    bool right = regex && lk__regex_fits(regex, l->name);
    for (int i = 0; right && i < w->count; i++)
        right = value_of(&w->layers[i], setting) == value_of(l, setting) ||
                !lk__regex_fits(regex, w->layers[i].name);
    lk__regex_free(regex);
    out->key[0] = '^';
    out->value = value_of(l, setting);
    if (right) strcpy(out->key, l->name);
    else lk__regex_escape(l->name, out->key + 1);
    return true;
}

static int by_key(const void *a, const void *b)
{
    const Pattern *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Puts {pattern: rank} or {pattern: alpha} of the layers that differ from the first, sorted. */
static bool put_patterns(const Writer *w, JsonWriter *out, PeftSetting setting)
{
    Pattern *patterns = lk_mem_calloc((size_t)w->count + 1, sizeof *patterns);
    bool ok = patterns != NULL;
    size_t count = 0;
    for (int i = 1; ok && i < w->count; i++)
        if (value_of(&w->layers[i], setting) != value_of(w->layers, setting))
            ok = pattern_of(w, &w->layers[i], setting, &patterns[count++]);
    if (ok) {
        qsort(patterns, count, sizeof *patterns, by_key);
        lk__json_open(out, lk__peft_setting_name(setting), '{');
        for (size_t i = 0; i < count; i++) put_number(out, patterns[i].key, patterns[i].value);
        lk__json_close(out, '}');
    }
    lk_mem_free(patterns);
    return ok || no_memory(w);
}

/* ---- the texts ------------------------------------------------------------------------------ */

/* Puts PEFT's settings, sorted by key. */
static bool put_settings(const Writer *w, Buffer *text)
{
    const PeftOptions *o = w->options;
    JsonWriter out = { .out = text, .indent = 2 };
    lk__json_open(&out, NULL, '{');
    bool ok = put_patterns(w, &out, PEFT_ALPHA);
    lk__json_put_word(&out, "auto_mapping", "null");
    lk__json_put_text(&out, "base_model_name_or_path", o->base_model);
    lk__json_put_text(&out, "bias", "none");
    lk__json_put_word(&out, "fan_in_fan_out", "false");
    lk__json_put_word(&out, "inference_mode", "true");
    lk__json_put_word(&out, "init_lora_weights", "true");
    lk__json_put_word(&out, "layers_pattern", "null");
    lk__json_put_word(&out, "layers_to_transform", "null");
    put_number(&out, "lora_alpha", w->layers->alpha);
    lk__json_put_word(&out, "lora_bias", "false");
    lk__json_put_real(&out, "lora_dropout", 0);
    if (o->save_count) put_list(&out, "modules_to_save", o->save_count, o->save);
    else lk__json_put_word(&out, "modules_to_save", "null");
    lk__json_put_text(&out, "peft_type", "LORA");
    lk__json_put_integer(&out, "r", w->layers->rank);
    ok = ok && put_patterns(w, &out, PEFT_RANK);
    lk__json_put_word(&out, "revision", "null");
    ok = ok && put_targets(w, &out);
    lk__json_put_text(&out, "task_type", o->task_type);
    lk__json_put_word(&out, "use_dora", "false");
    lk__json_put_word(&out, "use_rslora", "false");
    lk__json_close(&out, '}');
    return ok && (!text->failed || no_memory(w));
}

/* Puts {name: scale} of the layers whose scale is not alpha / rank, sorted; nothing if there are
 * none. */
static bool put_scales(const Writer *w, Buffer *text)
{
    Pattern *scales = lk_mem_calloc((size_t)w->count + 1, sizeof *scales);
    if (!scales) return no_memory(w);
    size_t count = 0;
    for (int i = 0; i < w->count; i++) {
        const PeftLayer *l = &w->layers[i];
        if (l->alpha / (double)l->rank == l->scale) continue;
        strcpy(scales[count].key, l->name);
        scales[count++].value = l->scale;
    }
    qsort(scales, count, sizeof *scales, by_key);
    JsonWriter out = { .out = text };
    if (count > 0) lk__json_open(&out, NULL, '{');
    for (size_t i = 0; i < count; i++) lk__json_put_real(&out, scales[i].key, scales[i].value);
    if (count > 0) lk__json_close(&out, '}');
    lk_mem_free(scales);
    return !text->failed || no_memory(w);
}

static bool has_layers_values(const PeftConfig *c, const PeftLayer *l)
{
    return lk__peft_rank(c, l->name) == l->rank && lk__peft_alpha(c, l->name) == l->alpha &&
           lk__peft_scale(c, l->name) == l->scale;
}

/* Reads the settings as PEFT does, and checks that they describe the model. */
static bool check_settings(const Writer *w, const PeftTexts *texts)
{
    PeftConfig c;
    int next = 0;
    bool ok = lk__peft_config_read(&c, texts->config, LK_PEFT_CONFIG, w->err) &&
              lk__peft_config_scales(&c, texts->scales, LK_PEFT_CONFIG, w->err);
    for (PeftIter it = modules_of(w); ok && lk__peft_next(&it);) {
        bool adapted = next < w->count && strcmp(w->layers[next].name, it.name) == 0;
        const PeftLayer *l = adapted ? &w->layers[next++] : NULL;
        if (lk__peft_is_saved(&c, it.name) != lk__peft_is_whole(w->options, it.name))
            ok = fail(
                w, it.name,
                "PEFT takes it for one of modules_to_save, by the end of its name; save it too");
        else if (lk__peft_is_target(&c, &it) != adapted)
            ok = fail(w, it.name, "no target_modules can tell it from the others");
        else if (l && !has_layers_values(&c, l))
            ok = fail(w, it.name, "no pattern can give it its rank and alpha");
    }
    lk__peft_config_free(&c);
    return ok;
}

/* Checks the texts, since JSON must be UTF-8. */
static bool check_utf8(const Writer *w)
{
    const PeftOptions *o = w->options;
    const char *wrong = NULL;
    if (o->base_model && !lk__is_utf8(o->base_model)) wrong = o->base_model;
    if (o->task_type && !lk__is_utf8(o->task_type)) wrong = o->task_type;
    for (int i = 0; i < o->save_count; i++) wrong = lk__is_utf8(o->save[i]) ? wrong : o->save[i];
    for (int i = 0; i < w->count; i++)
        wrong = lk__is_utf8(w->layers[i].name) ? wrong : w->layers[i].name;
    if (!wrong) return true;
    return lk_error_set(w->err, LK_EVALUE, "lk_save_peft: \"%.80s\" is not UTF-8", wrong);
}

bool lk__peft_texts_new(PeftTexts *texts, Module *m, const PeftOptions *options,
                        const PeftLayer *layers, int count, Error *err)
{
    const Writer w = { m, options, layers, count, err };
    Buffer config = { 0 }, scales = { 0 };
    bool ok = check_utf8(&w) && put_settings(&w, &config) && put_scales(&w, &scales);
    *texts = (PeftTexts){ config.bytes, scales.bytes };
    if (ok && check_settings(&w, texts)) return true;
    lk_buffer_free(&config);
    lk_buffer_free(&scales);
    *texts = (PeftTexts){ NULL, NULL };
    return false;
}
