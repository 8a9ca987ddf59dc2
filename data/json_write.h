/* json_write.h - writes JSON into a buffer, value by value; no part of the interface.
 *
 *     JsonWriter w = { .out = &buffer, .indent = 2 };
 *     lk__json_open(&w, NULL, '{');
 *     lk__json_put_real(&w, "alpha", 0.5);
 *     lk__json_close(&w, '}');
 *
 * Every value has a key in an object, and none (NULL) elsewhere. Keys and texts are UTF-8. Without
 * memory the buffer fails. Reading: data/json.h. */
#ifndef LK_JSON_WRITE_H
#define LK_JSON_WRITE_H

#include "core/buffer.h"
#include "data/json.h"

typedef struct JsonWriter {
    Buffer *out;
    int indent; /* blanks for each level; 0: everything in one line, without blanks */
    int depth;  /* private, like the next */
    bool any;   /* the innermost list or object has an item */
} JsonWriter;

void lk__json_open(JsonWriter *w, const char *key, char bracket); /* '[' or '{' */
void lk__json_close(JsonWriter *w, char bracket);
void lk__json_put_word(JsonWriter *w, const char *key, const char *word); /* true, false, null */
void lk__json_put_text(JsonWriter *w, const char *key, const char *text); /* NULL: null */
void lk__json_put_integer(JsonWriter *w, const char *key, int64_t integer);
/* 17 digits, and a point or an exponent; NaN and infinity: null. */
void lk__json_put_real(JsonWriter *w, const char *key, double real);
void lk__json_put(JsonWriter *w, const char *key, const Json *x); /* all that was read */

/* Puts a text in quotes. Only what must be escaped is escaped. */
void lk__json_quote(Buffer *out, const char *text);

#endif
