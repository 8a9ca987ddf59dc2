/* names.h - lists of names, such as the parameters that a file lacks. */
#ifndef LK_NAMES_H
#define LK_NAMES_H

#include "core/error.h"

/* Starts empty: Names names = { 0 }; */
typedef struct Names {
    char **items;
    int count;
} Names;

LK_API void lk_names_free(Names *names);                        /* leaves it empty */
LK_API bool lk_names_has(const Names *names, const char *name); /* whether name is in the list */
/* Appends a text made as printf makes it. Error, with nothing changed: LK_EMEMORY. */
LK_API bool lk_names_add(Names *names, Error *err, const char *format, ...) LK_PRINTF(3, 4);

/* Writes "a, b, c" for a message into text, as lk_printable does, and returns it; an ellipsis
 * stands for the names that do not fit. */
LK_API const char *lk_names_text(const Names *names, char *text, size_t size);

#endif
