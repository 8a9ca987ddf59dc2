/* results.c - JSON, made in memory and written when it is complete. How a file is replaced:
 * data/atomic_file.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for fopencookie */
#endif
#include "examples/shared/results.h"

#include <math.h>

#include "data/atomic_file.h"

/* ---- the file ------------------------------------------------------------------------------- */

bool results_writable(const char *path, Error *err)
{
    AtomicFile f;
    bool ok = lk_atomic_begin(&f, NULL, path, err);
    lk_atomic_end(&f, false);
    return ok;
}

/* Puts the text into the file, and frees it. */
static bool save(Buffer *text, bool complete, const char *path, Error *err)
{
    if (!complete) lk_error_set(err, LK_EMEMORY, "no memory for the content of %.200s", path);
    bool ok = complete && lk_atomic_save(NULL, path, text->bytes, text->length, err);
    lk_buffer_free(text);
    return ok;
}

/* Unlike open_memstream, which loses a lack of memory, the buffer keeps it. */
static ssize_t append(void *text, const char *bytes, size_t count)
{
    lk_buffer_put(text, bytes, count);
    return ((Buffer *)text)->failed ? 0 : (ssize_t)count;
}

FILE *results_stream(Buffer *text)
{
    *text = (Buffer){ 0 };
    return fopencookie(text, "w", (cookie_io_functions_t){ .write = append });
}

bool results_put(FILE *stream, Buffer *text, const char *path, Error *err)
{
    bool complete = stream && !ferror(stream);
    if (stream && fclose(stream) != 0) complete = false;
    return save(text, complete && !text->failed, path, err);
}

void results_open(Results *r, const char *path)
{
    *r = (Results){ .path = path };
    lk_buffer_put(&r->text, "{", 1);
}

bool results_close(Results *r, Error *err)
{
    lk_buffer_put(&r->text, "\n}\n", 3);
    return save(&r->text, !r->text.failed, r->path, err);
}

/* ---- members -------------------------------------------------------------------------------- */

static void put_text(Buffer *out, const char *text)
{
    lk_buffer_put(out, "\"", 1);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') lk_buffer_print(out, "\\%c", *c);
        else if (*c < 0x20) lk_buffer_print(out, "\\u%04x", *c);
        else lk_buffer_put(out, c, 1);
    }
    lk_buffer_put(out, "\"", 1);
}

static void put_number(Buffer *out, double value)
{
    if (isfinite(value)) lk_buffer_print(out, "%.17g", value);
    else lk_buffer_print(out, "null");
}

static void put_key(Results *r, const char *key)
{
    const bool first = r->count++ == 0;
    if (!first) lk_buffer_put(&r->text, ",", 1);
    if (!r->inside) lk_buffer_print(&r->text, "\n  ");
    else if (!first) lk_buffer_put(&r->text, " ", 1); /* inner members share a line */
    put_text(&r->text, key);
    lk_buffer_put(&r->text, ": ", 2);
}

void results_int(Results *r, const char *key, int64_t value)
{
    put_key(r, key);
    lk_buffer_print(&r->text, "%lld", (long long)value);
}

void results_number(Results *r, const char *key, double value)
{
    put_key(r, key);
    put_number(&r->text, value);
}

void results_numbers(Results *r, const char *key, int64_t count, const double *values)
{
    put_key(r, key);
    lk_buffer_put(&r->text, "[", 1);
    for (int64_t i = 0; i < count; i++) {
        if (i > 0) lk_buffer_put(&r->text, ", ", 2);
        put_number(&r->text, values[i]);
    }
    lk_buffer_put(&r->text, "]", 1);
}

void results_text(Results *r, const char *key, const char *value)
{
    put_key(r, key);
    put_text(&r->text, value);
}

void results_bool(Results *r, const char *key, bool value)
{
    put_key(r, key);
    lk_buffer_print(&r->text, "%s", value ? "true" : "false");
}

void results_object(Results *r, const char *key)
{
    put_key(r, key);
    lk_buffer_put(&r->text, "{", 1);
    r->inside = true;
    r->count = 0;
}

void results_object_end(Results *r)
{
    lk_buffer_put(&r->text, "}", 1);
    r->inside = false;
    r->count = 1; /* of the outer object: at least this one */
}
