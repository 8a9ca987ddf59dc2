/* lora_targets.c - reads a list of targets. nn/lora_wrap.c chooses layers by it, nn/adapter.c all
 * that nn/lora_sites.h names. */
#include "nn/lora_targets.h"

#include <string.h>

#include "nn/lora_sites.h"
#include "nn/nearest.h"

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

/* Whether a list begins with all Linears. */
static bool begins_with_all(const char *targets) { return !targets || *targets == '!'; }

static bool chooses(const char *targets, bool at_first, const char *name)
{
    bool is = at_first;
    for (Target it = { .rest = targets }; next_target(&it);)
        if (matches(&it, name)) is = !it.out;
    return is;
}

bool lk_is_lora_target(const char *targets, const char *name)
{
    return name && chooses(targets, begins_with_all(targets), name);
}

bool lk__is_target_site(const char *targets, const SiteIter *site)
{
    return chooses(targets, site->linear && begins_with_all(targets), site->name);
}

static bool matches_linear(Module *m, const Target *target)
{
    for (SiteIter it = lk__lora_sites(m); lk__lora_sites_next(&it);)
        if (it.linear && matches(target, it.name)) return true;
    return false;
}

bool lk__is_target_layer(Module *m, const char *targets, const SiteIter *site)
{
    if (site->linear) return lk__is_target_site(targets, site);
    bool is = false;
    for (Target it = { .rest = targets }; site->layer && next_target(&it);)
        if (matches(&it, site->name) && (it.out || !matches_linear(m, &it))) is = !it.out;
    return is;
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

/* ---- checking ------------------------------------------------------------------------------- */

/* The sites that a list is for. */
typedef struct Sites {
    Module *module;
    enum { LINEARS, LAYERS, ALL } reach;
    const char *kind; /* of one of them, for messages */
} Sites;

static bool next_site(const Sites *s, SiteIter *it)
{
    while (lk__lora_sites_next(it))
        if (it->linear || s->reach == ALL || (s->reach == LAYERS && it->layer)) return true;
    return false;
}

static bool is_left(const Sites *s, const char *targets, const SiteIter *site)
{
    return s->reach == LAYERS ? lk__is_target_layer(s->module, targets, site)
                              : lk__is_target_site(targets, site);
}

/* Refuses a target that names a whole LSTM, whose matrices are the targets. */
static bool names_a_layer(const Target *target, const SiteIter *it, const char *function,
                          Error *err)
{
    return lk_error_set(err, LK_EVALUE,
                        "%s: '%.80s' is a whole %s; name its matrices: '%.80s.*' for all, "
                        "'%.80s.%.40s' for one",
                        function, target->text + 2, it->module->type->name, target->text + 2,
                        target->text + 2, it->parameter);
}

static bool no_such_target(const Sites *s, const Target *asked, const char *function, Error *err)
{
    Nearest n = { 0 };
    const char *target = asked->text + 2;
    for (SiteIter it = lk__lora_sites(s->module); next_site(s, &it);) {
        if (matches(asked, it.modules.name)) return names_a_layer(asked, &it, function, err);
        lk__nearest_offer(&n, target, same_end(it.name, target));
    }
    return lk_error_set(err, LK_EVALUE,
                        "%s: no %s of the model is called '%.80s'; nearest: %.80s%s%.80s%s%.80s",
                        function, s->kind, target, n.name[0], n.count > 1 ? ", " : "", n.name[1],
                        n.count > 2 ? ", " : "", n.name[2]);
}

static bool check_targets(Sites s, const char *targets, const char *function, Error *err)
{
    int found = 0, left = 0;
    for (SiteIter it = lk__lora_sites(s.module); next_site(&s, &it);) {
        found++;
        left += is_left(&s, targets, &it);
    }
    if (found == 0)
        return lk_error_set(err, LK_EVALUE, "%s: %s has no %s", function, s.module->type->name,
                            s.kind);
    for (Target target = { .rest = targets }; next_target(&target);) {
        bool matched = false;
        for (SiteIter it = lk__lora_sites(s.module); !matched && next_site(&s, &it);)
            matched = matches(&target, it.name);
        if (!matched) return no_such_target(&s, &target, function, err);
    }
    return left > 0 || lk_error_set(err, LK_EVALUE, "%s: the targets '%.200s' leave no %s",
                                    function, targets, s.kind);
}

static bool check_list(Module *m, const char *targets, const char *function, Error *err)
{
    if (!m) return lk_error_set(err, LK_EVALUE, "%s: the module is NULL", function);
    return !targets || *targets ||
           lk_error_set(err, LK_EVALUE, "%s: the list of targets is empty", function);
}

bool lk_check_lora_targets(Module *m, const char *targets, const char *function, Error *err)
{
    if (!function) function = "lk_check_lora_targets";
    return check_list(m, targets, function, err) &&
           check_targets((Sites){ m, LINEARS, "Linear" }, targets, function, err);
}

/* Without targets the Linears alone count. A net of Linears alone hears of nothing else. */
static bool check_beyond_linears(Sites s, const char *targets, const char *function, Error *err)
{
    if (!check_list(s.module, targets, function, err)) return false;
    int linears = 0, others = 0;
    for (SiteIter it = lk__lora_sites(s.module); next_site(&s, &it);) {
        linears += it.linear;
        others += !it.linear;
    }
    if (!targets) s.reach = LINEARS;
    if (!targets || (linears > 0 && others == 0)) s.kind = "Linear";
    return check_targets(s, targets, function, err);
}

bool lk__check_target_sites(Module *m, const char *targets, const char *function, Error *err)
{
    return check_beyond_linears((Sites){ m, ALL, LK_LORA_SITES }, targets, function, err);
}

bool lk__check_target_layers(Module *m, const char *targets, const char *function, Error *err)
{
    return check_beyond_linears((Sites){ m, LAYERS, LK_LORA_LAYERS }, targets, function, err);
}
