/* error.h - one failure: a code for programs, a message for people.
 *
 * A message names the function, the values and the rule: "lk_matmul: (2, 7) @ (4, 8): inner sizes
 * 7 and 4 differ". Operations keep their first failure on the tape (core/tape.h); everything else
 * returns NULL or false and fills an optional last argument `Error *err`. Start with `Error err =
 * { 0 };`: an Error that is already set is never overwritten, so that nested constructors report
 * the innermost cause. Before an Error is used again, `err = (Error){ 0 };` empties it. The
 * library never ends the program. */
#ifndef LK_ERROR_H
#define LK_ERROR_H

#include "core/api.h"

typedef enum ErrorCode {
    LK_OK = 0,
    LK_ESHAPE,  /* shapes, sizes or dimensions that do not fit each other */
    LK_EDTYPE,  /* an element type that the function does not take */
    LK_EVALUE,  /* a number, index, label or name that is not allowed */
    LK_ESTATE,  /* a call that is not possible now: no graph, a graph used before, … */
    LK_EMEMORY, /* an allocation failed, or a size that no machine has */
    LK_EIO,     /* a file or folder that cannot be opened, read or written */
    LK_EFORMAT, /* a file with wrong content */
} ErrorCode;

typedef struct Error {
    ErrorCode code; /* LK_OK: nothing has failed */
    char message[512];
} Error;

/* Receives failures: set by lk_tape_on_error (core/tape.h) and lk_on_strict (core/strict.h). */
typedef void ErrorHandler(const Error *err, void *user);

/* A message is one line of text. Names that come from files may hold anything, codes for the
 * terminal too, so every control character is written as lk_printable does it. */

/* Fills err (NULL allowed) unless it is already set; returns false, for `return
 * lk_error_set(err, …);`. */
LK_API bool lk_error_set(Error *err, ErrorCode code, const char *format, ...) LK_PRINTF(3, 4);
/* The same with the failure that another function reported. */
LK_API bool lk_error_pass(Error *err, const Error *reason);

/* The text with its control characters as \n, \t, \r, \x1b, …, for a terminal or a message; UTF-8
 * stays. It is written to `shown`, cut at size like snprintf; returns the whole text's length. */
LK_API size_t lk_printable(const char *text, char *shown, size_t size);

#endif
