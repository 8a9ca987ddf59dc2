/* walk.c - iterators over a tree of modules: children, modules, parameters, buffers. Nothing here
 * allocates. Modules by their path: nn/path.c. */
#include <string.h>

#include "nn/fields.h"
#include "nn/module.h"
#include "nn/places.h"

/* ---- children ------------------------------------------------------------------------------- */

ChildIter lk_children(const Module *m)
{
    return (ChildIter){ .parent = m, .field = m ? lk__first_field(m) : NULL };
}

bool lk_children_next(ChildIter *it)
{
    if (!it) return false;
    for (const Field *f; (f = it->field); it->field = lk__next_field(f), it->item = 0) {
        ModuleArray slots = lk__slots(it->parent, f);
        while (it->item < slots.count) {
            int i = it->item++;
            if (!slots.items[i]) continue;
            it->slot = &slots.items[i];
            it->module = slots.items[i];
            it->list = f->kind == LK_FIELD_CHILDREN ? f->name : NULL;
            it->name = f->name;
            if (f->kind == LK_FIELD_LISTS)
                it->name = ((const FieldModule *)it->module)->field->name;
            if (f->kind == LK_FIELD_CHILDREN || f->kind == LK_FIELD_ITEMS) {
                snprintf(it->number, sizeof it->number, "%d", i);
                it->name = it->number;
            }
            return true;
        }
    }
    it->list = it->name = NULL;
    it->module = NULL;
    it->slot = NULL;
    return false;
}

/* ---- shared modules and tensors ------------------------------------------------------------- */

/* A module or tensor with one owner is in one place. With several owners it may be in several
 * places: the tree is searched for the first place, and any other one is a duplicate. This needs
 * no list of what was seen, hence no memory. */

static Module **first_slot_of_module(const Module *m, const Module *wanted, int depth)
{
    if (depth > LK_DEPTH_MAX) return NULL;
    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
        if (it.module == wanted) return it.slot;
        Module **slot = first_slot_of_module(it.module, wanted, depth + 1);
        if (slot) return slot;
    }
    return NULL;
}

static Tensor **first_slot_of_tensor(const Module *m, unsigned kinds, const Tensor *wanted,
                                     int depth)
{
    if (depth > LK_DEPTH_MAX) return NULL;
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f)) {
        if (!(kinds & 1u << f->kind)) continue;
        Tensor **slot = lk__member(m, f);
        if (*slot == wanted) return slot;
    }
    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
        Tensor **slot = first_slot_of_tensor(it.module, kinds, wanted, depth + 1);
        if (slot) return slot;
    }
    return NULL;
}

bool lk__has_param(const Module *m, const Tensor *x)
{
    return first_slot_of_tensor(m, 1 << LK_FIELD_PARAM, x, 0);
}

bool lk__has_module(const Module *m, const Module *wanted)
{
    return m == wanted || first_slot_of_module(m, wanted, 0);
}

/* ---- modules, parameters, buffers ----------------------------------------------------------- */

bool lk__join_name(char name[LK_NAME_MAX], size_t prefix_length, const char *part)
{
    size_t dot = prefix_length ? 1 : 0, part_length = strlen(part);
    if (prefix_length + dot + part_length >= LK_NAME_MAX) return false;
    if (dot) name[prefix_length] = '.';
    memcpy(name + prefix_length + dot, part, part_length + 1);
    return true;
}

ModuleIter lk_modules(Module *m) { return (ModuleIter){ .root = m }; }

static bool end_of_modules(ModuleIter *it, bool failed)
{
    it->failed = failed;
    it->depth = 0;
    it->root = it->module = NULL;
    it->slot = NULL;
    return false;
}

static bool enter(ModuleIter *it, Module *m, Module **slot)
{
    if (it->depth == LK_DEPTH_MAX) return end_of_modules(it, true);
    if (lk__is_freed("lk_modules", m, NULL) || !lk__is_checked(m)) {
        it->refused = m;
        return end_of_modules(it, true);
    }
    it->module = m;
    it->slot = slot;
    it->stack[it->depth].children = lk_children(m);
    it->stack[it->depth].name_length = strlen(it->name);
    it->depth++;
    return true;
}

bool lk_modules_next(ModuleIter *it)
{
    if (!it) return false;
    if (!it->root) return false;
    if (it->depth == 0) return enter(it, it->root, NULL);
    while (it->depth > 0) {
        ChildIter *children = &it->stack[it->depth - 1].children;
        if (!lk_children_next(children)) {
            it->depth--;
            continue;
        }
        Module *m = children->module;
        if (!it->with_duplicates && m->refs > 1 &&
            first_slot_of_module(it->root, m, 0) != children->slot)
            continue;
        size_t length = it->stack[it->depth - 1].name_length;
        bool fits = !children->list || lk__join_name(it->name, length, children->list);
        if (children->list && fits) length = strlen(it->name);
        if (!fits || !lk__join_name(it->name, length, children->name))
            return end_of_modules(it, true);
        return enter(it, m, children->slot);
    }
    return end_of_modules(it, false);
}

enum {
    PARAMS = 1 << LK_FIELD_PARAM,
    BUFFERS = 1 << LK_FIELD_BUFFER,
    REST = 1 << LK_FIELD_NON_PERSISTENT
};

ParamIter lk_params(Module *m) { return (ParamIter){ .modules = lk_modules(m), .kinds = PARAMS }; }

ParamIter lk_buffers(Module *m)
{
    return (ParamIter){ .modules = lk_modules(m), .kinds = BUFFERS | REST };
}

ParamIter lk_state_tensors(Module *m)
{
    return (
        ParamIter){ .modules = lk_modules(m), .kinds = PARAMS | BUFFERS, .with_duplicates = true };
}

/* Goes through the fields twice, first for parameters and then for buffers. */
static const Field *next_field_of_kind(ParamIter *it, const Module *m)
{
    for (;;) {
        const Field *f = it->field;
        if (!f && it->is_buffer) return NULL;
        it->field = f ? lk__next_field(f) : lk__first_field(m);
        it->is_buffer = it->is_buffer || !f;
        unsigned kinds = it->kinds & (it->is_buffer ? ~(unsigned)PARAMS : (unsigned)PARAMS);
        if (f && kinds & 1u << f->kind) return f;
    }
}

static bool next_own_tensor(ParamIter *it, const Module *m)
{
    for (const Field *f; (f = next_field_of_kind(it, m));) {
        Tensor **slot = lk__member(m, f);
        Tensor *x = *slot;
        if (!x) continue;
        if (!it->with_duplicates && x->refs > 1 &&
            first_slot_of_tensor(it->modules.root, it->kinds, x, 0) != slot)
            continue;
        size_t length = strlen(it->modules.name);
        memcpy(it->name, it->modules.name, length);
        it->failed = !lk__join_name(it->name, length, f->name);
        it->slot = slot;
        it->tensor = x;
        return true;
    }
    return false;
}

bool lk_params_next(ParamIter *it)
{
    if (!it) return false;
    it->modules.with_duplicates = it->with_duplicates;
    for (;;) {
        if (it->modules.module && next_own_tensor(it, it->modules.module)) {
            if (!it->failed) return true;
            end_of_modules(&it->modules, true);
            break;
        }
        if (!lk_modules_next(&it->modules)) break;
        it->field = lk__first_field(it->modules.module);
        it->is_buffer = false;
    }
    it->failed = it->modules.failed;
    it->tensor = NULL;
    it->slot = NULL;
    return false;
}

bool lk_walkable(Module *m, const char *function, Error *err)
{
    if (lk__is_freed(function, m, err)) return false;
    ParamIter it = lk_state_tensors(m); /* visits every name there is */
    while (lk_params_next(&it)) continue;
    if (it.modules.refused && err && lk__is_freed(function, it.modules.refused, err)) return false;
    if (it.modules.refused) return lk__check_table(it.modules.refused->type, function, err);
    if (it.failed)
        lk_error_set(err, LK_EVALUE,
                     "%s: %s has modules nested more than %d deep, or a name of %d bytes or more",
                     function, m->type->name, LK_DEPTH_MAX, LK_NAME_MAX);
    return !it.failed;
}
