/* tsv.h - sentences and labels of GLUE's files: columns between tabs, with their names in the
 * first line.
 *
 *     Tsv *train = lk_tsv_new("sst2/train.tsv", 2, &err);
 *     for (int64_t i = 0; i < train->count; i++) … train->rows[i].sentence, .length, .label …
 *     lk_tsv_free(train); */
#ifndef LK_TSV_H
#define LK_TSV_H

#include "core/error.h"

enum { LK_TSV_LINE_MAX = 1 << 20 }; /* bytes; a file with a longer line is no file of sentences */

typedef struct TsvRow {
    const char *sentence; /* the bytes of the file, a space at the end included; no '\0' */
    int64_t length;       /* bytes */
    int64_t label;        /* 0 … classes-1; -1: labels were not asked for */
} TsvRow;

typedef struct Tsv {
    TsvRow *rows;
    int64_t count;
    char *text; /* the whole file, which the rows point into */
} Tsv;

/* Reads the columns `sentence` and `label` (without labels when classes is 0, as for test.tsv),
 * and skips all others. Lines end with LF or CR LF, quotes are bytes like others, a byte order
 * mark is skipped. Errors, with file, line and value: LK_EIO, LK_EMEMORY, and LK_EFORMAT for an
 * empty file, no rows, a column that is missing or there twice, a line with more or fewer columns
 * than the first, a label that is not one of the classes, a NUL byte, a line that is too long. */
LK_API Tsv *lk_tsv_new(const char *path, int64_t classes, Error *err);
LK_API void lk_tsv_free(Tsv *tsv); /* NULL allowed */

#endif
