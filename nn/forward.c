/* forward.c - m(x): calls of modules, their mode, and the place in a net where a failure
 * happened. */
#include <string.h>

#include "core/tape_parts.h"
#include "core/strict.h"
#include "core/tape_print.h"
#include "nn/fields.h"
#include "nn/module.h"

/* ---- where -------------------------------------------------------------------------------------
 * Each call of a module is a scope on the tape for as long as the call lasts. A path is put
 * together from scope to scope, so that a shared module is found in the place that was called. */

/* Writes the dotted path from the outermost module to the module of a scope, and returns its
 * length: 0 for the outermost one, and for a module that is no part of it. */
static size_t write_path(const TapeScope *scope, char *path, size_t size)
{
    *path = '\0';
    if (!scope->outer) return 0;
    size_t length = write_path(scope->outer, path, size);
    for (ModuleIter it = lk_modules((Module *)(uintptr_t)scope->outer->of); lk_modules_next(&it);)
        if (it.module == scope->of) {
            const char *dot = length && *it.name ? "." : "";
            length += (size_t)snprintf(path + length, size - length, "%s%s", dot, it.name);
            return length < size ? length : size - 1;
        }
    *path = '\0';
    return 0;
}

/* Writes the place of a call, and at the end of an outermost one the names of its parameters, for
 * lk_tape_print. */
static void note_call(Tape *t, const TapeScope *call, int64_t first)
{
    lk__note_place(t, call, first);
    if (call->outer) return;
    for (ParamIter it = lk_params((Module *)(uintptr_t)call->of); lk_params_next(&it);)
        lk_tape_name(t, it.tensor, it.name);
}

/* ---- parameters that no table lists ------------------------------------------------------------
 * A Tensor * of a struct that is not in its table is not trained, saved, copied or freed, and no
 * call fails. So the first recorded call of an outermost module is examined: each parameter that
 * it reads should be one of the module's. Reading another parameter is no failure, since the
 * module may be a part that was called by itself, with a tied weight that is listed elsewhere. A
 * parameter with several owners counts as tied; lk_print_training asks the whole net. */

/* Returns the first such parameter in the records after `before`; NULL: none. */
static const Tensor *find_unlisted(const Tape *t, const Module *m, const Tensor *x,
                                   const Node *before)
{
    for (const Node *n = t->last; n != before; n = n->prev)
        for (int i = 0; i < n->inputs; i++) {
            const Tensor *p = n->in[i];
            bool trained = p && p != x && !p->node && p->is_parameter && p->requires_grad;
            if (trained && !lk__has_param(m, p)) return p;
        }
    return NULL;
}

static void trace(const Tape *t, Module *m, const Tensor *x, const Node *before)
{
    const Tensor *p = find_unlisted(t, m, x, before);
    char text[LK_SHAPE_TEXT];
    __atomic_store_n(&m->unlisted, p, __ATOMIC_RELAXED);
    __atomic_store_n(&m->traced, true, __ATOMIC_RELAXED);
    if (p && p->refs == 1 && lk_strict())
        lk_strict_report(LK_ESTATE,
                         "lk_forward: %s reads a parameter %s that no table of its "
                         "fields lists: unless another module lists it, it is neither trained nor "
                         "saved; add LK_CHILD(…) for the module that holds it, or LK_PARAM(…)",
                         m->type->name, lk_shape_text(p, text));
}

/* ---- calls ---------------------------------------------------------------------------------- */

static bool can_run(Tape *t, Module *m, Tensor *x)
{
    if (!x) return lk_fail(t, LK_EVALUE, "lk_forward: the input of %s is NULL", m->type->name);
    if (!lk_check_operands(t, "lk_forward", 1, &x)) return false;
    Error wrong = { 0 };
    if (!lk__is_freed("lk_forward", m, &wrong) && lk__is_checked(m)) return true;
    if (wrong.code == LK_OK) lk__check_table(m->type, "lk_forward", &wrong);
    return lk_fail(t, wrong.code, "%s", wrong.message);
}

static Tensor *own_forward(Tape *t, const void *self, Tensor *x)
{
    Module *m = (Module *)(uintptr_t)self;
    if (!m->type->forward)
        return lk_fail(t, LK_ESTATE, "lk_forward: %s has no forward function", m->type->name);
    return m->type->forward(t, m, x);
}

Tensor *lk_forward_with(Tape *t, Module *m, RecomputeFn *fn, const void *state, Tensor *x)
{
    if (!t) return NULL;
    if (!m || !fn)
        return lk_fail(t, LK_EVALUE, "lk_forward: the %s is NULL", m ? "function" : "module");
    const TapeScope here = { t->scope, m, m->type->name, write_path };
    const Node *before = t->last;
    const int64_t first = t->headers.next_serial;
    t->scope = &here;
    Tensor *y = can_run(t, m, x) ? fn(t, state, x) : NULL;
    if (!y)
        lk_fail(t, LK_ESTATE,
                "lk_forward: the forward of %s returned NULL without a reason; keep "
                "one with lk_fail%s",
                m->type->name,
                m->parametrizations
                    ? ", and read parametrized "
                      "parameters with lk_param(t, self, &self->…): their slots are empty"
                    : "");
    if (y && !here.outer && t->last != before && !__atomic_load_n(&m->traced, __ATOMIC_RELAXED))
        trace(t, m, x, before);
    if (t->notes.on && t->last != before) note_call(t, &here, first);
    t->scope = here.outer;
    return y;
}

Tensor *lk_forward(Tape *t, Module *m, Tensor *x)
{
    return lk_forward_with(t, m, own_forward, m, x);
}

/* ---- modes ---------------------------------------------------------------------------------- */

void lk_train(Module *m, bool on)
{
    if (!m || lk__is_freed("lk_train", m, NULL)) return;
    if (m->training != on) m->training = on; /* threads may read a model that is in its mode */
    for (ChildIter it = lk_children(m); lk_children_next(&it);) lk_train(it.module, on);
}

void lk_eval(Module *m) { lk_train(m, false); }
