/* places.h - a walk through every place of every module, and the names of places; no part of the
 * interface. */
#ifndef LK_PLACES_H
#define LK_PLACES_H

#include "nn/module.h"

/* Begins such a walk: a module in several places comes several times, each under its name. */
static inline ModuleIter lk__every_place(Module *m)
{
    ModuleIter it = lk_modules(m);
    it.with_duplicates = true;
    return it;
}

/* Appends .part to name, which holds a prefix of this length already; false when the result is too
 * long. (nn/walk.c) */
bool lk__join_name(char name[LK_NAME_MAX], size_t prefix_length, const char *part);

#endif
