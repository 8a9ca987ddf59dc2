/* parametrize.c - parameters that are computed each time they are read.
 *
 * The lists hang below m->parametrizations, a module whose children are named like the parameters:
 * walking, copying, freezing and printing reach into them as into any other module. */
#include "nn/parametrize.h"

#include <string.h>

#include "core/internal.h"
#include "core/memory.h"
#include "core/ops.h"
#include "nn/fields.h"
#include "nn/no_grad.h"

/* ---- the two containers --------------------------------------------------------------------- */

_Static_assert(offsetof(ParametrizationList, field) == offsetof(FieldModule, field),
               "a ParametrizationList begins as a FieldModule");

typedef struct ModuleDict {
    Module base;
    /* one ParametrizationList for each parametrized parameter, in order of registration */
    ModuleArray lists;
} ModuleDict;

static const ModuleType dict_type = {
    LK_CLASS(ModuleDict),
    .fields = LK_FIELDS(LK_FIELD_(LK_FIELD_LISTS, ModuleDict, lists, ModuleArray)),
};

const ModuleType lk_parametrization_list_type = {
    LK_CLASS(ParametrizationList),
    .fields =
        LK_FIELDS(LK_PARAM(ParametrizationList, original), LK_ITEMS(ParametrizationList, chain),
                  LK_NON_PERSISTENT(ParametrizationList, merged),
                  LK_NON_PERSISTENT(ParametrizationList, no_grad_value)),
    .kept = offsetof(ParametrizationList, no_grad_value),
};

ModuleArray lk__lists_of(const Module *m)
{
    return m->parametrizations ? ((ModuleDict *)m->parametrizations)->lists
                               : (ModuleArray){ NULL, 0 };
}

static ParametrizationList *list_of_field(const Module *m, const Field *f)
{
    ModuleArray lists = lk__lists_of(m);
    for (int i = 0; i < lists.count; i++) {
        ParametrizationList *list = (ParametrizationList *)lists.items[i];
        if (list->field == f) return list;
    }
    return NULL;
}

static const Field *find_param(const Module *m, const char *name)
{
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (f->kind == LK_FIELD_PARAM && strcmp(f->name, name) == 0) return f;
    return NULL;
}

static Tensor **slot_of(const Module *m, const Field *f) { return lk__member(m, f); }

static ParametrizationList *list_of_slot(const Module *m, Tensor *const *slot)
{
    ModuleArray lists = lk__lists_of(m);
    for (int i = 0; i < lists.count; i++) {
        ParametrizationList *list = (ParametrizationList *)lists.items[i];
        if (slot_of(m, list->field) == slot) return list;
    }
    return NULL;
}

ParametrizationList *lk_parametrizations(const Module *m, const char *name)
{
    const Field *f = m && name ? find_param(m, name) : NULL;
    return f ? list_of_field(m, f) : NULL;
}

bool lk_is_parametrized(const Module *m, const char *name)
{
    return m && (name ? lk_parametrizations(m, name) != NULL : m->parametrizations != NULL);
}

Tensor *lk_original(const Module *m, const char *name)
{
    const Field *f = m && name ? find_param(m, name) : NULL;
    if (!f) return NULL;
    ParametrizationList *list = list_of_field(m, f);
    return list ? list->original : *slot_of(m, f);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* A hash of everything that the value is computed from. The list's own struct is left out, because
 * it holds the value. */
static uint64_t state_of(const ParametrizationList *list, uint64_t start)
{
    uint64_t hash = lk__tensor_state(list->original, start);
    for (int i = 0; i < list->chain.count; i++)
        hash = lk__module_state(list->chain.items[i], hash);
    return hash;
}

/* bfloat16 and qint8 have no arithmetic, so a chain begins with the same values in float32. */
static Tensor *first_value(Tape *t, Tensor *x)
{
    return x && lk_only_stores(x->dtype) ? lk_to(t, x, LK_F32) : x;
}

/* Runs the first `count` links of the chain. */
static Tensor *run_chain(Tape *t, const ParametrizationList *list, int count)
{
    Tensor *x = count > 0 ? first_value(t, list->original) : list->original;
    for (int i = 0; x && i < count; i++) x = lk_forward(t, list->chain.items[i], x);
    return x;
}

static Tensor *run_all(Tape *t, const ParametrizationList *list)
{
    return run_chain(t, list, list->chain.count);
}

static Tensor *compute_value(Tape *t, const void *list) { return run_all(t, list); }

static Tensor *list_value(Tape *t, ParametrizationList *list)
{
    if (list->merged) return list->merged;
    if (!lk_tape_grad(t))
        return lk__no_grad_value(t, &list->no_grad_value, &list->no_grad_state, state_of(list, 0),
                                 compute_value, list);
    if (!list->caches) return run_all(t, list);
    uint64_t state = state_of(list, lk_tape_epoch(t));
    if (!list->recorded_value || list->recorded_state != state)
        list->recorded_value = run_all(t, list);
    list->recorded_state = state;
    return list->recorded_value;
}

Tensor *lk_param(Tape *t, Module *self, Tensor *const *slot)
{
    if (!self || !slot)
        return lk_fail(t, LK_EVALUE, "lk_param: the %s is NULL", self ? "slot" : "module");
    if (*slot || !self->parametrizations) return *slot;
    ParametrizationList *list = list_of_slot(self, slot);
    return list ? list_value(t, list) : NULL;
}

LowRank lk_param_low_rank(Tape *t, Module *self, Tensor *const *slot)
{
    ParametrizationList *list =
        self && slot && self->parametrizations ? list_of_slot(self, slot) : NULL;
    /* in no-grad mode the value is kept, unless it would take more memory than the original */
    bool keeps_value = list && !lk_tape_grad(t) && !lk_only_stores(list->original->dtype);
    if (!list || list->merged || list->caches || keeps_value)
        return (LowRank){ .weight = lk_param(t, self, slot) };
    /* Goes through the chain from its end: terms that add nothing are left out, and the first term
     * that adds something is returned apart. */
    LowRank parts = { .A = NULL };
    int i = list->chain.count;
    while (i > 0 && !parts.A && list->chain.items[i - 1]->type->low_rank) {
        i--;
        parts = list->chain.items[i]->type->low_rank(t, list->chain.items[i]);
    }
    parts.weight = run_chain(t, list, i);
    return parts;
}

Tensor *lk_param_named(Tape *t, Module *m, const char *name)
{
    if (!m || !name)
        return lk_fail(t, LK_EVALUE, "lk_param_named: the %s is NULL", m ? "name" : "module");
    const Field *f = find_param(m, name);
    if (!f)
        return lk_fail(t, LK_EVALUE, "lk_param_named: %s has no parameter \"%s\"", m->type->name,
                       name);
    return lk_param(t, m, slot_of(m, f));
}

void lk_set_cached(Module *m, bool on)
{
    if (!m || lk__is_freed("lk_set_cached", m, NULL)) return;
    if (m->type == &lk_parametrization_list_type) ((ParametrizationList *)m)->caches = on;
    for (ChildIter it = lk_children(m); lk_children_next(&it);) lk_set_cached(it.module, on);
}

/* ---- registering ---------------------------------------------------------------------------- */

static bool same_kind(const Module *p, const char *what, const Tensor *value, const Tensor *result,
                      Error *err)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    if (lk_same_shape(value, result) && value->dtype == result->dtype) return true;
    return lk_error_set(err, lk_same_shape(value, result) ? LK_EDTYPE : LK_ESHAPE,
                        "lk_register_parametrization: the %s of %s turns %s of %s into %s of %s; "
                        "shape and dtype must stay",
                        what, p->type->name, lk_shape_text(value, a), lk_dtype_name(value->dtype),
                        lk_shape_text(result, b), lk_dtype_name(result->dtype));
}

/* Tries p on the value that the parameter has now. *inverse becomes the new original, or NULL to
 * leave the old one alone. */
static bool try_out(Tape *t, Module *p, Tensor *value, bool keep_value, Tensor **inverse,
                    Error *err)
{
    *inverse = NULL;
    if (keep_value && p->type->right_inverse) {
        *inverse = p->type->right_inverse(t, p, value);
        if (!*inverse) return lk_error_pass(err, lk_tape_error(t));
        if (!same_kind(p, "right_inverse", value, *inverse, err)) return false;
    }
    Tensor *y = lk_forward(t, p, *inverse ? *inverse : value);
    if (!y) return lk_error_pass(err, lk_tape_error(t));
    return same_kind(p, "forward", value, y, err);
}

/* Adds one more item to the array, NULL at first. */
static bool append_slot(ModuleArray *array, Error *err)
{
    Module **items = lk_mem_calloc((size_t)array->count + 1, sizeof *items);
    if (!items) return lk_error_set(err, LK_EMEMORY, "lk_register_parametrization: no memory");
    if (array->count) memcpy(items, array->items, (size_t)array->count * sizeof *items);
    lk_mem_free(array->items);
    *array = (ModuleArray){ items, array->count + 1 };
    return true;
}

/* Returns the list of a parameter. If there is none, makes one and moves the parameter into it.
 * NULL, with nothing changed, when memory is short. */
static ParametrizationList *list_for(Module *m, const Field *f, Error *err)
{
    ParametrizationList *list = list_of_field(m, f);
    if (list) return list;
    ModuleDict *dict =
        m->parametrizations ? (ModuleDict *)m->parametrizations : lk_module_new(&dict_type, err);
    list = dict ? lk_module_new(&lk_parametrization_list_type, err) : NULL;
    if (!list || !append_slot(&dict->lists, err)) {
        if (list) lk_module_free(&list->base);
        if (dict && !m->parametrizations) lk_module_free(&dict->base);
        return NULL;
    }
    dict->base.training = list->base.training = m->training;
    dict->lists.items[dict->lists.count - 1] = &list->base;
    m->parametrizations = &dict->base;
    list->field = f;
    list->original = *slot_of(m, f);
    *slot_of(m, f) = NULL;
    return list;
}

/* Takes a list out of its module; its original goes back into the slot. */
static void drop_list(Module *m, ParametrizationList *list)
{
    ModuleDict *dict = (ModuleDict *)m->parametrizations;
    int i = 0;
    while (dict->lists.items[i] != &list->base) i++;
    dict->lists.count--;
    memmove(dict->lists.items + i, dict->lists.items + i + 1,
            (size_t)(dict->lists.count - i) * sizeof *dict->lists.items);
    *slot_of(m, list->field) = list->original;
    list->original = NULL;
    lk_module_free(&list->base);
    if (dict->lists.count > 0) return;
    m->parametrizations = NULL;
    lk_module_free(&dict->base);
}

static bool register_checked(Module *m, const Field *f, Module *p, RegisterMode mode, Error *err)
{
    ParametrizationList *old = list_of_field(m, f);
    if (old && old->merged)
        return lk_error_set(err, LK_ESTATE,
                            "lk_register_parametrization: %s of %s is merged; lk_unmerge it first",
                            f->name, m->type->name);
    Tape *t = lk_tape_no_grad_new(err);
    if (!t) return false;
    Tensor *value = first_value(t, lk_param(t, m, slot_of(m, f))), *inverse = NULL;
    if (!value)
        lk_error_set(err, LK_EVALUE, "lk_register_parametrization: %s of %s is NULL", f->name,
                     m->type->name);
    bool ok = value && try_out(t, p, value, !old && mode == LK_KEEP_VALUE, &inverse, err);
    ParametrizationList *list = ok ? list_for(m, f, err) : NULL;
    ok = list && append_slot(&list->chain, err);
    if (list && !ok && !old) drop_list(m, list);
    if (ok) {
        list->chain.items[list->chain.count - 1] = lk_module_retain(p);
        lk_train(p, m->training);
        if (inverse) lk__copy_fitting(list->original, inverse);
    }
    lk_tape_free(t);
    return ok;
}

bool lk_register_parametrization_as(Module *m, const char *name, Module *p, RegisterMode mode,
                                    Error *err)
{
    const Field *f = m && name ? find_param(m, name) : NULL;
    bool ok = false;
    if (!p)
        lk_error_set(err, LK_EVALUE, "lk_register_parametrization: the parametrization is NULL");
    else if (!m || !name)
        lk_error_set(err, LK_EVALUE, "lk_register_parametrization: the %s is NULL",
                     m ? "name" : "module");
    else if (!f)
        lk_error_set(err, LK_EVALUE, "lk_register_parametrization: %s has no parameter \"%s\"",
                     m->type->name, name);
    else ok = register_checked(m, f, p, mode, err);
    lk_module_free(p);
    return ok;
}

bool lk_register_parametrization(Module *m, const char *name, Module *p, Error *err)
{
    return lk_register_parametrization_as(m, name, p, LK_KEEP_VALUE, err);
}

/* ---- assigning and removing ----------------------------------------------------------------- */

bool lk_assign(Module *m, const char *name, Tensor *value, Error *err)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    Tensor *original = lk_original(m, name);
    if (!original || !value)
        return lk_error_set(err, LK_EVALUE, "lk_assign: %s",
                            original ? "the value is NULL" : "no such parameter");
    if (lk_is_stale(value)) return lk_copy_(original, value, err); /* it says why not */
    if (!lk_same_shape(original, value) || original->dtype != value->dtype)
        return lk_error_set(err, lk_same_shape(original, value) ? LK_EDTYPE : LK_ESHAPE,
                            "lk_assign: %s of %s is %s of %s, not %s of %s", name, m->type->name,
                            lk_shape_text(original, a), lk_dtype_name(original->dtype),
                            lk_shape_text(value, b), lk_dtype_name(value->dtype));
    ParametrizationList *list = lk_parametrizations(m, name);
    if (!list) return lk_copy_(original, value, err);
    if (list->merged)
        return lk_error_set(err, LK_ESTATE, "lk_assign: %s of %s is merged; lk_unmerge it first",
                            name, m->type->name);
    for (int i = list->chain.count - 1; i >= 0; i--)
        if (!list->chain.items[i]->type->right_inverse)
            return lk_error_set(err, LK_ESTATE,
                                "lk_assign: parametrization %s does not implement right_inverse.",
                                list->chain.items[i]->type->name);
    Tape *t = lk_tape_no_grad_new(err);
    if (!t) return false;
    Tensor *x = value;
    for (int i = list->chain.count - 1; x && i >= 0; i--) {
        Module *p = list->chain.items[i];
        x = p->type->right_inverse(t, p, x);
    }
    bool ok = x && lk_same_shape(original, x);
    if (!x) lk_error_pass(err, lk_tape_error(t));
    else if (!ok)
        lk_error_set(err, LK_ESHAPE, "lk_assign: right_inverse gave %s instead of %s",
                     lk_shape_text(x, b), lk_shape_text(original, a));
    ok = ok && lk_copy_(original, x, err);
    lk_tape_free(t);
    return ok;
}

bool lk_remove_parametrizations(Module *m, const char *name, bool leave_parametrized, Error *err)
{
    ParametrizationList *list = lk_parametrizations(m, name);
    if (!list)
        return lk_error_set(err, LK_EVALUE,
                            "lk_remove_parametrizations: %s has no parametrization of \"%s\"",
                            m ? m->type->name : "NULL", name ? name : "NULL");
    if (leave_parametrized) {
        Tape *t = lk_tape_no_grad_new(err);
        if (!t) return false;
        Tensor *value = list_value(t, list);
        if (!value) lk_error_pass(err, lk_tape_error(t));
        const bool ok = value && lk_copy_(list->original, value, err);
        lk_tape_free(t);
        if (!ok) return false;
    }
    drop_list(m, list);
    return true;
}

bool lk_remove_parametrization_at(Module *m, const char *name, int i, Error *err)
{
    ParametrizationList *list = lk_parametrizations(m, name);
    if (!list || i < 0 || i >= list->chain.count)
        return lk_error_set(
            err, LK_EVALUE,
            "lk_remove_parametrization_at: %s of %s has %d parametrizations, and none at %d",
            name ? name : "NULL", m ? m->type->name : "NULL", list ? list->chain.count : 0, i);
    if (list->merged)
        return lk_error_set(
            err, LK_ESTATE,
            "lk_remove_parametrization_at: %s of %s is merged; lk_unmerge it first", name,
            m->type->name);
    lk_module_free(list->chain.items[i]);
    list->chain.count--;
    memmove(list->chain.items + i, list->chain.items + i + 1,
            (size_t)(list->chain.count - i) * sizeof *list->chain.items);
    if (list->chain.count == 0) drop_list(m, list);
    return true;
}

/* ---- merging -------------------------------------------------------------------------------- */

static ParametrizationList *as_list(Module *m)
{
    return m->type == &lk_parametrization_list_type ? (ParametrizationList *)m : NULL;
}

static void unmerge_list(ParametrizationList *list)
{
    lk_tensor_free(list->merged);
    list->merged = NULL;
}

static bool merge_list(ParametrizationList *list, Error *err)
{
    Tape *t = lk_tape_no_grad_new(err);
    if (!t) return false;
    Tensor *value = run_all(t, list), *merged = value ? lk_clone(value, err) : NULL;
    if (!value) lk_error_pass(err, lk_tape_error(t));
    if (merged) {
        unmerge_list(list);
        list->merged = merged;
    }
    lk_tape_free(t);
    return merged;
}

void lk_unmerge(Module *m)
{
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (as_list(it.module)) unmerge_list(as_list(it.module));
}

bool lk_merge(Module *m, Error *err)
{
    if (!m) return lk_error_set(err, LK_EVALUE, "lk_merge: the module is NULL");
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (as_list(it.module) && !merge_list(as_list(it.module), err)) {
            lk_unmerge(m); /* all or nothing */
            return false;
        }
    return true;
}
