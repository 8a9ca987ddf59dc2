/* fields.h - reading a module's field table; shared by nn/module.c, walk.c and print.c, no part of the interface. */
#ifndef LK_FIELDS_H
#define LK_FIELDS_H

#include "nn/module.h"

static inline const Field *fields_of(const Module *m)
{
    static const Field none[] = { LK_END };
    return m->type->fields ? m->type->fields : none;
}

/* The member that a field describes, in the module m: a Tensor **, Module **, ModuleArray *, int64_t *, … */
static inline void *field_of(const Module *m, const Field *f)
{
    return (char *)(uintptr_t)m + f->offset;
}

/* The slots for children behind a field: none, one, or an array of them. */
static inline ModuleArray slots_of(const Module *m, const Field *f)
{
    if (f->kind == LK_FIELD_CHILD) return (ModuleArray){ field_of(m, f), 1 };
    if (f->kind == LK_FIELD_CHILDREN) return *(ModuleArray *)field_of(m, f);
    return (ModuleArray){ NULL, 0 };
}

/* Whether every walk over m comes to its end; if not, the reason is in err. (walk.c) */
bool lk_walkable(Module *m, const char *function, Error *err);

#endif
