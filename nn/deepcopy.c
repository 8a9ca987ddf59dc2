/* deepcopy.c - copy.deepcopy(module).
 *
 * The copy grows in the order in which the tree is walked. A module or tensor with several owners
 * may have been copied already. To find that out, both trees are walked in step up to its first
 * place, and the copy found there is shared. No table is needed. */
#include <string.h>

#include "core/memory.h"
#include "nn/fields.h"
#include "nn/module.h"

/* The slot of `to`, a module of the same type, that corresponds to a child's slot in the original;
 * NULL: its array is not there yet. */
static Module **twin_slot(Module *to, const ChildIter *it)
{
    ModuleArray slots = lk__slots(to, it->field);
    int i = it->item - 1; /* the iterator has already moved past it */
    return i < slots.count ? &slots.items[i] : NULL;
}

/* The copy of x, which is somewhere in `from`; NULL: not copied yet. */
static Tensor *copy_of_param(const Module *from, Module *to, const Tensor *x)
{
    for (const Field *f = lk__first_field(from); f; f = lk__next_field(f))
        if (lk__holds_tensor(f) && *(Tensor **)lk__member(from, f) == x)
            return *(Tensor **)lk__member(to, f);
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
    Module *copy = lk__is_freed("lk_deepcopy", m, err) ? NULL : lk_module_new(m->type, err);
    if (!copy) return NULL;
    memcpy(copy, m, m->type->size);
    copy->refs = 1;
    for (const Field *f = lk__first_field(copy); f; f = lk__next_field(f)) {
        if (lk__holds_tensor(f)) *(Tensor **)lk__member(copy, f) = NULL;
        if (f->kind == LK_FIELD_CHILD) *(Module **)lk__member(copy, f) = NULL;
        if (lk__holds_array(f)) *(ModuleArray *)lk__member(copy, f) = (ModuleArray){ NULL, 0 };
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
    for (const Field *f = lk__first_field(from); f; f = lk__next_field(f)) {
        if (lk__holds_tensor(f)) {
            Tensor *x = *(Tensor **)lk__member(from, f);
            if (!x) continue;
            Tensor *y =
                x->refs > 1 ? lk_tensor_retain(copy_of_param(roots->from, roots->to, x)) : NULL;
            if (!y) y = copy_param(x, err);
            if (!y) return false;
            *(Tensor **)lk__member(to, f) = y;
        }
        ModuleArray slots = lk__slots(from, f);
        if (lk__holds_array(f) && slots.count > 0) {
            Module **items = lk_mem_calloc((size_t)slots.count, sizeof *items);
            if (!items)
                return lk_error_set(err, LK_EMEMORY, "lk_deepcopy: no memory for %d modules",
                                    slots.count);
            *(ModuleArray *)lk__member(to, f) = (ModuleArray){ items, slots.count };
        }
    }
    for (ChildIter it = lk_children(from); lk_children_next(&it);) {
        Module **slot = twin_slot(to, &it);
        if (it.module->refs > 1)
            *slot = lk_module_retain(copy_of_module(roots->from, roots->to, it.module));
        if (*slot) continue;
        /* put in its place before it is filled, since ties are looked up from the root */
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
