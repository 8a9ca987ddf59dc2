/* csv.c - reads tables of numbers and says where a bad one is wrong. The file is read once from
 * front to back; the numbers are kept in blocks until their count is known. */
#include "data/csv.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/file_report.h"
#include "data/whole_file.h"

typedef struct Source {
    FileReport report; /* report.line: the line that is read now */
    char separator;
    const char *next, *end;
    int64_t column; /* of the field that is read now, from 1 */
    char *field;    /* its text, with a '\0'; as large as the file */
    bool last;      /* it was the last of its line */
} Source;

/* ---- fields --------------------------------------------------------------------------------- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static void skip_blanks(Source *s)
{
    while (s->next < s->end && is_blank(*s->next) && *s->next != s->separator) s->next++;
}

/* Skips an LF or a CR LF. False: there is none here. */
static bool skip_line_end(Source *s)
{
    const char *p = s->next;
    if (p + 1 < s->end && p[0] == '\r' && p[1] == '\n') p++;
    if (p < s->end && *p != '\n') return false;
    s->next = p < s->end ? p + 1 : p;
    return true;
}

/* Reads the text between quotes; next is behind the first one. Counts the line breaks in it. */
static bool read_quoted(Source *s, char **to)
{
    FileReport begin = s->report;
    for (;; s->next++) {
        if (s->next >= s->end)
            return lk__file_fail(&begin, LK_EFORMAT, "column %lld: its quote has no end",
                                 (long long)s->column);
        if (*s->next == '"' && (s->next + 1 >= s->end || s->next[1] != '"')) break;
        if (*s->next == '"') s->next++;
        if (*s->next == '\n') s->report.line++;
        *(*to)++ = *s->next;
    }
    s->next++;
    skip_blanks(s);
    return true;
}

/* Reads a field into s->field, and the separator or line end behind it. */
static bool read_field(Source *s)
{
    char *to = s->field;
    s->column++;
    skip_blanks(s);
    if (s->next < s->end && *s->next == '"') {
        s->next++;
        if (!read_quoted(s, &to)) return false;
    } else {
        while (s->next < s->end && *s->next != s->separator && *s->next != '\n')
            *to++ = *s->next++;
        if (s->next < s->end && *s->next == '\n' && to > s->field && to[-1] == '\r') {
            to--;
            s->next--;
        }
        while (to > s->field && is_blank(to[-1])) to--;
    }
    *to = '\0';
    s->last = skip_line_end(s);
    if (s->last || *s->next == s->separator) {
        s->next += !s->last;
        return true;
    }
    return lk__file_fail(&s->report, LK_EFORMAT, "column %lld: there is text behind its quote",
                         (long long)s->column);
}

/* Goes to the next line that is not empty. False: there is none. */
static bool next_line(Source *s)
{
    s->column = 0;
    while (s->next < s->end) {
        s->report.line++;
        const char *begin = s->next;
        skip_blanks(s);
        if (!skip_line_end(s)) {
            s->next = begin;
            return true;
        }
    }
    return false;
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* A block of the table's numbers, in the dtype of the table. */
typedef struct Numbers {
    char *data;
    int64_t count, room;
} Numbers;

static bool make_room(Numbers *x, size_t size, const Source *s)
{
    if (x->count < x->room) return true;
    int64_t room = x->room ? 2 * x->room : 1024;
    char *data = lk_mem_calloc((size_t)room, size);
    if (!data)
        return lk__file_fail(&s->report, LK_EMEMORY, "no memory for %lld numbers",
                             (long long)room);
    if (x->count > 0) memcpy(data, x->data, (size_t)x->count * size);
    lk_mem_free(x->data);
    x->data = data;
    x->room = room;
    return true;
}

/* Reads decimal digits with a sign, all of text. */
static bool read_integer(const char *text, int64_t *value)
{
    const bool negative = *text == '-';
    *value = 0;
    if (*text == '-' || *text == '+') text++;
    if (!*text) return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        int digit = negative ? -(*text - '0') : *text - '0';
        if (__builtin_mul_overflow(*value, 10, value)) return false;
        if (__builtin_add_overflow(*value, digit, value)) return false;
    }
    return *text == '\0';
}

/* Reads a number of the dtype into to. */
static bool read_number(const char *text, const CsvOptions *options, void *to)
{
    int64_t integer;
    if (options->dtype == LK_I64) {
        if (!read_integer(text, &integer)) return false;
        memcpy(to, &integer, sizeof integer);
        return true;
    }
    const char *end;
    double value = lk_strtod(text, &end);
    if (!*text && options->gaps) value = NAN;
    else if (end == text || *end || strpbrk(text, "xX(") || is_blank(*text)) return false;
    float single = (float)value;
    /* too large for the dtype, and not written as infinity */
    if (isinf(value) && !strpbrk(text, "iI")) return false;
    if (options->dtype == LK_F32 && isinf(single) && !isinf(value)) return false;
    if (options->dtype == LK_F64) memcpy(to, &value, sizeof value);
    else memcpy(to, &single, sizeof single);
    return true;
}

static bool no_number(const Source *s, const Csv *csv, DType dtype)
{
    const char *name = s->column <= csv->columns.count ? csv->columns.items[s->column - 1] : NULL;
    const bool names = s->report.line == 1 && !name;
    return lk__file_fail(&s->report, LK_EFORMAT,
                         "column %lld%s%.40s%s: \"%.40s\" is no number%s%s", (long long)s->column,
                         name ? " (" : "", name ? name : "", name ? ")" : "", s->field,
                         dtype == LK_I64 ? " that int64 can be" : "",
                         names ? "; with names in the first line, set .header" : "");
}

static bool wrong_count(const Source *s, int64_t columns)
{
    return lk__file_fail(&s->report, LK_EFORMAT, "has %s %lld fields; the first line has %lld",
                         s->column > columns ? "more than" : "only",
                         (long long)(s->column > columns ? columns : s->column),
                         (long long)columns);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool read_header(Source *s, Csv *csv)
{
    if (!next_line(s)) return lk__file_fail(&s->report, LK_EFORMAT, "is empty");
    do {
        if (!read_field(s)) return false;
        if (*s->field && lk_names_has(&csv->columns, s->field))
            return lk__file_fail(&s->report, LK_EFORMAT, "two columns are called \"%.100s\"",
                                 s->field);
        if (!lk_names_add(&csv->columns, s->report.err, "%s", s->field)) return false;
    } while (!s->last);
    return true;
}

/* Reads all rows. *columns: as many as the header has, 0 without a header. */
static bool read_rows(Source *s, const CsvOptions *options, const Csv *csv, Numbers *numbers,
                      int64_t *columns)
{
    const size_t size = lk_dtype_size(options->dtype);
    while (next_line(s)) {
        do {
            if (!read_field(s)) return false;
            if (*columns > 0 && s->column > *columns) return wrong_count(s, *columns);
            if (!make_room(numbers, size, s)) return false;
            if (!read_number(s->field, options, numbers->data + (size_t)numbers->count * size))
                return no_number(s, csv, options->dtype);
            numbers->count++;
        } while (!s->last);
        if (*columns == 0) *columns = s->column;
        if (s->column < *columns) return wrong_count(s, *columns);
    }
    s->report.line = 0;
    return numbers->count > 0 || lk__file_fail(&s->report, LK_EFORMAT, "has no numbers");
}

static bool check_options(const CsvOptions *options, Error *err)
{
    const char *caller = "lk_csv_new";
    if (options->dtype != LK_I64 && !lk_is_floating(options->dtype))
        return lk_error_set(err, LK_EDTYPE, "%s: numbers are float32, float64 or int64, not %s",
                            caller, lk_dtype_name(options->dtype));
    if (options->separator && strchr("0123456789+-.eEinfatyINFATY\"\r\n", options->separator))
        return lk_error_set(err, LK_EVALUE, "%s: the separator '%c' may be part of a number",
                            caller, options->separator);
    return true;
}

static bool read_table(Source *s, const WholeFile *file, const CsvOptions *options, Csv *csv)
{
    const bool mark = file->size >= 3 && memcmp(file->bytes, "\xef\xbb\xbf", 3) == 0;
    const char *nul = memchr(file->bytes, '\0', file->size);
    Numbers numbers = { 0 };
    s->next = file->bytes + (mark ? 3 : 0);
    s->end = file->bytes + file->size;
    if (nul)
        return lk__file_fail(&s->report, LK_EFORMAT, "byte %lld is 0: no text",
                             (long long)(nul - file->bytes + 1));
    s->field = lk_mem_alloc(file->size + 1);
    if (!s->field) return lk__file_fail(&s->report, LK_EMEMORY, "no memory for a field");
    bool ok = !options->header || read_header(s, csv);
    int64_t columns = csv->columns.count;
    ok = ok && read_rows(s, options, csv, &numbers, &columns);
    if (ok)
        csv->values =
            lk_tensor_from_new(options->dtype, LK_SHAPE(numbers.count / columns, columns),
                               numbers.data, s->report.err);
    lk_mem_free(numbers.data);
    lk_mem_free(s->field);
    return ok && csv->values;
}

Csv *lk_csv_new(const char *path, const CsvOptions *options, Error *err)
{
    static const CsvOptions defaults = { 0 };
    const char *caller = "lk_csv_new";
    if (!options) options = &defaults;
    if (!path) lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
    if (!path || !check_options(options, err)) return NULL;
    Source s = { .report = { caller, path, err, 0 }, .separator = ',' };
    if (options->separator) s.separator = options->separator;
    WholeFile file = { 0 };
    Csv *csv = lk_mem_calloc(1, sizeof *csv);
    if (!csv) lk__file_fail(&s.report, LK_EMEMORY, "no memory");
    bool ok = csv && lk__read_whole_file(&file, &s.report) && read_table(&s, &file, options, csv);
    lk__whole_file_free(&file);
    if (ok) return csv;
    lk_csv_free(csv);
    return NULL;
}

void lk_csv_free(Csv *csv)
{
    if (!csv) return;
    lk_tensor_free(csv->values);
    lk_names_free(&csv->columns);
    lk_mem_free(csv);
}

int64_t lk_csv_find(const Csv *csv, const char *name)
{
    for (int i = 0; csv && name && i < csv->columns.count; i++)
        if (strcmp(csv->columns.items[i], name) == 0) return i;
    return -1;
}

Tensor *lk_csv_columns_new(const Csv *csv, int64_t first, int64_t count, Error *err)
{
    const char *caller = "lk_csv_columns_new";
    if (!csv || !csv->values) {
        lk_error_set(err, LK_EVALUE, "%s: the table is NULL", caller);
        return NULL;
    }
    const int64_t rows = csv->values->shape[0], columns = csv->values->shape[1];
    if (first < 0 || count < 1 || first >= columns || count > columns - first) {
        lk_error_set(err, LK_EVALUE, "%s: %lld columns from column %lld on; there are %lld",
                     caller, (long long)count, (long long)first, (long long)columns);
        return NULL;
    }
    Tensor *x = lk_tensor_new(csv->values->dtype, LK_SHAPE(rows, count), err);
    if (!x) return NULL;
    const size_t size = lk_dtype_size(x->dtype);
    for (int64_t i = 0; i < rows; i++)
        memcpy((char *)x->data + (size_t)(i * count) * size,
               (const char *)csv->values->data + (size_t)(i * columns + first) * size,
               (size_t)count * size);
    return x;
}
