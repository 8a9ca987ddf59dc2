/* json.h - JSON (RFC 8259), read strictly into one block of memory; no part of the interface.
 *
 *     Json *root = lk__json_new(text, size, "", &report);
 *     for (const Json *x = NULL; (x = lk__json_next(lk__json_get(root, "shape"), x));) …
 *     lk_mem_free(root);
 *
 * Refused, with the line and the byte in it: bytes that are not UTF-8, a byte order mark, a key
 * that an object has twice, \u0000, half a surrogate pair, a whole number beyond 64 bits, a number
 * beyond double, more than LK_JSON_DEPTH levels, and anything behind the value. Writing:
 * data/json_write.h. */
#ifndef LK_JSON_H
#define LK_JSON_H

#include <stddef.h>

#include "data/file_report.h"

enum { LK_JSON_DEPTH = 100 };

/* JSON_INTEGER: a number without a point and an exponent; JSON_REAL: another one. */
typedef enum JsonKind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_INTEGER,
    JSON_REAL,
    JSON_TEXT,
    JSON_LIST,
    JSON_OBJECT
} JsonKind;

/* A value. Behind a list or an object come its items, each with its own items behind it. */
typedef struct Json {
    const char *key; /* its name in an object; NULL: it is in a list, or the whole text */
    JsonKind kind;
    union {
        int64_t integer;
        double real;
        const char *text; /* UTF-8, without escapes */
        size_t span;      /* of a list or an object: values, itself and all within */
    };
} Json;

/* Reads a text of `size` bytes, which text[size] = '\0' must follow. The text is not needed
 * afterwards; lk_mem_free frees the value and all within. The report gets LK_EFORMAT or
 * LK_EMEMORY, with a message that begins with `subject`: "" for a file, or "its header ". */
Json *lk__json_new(const char *text, size_t size, const char *subject, const FileReport *report);
/* Reads the file report->path. More errors: those of lk__read_whole_file. */
Json *lk__json_file_new(const FileReport *report);

/* The value may be NULL, which is of no kind. */
bool lk__json_is(const Json *x, JsonKind kind);
const char *lk__json_text(const Json *x); /* NULL: it is no text */
double lk__json_number(const Json *x);    /* an integer too; NaN: it is no number */
/* The item behind an item (NULL: the first) of a list or an object; NULL: there is none. */
const Json *lk__json_next(const Json *x, const Json *item);
/* These two go from item to item. */
const Json *lk__json_get(const Json *object, const char *key); /* NULL: there is none */
size_t lk__json_count(const Json *x);

#endif
