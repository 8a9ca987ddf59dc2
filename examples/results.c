/* results.c - JSON, written to a temporary file and moved into place when it is complete. */
#include "examples/results.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool failed(const char *path, const char *what, Error *err)
{
    return lk_error_set(err, LK_EIO, "%s cannot be written: %s", path, what);
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* rename() would replace a device or a link itself, /dev/null for instance: plain files only. */
static bool replaceable(const char *path, Error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0) return errno == ENOENT || failed(path, strerror(errno), err);
    if (S_ISDIR(info.st_mode)) return failed(path, "it is a folder", err);
    return S_ISREG(info.st_mode) || failed(path, "it is a link or a device, not a plain file", err);
}

bool results_open(Results *r, const char *path, Error *err)
{
    r->file = NULL;
    r->count = 0;
    r->inside = false;
    size_t length = strlen(path);
    if (length == 0) return failed("the results file", "its name is empty", err);
    if (length + sizeof ".XXXXXX" > RESULTS_PATH_MAX) return failed("the results file", "its name is too long", err);
    if (!replaceable(path, err)) return false;
    memcpy(r->path, path, length + 1);
    snprintf(r->temporary, RESULTS_PATH_MAX, "%s.XXXXXX", path);
    int descriptor = mkstemp(r->temporary);
    if (descriptor < 0) return failed(path, strerror(errno), err);

    /* mkstemp makes files for their owner alone; the results get the permissions of any other new file */
    mode_t mask = umask(0);
    umask(mask);
    fchmod(descriptor, 0666 & ~mask);
    r->file = fdopen(descriptor, "w");
    if (r->file) {
        fputc('{', r->file);
        return true;
    }
    int reason = errno;
    close(descriptor);
    unlink(r->temporary);
    return failed(path, strerror(reason), err);
}

bool results_close(Results *r, Error *err)
{
    fputs("\n}\n", r->file);
    bool written = fflush(r->file) == 0 && !ferror(r->file) && fsync(fileno(r->file)) == 0;
    int reason = errno;
    if (fclose(r->file) != 0 && written) {
        written = false;
        reason = errno;
    }
    r->file = NULL;
    if (written && rename(r->temporary, r->path) == 0) return true;
    if (written) reason = errno;
    unlink(r->temporary);
    return failed(r->path, strerror(reason), err);
}

bool results_writable(const char *path, Error *err)
{
    Results r;
    if (!results_open(&r, path, err)) return false;
    fclose(r.file);
    unlink(r.temporary);
    return true;
}

/* ---- members --------------------------------------------------------------------------------------------------- */

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
    if (isfinite(value)) fprintf(file, "%.17g", value);
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
