/* atomic_file.c - writes a temporary file beside the old one, flushes it to the disk, and renames
 * it over the old one. So every reader finds the old content or the new one, even after the
 * machine has stopped. */
#include "data/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/io.h"

/* "lk_save_safetensors: PATH: cannot be written: No space left on device"; always false. */
static bool fail(const AtomicFile *f, const char *reason)
{
    return lk_error_set(f->err, LK_EIO, "%s%s%.200s: cannot be written: %s",
                        f->caller ? f->caller : "", f->caller ? ": " : "", f->path, reason);
}

bool lk_atomic_begin(AtomicFile *f, const char *caller, const char *path, Error *err)
{
    if (!f || !path)
        return lk_error_set(err, LK_EVALUE, "lk_atomic_begin: the %s is NULL",
                            f ? "path" : "file");
    *f = (AtomicFile){ .caller = caller, .path = path, .err = err, .file = -1 };
    struct stat info;
    if (*path == '\0') return fail(f, "its name is empty");
    bool exists = lk__io->stat(path, &info) == 0;
    if (!exists && errno != ENOENT) return fail(f, strerror(errno));
    /* Renaming would replace a device: no more /dev/null. */
    if (exists && !S_ISREG(info.st_mode))
        return fail(f, S_ISDIR(info.st_mode) ? "it is a folder" : "it is not a regular file");
    /* Renaming needs no permission to write the old file; saving over it does. */
    if (exists && lk__io->access(path, W_OK) != 0) return fail(f, strerror(errno));
    /* The target of a symbolic link is replaced, not the link. */
    if (exists && !lk__io->realpath(path, f->target)) return fail(f, strerror(errno));
    if (!exists && snprintf(f->target, sizeof f->target, "%s", path) >= (int)sizeof f->target)
        return fail(f, strerror(ENAMETOOLONG));

    /* other threads may save to the same path, and killed processes leave files behind */
    enum { ATTEMPTS = 1000 };
    for (int i = 0; i < ATTEMPTS && f->file < 0; i++) {
        snprintf(f->temporary, sizeof f->temporary, "%s.%ld-%d.tmp", f->target, (long)getpid(), i);
        f->file = lk__io_open(f->temporary, O_WRONLY | O_CREAT | O_EXCL);
        if (f->file < 0 && errno != EEXIST) break;
    }
    if (f->file < 0) return fail(f, strerror(errno));
    /* With the old file's permissions, unless the file system has none. */
    return !exists || lk__io->fchmod(f->file, info.st_mode & 0777) == 0 || errno == EPERM ||
           errno == ENOTSUP || fail(f, strerror(errno));
}

bool lk_atomic_write(AtomicFile *f, const void *bytes, size_t size)
{
    if (!f || (!bytes && size > 0)) return false;
    return lk__io_write(f->file, bytes, size) || fail(f, strerror(errno));
}

bool lk_atomic_end(AtomicFile *f, bool ok)
{
    if (!f || f->file < 0) return false;
    /* Without fsync the new name may reach the disk before the content. */
    ok = ok && (lk__io_flush(f->file) || fail(f, strerror(errno)));
    ok = (lk__io_close(f->file) || !ok || fail(f, strerror(errno))) && ok;
    ok = ok && (lk__io->rename(f->temporary, f->target) == 0 || fail(f, strerror(errno)));
    if (!ok) lk__io->unlink(f->temporary);
    f->file = -1;
    return ok;
}

bool lk_atomic_save(const char *caller, const char *path, const void *bytes, size_t size,
                    Error *err)
{
    AtomicFile f;
    bool ok = lk_atomic_begin(&f, caller, path, err) && lk_atomic_write(&f, bytes, size);
    return lk_atomic_end(&f, ok);
}
