/* peft_config_write.c - makes adapter_config.json as PEFT writes it. Before the text is used, it
 * is read again: it must describe every module of the model as it is. Reading: data/peft_config.c.
 * Called by data/peft_save.c. */
#include "data/peft_parts.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "data/utf8.h"

#ifdef LK_HAVE_JANSSON
#include <jansson.h>

typedef struct Writer {
    Module *module;
    const PeftOptions *options;
    const PeftLayer *layers;
    int count;
    Error *err;
} Writer;

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

static json_t *list_of(int count, const char *const *items)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_string(items[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Makes a regular expression of the whole names, for names that no list of ends can tell apart:
 * "0\.1|2" */
static json_t *whole_names(const Writer *w)
{
    size_t size = 1;
    for (int i = 0; i < w->count; i++) size += 2 * strlen(w->layers[i].name) + 1;
    char *text = lk_mem_alloc(size), *end = text;
    for (int i = 0; text && i < w->count; i++) {
        if (i > 0) *end++ = '|';
        lk__regex_escape(w->layers[i].name, end);
        end += strlen(end);
    }
    json_t *string = text ? json_string(text) : NULL;
    lk_mem_free(text);
    return string;
}

/* NULL: without memory. */
static json_t *targets(const Writer *w)
{
    Names ends = { 0 };
    bool all;
    json_t *value = NULL;
    if (find_ends(w, &ends, &all))
        value = all ? list_of(ends.count, (const char *const *)ends.items) : whole_names(w);
    lk_names_free(&ends);
    return value;
}

/* ---- rank_pattern, alpha_pattern ------------------------------------------------------------ */

/* Writes 16, not 16.0, since most readers expect a whole number. */
static json_t *number(double x)
{
    bool whole = x == floor(x) && fabs(x) < 0x1p53 && !(x == 0 && signbit(x));
    return whole ? json_integer((json_int_t)x) : json_real(x);
}

static double value_of(const PeftLayer *l, PeftSetting setting)
{
    return setting == PEFT_RANK ? (double)l->rank : l->alpha;
}

/* Makes a pattern for one layer that fits no layer with another value. So the order of the
 * patterns, which PEFT does not keep, does not matter. The pattern is the layer's name or, if that
 * fits another value's layer too ("1" fits "0.1"), the whole name ("^1"). False: without
 * memory. */
static bool pattern_of(const Writer *w, const PeftLayer *l, PeftSetting setting,
                       char out[2 * LK_NAME_MAX + 2])
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
    *out = '^';
    if (right) strcpy(out, l->name);
    else lk__regex_escape(l->name, out + 1);
    return true;
}

/* Makes {pattern: rank} or {pattern: alpha} of the layers that differ from the first. NULL:
 * without memory. */
static json_t *patterns(const Writer *w, PeftSetting setting)
{
    json_t *object = json_object();
    for (int i = 1; object && i < w->count; i++) {
        const PeftLayer *l = &w->layers[i];
        char key[2 * LK_NAME_MAX + 2];
        if (value_of(l, setting) == value_of(w->layers, setting)) continue;
        if (!pattern_of(w, l, setting, key) ||
            json_object_set_new(object, key, number(value_of(l, setting))) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* ---- the texts ------------------------------------------------------------------------------ */

static json_t *settings(const Writer *w)
{
    const PeftOptions *o = w->options;
    return json_pack(
        "{s:o, s:n, s:s?, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:b, s:f, s:o, s:s, s:I, s:o, s:n, "
        "s:o, s:s?, s:b, s:b}",
        "alpha_pattern", patterns(w, PEFT_ALPHA), "auto_mapping", "base_model_name_or_path",
        o->base_model, "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1,
        "init_lora_weights", 1, "layers_pattern", "layers_to_transform", "lora_alpha",
        number(w->layers->alpha), "lora_bias", 0, "lora_dropout", 0.0, "modules_to_save",
        o->save_count ? list_of(o->save_count, o->save) : json_null(), "peft_type", "LORA", "r",
        (json_int_t)w->layers->rank, "rank_pattern", patterns(w, PEFT_RANK), "revision",
        "target_modules", targets(w), "task_type", o->task_type, "use_dora", 0, "use_rslora", 0);
}

/* Collects the scales that alpha / rank does not give. NULL: without memory. */
static json_t *scales(const Writer *w)
{
    json_t *object = json_object();
    for (int i = 0; object && i < w->count; i++) {
        const PeftLayer *l = &w->layers[i];
        if (l->alpha / (double)l->rank == l->scale) continue;
        if (json_object_set_new(object, l->name, json_real(l->scale)) == 0) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

static char *text_of(const json_t *value, size_t flags)
{
    size_t size = json_dumpb(value, NULL, 0, flags);
    char *text = size ? lk_mem_alloc(size + 1) : NULL;
    if (!text || json_dumpb(value, text, size, flags) != size) {
        lk_mem_free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

static bool has_layers_values(const PeftConfig *c, const PeftLayer *l)
{
    return lk__peft_rank(c, l->name) == l->rank && lk__peft_alpha(c, l->name) == l->alpha &&
           lk__peft_scale(c, l->name) == l->scale;
}

/* Reads the settings as PEFT does, and checks that they describe the model. Consumes root. */
static bool check_settings(const Writer *w, json_t *root, const json_t *exact)
{
    PeftConfig c;
    int next = 0;
    bool ok = lk__peft_config_read(&c, root, LK_PEFT_CONFIG, w->err);
    c.scales = json_incref((json_t *)(uintptr_t)exact);
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
    *texts = (PeftTexts){ NULL, NULL };
    if (!check_utf8(&w)) return false;
    json_t *root = settings(&w), *exact = scales(&w);
    bool several = json_object_size(exact) > 0;
    if (root && exact) texts->config = text_of(root, JSON_SORT_KEYS | JSON_INDENT(2));
    if (several) texts->scales = text_of(exact, JSON_SORT_KEYS | JSON_COMPACT);
    bool ok = (texts->config && (!several || texts->scales)) || no_memory(&w);
    ok = ok && check_settings(&w, json_incref(root), exact);
    json_decref(root);
    json_decref(exact);
    if (ok) return true;
    lk_mem_free(texts->config);
    lk_mem_free(texts->scales);
    *texts = (PeftTexts){ NULL, NULL };
    return false;
}

#else

bool lk__peft_texts_new(PeftTexts *texts, Module *m, const PeftOptions *options,
                        const PeftLayer *layers, int count, Error *err)
{
    (void)m, (void)options, (void)layers, (void)count;
    *texts = (PeftTexts){ NULL, NULL };
    return lk_error_set(err, LK_ESTATE,
                        "lk_save_peft: Lorikeet was built without jansson (LORIKEET_JANSSON=ON)");
}

#endif
