/* lora_targets.c - reads a list of targets. Used by: nn/lora_wrap.c, nn/adapter.c. */
#include "nn/lora_targets.h"

#include <string.h>

#include "nn/linear.h"
#include "nn/nearest.h"
#include "nn/places.h"

/* One target of a list: for (Target it = { list }; next_target(&it);) … it.text */
typedef struct Target {
    const char *rest;
    bool out;                   /* "!query": excludes */
    char text[LK_NAME_MAX + 2]; /* "*." and the target: the end of a name from a dot on */
} Target;

static bool next_target(Target *it)
{
    if (!it->rest || !*it->rest) return false;
    it->out = *it->rest == '!';
    it->rest += it->out;
    size_t n = strcspn(it->rest, ",");
    snprintf(it->text, sizeof it->text, "*.%.*s", (int)(n < LK_NAME_MAX ? n : LK_NAME_MAX - 1),
             it->rest);
    it->rest += n + (it->rest[n] == ',');
    return true;
}

static bool matches(const Target *target, const char *name)
{
    return lk_name_matches(target->text, name) || lk_name_matches(target->text + 2, name);
}

bool lk_is_lora_target(const char *targets, const char *name)
{
    bool is = !targets || *targets == '!';
    for (Target it = { .rest = targets }; name && next_target(&it);)
        if (matches(&it, name)) is = !it.out;
    return is && name;
}

/* Returns the end of a name that has as many parts as the target: "query" of "….self.query". */
static const char *same_end(const char *name, const char *target)
{
    int dots = 0;
    for (const char *c = target; *c; c++) dots += *c == '.';
    const char *end = name + strlen(name);
    while (end > name && (end[-1] != '.' || dots-- > 0)) end--;
    return end;
}

static bool no_such_target(Module *m, const char *target, const char *function, Error *err)
{
    Nearest n = { 0 };
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (lk_as_linear(it.module)) lk__nearest_offer(&n, target, same_end(it.name, target));
    return lk_error_set(
        err, LK_EVALUE,
        "%s: no Linear of the model is called '%.80s'; nearest: %.80s%s%.80s%s%.80s", function,
        target, n.name[0], n.count > 1 ? ", " : "", n.name[1], n.count > 2 ? ", " : "", n.name[2]);
}

bool lk_check_lora_targets(Module *m, const char *targets, const char *function, Error *err)
{
    if (!function) function = "lk_check_lora_targets";
    if (!m) return lk_error_set(err, LK_EVALUE, "%s: the module is NULL", function);
    if (targets && !*targets)
        return lk_error_set(err, LK_EVALUE, "%s: the list of targets is empty", function);
    int linears = 0, left = 0;
    for (ModuleIter it = lk__every_place(m); lk_modules_next(&it);) {
        linears += lk_as_linear(it.module) != NULL;
        left += lk_as_linear(it.module) && lk_is_lora_target(targets, it.name);
    }
    if (linears == 0)
        return lk_error_set(err, LK_EVALUE, "%s: %s has no Linear", function, m->type->name);
    for (Target target = { .rest = targets }; next_target(&target);) {
        bool found = false;
        for (ModuleIter it = lk__every_place(m); lk_modules_next(&it);)
            found = found || (lk_as_linear(it.module) && matches(&target, it.name));
        if (!found) return no_such_target(m, target.text + 2, function, err);
    }
    return left > 0 || lk_error_set(err, LK_EVALUE, "%s: the targets '%.200s' leave no Linear",
                                    function, targets);
}
