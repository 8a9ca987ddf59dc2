/* fields.h - reading a module's table of fields; shared by the files of nn, no part of the
 * interface. */
#ifndef LK_FIELDS_H
#define LK_FIELDS_H

#include "nn/parametrize.h"

/* The field that every module has behind its own ones: the parametrizations, its last child.
 * (table.c) */
extern const Field lk_base_fields[];

/* Whether the table of a type can be right: each field by itself, which is what memory depends on,
 * or all of it. If not, false, and in err the reason, after the name of the function that asks.
 * lk_is_checked asks once for each module. (table.c) */
bool lk_check_fields(const ModuleType *type, const char *function, Error *err);
bool lk_check_table(const ModuleType *type, const char *function, Error *err);
bool lk_is_checked(Module *m);

/* All fields of a module, its own and then the base's: for (const Field *f = first_field(m); f; f
 * = next_field(f)) … */
static inline const Field *first_field(const Module *m)
{
    const Field *own = m->type->fields;
    return own && own->kind != LK_FIELD_END ? own : lk_base_fields;
}

static inline const Field *next_field(const Field *f)
{
    if (f == lk_base_fields) return NULL;
    f++;
    return f->kind != LK_FIELD_END ? f : lk_base_fields;
}

/* The member that a field describes, in the module m: a Tensor **, Module **, ModuleArray *,
 * int64_t *, … */
static inline void *field_of(const Module *m, const Field *f)
{
    return (char *)(uintptr_t)m + f->offset;
}

static inline bool holds_tensor(const Field *f)
{
    return f->kind == LK_FIELD_PARAM || f->kind == LK_FIELD_BUFFER ||
           f->kind == LK_FIELD_NON_PERSISTENT;
}

static inline bool holds_array(const Field *f)
{
    return f->kind == LK_FIELD_CHILDREN || f->kind == LK_FIELD_ITEMS || f->kind == LK_FIELD_LISTS;
}

/* The slots for children behind a field: none, one, or an array of them. */
static inline ModuleArray slots_of(const Module *m, const Field *f)
{
    if (f->kind == LK_FIELD_CHILD) return (ModuleArray){ field_of(m, f), 1 };
    if (holds_array(f)) return *(ModuleArray *)field_of(m, f);
    return (ModuleArray){ NULL, 0 };
}

/* Whether x is a parameter somewhere in m; whether `wanted` is m or somewhere in it. (walk.c) */
bool lk_holds_param(const Module *m, const Tensor *x);
bool lk_holds_module(const Module *m, const Module *wanted);

/* The chain of the parameter whose (empty) slot this is, NULL for none; and the value it computes.
 * (parametrize.c) */
ParametrizationList *lk_list_of_slot(const Module *m, Tensor *const *slot);
Tensor *lk_list_value(Tape *t, ParametrizationList *list);

/* A number for the state of all that a module computes from: its settings, its tensors and their
 * versions. `start` (0, or the number of another module) joins several. (parametrize.c) */
uint64_t lk_module_state(const Module *m, uint64_t start);

/* For no-grad mode: what compute returns, copied to *kept until the state is another one; the
 * tape's memory for it is given back. NULL with the reason on t. (parametrize.c) */
typedef Tensor *ComputeFn(Tape *t, const void *of);
Tensor *lk_kept(Tape *t, Tensor **kept, uint64_t *kept_state, uint64_t state, ComputeFn *compute,
                const void *of);

/* The ParametrizationLists of a module. (parametrize.c) */
ModuleArray lk_lists_of(const Module *m);

/* How a constructor that draws begins: false, with the reason in err, without a generator. */
static inline bool lk_has_rng(const char *function, const Rng *rng, Error *err)
{
    return rng ||
           lk_error_set(err, LK_EVALUE,
                        "%s: the generator is NULL; lk_manual_seed(&rng, 0) begins one", function);
}

/* In strict mode: whether m was freed, which err is told, or without one the handler of
 * lk_on_strict. (module.c) */
bool lk_module_is_freed(const char *function, const Module *m, Error *err);

#endif
