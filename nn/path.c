/* path.c - finds modules and parameters by their path, "layers.0.linear.weight", and puts another
 * module into a slot. */
#include <string.h>

#include "nn/fields.h"
#include "nn/module.h"
#include "nn/nearest.h"
#include "nn/places.h"

/* ---- access by path ------------------------------------------------------------------------- */

/* Sets an error with the names that are nearest to the path, and returns false; kind: "module" or
 * "parameter". */
static bool no_such_path(const char *function, const Module *m, const char *kind, const char *path,
                         const Nearest *n, Error *err)
{
    char text[LK_NEAREST_TEXT];
    if (n->count == 0)
        return lk_error_set(err, LK_EVALUE,
                            "%s: %.40s has no %s \"%.80s\"; nearest: none: it has no %s", function,
                            m->type->name, kind, path, kind);
    return lk_error_set(err, LK_EVALUE, "%s: %.40s has no %s \"%.80s\"; nearest: %s", function,
                        m->type->name, kind, path, lk__nearest_text(n, text));
}

/* Moves *it to the module at path; false with the reason in err. */
static bool find_module(const char *function, Module *m, const char *path, ModuleIter *it,
                        Error *err)
{
    if (!m || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", function, m ? "path" : "module");
    if (lk__is_freed(function, m, err)) return false;
    *it = lk__every_place(m);
    while (lk_modules_next(it))
        if (strcmp(it->name, path) == 0) return true;

    Nearest nearest = { 0 };
    for (ModuleIter all = lk_modules(m); lk_modules_next(&all);)
        if (all.slot) lk__nearest_offer(&nearest, path, all.name);
    return no_such_path(function, m, "module", path, &nearest, err);
}

Module *lk_module_at(Module *m, const char *path, Error *err)
{
    ModuleIter it;
    return find_module("lk_module_at", m, path, &it, err) ? it.module : NULL;
}

Module **lk_slot_at(Module *m, const char *path, Error *err)
{
    ModuleIter it;
    if (!find_module("lk_slot_at", m, path, &it, err)) return NULL;
    if (!it.slot)
        lk_error_set(err, LK_EVALUE, "lk_slot_at: \"\" is the root itself, which no module holds");
    return it.slot;
}

Tensor *lk_param_at(Module *m, const char *path, Error *err)
{
    if (!m || !path) {
        lk_error_set(err, LK_EVALUE, "lk_param_at: the %s is NULL", m ? "path" : "module");
        return NULL;
    }
    if (lk__is_freed("lk_param_at", m, err)) return NULL;
    ParamIter it = lk_params(m);
    it.with_duplicates = true;
    while (lk_params_next(&it))
        if (strcmp(it.name, path) == 0) return it.tensor;

    Nearest nearest = { 0 };
    for (ParamIter all = lk_params(m); lk_params_next(&all);)
        lk__nearest_offer(&nearest, path, all.name);
    no_such_path("lk_param_at", m, "parameter", path, &nearest, err);
    return NULL;
}

/* ---- replacing ------------------------------------------------------------------------------ */

bool lk_module_set(Module **slot, Module *m, Error *err)
{
    if (lk__is_freed("lk_module_set", m, err)) return false;
    if (!slot || !m) {
        lk_module_free(m);
        return lk_error_set(err, LK_EVALUE, "lk_module_set: the %s is NULL; nothing is replaced",
                            slot ? "module" : "slot");
    }
    Module *old = *slot;
    if (old && old->refs == 1 && lk__has_module(m, old)) { /* two places, one reference */
        if (m == old) return true;                         /* nothing to do */
        lk_module_retain(old);                             /* freeing m gives one back */
        lk_error_set(err, LK_EVALUE,
                     "lk_module_set: the new %s holds the %s that is in the slot, without a "
                     "reference of its "
                     "own; wrap lk_retain(the old one). Nothing is replaced",
                     m->type->name, old->type->name);
        lk_module_free(m);
        return false;
    }
    *slot = m;
    lk_module_free(old);
    return true;
}
