/* module.c - makes, shares and frees modules; arrays of modules. Other parts of constructors:
 * nn/constructor.c. Calls: nn/forward.c. Trees: nn/walk.c. */
#include "nn/module.h"

#include "core/internal.h"
#include "core/memory.h"
#include "core/report.h"
#include "core/strict.h"
#include "nn/fields.h"

/* ---- made, shared, freed -------------------------------------------------------------------- */

void *lk_module_new(const ModuleType *type, Error *err)
{
    if (!type) {
        lk_error_set(err, LK_EVALUE, "lk_module_new: the type is NULL");
        return NULL;
    }
    Error wrong = { 0 };
    if (!(lk_strict() ? lk__check_table : lk__check_fields)(type, "lk_module_new", &wrong)) {
        if (!err && lk_strict()) lk_strict_report(wrong.code, "%s", wrong.message);
        lk_error_pass(err, &wrong);
        return NULL;
    }
    Module *m = lk_mem_calloc(1, type->size);
    if (!m) {
        lk_error_set(err, LK_EMEMORY, "lk_module_new: no memory for a %s (%zu bytes)", type->name,
                     type->size);
        return NULL;
    }
    *m = (Module){ .type = type, .refs = 1, .training = true };
    return m;
}

bool lk__is_freed(const char *function, const Module *m, Error *err)
{
    if (!m || m->refs != LK_BURIED) return false;
    Error freed = { 0 };
    lk_error_set(
        &freed, LK_ESTATE,
        "%s: this %s was freed: its last owner gave it back with lk_free, or a constructor "
        "consumed it; lk_retain it for as long as it is used",
        function, m->type->name);
    if (err) lk_error_pass(err, &freed);
    else lk_strict_report(freed.code, "%s", freed.message);
    return true;
}

Module *lk_module_retain(Module *m)
{
    if (!m || lk__is_freed("lk_retain", m, NULL)) return NULL;
    m->refs++;
    return m;
}

void lk_module_free(Module *m)
{
    if (!m || lk__is_freed("lk_free", m, NULL) || --m->refs > 0) return;
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f)) {
        Tensor **x = lk__holds_tensor(f) ? lk__member(m, f) : NULL;
        Module **child = f->kind == LK_FIELD_CHILD ? lk__member(m, f) : NULL;
        if (lk__holds_array(f)) lk_module_array_free(lk__member(m, f));
        /* empty, in case that a wrong table lists the slot again */
        if (x) lk_tensor_free(*x), *x = NULL;
        if (child) lk_module_free(*child), *child = NULL;
    }
    if (!lk_strict()) {
        lk_mem_free(m);
        return;
    }
    m->refs = LK_BURIED; /* its struct stays, with empty slots */
    lk__bury(m);
}

/* ---- arrays --------------------------------------------------------------------------------- */

/* Counts the places before place i that hold the same module. With fewer references than places a
 * module would be freed too often. */
static int places_before(Module *const *modules, int i)
{
    int places = 0;
    for (int j = 0; j < i; j++) places += modules[j] == modules[i];
    return places;
}

static bool check_modules(const ModuleArray *array, int count, Module *const *modules, Error *err)
{
    bool ok = array && (modules || count <= 0);
    if (!ok)
        lk_error_set(err, LK_EVALUE, "lk_module_array_init: the %s NULL",
                     array ? "modules are" : "array is");
    else if (array->count > 0)
        ok = lk_error_set(err, LK_EVALUE,
                          "lk_module_array_init: the array holds %d modules already; "
                          "lk_module_array_free it first",
                          array->count);
    for (int i = 0; modules && i < count; i++) {
        if (!modules[i])
            ok = lk_error_set(err, LK_EVALUE, "lk_module_array_init: module %d of %d is NULL", i,
                              count);
        if (lk__is_freed("lk_module_array_init", modules[i], err)) ok = false;
        if (!modules[i] || modules[i]->refs == LK_BURIED ||
            modules[i]->refs > places_before(modules, i))
            continue;
        ok = lk_error_set(
            err, LK_EVALUE,
            "lk_module_array_init: module %d of %d, a %s, is there already; lk_retain it for "
            "each place",
            i, count, modules[i]->type->name);
        /* given back at once, with the references of the other places */
        lk_module_retain(modules[i]);
    }
    return ok;
}

bool lk_module_array_init(ModuleArray *array, int count, Module *const *modules, Error *err)
{
    bool ok = check_modules(array, count, modules, err);
    Module **items = ok && count > 0 ? lk_mem_calloc((size_t)count, sizeof *items) : NULL;
    if (ok && count <= 0) return true;
    if (ok && !items)
        lk_error_set(err, LK_EMEMORY, "lk_module_array_init: no memory for %d modules", count);
    for (int i = 0; modules && i < count; i++) {
        if (items) items[i] = modules[i];
        else if (modules[i] && modules[i]->refs != LK_BURIED) lk_module_free(modules[i]);
    }
    if (items) *array = (ModuleArray){ items, count };
    return items;
}

void lk_module_array_free(ModuleArray *array)
{
    if (!array) return;
    for (int i = 0; i < array->count; i++) lk_module_free(array->items[i]);
    lk_mem_free(array->items);
    *array = (ModuleArray){ NULL, 0 };
}
