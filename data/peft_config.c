/* peft_config.c - adapter_config.json, read strictly and by PEFT's rules: which modules, which
 * ranks, which strengths. Which settings there may be: data/peft_settings.c. Writing it:
 * data/peft_config_write.c. Called by data/peft_load.c. */
#include "data/peft_parts.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/file_report.h"
#include "data/json_write.h"

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
    const Json *list = lk__json_get(c->root, key);
    const char *text = lk__json_text(list);
    if (setting != PEFT_TARGET && (!list || list->kind == JSON_NULL)) return true;
    if (setting != PEFT_SAVED && text && *text) {
        bool all = setting == PEFT_TARGET && strcasecmp(text, "all-linear") == 0;
        return add_rule(c, (PeftRule){ .setting = setting, .text = text, .all = all },
                        all ? NULL : text, r);
    }
    if (!lk__json_is(list, JSON_LIST) || (setting == PEFT_TARGET && !lk__json_next(list, NULL)))
        return lk__file_fail(r, LK_EFORMAT, "%s is no list of names%s", key,
                             setting == PEFT_SAVED ? "" : " and no regular expression");
    int i = 0;
    for (const Json *item = NULL; (item = lk__json_next(list, item)); i++) {
        PeftRule rule = { .setting = setting, .text = lk__json_text(item) };
        if (!rule.text || !*rule.text)
            return lk__file_fail(r, LK_EFORMAT, "%s: item %d is no name", key, i);
        if (!add_rule(c, rule, NULL, r)) return false;
    }
    return true;
}

/* Reads {regular expression of the end of a name: number}. */
static bool read_pattern(PeftConfig *c, PeftSetting setting, const FileReport *r)
{
    const char *key = lk__peft_setting_name(setting);
    const Json *object = lk__json_get(c->root, key);
    bool of_rank = setting == PEFT_RANK;
    if (!object || object->kind == JSON_NULL) return true;
    if (object->kind != JSON_OBJECT) return lk__file_fail(r, LK_EFORMAT, "%s is no object", key);
    for (const Json *value = NULL; (value = lk__json_next(object, value));) {
        const char *text = value->key;
        double number = lk__json_number(value);
        if (of_rank ? value->kind != JSON_INTEGER || value->integer <= 0 : isnan(number))
            return lk__file_fail(r, LK_EFORMAT, "%s: \"%.80s\" is no %s", key, text,
                                 of_rank ? "whole number above 0" : "number");
        size_t size = strlen(text) + sizeof LK_PEFT_KEY;
        char *regex = lk_mem_alloc(size);
        if (!regex) return lk__file_fail(r, LK_EMEMORY, "no memory for it");
        snprintf(regex, size, LK_PEFT_KEY, text);
        PeftRule rule = { .setting = setting, .text = text, .value = number };
        bool ok = add_rule(c, rule, regex, r);
        lk_mem_free(regex);
        if (!ok) return false;
    }
    return true;
}

static bool read_rules(PeftConfig *c, const FileReport *r)
{
    size_t count = 0;
    for (PeftSetting s = PEFT_TARGET; s <= PEFT_SAVED; s++)
        count += 1 + lk__json_count(lk__json_get(c->root, lk__peft_setting_name(s)));
    c->rules = lk_mem_calloc(count, sizeof *c->rules);
    if (!c->rules) return lk__file_fail(r, LK_EMEMORY, "no memory for it");
    return read_names(c, PEFT_TARGET, r) && read_names(c, PEFT_SAVED, r) &&
           read_names(c, PEFT_EXCLUDED, r) && read_pattern(c, PEFT_RANK, r) &&
           read_pattern(c, PEFT_ALPHA, r);
}

static bool check_settings(const Json *root, const FileReport *r)
{
    const Json *setting;
    const char *why;
    if (lk__peft_settings_known(root, &setting, &why)) return true;
    Buffer text = { 0 };
    lk__json_put(&(JsonWriter){ .out = &text }, NULL, setting);
    lk__file_fail(r, LK_EFORMAT, "%.60s is %.80s: %s; this is not supported", setting->key,
                  text.failed ? "set" : text.bytes, why);
    lk_buffer_free(&text);
    return false;
}

static bool read_root(PeftConfig *c, const FileReport *r)
{
    if (c->root->kind != JSON_OBJECT) return lk__file_fail(r, LK_EFORMAT, "is no JSON object");
    const char *type = lk__json_text(lk__json_get(c->root, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return lk__file_fail(r, LK_EFORMAT, "peft_type is %s%.40s%s, not \"LORA\"",
                             type ? "\"" : "", type ? type : "missing", type ? "\"" : "");
    const Json *rank = lk__json_get(c->root, "r"), *rslora = lk__json_get(c->root, "use_rslora");
    if (!lk__json_is(rank, JSON_INTEGER) || rank->integer <= 0)
        return lk__file_fail(r, LK_EFORMAT, "r is no whole number above 0");
    c->rank = rank->integer;
    c->alpha = lk__json_number(lk__json_get(c->root, "lora_alpha"));
    if (isnan(c->alpha)) return lk__file_fail(r, LK_EFORMAT, "lora_alpha is no number");
    c->rslora = lk__json_is(rslora, JSON_TRUE);
    if (rslora && rslora->kind > JSON_TRUE)
        return lk__file_fail(r, LK_EFORMAT, "use_rslora is neither true nor false");
    return read_rules(c, r) && check_settings(c->root, r);
}

bool lk__peft_config_read(PeftConfig *c, const char *text, const char *path, Error *err)
{
    const FileReport r = { "lk_load_peft", path, err, 0 };
    *c = (PeftConfig){ .root = lk__json_new(text, strlen(text), "", &r) };
    return c->root && read_root(c, &r);
}

bool lk__peft_config_load(PeftConfig *c, const char *path, Error *err)
{
    Error reason = { 0 };
    const FileReport r = { "lk_load_peft", path, &reason, 0 };
    *c = (PeftConfig){ .root = lk__json_file_new(&r) };
    if (c->root && read_root(c, &r)) return true;
    return lk_error_set(err, reason.code, "%s%s", reason.message,
                        reason.code == LK_EIO ? "; no adapter, or saving one was interrupted"
                                              : "");
}

bool lk__peft_config_scales(PeftConfig *c, const char *text, const char *path, Error *err)
{
    if (!text) return true;
    const FileReport r = { "lk_load_peft", path, err, 0 };
    c->scales = lk__json_new(text, strlen(text), "its " LK_PEFT_SCALES " ", &r);
    return c->scales != NULL;
}

void lk__peft_config_free(PeftConfig *c)
{
    for (int i = 0; i < c->rule_count; i++) lk__regex_free(c->rules[i].regex);
    lk_mem_free(c->rules);
    lk_mem_free(c->root);
    lk_mem_free(c->scales);
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
    const Json *exact = lk__json_get(c->scales, name);
    if (!lk__json_is(exact, JSON_REAL)) return scale;
    const double meant = exact->real;
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
