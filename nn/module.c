/* module.c - a module's life: made, shared, copied, converted, freed. Its use: nn/forward.c. Going
 * through the tree: nn/walk.c. */
#include "nn/module.h"

#include <string.h>

#include "core/internal.h"
#include "core/memory.h"
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
    if (!(lk_strict() ? lk_check_table : lk_check_fields)(type, "lk_module_new", &wrong)) {
        if (!err && lk_strict()) lk_strict_report(wrong.code, "%s", wrong.message);
        lk_error_set(err, wrong.code, "%s", wrong.message);
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

bool lk_module_is_freed(const char *function, const Module *m, Error *err)
{
    if (!m || m->refs != LK_BURIED) return false;
    Error freed = { 0 };
    lk_error_set(
        &freed, LK_ESTATE,
        "%s: this %s was freed: its last owner gave it back with lk_free, or a constructor "
        "consumed it; lk_retain it for as long as it is used",
        function, m->type->name);
    if (err) lk_error_set(err, freed.code, "%s", freed.message);
    else lk_strict_report(freed.code, "%s", freed.message);
    return true;
}

Module *lk_module_retain(Module *m)
{
    if (!m || lk_module_is_freed("lk_retain", m, NULL)) return NULL;
    m->refs++;
    return m;
}

void lk_module_free(Module *m)
{
    if (!m || lk_module_is_freed("lk_free", m, NULL) || --m->refs > 0) return;
    for (const Field *f = first_field(m); f; f = next_field(f)) {
        Tensor **x = holds_tensor(f) ? field_of(m, f) : NULL;
        Module **child = f->kind == LK_FIELD_CHILD ? field_of(m, f) : NULL;
        if (holds_array(f)) lk_module_array_free(field_of(m, f));
        /* empty, in case that a wrong table lists the slot again */
        if (x) lk_tensor_free(*x), *x = NULL;
        if (child) lk_module_free(*child), *child = NULL;
    }
    if (!lk_strict()) {
        lk_mem_free(m);
        return;
    }
    m->refs = LK_BURIED; /* its struct stays, with empty slots */
    lk_bury(m);
}

bool lk_module_set(Module **slot, Module *m, Error *err)
{
    if (lk_module_is_freed("lk_module_set", m, err)) return false;
    if (!slot || !m) {
        lk_module_free(m);
        return lk_error_set(err, LK_EVALUE, "lk_module_set: the %s is NULL; nothing is replaced",
                            slot ? "module" : "slot");
    }
    Module *old = *slot;
    if (old && old->refs == 1 && lk_holds_module(m, old)) { /* two places, one reference */
        if (m == old) return true;                          /* as it is */
        lk_module_retain(old);                              /* what m takes with it when it goes */
        lk_error_set(err, LK_EVALUE,
                     "lk_module_set: the new %s holds the %s that is in the slot, without a "
                     "reference of its "
                     "own; give it lk_retain(*slot). Nothing is replaced",
                     m->type->name, old->type->name);
        lk_module_free(m);
        return false;
    }
    *slot = m;
    lk_module_free(old);
    return true;
}

/* How often module i stands in front of i: with fewer references than places it would be freed too
 * often. */
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
        if (lk_module_is_freed("lk_module_array_init", modules[i], err)) ok = false;
        if (!modules[i] || modules[i]->refs == LK_BURIED ||
            modules[i]->refs > places_before(modules, i))
            continue;
        ok = lk_error_set(
            err, LK_EVALUE,
            "lk_module_array_init: module %d of %d, a %s, is there already; lk_retain it for "
            "each place",
            i, count, modules[i]->type->name);
        /* which is taken back at once, with those of the other places */
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

/* ---- deep copy ------------------------------------------------------------------------------ */

/* The copy grows in the order in which the tree is walked. What has several owners may have been
 * copied already: then both trees are walked in step up to its first place, and what the copy has
 * there is shared. No table is needed. */

/* The slot of `to`, a module of the same type, that corresponds to a child's slot in the original;
 * NULL: not there yet, since its array is not. */
static Module **twin_slot(Module *to, const ChildIter *it)
{
    ModuleArray slots = slots_of(to, it->field);
    int i = it->item - 1; /* the iterator already stands behind it */
    return i < slots.count ? &slots.items[i] : NULL;
}

/* The copy of x, which is somewhere in `from`; NULL: not copied yet. */
static Tensor *copy_of_param(const Module *from, Module *to, const Tensor *x)
{
    for (const Field *f = first_field(from); f; f = next_field(f))
        if (holds_tensor(f) && *(Tensor **)field_of(from, f) == x)
            return *(Tensor **)field_of(to, f);
    for (ChildIter it = lk_children(from); lk_children_next(&it);) {
        Module **twin = twin_slot(to, &it);
        Tensor *y = twin && *twin ? copy_of_param(it.module, *twin, x) : NULL;
        if (y) return y;
    }
    return NULL;
}

static Module *copy_of_module(const Module *from, Module *to, const Module *m)
{
    for (ChildIter it = lk_children(from); lk_children_next(&it);) {
        Module **twin = twin_slot(to, &it);
        if (!twin || !*twin) continue;
        Module *copy = it.module == m ? *twin : copy_of_module(it.module, *twin, m);
        if (copy) return copy;
    }
    return NULL;
}

/* A module with the constants of m and empty slots. */
static Module *copy_shell(const Module *m, Error *err)
{
    Module *copy = lk_module_is_freed("lk_deepcopy", m, err) ? NULL : lk_module_new(m->type, err);
    if (!copy) return NULL;
    memcpy(copy, m, m->type->size);
    copy->refs = 1;
    for (const Field *f = first_field(copy); f; f = next_field(f)) {
        if (holds_tensor(f)) *(Tensor **)field_of(copy, f) = NULL;
        if (f->kind == LK_FIELD_CHILD) *(Module **)field_of(copy, f) = NULL;
        if (holds_array(f)) *(ModuleArray *)field_of(copy, f) = (ModuleArray){ NULL, 0 };
    }
    return copy;
}

static Tensor *copy_param(const Tensor *x, Error *err)
{
    Tensor *y = lk_clone(x, err);
    if (!y) return NULL;
    y->requires_grad = x->requires_grad;
    y->is_parameter = x->is_parameter;
    return y;
}

typedef struct Roots {
    const Module *from;
    Module *to;
} Roots;

static bool copy_fields(const Roots *roots, const Module *from, Module *to, Error *err)
{
    for (const Field *f = first_field(from); f; f = next_field(f)) {
        if (holds_tensor(f)) {
            Tensor *x = *(Tensor **)field_of(from, f);
            if (!x) continue;
            Tensor *y =
                x->refs > 1 ? lk_tensor_retain(copy_of_param(roots->from, roots->to, x)) : NULL;
            if (!y) y = copy_param(x, err);
            if (!y) return false;
            *(Tensor **)field_of(to, f) = y;
        }
        ModuleArray slots = slots_of(from, f);
        if (holds_array(f) && slots.count > 0) {
            Module **items = lk_mem_calloc((size_t)slots.count, sizeof *items);
            if (!items)
                return lk_error_set(err, LK_EMEMORY, "lk_deepcopy: no memory for %d modules",
                                    slots.count);
            *(ModuleArray *)field_of(to, f) = (ModuleArray){ items, slots.count };
        }
    }
    for (ChildIter it = lk_children(from); lk_children_next(&it);) {
        Module **slot = twin_slot(to, &it);
        if (it.module->refs > 1)
            *slot = lk_module_retain(copy_of_module(roots->from, roots->to, it.module));
        if (*slot) continue;
        /* in its place before it is filled: ties are looked up from the root */
        *slot = copy_shell(it.module, err);
        if (!*slot || !copy_fields(roots, it.module, *slot, err)) return false;
    }
    return true;
}

Module *lk_deepcopy(const Module *m, Error *err)
{
    if (!m) lk_error_set(err, LK_EVALUE, "lk_deepcopy: the module is NULL");
    Module *copy = m ? copy_shell(m, err) : NULL;
    if (!copy) return NULL;
    if (copy_fields(&(Roots){ m, copy }, m, copy, err)) return copy;
    lk_module_free(copy);
    return NULL;
}

/* ---- modes, dtypes -------------------------------------------------------------------------- */

bool lk_module_to(Module *m, DType dtype, Error *err)
{
    if (!lk_is_floating(dtype))
        return lk_error_set(err, LK_EDTYPE,
                            "lk_module_to: parameters are float32 or float64, not %s",
                            lk_dtype_name(dtype));
    if (!lk_walkable(m, "lk_module_to", err)) return false;
    ParamIter kinds[] = { lk_params(m), lk_buffers(m) };
    for (int i = 0; i < 2; i++)
        for (ParamIter *it = &kinds[i]; lk_params_next(it);)
            if (lk_is_floating(it->tensor->dtype) && it->tensor->dtype != dtype &&
                !lk_convert_(it->tensor, dtype, err))
                return false;
    return true;
}

void lk_train(Module *m, bool on)
{
    if (!m || lk_module_is_freed("lk_train", m, NULL)) return;
    m->training = on;
    for (ChildIter it = lk_children(m); lk_children_next(&it);) lk_train(it.module, on);
}

void lk_eval(Module *m) { lk_train(m, false); }
