/* scratch.c - see scratch.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for nftw */
#endif
#include "examples/course/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST = 4 << 20 };

bool path_exists(const char *path) { return !access(path, F_OK); }

bool path_is_file(const char *path)
{
    struct stat s;
    return !stat(path, &s) && S_ISREG(s.st_mode);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- texts ---------------------------------------------------------------------------------- */

char *text_read_new(const char *path, Error *err)
{
    struct stat s;
    /* a pipe must not be waited for */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const char *reason = NULL;
    if (fd < 0 || fstat(fd, &s)) reason = strerror(errno);
    else if (!S_ISREG(s.st_mode)) reason = "it is no plain file";
    else if (s.st_size > LARGEST) reason = "it is larger than 4 MB";
    char *text = reason ? NULL : malloc((size_t)s.st_size + 1);
    size_t length = 0;
    for (ssize_t n = 1; text && n > 0 && length < (size_t)s.st_size;) {
        n = read(fd, text + length, (size_t)s.st_size - length);
        if (n > 0) length += (size_t)n;
        if (n < 0) reason = strerror(errno);
    }
    if (fd >= 0) close(fd);
    if (text && !reason) {
        text[length] = '\0';
        return text;
    }
    free(text);
    lk_error_set(err, LK_EIO, "%s cannot be read: %s", path, reason ? reason : "no memory");
    return NULL;
}

bool text_write(const char *path, const char *text, Error *err)
{
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(text, 1, strlen(text), out) == strlen(text);
    int reason = errno;
    if (out && fclose(out)) ok = false;
    return ok || lk_error_set(err, LK_EIO, "%s cannot be written: %s", path, strerror(reason));
}

/* ---- the folder ----------------------------------------------------------------------------- */

bool scratch_make(char path[LK_PATH_MAX], Error *err)
{
    const char *base = getenv("TMPDIR");
    char *resolved = realpath(base && base[0] ? base : "/tmp", NULL);
    int n = snprintf(path, LK_PATH_MAX, "%s/course-XXXXXX", resolved ? resolved : "/tmp");
    free(resolved);
    if (n > 0 && n < LK_PATH_MAX && mkdtemp(path)) return true;
    path[0] = '\0';
    return lk_error_set(err, LK_EIO,
                        "course: cannot make a folder in %s; set TMPDIR to one that "
                        "can be written",
                        base && base[0] ? base : "/tmp");
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *place)
{
    (void)s;
    (void)kind;
    (void)place;
    remove(path);
    return 0;
}

void scratch_remove(const char *path)
{
    if (path[0]) nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
