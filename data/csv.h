/* csv.h - tables of numbers in text: numpy.loadtxt, pandas.read_csv of columns that are numbers.
 *
 *     Csv *csv = lk_csv_new("houses.csv", &(CsvOptions){ .header = true }, &err);
 *     Tensor *x = lk_csv_columns_new(csv, 0, 8, &err);                  -- (rows, 8)
 *     Tensor *y = lk_csv_columns_new(csv, lk_csv_find(csv, "price"), 1, &err);
 *     Dataset *d = lk_dataset_new(x, y, LK_TO_TENSOR, &err);
 *     lk_csv_free(csv); */
#ifndef LK_CSV_H
#define LK_CSV_H

#include "core/tensor.h"
#include "data/names.h"

typedef struct CsvOptions {
    bool header;    /* the first line has the names of the columns */
    char separator; /* between fields; 0: a comma */
    bool gaps;      /* an empty field is NaN; false: it is an error */
    DType dtype;    /* LK_F32 (the 0), LK_F64 or LK_I64 */
} CsvOptions;

typedef struct Csv {
    Tensor *values; /* (rows, columns), owned */
    Names columns;  /* names from the header; empty: there is none */
} Csv;

/* Reads the whole file. A number has a point in every locale, and may be nan or inf; int64 are
 * whole numbers. Spaces and tabs around a field are skipped, and so are empty lines. A field may
 * stand in quotes ("1.5"), where a quote is written twice; names in quotes may hold separators and
 * line breaks. Lines end with LF or CR LF; a byte order mark is skipped. options NULL: { 0 }.
 * Errors, with file, line and column: LK_EIO, LK_EMEMORY, LK_EDTYPE (another dtype), LK_EVALUE (a
 * separator that could be part of a number), LK_EFORMAT for a file without numbers, a field that
 * is no number or does not fit the dtype, a line with more or fewer fields than the first, two
 * columns of one name, a quote without its end, a NUL byte. */
LK_API Csv *lk_csv_new(const char *path, const CsvOptions *options, Error *err);
LK_API void lk_csv_free(Csv *csv); /* NULL allowed */

/* The number of the column with this name; -1: there is none. */
LK_API int64_t lk_csv_find(const Csv *csv, const char *name);
/* values[:, first : first + count], an owned copy. Error: LK_EVALUE for columns that it lacks. */
LK_API Tensor *lk_csv_columns_new(const Csv *csv, int64_t first, int64_t count, Error *err);

#endif
