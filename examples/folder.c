/* folder.c - a temporary folder beside the old one, flushed to the disk, then put in its place: whoever looks, and
 * whenever the machine stops, there is the old content or the new one. Who uses it: trainer_checkpoint.c,
 * roberta_sst2.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "examples/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/atomic_file.h"

bool folder_join(char path[FOLDER_PATH_MAX], const char *folder, const char *name, Error *err)
{
    return snprintf(path, FOLDER_PATH_MAX, "%s/%s", folder, name) < FOLDER_PATH_MAX ||
           lk_error_set(err, LK_EIO, "%.200s: %s", folder, strerror(ENAMETOOLONG));
}

bool folder_failed(const char *path, const char *what, Error *err)
{
    return lk_error_set(err, LK_EIO, "%.300s: %s: %s", path, what, strerror(errno));
}

bool folder_make(const char *path, Error *err)
{
    char part[FOLDER_PATH_MAX], probe[FOLDER_PATH_MAX];
    if (!folder_join(probe, path, ".XXXXXX", err)) return false;
    strcpy(part, path);
    for (char *c = part; *c; c++) {
        if (*c != '/' || c == part) continue;
        *c = '\0';
        mkdir(part, 0777); /* where this fails and has to work, the folder itself cannot be made */
        *c = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return folder_failed(path, "cannot be made", err);
    return (mkdtemp(probe) && rmdir(probe) == 0) || folder_failed(path, "cannot be written", err);
}

bool folder_copy(const char *from, const char *to, const char *name, Error *err)
{
    char source[FOLDER_PATH_MAX], target[FOLDER_PATH_MAX], buffer[1 << 14];
    AtomicFile f;
    if (!folder_join(source, from, name, err) || !folder_join(target, to, name, err)) return false;
    FILE *in = fopen(source, "rb");
    if (!in) return folder_failed(source, "cannot be read", err);
    bool ok = lk_atomic_begin(&f, NULL, target, err);
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, in)) > 0;) ok = lk_atomic_write(&f, buffer, n);
    if (ok && ferror(in)) ok = folder_failed(source, "cannot be read", err);
    fclose(in);
    return lk_atomic_end(&f, ok) && ok;
}

/* With the files in it, whole or not. */
static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    char path[FOLDER_PATH_MAX];
    for (struct dirent *e; d && (e = readdir(d));)
        if (folder_join(path, folder, e->d_name, NULL)) unlink(path); /* "." and ".." stay */
    if (d) closedir(d);
    rmdir(folder);
}

/* The names in a folder reach the disk. */
static bool sync_folder(const char *folder, Error *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* EINVAL: a file system that cannot */
    if (!ok) folder_failed(folder, "cannot be written", err);
    if (fd >= 0) close(fd);
    return ok;
}

/* Another folder of that name is swapped out in the same moment, and then removed. */
static bool put_in_place(const Folder *f, Error *err)
{
    if (rename(f->temporary, f->path) == 0) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return folder_failed(f->path, "cannot be written", err);
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_EXCHANGE) == 0) {
        remove_folder(f->temporary);
        return true;
    }
#endif
    /* No swap here: for a moment the new one is there under its temporary name only. */
    remove_folder(f->path);
    return rename(f->temporary, f->path) == 0 || folder_failed(f->path, "cannot be written", err);
}

static bool sync_parent(const char *path, Error *err)
{
    char parent[FOLDER_PATH_MAX];
    return folder_join(parent, path, "..", err) && sync_folder(parent, err);
}

bool folder_begin(Folder *f, const char *path, Error *err)
{
    if (snprintf(f->path, sizeof f->path, "%s", path) >= FOLDER_PATH_MAX ||
        snprintf(f->temporary, sizeof f->temporary, "%s.tmp", path) >= FOLDER_PATH_MAX)
        return lk_error_set(err, LK_EIO, "%.200s: %s", path, strerror(ENAMETOOLONG));
    remove_folder(f->temporary);
    return mkdir(f->temporary, 0777) == 0 || folder_failed(f->temporary, "cannot be made", err);
}

bool folder_end(Folder *f, bool ok, Error *err)
{
    if (ok && sync_folder(f->temporary, err) && put_in_place(f, err)) return sync_parent(f->path, err);
    remove_folder(f->temporary);
    return false;
}
