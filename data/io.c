/* io.c - libc's calls as a table, and the loops around those that may do less than they were asked
 * for. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "data/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the table ------------------------------------------------------------------------------ */

static int open_file(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

static void *map_file(size_t size, int protection, int flags, int file)
{
    return mmap(NULL, size, protection, flags, file, 0);
}

static int exchange(const char *a, const char *b)
{
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
#else
    (void)a, (void)b;
    errno = ENOSYS;
    return -1;
#endif
}

static const Io libc = {
    .open = open_file,
    .pread = pread,
    .mmap = map_file,
    .write = write,
    .fsync = fsync,
    .flock = flock,
    .close = close,
    .stat = stat,
    .lstat = lstat,
    .fstat = fstat,
    .access = access,
    .realpath = realpath,
    .chmod = chmod,
    .fchmod = fchmod,
    .link = link,
    .rename = rename,
    .exchange = exchange,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .opendir = opendir,
    .readdir = readdir,
    .closedir = closedir,
};
const Io *lk__io = &libc;

/* ---- whole calls ---------------------------------------------------------------------------- */

int lk__io_open(const char *path, int flags)
{
    int file;
    do file = lk__io->open(path, flags | O_CLOEXEC, 0666);
    while (file < 0 && errno == EINTR);
    return file;
}

int64_t lk__io_read(int file, void *bytes, size_t size, int64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = lk__io->pread(file, (char *)bytes + done, size - done,
                                    (off_t)(offset + (int64_t)done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

bool lk__io_write(int file, const void *bytes, size_t size)
{
    for (const char *p = bytes; size > 0;) {
        ssize_t written = lk__io->write(file, p, size);
        if (written < 0 && errno == EINTR) continue;
        if (written == 0) errno = ENOSPC; /* asking again might go on for ever */
        if (written <= 0) return false;
        p += written;
        size -= (size_t)written;
    }
    return true;
}

bool lk__io_flush(int file)
{
    int result;
    do result = lk__io->fsync(file);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

bool lk__io_close(int file)
{
    /* After EINTR the descriptor is gone already, and another thread may have it by now. */
    return lk__io->close(file) == 0 || errno == EINTR;
}

bool lk__io_flush_folder(const char *path)
{
    int folder = lk__io_open(path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) return errno == EACCES;
    bool ok = lk__io_flush(folder) || errno == EINVAL;
    int reason = errno;
    lk__io_close(folder);
    errno = reason;
    return ok;
}

DIR *lk__io_opendir(const char *path)
{
    DIR *folder;
    do folder = lk__io->opendir(path);
    while (!folder && errno == EINTR);
    return folder;
}

const char *lk__io_next(DIR *folder)
{
    const struct dirent *entry;
    do {
        errno = 0; /* readdir sets it on failure alone */
        entry = lk__io->readdir(folder);
    } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry ? entry->d_name : NULL;
}

bool lk__io_is_missing(void) { return errno == ENOENT || errno == ENOTDIR; }
