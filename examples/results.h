/* results.h - the results of a run as one JSON object in a file that is either complete or not there.
 *
 *     if (!results_writable(path, &err)) …                  -- before the work starts, not after it
 *     Results r;
 *     bool ok = results_open(&r, path, &err);
 *     results_int(&r, "seed", 0);
 *     results_numbers(&r, "losses", 50, losses);
 *     ok = ok && results_close(&r, &err);
 */
#ifndef RESULTS_H
#define RESULTS_H

#include <stdio.h>

#include "core/error.h"

enum { RESULTS_PATH_MAX = 4096 };

typedef struct Results {
    FILE *file; /* NULL after a failed results_open: nothing is written then */
    int count;  /* members so far */
    bool inside; /* a member of the file's object, after results_object: count counts its members */
    char path[RESULTS_PATH_MAX];
    char temporary[RESULTS_PATH_MAX]; /* in the same folder; renamed to path at the end */
} Results;

/* Whether results_open and results_close can work: makes the temporary file and removes it again. A path that exists
 * and is no plain file (a folder, a device, a link) is refused. */
bool results_writable(const char *path, Error *err);

bool results_open(Results *r, const char *path, Error *err);
void results_int(Results *r, const char *key, int64_t value);
void results_number(Results *r, const char *key, double value); /* null for NaN and infinity: JSON has neither */
void results_numbers(Results *r, const char *key, int64_t count, const double *values);
void results_text(Results *r, const char *key, const char *value); /* UTF-8 */
void results_bool(Results *r, const char *key, bool value);

/* "key": { … }: the members written until results_object_end are inside. Objects inside objects are not for results. */
void results_object(Results *r, const char *key);
void results_object_end(Results *r);

/* Puts the finished file in its place. False: nothing is there that was not there before. */
bool results_close(Results *r, Error *err);

#endif
