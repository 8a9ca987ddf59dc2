/* results.c - JSON, made in memory and written when it is complete. How a file is replaced:
 * data/atomic_file.c. */
#include "examples/shared/results.h"

#include <math.h>
#include <stdlib.h>

#include "core/decimal.h"
#include "data/atomic_file.h"

/* ---- the file ------------------------------------------------------------------------------- */

bool results_writable(const char *path, Error *err)
{
    AtomicFile f;
    bool ok = lk_atomic_begin(&f, NULL, path, err);
    lk_atomic_end(&f, false);
    return ok;
}

bool results_put(FILE *stream, char **text, const size_t *size, const char *path, Error *err)
{
    bool complete = stream && !ferror(stream);
    if (stream && fclose(stream) != 0) complete = false;
    if (!complete) lk_error_set(err, LK_EMEMORY, "no memory for the content of %.200s", path);
    bool ok = complete && lk_atomic_save(NULL, path, *text, *size, err);
    free(*text);
    *text = NULL;
    return ok;
}

bool results_open(Results *r, const char *path, Error *err)
{
    *r = (Results){ .path = path };
    r->file = open_memstream(&r->text, &r->size);
    if (!r->file) return lk_error_set(err, LK_EMEMORY, "no memory for the results");
    fputc('{', r->file);
    return true;
}

bool results_close(Results *r, Error *err)
{
    FILE *file = r->file;
    fputs("\n}\n", file);
    r->file = NULL;
    return results_put(file, &r->text, &r->size, r->path, err);
}

/* ---- members -------------------------------------------------------------------------------- */

static void put_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') fprintf(file, "\\%c", *c);
        else if (*c < 0x20) fprintf(file, "\\u%04x", *c);
        else fputc(*c, file);
    }
    fputc('"', file);
}

static void put_number(FILE *file, double value)
{
    if (isfinite(value)) lk_fprintf(file, "%.17g", value);
    else fputs("null", file);
}

static bool put_key(Results *r, const char *key)
{
    if (!r->file) return false;
    if (r->count++ > 0) fputc(',', r->file);
    if (r->inside) fputs(r->count > 1 ? " " : "", r->file); /* inner members share a line */
    else fputs("\n  ", r->file);
    put_text(r->file, key);
    fputs(": ", r->file);
    return true;
}

void results_int(Results *r, const char *key, int64_t value)
{
    if (put_key(r, key)) fprintf(r->file, "%lld", (long long)value);
}

void results_number(Results *r, const char *key, double value)
{
    if (put_key(r, key)) put_number(r->file, value);
}

void results_numbers(Results *r, const char *key, int64_t count, const double *values)
{
    if (!put_key(r, key)) return;
    fputc('[', r->file);
    for (int64_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", r->file);
        put_number(r->file, values[i]);
    }
    fputc(']', r->file);
}

void results_text(Results *r, const char *key, const char *value)
{
    if (put_key(r, key)) put_text(r->file, value);
}

void results_bool(Results *r, const char *key, bool value)
{
    if (put_key(r, key)) fputs(value ? "true" : "false", r->file);
}

void results_object(Results *r, const char *key)
{
    if (!put_key(r, key)) return;
    fputc('{', r->file);
    r->inside = true;
    r->count = 0;
}

void results_object_end(Results *r)
{
    if (!r->file) return;
    fputc('}', r->file);
    r->inside = false;
    r->count = 1; /* of the outer object: at least this one */
}
