/* peft_config.c - adapter_config.json, read strictly and by PEFT's rules: which modules, which
 * ranks, which strengths. Which settings there may be: data/peft_settings.c. Writing it:
 * data/peft_config_write.c. Called by data/peft_load.c. */
#include "data/peft_parts.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/file_report.h"

#ifdef LK_HAVE_JANSSON
#include <jansson.h>

/* ---- rules ---------------------------------------------------------------------------------- */

const char *lk__peft_setting_name(PeftSetting setting)
{
    static const char *const names[] = { [PEFT_TARGET] = "target_modules",
                                         [PEFT_EXCLUDED] = "exclude_modules",
                                         [PEFT_RANK] = "rank_pattern",
                                         [PEFT_ALPHA] = "alpha_pattern",
                                         [PEFT_SAVED] = "modules_to_save" };
    return names[setting];
}

/* Appends a rule; there is room for it. regex: its regular expression, NULL for none. */
static bool add_rule(PeftConfig *c, PeftRule rule, const char *regex, const FileReport *r)
{
    Error reason = { 0 };
    if (regex) rule.regex = lk__regex_new(regex, &reason);
    if (regex && !rule.regex)
        return lk__file_fail(r, reason.code, "%s: %s", lk__peft_setting_name(rule.setting),
                             reason.message);
    c->rules[c->rule_count++] = rule;
    return true;
}

/* Reads a list of names or, where that is allowed, a regular expression of whole names. */
static bool read_names(PeftConfig *c, PeftSetting setting, const FileReport *r)
{
    const char *key = lk__peft_setting_name(setting);
    json_t *list = json_object_get(c->root, key), *item;
    size_t i;
    if (setting != PEFT_TARGET && (!list || json_is_null(list))) return true;
    if (setting != PEFT_SAVED && json_string_length(list) > 0) {
        const char *text = json_string_value(list);
        bool all = setting == PEFT_TARGET && strcasecmp(text, "all-linear") == 0;
        return add_rule(c, (PeftRule){ .setting = setting, .text = text, .all = all },
                        all ? NULL : text, r);
    }
    if (!json_is_array(list) || (setting == PEFT_TARGET && json_array_size(list) == 0))
        return lk__file_fail(r, LK_EFORMAT, "%s is no list of names%s", key,
                             setting == PEFT_SAVED ? "" : " and no regular expression");
    json_array_foreach(list, i, item)
    {
        if (json_string_length(item) == 0)
            return lk__file_fail(r, LK_EFORMAT, "%s: item %zu is no name", key, i);
        PeftRule rule = { .setting = setting, .text = json_string_value(item) };
        if (!add_rule(c, rule, NULL, r)) return false;
    }
    return true;
}

/* Reads {regular expression of the end of a name: number}. */
static bool read_pattern(PeftConfig *c, PeftSetting setting, const FileReport *r)
{
    const char *key = lk__peft_setting_name(setting), *text;
    json_t *object = json_object_get(c->root, key), *value;
    bool of_rank = setting == PEFT_RANK;
    if (!object || json_is_null(object)) return true;
    if (!json_is_object(object)) return lk__file_fail(r, LK_EFORMAT, "%s is no object", key);
    json_object_foreach(object, text, value)
    {
        if (of_rank ? !json_is_integer(value) || json_integer_value(value) <= 0
                    : !json_is_number(value))
            return lk__file_fail(r, LK_EFORMAT, "%s: \"%.80s\" is no %s", key, text,
                                 of_rank ? "whole number above 0" : "number");
        size_t size = strlen(text) + sizeof LK_PEFT_KEY;
        char *regex = lk_mem_alloc(size);
        if (!regex) return lk__file_fail(r, LK_EMEMORY, "no memory for it");
        snprintf(regex, size, LK_PEFT_KEY, text);
        PeftRule rule = { .setting = setting, .text = text, .value = json_number_value(value) };
        bool ok = add_rule(c, rule, regex, r);
        lk_mem_free(regex);
        if (!ok) return false;
    }
    return true;
}

static bool read_rules(PeftConfig *c, const FileReport *r)
{
    size_t count = 0;
    for (PeftSetting s = PEFT_TARGET; s <= PEFT_SAVED; s++) {
        const json_t *value = json_object_get(c->root, lk__peft_setting_name(s));
        count += 1 + json_array_size(value) + json_object_size(value);
    }
    c->rules = lk_mem_calloc(count, sizeof *c->rules);
    if (!c->rules) return lk__file_fail(r, LK_EMEMORY, "no memory for it");
    return read_names(c, PEFT_TARGET, r) && read_names(c, PEFT_SAVED, r) &&
           read_names(c, PEFT_EXCLUDED, r) && read_pattern(c, PEFT_RANK, r) &&
           read_pattern(c, PEFT_ALPHA, r);
}

static bool check_settings(const json_t *root, const FileReport *r)
{
    const char *key, *why;
    if (lk__peft_settings_known(root, &key, &why)) return true;
    char *text = json_dumps(json_object_get(root, key), JSON_ENCODE_ANY | JSON_COMPACT);
    lk__file_fail(r, LK_EFORMAT, "%.60s is %.80s: %s; this is not supported", key,
                  text ? text : "set", why);
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    return false;
}

bool lk__peft_config_read(PeftConfig *c, json_t *root, const char *path, Error *err)
{
    const FileReport r = { "lk_load_peft", path, err, 0 };
    *c = (PeftConfig){ .root = root };
    if (!json_is_object(root)) return lk__file_fail(&r, LK_EFORMAT, "is no JSON object");
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return lk__file_fail(&r, LK_EFORMAT, "peft_type is %s%.40s%s, not \"LORA\"",
                             type ? "\"" : "", type ? type : "missing", type ? "\"" : "");
    json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    json_t *rslora = json_object_get(root, "use_rslora");
    if (!json_is_integer(rank) || json_integer_value(rank) <= 0)
        return lk__file_fail(&r, LK_EFORMAT, "r is no whole number above 0");
    if (!json_is_number(alpha)) return lk__file_fail(&r, LK_EFORMAT, "lora_alpha is no number");
    if (rslora && !json_is_boolean(rslora) && !json_is_null(rslora))
        return lk__file_fail(&r, LK_EFORMAT, "use_rslora is neither true nor false");
    c->rank = json_integer_value(rank);
    c->alpha = json_number_value(alpha);
    c->rslora = json_is_true(rslora);
    return read_rules(c, &r) && check_settings(root, &r);
}

bool lk__peft_config_load(PeftConfig *c, const char *path, Error *err)
{
    const FileReport r = { "lk_load_peft", path, err, 0 };
    *c = (PeftConfig){ .root = NULL };
    struct stat info; /* looks before it opens: a pipe would wait */
    if (stat(path, &info) != 0)
        return lk__file_fail(&r, LK_EIO,
                             "cannot be opened: %s; no adapter, or saving one was interrupted",
                             strerror(errno));
    if (!S_ISREG(info.st_mode)) return lk__file_fail(&r, LK_EIO, "is not a regular file");
    json_error_t error = { 0 };
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root) return lk__peft_config_read(c, root, path, err);
    switch (json_error_code(&error)) {
    case json_error_cannot_open_file:
        return lk__file_fail(&r, LK_EIO, "cannot be opened: %s", strerror(errno));
    case json_error_unknown: /* jansson has no message of its own for this */
    case json_error_out_of_memory: return lk__file_fail(&r, LK_EMEMORY, "no memory for it");
    default:
        return lk__file_fail(&r, LK_EFORMAT, "is not JSON: %.160s (line %d)", error.text,
                             error.line);
    }
}

bool lk__peft_config_scales(PeftConfig *c, const char *text, const char *path, Error *err)
{
    if (!text) return true;
    json_error_t error = { 0 };
    c->scales = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (c->scales) return true;
    bool memory = json_error_code(&error) == json_error_unknown ||
                  json_error_code(&error) == json_error_out_of_memory;
    return lk__file_fail(&(const FileReport){ "lk_load_peft", path, err, 0 },
                         memory ? LK_EMEMORY : LK_EFORMAT, "its " LK_PEFT_SCALES " %s",
                         memory ? "have no memory" : "are not JSON");
}

void lk__peft_config_free(PeftConfig *c)
{
    for (int i = 0; i < c->rule_count; i++) lk__regex_free(c->rules[i].regex);
    lk_mem_free(c->rules);
    json_decref(c->root);
    json_decref(c->scales);
    *c = (PeftConfig){ .root = NULL };
}

/* ---- rules for a module --------------------------------------------------------------------- */

static bool fits(const PeftRule *rule, const char *name, bool linear)
{
    if (rule->all) return linear;
    if (rule->regex) return lk__regex_fits(rule->regex, name);
    size_t all = strlen(name), last = strlen(rule->text);
    if (rule->setting == PEFT_SAVED)
        return all >= last && strcmp(name + all - last, rule->text) == 0; /* no dot needed */
    return lk__peft_ends_with(name, rule->text);
}

static bool is_pattern(PeftSetting setting)
{
    return setting == PEFT_RANK || setting == PEFT_ALPHA;
}

/* Finds the first rule that fits. Like PEFT, it falls back on a pattern whose text is the name
 * itself. */
static const PeftRule *find(const PeftConfig *c, PeftSetting setting, const char *name,
                            bool linear)
{
    for (int i = 0; i < c->rule_count; i++)
        if (c->rules[i].setting == setting && fits(&c->rules[i], name, linear))
            return &c->rules[i];
    for (int i = 0; i < c->rule_count && is_pattern(setting); i++)
        if (c->rules[i].setting == setting && strcmp(c->rules[i].text, name) == 0)
            return &c->rules[i];
    return NULL;
}

bool lk__peft_is_saved(const PeftConfig *c, const char *name)
{
    char outer[LK_NAME_MAX]; /* the module itself, then each module around it */
    snprintf(outer, sizeof outer, "%s", name);
    for (char *dot = outer; dot && *outer; dot ? *dot = '\0' : 0) {
        if (find(c, PEFT_SAVED, outer, false)) return true;
        dot = strrchr(outer, '.');
    }
    return false;
}

bool lk__peft_is_target(const PeftConfig *c, const PeftIter *it)
{
    bool linear = it->linear;
    return find(c, PEFT_TARGET, it->name, linear) && !find(c, PEFT_EXCLUDED, it->name, linear) &&
           !lk__peft_is_saved(c, it->name);
}

int64_t lk__peft_rank(const PeftConfig *c, const char *name)
{
    const PeftRule *rule = find(c, PEFT_RANK, name, true);
    return rule ? (int64_t)rule->value : c->rank;
}

double lk__peft_alpha(const PeftConfig *c, const char *name)
{
    const PeftRule *rule = find(c, PEFT_ALPHA, name, true);
    return rule ? rule->value : c->alpha;
}

/* Returns alpha / r or, if it was saved too, the exact scale. */
double lk__peft_scale(const PeftConfig *c, const char *name)
{
    double rank = (double)lk__peft_rank(c, name);
    double scale = lk__peft_alpha(c, name) / (c->rslora ? sqrt(rank) : rank);
    const json_t *exact = json_object_get(c->scales, name);
    if (!json_is_real(exact)) return scale;
    double meant = json_real_value(exact);
    bool changed = fabs(meant - scale) > 2 * DBL_EPSILON * fabs(meant); /* edited since */
    return changed ? scale : meant;
}

void lk__peft_note(PeftConfig *c, const PeftIter *it, bool adapted)
{
    for (int i = 0; i < c->rule_count; i++) {
        PeftRule *rule = &c->rules[i];
        bool pattern = is_pattern(rule->setting);
        if (pattern && !adapted) continue;
        rule->used = rule->used || fits(rule, it->name, it->linear) ||
                     (pattern && strcmp(rule->text, it->name) == 0);
    }
}

#else

bool lk__peft_config_load(PeftConfig *c, const char *path, Error *err)
{
    *c = (PeftConfig){ .root = NULL };
    return lk_error_set(err, LK_ESTATE,
                        "lk_load_peft: %.200s: cannot be read: Lorikeet was built without jansson "
                        "(LORIKEET_JANSSON=ON)",
                        path);
}

/* Nothing below is called, since no settings can be read. */

bool lk__peft_config_scales(PeftConfig *c, const char *text, const char *path, Error *err)
{
    (void)c, (void)text, (void)path, (void)err;
    return true;
}

void lk__peft_config_free(PeftConfig *c) { (void)c; }

bool lk__peft_is_target(const PeftConfig *c, const PeftIter *it)
{
    (void)c, (void)it;
    return false;
}

bool lk__peft_is_saved(const PeftConfig *c, const char *name)
{
    (void)c, (void)name;
    return false;
}

int64_t lk__peft_rank(const PeftConfig *c, const char *name)
{
    (void)name;
    return c->rank;
}

double lk__peft_alpha(const PeftConfig *c, const char *name)
{
    (void)name;
    return c->alpha;
}

double lk__peft_scale(const PeftConfig *c, const char *name)
{
    (void)name;
    return c->alpha;
}

void lk__peft_note(PeftConfig *c, const PeftIter *it, bool adapted)
{
    (void)c, (void)it, (void)adapted;
}

const char *lk__peft_setting_name(PeftSetting setting)
{
    (void)setting;
    return "";
}

#endif
