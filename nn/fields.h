/* fields.h - reading a module's table of fields; shared by the files of nn, no part of the
 * interface. */
#ifndef LK_FIELDS_H
#define LK_FIELDS_H

#include "nn/module_type.h"

/* ---- the table (table.c) -------------------------------------------------------------------- */

/* Every module has this field after its own ones: the parametrizations, as its last child. */
extern const Field lk__base_fields[];

/* Whether the table of a type can be right. lk__check_fields checks each field by itself, which
 * memory safety depends on; lk__check_table also compares the fields. If not, err has the reason,
 * after the name of the function that asks. lk__is_checked remembers for each module that its
 * table is right. */
bool lk__check_fields(const ModuleType *type, const char *function, Error *err);
bool lk__check_table(const ModuleType *type, const char *function, Error *err);
bool lk__is_checked(Module *m);

/* All fields of a module, its own and then the base's:
 *     for (const Field *f = lk__first_field(m); f; f = lk__next_field(f)) … */
static inline const Field *lk__first_field(const Module *m)
{
    const Field *own = m->type->fields;
    return own && own->kind != LK_FIELD_END ? own : lk__base_fields;
}

static inline const Field *lk__next_field(const Field *f)
{
    if (f == lk__base_fields) return NULL;
    f++;
    return f->kind != LK_FIELD_END ? f : lk__base_fields;
}

/* The member that a field describes, in the module m: a Tensor **, Module **, ModuleArray *,
 * int64_t *, … */
static inline void *lk__member(const Module *m, const Field *f)
{
    return (char *)(uintptr_t)m + f->offset;
}

static inline bool lk__holds_tensor(const Field *f)
{
    return f->kind == LK_FIELD_PARAM || f->kind == LK_FIELD_BUFFER ||
           f->kind == LK_FIELD_NON_PERSISTENT;
}

static inline bool lk__holds_array(const Field *f)
{
    return f->kind == LK_FIELD_CHILDREN || f->kind == LK_FIELD_ITEMS || f->kind == LK_FIELD_LISTS;
}

/* The slots for children in the member of a field: none, one, or an array of them. */
static inline ModuleArray lk__slots(const Module *m, const Field *f)
{
    if (f->kind == LK_FIELD_CHILD) return (ModuleArray){ lk__member(m, f), 1 };
    if (lk__holds_array(f)) return *(ModuleArray *)lk__member(m, f);
    return (ModuleArray){ NULL, 0 };
}

/* The first members of each module in an LK_FIELD_LISTS. Such a module stands for a field of
 * another module, and has the name of that field. */
typedef struct FieldModule {
    Module base;
    const Field *field;
} FieldModule;

/* ---- the tree (walk.c) ---------------------------------------------------------------------- */

/* Whether x is a parameter somewhere in m; whether `wanted` is m or somewhere in it. */
bool lk__has_param(const Module *m, const Tensor *x);
bool lk__has_module(const Module *m, const Module *wanted);

/* ---- a module (module.c, parametrize.c) ----------------------------------------------------- */

/* In strict mode: whether m was freed. If so, sets err or, if err is NULL, tells the handler of
 * lk_on_strict. */
bool lk__is_freed(const char *function, const Module *m, Error *err);

/* The ParametrizationLists of a module. */
ModuleArray lk__lists_of(const Module *m);

#endif
