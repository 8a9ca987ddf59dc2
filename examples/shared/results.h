/* results.h - the results of a run as one JSON object, in a file that is complete or not there.
 *
 *     if (!results_writable(path, &err)) …          -- before the work starts, not after it
 *     Results r;
 *     results_open(&r, path);
 *     results_int(&r, "seed", 0);
 *     results_numbers(&r, "losses", 50, losses);
 *     bool ok = results_close(&r, &err);
 */
#ifndef RESULTS_H
#define RESULTS_H

#include <stdio.h>

#include "core/buffer.h"
#include "core/error.h"

typedef struct Results {
    Buffer text; /* so far */
    int count;   /* members so far */
    /* after results_object: members go into that object, and count counts them */
    bool inside;
    const char *path; /* the caller's */
} Results;

/* Whether a file can be written there: makes a temporary one in its folder and removes it again.
 * Refuses a path that exists and is neither a plain file nor a link to one. LK_EIO. */
bool results_writable(const char *path, Error *err);

/* Each results_open needs a results_close, which reports that memory ran out. */
void results_open(Results *r, const char *path);
void results_int(Results *r, const char *key, int64_t value);
/* null for NaN and infinity: JSON has neither */
void results_number(Results *r, const char *key, double value);
void results_numbers(Results *r, const char *key, int64_t count, const double *values);
void results_text(Results *r, const char *key, const char *value); /* UTF-8 */
void results_bool(Results *r, const char *key, bool value);

/* "key": { … }: the members written until results_object_end are inside. Objects inside objects
 * are not supported. */
void results_object(Results *r, const char *key);
void results_object_end(Results *r);

/* Puts the finished file in its place. On false no file has changed. LK_EIO, LK_EMEMORY. */
bool results_close(Results *r, Error *err);

/* The same for any other text: opens a stream that writes into *text; NULL: no memory. */
FILE *results_stream(Buffer *text);
/* Closes the stream (NULL: there is none), puts the text into the file, and frees it. */
bool results_put(FILE *stream, Buffer *text, const char *path, Error *err);

#endif
