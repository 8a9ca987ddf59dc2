/* peft_config.c - adapter_config.json: written as PEFT does, and read strictly. Who calls it: data/peft.c,
 * data/peft_load.c. */
#include "data/peft_parts.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "core/dot.h"
#include "core/memory.h"

#ifdef LK_HAVE_JANSSON
#include <jansson.h>

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* 16, not 16.0: most readers expect a whole number. */
static json_t *number(double x)
{
    return x == floor(x) && fabs(x) < 0x1p53 ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *texts(int count, const char *const *items)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_string(items[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* {name: rank} or {name: alpha} of the layers that differ from the first. */
static json_t *pattern(const PeftLayer *layers, int count, bool of_rank)
{
    json_t *object = json_object();
    for (int i = 1; object && i < count; i++) {
        const PeftLayer *l = &layers[i];
        if (of_rank ? l->rank == layers->rank : l->alpha == layers->alpha) continue;
        if (json_object_set_new(object, l->name, of_rank ? json_integer(l->rank) : number(l->alpha)) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

char *lk_peft_config_new(const PeftOptions *o, const PeftLayer *layers, int count, const Names *targets, Error *err)
{
    json_t *root = json_pack(
        "{s:o, s:n, s:s?, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:b, s:f, s:o, s:s, s:I, s:o, s:n, s:o, s:s?, s:b, s:b}",
        "alpha_pattern", pattern(layers, count, false), "auto_mapping", "base_model_name_or_path", o->base_model,
        "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "layers_pattern",
        "layers_to_transform", "lora_alpha", number(layers->alpha), "lora_bias", 0, "lora_dropout", 0.0,
        "modules_to_save", o->save_count ? texts(o->save_count, o->save) : json_null(), "peft_type", "LORA", "r",
        (json_int_t)layers->rank, "rank_pattern", pattern(layers, count, true), "revision", "target_modules",
        texts(targets->count, (const char *const *)targets->items), "task_type", o->task_type, "use_dora", 0,
        "use_rslora", 0);
    size_t size = root ? json_dumpb(root, NULL, 0, JSON_SORT_KEYS | JSON_INDENT(2)) : 0;
    char *text = size ? lk_mem_alloc(size + 1) : NULL;
    bool ok = text && json_dumpb(root, text, size, JSON_SORT_KEYS | JSON_INDENT(2)) == size;
    json_decref(root);
    if (ok) {
        text[size] = '\0';
        return text;
    }
    lk_mem_free(text);
    lk_error_set(err, LK_EMEMORY, "lk_save_peft: no memory for the settings, or one of them is not UTF-8");
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

typedef struct Report {
    const char *path;
    Error *err;
} Report;

static bool LK_PRINTF(3, 4) fail(const Report *r, ErrorCode code, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return lk_error_set(r->err, code, "lk_load_peft: %.200s: %s", r->path, text);
}

/* null, false, 0, "", [] and {}: a setting that sets nothing. */
static bool is_neutral(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return json_object_size(value) == 0;
    case JSON_ARRAY: return json_array_size(value) == 0;
    case JSON_STRING: return json_string_length(value) == 0;
    case JSON_INTEGER:
    case JSON_REAL: return json_number_value(value) == 0;
    case JSON_TRUE: return false;
    case JSON_FALSE:
    case JSON_NULL: return true;
    }
    return false;
}

static bool is_one_of(const char *text, const char *const *list)
{
    while (*list && (!text || strcmp(*list, text) != 0)) list++;
    return *list;
}

/* Whether a setting leaves the result as it is, whatever it says, or says what Lorikeet computes. */
static bool is_harmless(const char *key, json_t *value)
{
    static const char *const any[] = { /* for training, about where it comes from, or without effect by themselves */
        "auto_mapping", "base_model_name_or_path", "inference_mode", "layers_pattern", "lora_dropout", "megatron_core",
        "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type", NULL
    };
    static const char *const read[] = { "alpha_pattern", "lora_alpha", "modules_to_save", "peft_type", "r",
                                        "rank_pattern", "target_modules", "use_rslora", NULL };
    /* These draw A and B in another way; others (pissa, olora, …) change the weights of the model. */
    static const char *const inits[] = { "gaussian", "orthogonal", "eva", NULL };
    const char *text = json_string_value(value);
    if (is_one_of(key, any) || is_one_of(key, read) || is_neutral(value)) return true;
    if (strcmp(key, "bias") == 0) return text && strcmp(text, "none") == 0;
    if (strcmp(key, "init_lora_weights") == 0) return json_is_true(value) || is_one_of(text, inits);
    return false;
}

/* A list of texts, of no text of length 0; null is allowed where it may be missing. */
static bool check_texts(const json_t *root, const char *key, bool may_miss, const Report *r)
{
    json_t *list = json_object_get(root, key), *item;
    size_t i;
    if (may_miss && (!list || json_is_null(list))) return true;
    if (json_is_string(list))
        return fail(r, LK_EFORMAT, "%s is the text \"%.60s\"; only lists of names are supported", key,
                    json_string_value(list));
    if (!json_is_array(list) || (!may_miss && json_array_size(list) == 0))
        return fail(r, LK_EFORMAT, "%s is no list of names", key);
    json_array_foreach (list, i, item)
        if (json_string_length(item) == 0) return fail(r, LK_EFORMAT, "%s: item %zu is no name", key, i);
    return true;
}

/* {name: number above 0}. PEFT takes the names for regular expressions; only those that mean themselves are. */
static bool check_pattern(const json_t *root, const char *key, bool whole, const Report *r)
{
    json_t *object = json_object_get(root, key), *value;
    const char *name;
    if (!object || json_is_null(object)) return true;
    if (!json_is_object(object)) return fail(r, LK_EFORMAT, "%s is no object", key);
    json_object_foreach (object, name, value) {
        if (!*name || strpbrk(name, "\\^$*+?()[]{}|"))
            return fail(r, LK_EFORMAT, "%s: \"%.80s\" is a regular expression; only names are supported", key, name);
        if (whole ? !json_is_integer(value) || json_integer_value(value) <= 0 : !json_is_number(value))
            return fail(r, LK_EFORMAT, "%s: \"%.80s\" is no %s", key, name, whole ? "whole number above 0" : "number");
    }
    return true;
}

static bool check_settings(PeftConfig *c, const Report *r)
{
    const json_t *root = c->root;
    if (!json_is_object(root)) return fail(r, LK_EFORMAT, "is no JSON object");
    const char *type = json_string_value(json_object_get(root, "peft_type")), *key;
    if (!type || strcmp(type, "LORA") != 0)
        return fail(r, LK_EFORMAT, "peft_type is %s%.40s%s, not \"LORA\"", type ? "\"" : "", type ? type : "missing",
                    type ? "\"" : "");
    json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha"), *value;
    json_t *rslora = json_object_get(root, "use_rslora");
    if (!json_is_integer(rank) || json_integer_value(rank) <= 0)
        return fail(r, LK_EFORMAT, "r is no whole number above 0");
    if (!json_is_number(alpha)) return fail(r, LK_EFORMAT, "lora_alpha is no number");
    if (rslora && !json_is_boolean(rslora) && !json_is_null(rslora))
        return fail(r, LK_EFORMAT, "use_rslora is neither true nor false");
    if (!check_texts(root, "target_modules", false, r) || !check_texts(root, "modules_to_save", true, r) ||
        !check_pattern(root, "rank_pattern", true, r) || !check_pattern(root, "alpha_pattern", false, r))
        return false;
    json_object_foreach (c->root, key, value) {
        if (is_harmless(key, value)) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        fail(r, LK_EFORMAT, "%.60s is %.80s: a setting that Lorikeet does not know, or has not", key,
             text ? text : "set");
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        release(text);
        return false;
    }
    c->rank = json_integer_value(rank);
    c->alpha = json_number_value(alpha);
    c->rslora = json_is_true(rslora);
    return true;
}

bool lk_peft_config_load(PeftConfig *c, const char *path, Error *err)
{
    const Report r = { path, err };
    *c = (PeftConfig){ .root = NULL };
    struct stat info; /* looks before it opens: a pipe would wait */
    if (stat(path, &info) != 0)
        return fail(&r, LK_EIO, "cannot be opened: %s; no adapter, or saving one was interrupted", strerror(errno));
    if (!S_ISREG(info.st_mode)) return fail(&r, LK_EIO, "is not a regular file");
    json_error_t error;
    c->root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (c->root) return check_settings(c, &r);
    switch (json_error_code(&error)) {
    case json_error_cannot_open_file: return fail(&r, LK_EIO, "cannot be opened: %s", strerror(errno));
    case json_error_unknown: /* jansson has no message of its own for this */
    case json_error_out_of_memory: return fail(&r, LK_EMEMORY, "no memory for it");
    default: return fail(&r, LK_EFORMAT, "is not JSON: %.160s (line %d)", error.text, error.line);
    }
}

void lk_peft_config_free(PeftConfig *c)
{
    json_decref(c->root);
    c->root = NULL;
}

const char *lk_peft_target(const PeftConfig *c, size_t i)
{
    return json_string_value(json_array_get(json_object_get(c->root, "target_modules"), i));
}

bool lk_peft_is_target(const PeftConfig *c, const char *name)
{
    const char *target;
    for (size_t i = 0; (target = lk_peft_target(c, i)); i++)
        if (lk_peft_ends_with(name, target)) return true;
    return false;
}

bool lk_peft_is_saved(const PeftConfig *c, const char *name)
{
    json_t *list = json_object_get(c->root, "modules_to_save"), *item;
    size_t i;
    char outer[LK_NAME_MAX]; /* the module itself, then each one that it is in */
    snprintf(outer, sizeof outer, "%s", name);
    for (char *dot = outer; dot && *outer; dot ? *dot = '\0' : 0) {
        json_array_foreach (list, i, item)
            if (lk_peft_ends_with(outer, json_string_value(item))) return true;
        dot = strrchr(outer, '.');
    }
    return false;
}

/* What a pattern says of a module: under its own name, or under one that its name ends with. NULL: nothing. */
static json_t *look_up(const PeftConfig *c, const char *key, const char *name)
{
    json_t *object = json_object_get(c->root, key), *value = json_object_get(object, name), *found;
    const char *end;
    if (value) return value;
    json_object_foreach (object, end, found)
        if (lk_peft_ends_with(name, end)) return found;
    return NULL;
}

int64_t lk_peft_rank(const PeftConfig *c, const char *name)
{
    json_t *rank = look_up(c, "rank_pattern", name);
    return rank ? json_integer_value(rank) : c->rank;
}

double lk_peft_scale(const PeftConfig *c, const char *name)
{
    json_t *alpha = look_up(c, "alpha_pattern", name);
    double rank = (double)lk_peft_rank(c, name);
    return (alpha ? json_number_value(alpha) : c->alpha) / (c->rslora ? sqrt(rank) : rank);
}

#else

static const char without[] = "Lorikeet was built without jansson (LORIKEET_JANSSON=ON)";

char *lk_peft_config_new(const PeftOptions *o, const PeftLayer *layers, int count, const Names *targets, Error *err)
{
    (void)o, (void)layers, (void)count, (void)targets;
    lk_error_set(err, LK_ESTATE, "lk_save_peft: %s", without);
    return NULL;
}

bool lk_peft_config_load(PeftConfig *c, const char *path, Error *err)
{
    *c = (PeftConfig){ 0 };
    return lk_error_set(err, LK_ESTATE, "lk_load_peft: %.200s: cannot be read: %s", path, without);
}

void lk_peft_config_free(PeftConfig *c)
{
    (void)c;
}

const char *lk_peft_target(const PeftConfig *c, size_t i)
{
    (void)c, (void)i;
    return NULL;
}

bool lk_peft_is_target(const PeftConfig *c, const char *name)
{
    (void)c, (void)name;
    return false;
}

bool lk_peft_is_saved(const PeftConfig *c, const char *name)
{
    (void)c, (void)name;
    return false;
}

int64_t lk_peft_rank(const PeftConfig *c, const char *name)
{
    (void)name;
    return c->rank;
}

double lk_peft_scale(const PeftConfig *c, const char *name)
{
    (void)name;
    return c->alpha;
}

#endif
