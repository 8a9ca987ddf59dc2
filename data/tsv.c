/* tsv.c - reads GLUE's tab-separated files and says what is wrong with bad ones. */
#include "data/tsv.h"

#include <stdio.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/file_report.h"
#include "data/whole_file.h"

typedef struct Source {
    FileReport report; /* report.line: the line that is read now */
    const char *next;  /* where the following one begins */
    const char *end;
} Source;

/* ---- the file ------------------------------------------------------------------------------- */

static bool read_all(Source *s, Tsv *tsv)
{
    WholeFile file = { 0 };
    bool ok = lk__read_whole_file(&file, &s->report);
    tsv->text = file.bytes;
    bool mark = ok && file.size >= 3 && memcmp(file.bytes, "\xef\xbb\xbf", 3) == 0;
    s->next = tsv->text + (mark ? 3 : 0);
    s->end = tsv->text + file.size;
    return ok;
}

/* ---- a line --------------------------------------------------------------------------------- */

/* Some bytes of the file. */
typedef struct Piece {
    const char *at;
    int64_t length;
} Piece;

/* Reads the next line, without its LF or CR LF. .at is NULL when there is none, or when it cannot
 * be a line; in that case err has the reason. */
static Piece next_line(Source *s)
{
    const Piece none = { NULL, 0 };
    if (s->next >= s->end) return none;
    s->report.line++;
    const char *begin = s->next, *stop = memchr(begin, '\n', (size_t)(s->end - begin));
    s->next = stop ? stop + 1 : s->end;
    if (!stop) stop = s->end;
    if (stop > begin && stop[-1] == '\r') stop--;
    int64_t length = stop - begin;
    if (length > LK_TSV_LINE_MAX) {
        lk__file_fail(&s->report, LK_EFORMAT, "has %lld bytes; at most %d are possible",
                      (long long)length, LK_TSV_LINE_MAX);
        return none;
    }
    const char *nul = memchr(begin, '\0', (size_t)length);
    if (nul) {
        lk__file_fail(&s->report, LK_EFORMAT, "byte %lld is 0: no text",
                      (long long)(nul - begin + 1));
        return none;
    }
    return (Piece){ begin, length };
}

static int64_t count_columns(Piece line)
{
    int64_t columns = 1;
    for (int64_t i = 0; i < line.length; i++) columns += line.at[i] == '\t';
    return columns;
}

/* Column number n of a line that has it. */
static Piece column(Piece line, int64_t n)
{
    const char *stop = line.at + line.length;
    for (; n > 0; n--) line.at = (const char *)memchr(line.at, '\t', (size_t)(stop - line.at)) + 1;
    const char *tab = memchr(line.at, '\t', (size_t)(stop - line.at));
    return (Piece){ line.at, (tab ? tab : stop) - line.at };
}

/* Places of the columns, from the first line. */
typedef struct Columns {
    int64_t count, sentence, label; /* label: -1 when it is not wanted */
} Columns;

/* Finds the number of the column with this name; -1, with the reason in err, unless there is
 * exactly one. */
static int64_t find_column(const Source *s, Piece line, int64_t count, const char *name)
{
    int64_t found = -1, length = (int64_t)strlen(name);
    for (int64_t i = 0; i < count; i++) {
        Piece c = column(line, i);
        if (c.length != length || memcmp(c.at, name, (size_t)length) != 0) continue;
        if (found >= 0) {
            lk__file_fail(&s->report, LK_EFORMAT, "two columns are called \"%s\"", name);
            return -1;
        }
        found = i;
    }
    if (found < 0)
        lk__file_fail(&s->report, LK_EFORMAT, "no column is called \"%s\": %.*s", name,
                      (int)(line.length < 100 ? line.length : 100), line.at);
    return found;
}

static bool read_header(Source *s, bool labels, Columns *columns)
{
    Piece line = next_line(s);
    /* or has a byte order mark only; an earlier reason stays in err */
    if (!line.at) return lk__file_fail(&s->report, LK_EFORMAT, "is empty");
    columns->count = count_columns(line);
    columns->sentence = find_column(s, line, columns->count, "sentence");
    columns->label = -1;
    if (columns->sentence < 0) return false;
    if (labels) columns->label = find_column(s, line, columns->count, "label");
    return !labels || columns->label >= 0;
}

/* Reads a label: decimal digits and nothing else, below classes. */
static bool read_label(const Source *s, Piece text, int64_t classes, int64_t *label)
{
    int64_t value = 0;
    bool ok = text.length > 0;
    for (int64_t i = 0; ok && i < text.length; i++) {
        ok = text.at[i] >= '0' && text.at[i] <= '9' && value < classes;
        if (ok && __builtin_mul_overflow(value, 10, &value)) ok = false;
        if (ok && __builtin_add_overflow(value, text.at[i] - '0', &value)) ok = false;
    }
    *label = value;
    return (ok && value < classes) ||
           lk__file_fail(&s->report, LK_EFORMAT, "label \"%.*s\"; labels are 0 to %lld",
                         (int)(text.length < 40 ? text.length : 40), text.at,
                         (long long)(classes - 1));
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool read_rows(Source *s, const Columns *columns, int64_t classes, Tsv *tsv)
{
    int64_t lines = 0;
    for (const char *p = s->next; p < s->end; lines++) {
        const char *stop = memchr(p, '\n', (size_t)(s->end - p));
        p = stop ? stop + 1 : s->end;
    }
    s->report.line *= lines > 0; /* a message about missing rows has no line number */
    if (lines == 0)
        return lk__file_fail(&s->report, LK_EFORMAT, "has no rows after its first line");
    tsv->rows = lk_mem_calloc((size_t)lines, sizeof *tsv->rows);
    if (!tsv->rows)
        return lk__file_fail(&s->report, LK_EMEMORY, "no memory for %lld rows", (long long)lines);
    for (; tsv->count < lines; tsv->count++) {
        Piece line = next_line(s);
        if (!line.at) return false;
        int64_t count = count_columns(line);
        if (count != columns->count)
            return lk__file_fail(&s->report, LK_EFORMAT,
                                 "has %lld columns; the first line has %lld", (long long)count,
                                 (long long)columns->count);
        Piece sentence = column(line, columns->sentence);
        TsvRow *row = &tsv->rows[tsv->count];
        *row = (TsvRow){ sentence.at, sentence.length, -1 };
        if (columns->label >= 0 &&
            !read_label(s, column(line, columns->label), classes, &row->label))
            return false;
    }
    return true;
}

Tsv *lk_tsv_new(const char *path, int64_t classes, Error *err)
{
    if (!path || classes < 0) {
        lk_error_set(err, LK_EVALUE,
                     path ? "lk_tsv_new: %lld classes" : "lk_tsv_new: the path is NULL",
                     (long long)classes);
        return NULL;
    }
    Source s = { .report = { "lk_tsv_new", path, err, 0 } };
    Tsv *tsv = lk_mem_calloc(1, sizeof *tsv);
    if (!tsv) {
        lk__file_fail(&s.report, LK_EMEMORY, "no memory");
        return NULL;
    }
    Columns columns = { 0 };
    bool ok = read_all(&s, tsv) && read_header(&s, classes > 0, &columns) &&
              read_rows(&s, &columns, classes, tsv);
    if (ok) return tsv;
    lk_tsv_free(tsv);
    return NULL;
}

void lk_tsv_free(Tsv *tsv)
{
    if (!tsv) return;
    lk_mem_free(tsv->rows);
    lk_mem_free(tsv->text);
    lk_mem_free(tsv);
}
