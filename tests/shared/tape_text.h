/* tape_text.h - the text that is written about a tape, and comparisons with it. */
#ifndef TAPE_TEXT_H
#define TAPE_TEXT_H

#include <stdlib.h>
#include <string.h>

#include "core/tape_print.h"
#include "tests/check.h"

/* Returns the text that lk_tape_print or lk_tape_dot writes. Free it. */
static inline char *tape_text(void (*write)(FILE *out, Tape *t), Tape *t)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    write(file, t);
    fclose(file);
    return text;
}

/* Check that the text of lk_tape_print is this one, begins with it, or contains it. */
static inline void check_tape(Tape *t, const char *expected)
{
    char *text = tape_text(lk_tape_print, t);
    check(strcmp(text, expected) == 0, "expected\n%s\ngot\n%s", expected, text);
    free(text);
}

static inline void check_tape_begins(Tape *t, const char *expected)
{
    char *text = tape_text(lk_tape_print, t);
    check(strncmp(text, expected, strlen(expected)) == 0, "expected\n%s\ngot\n%s", expected, text);
    free(text);
}

static inline void check_tape_contains(Tape *t, const char *part)
{
    char *text = tape_text(lk_tape_print, t);
    check(strstr(text, part), "expected\n%s\nin\n%s", part, text);
    free(text);
}

#endif
