/* folder.c - makes a temporary folder beside the old one, flushes it to the disk, and puts it in
 * the place of the old one. So at every moment there is the old content or the new one, even after
 * a kill or a crash. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "data/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/atomic_file.h"

/* ---- folders -------------------------------------------------------------------------------- */

bool lk_folder_make(const char *path, Error *err)
{
    char part[LK_PATH_MAX], probe[LK_PATH_MAX];
    if (!path) return lk_error_set(err, LK_EVALUE, "lk_folder_make: the path is NULL");
    if (!lk_path_join(probe, path, ".XXXXXX", err)) return false;
    strcpy(part, path);
    for (char *c = part; *c; c++) {
        if (*c != '/' || c == part) continue;
        *c = '\0';
        mkdir(part, 0777); /* a failure that matters shows below: the folder is not made */
        *c = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return lk_path_failed(path, "cannot be made", err);
    return (mkdtemp(probe) && rmdir(probe) == 0) || lk_path_failed(path, "cannot be written", err);
}

bool lk_folder_same(const char *a, const char *b)
{
    struct stat x, y;
    return a && b && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

bool lk_folder_copy(const char *from, const char *to, const char *name, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX], buffer[1 << 14];
    AtomicFile f;
    if (!lk_path_join(source, from, name, err) || !lk_path_join(target, to, name, err))
        return false;
    FILE *in = fopen(source, "rb");
    if (!in) return lk_path_failed(source, "cannot be read", err);
    bool ok = lk_atomic_begin(&f, NULL, target, err);
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, in)) > 0;)
        ok = lk_atomic_write(&f, buffer, n);
    if (ok && ferror(in)) ok = lk_path_failed(source, "cannot be read", err);
    fclose(in);
    return lk_atomic_end(&f, ok);
}

void lk_folder_remove(const char *path)
{
    DIR *folder = path ? opendir(path) : NULL;
    if (!folder) return;
    for (struct dirent *e; (e = readdir(folder));) unlinkat(dirfd(folder), e->d_name, 0);
    closedir(folder);
    rmdir(path);
}

/* Sends the names in a folder to the disk. */
static bool flush(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return false;
    bool ok = fsync(folder) == 0 || errno == EINVAL; /* EINVAL: its file system has no fsync */
    int reason = errno;
    close(folder);
    errno = reason;
    return ok;
}

/* ---- three ways to put one folder in the place of another ----------------------------------- */

/* Gives `to` the entries of `from` that it lacks. Files get a second name, so that they are in
 * both; folders, which cannot have two names, are moved. */
static bool carry(const char *from, const char *to, bool folders)
{
    DIR *d = opendir(from);
    bool ok = d;
    for (struct dirent *e; ok && (e = readdir(d));) {
        char old[LK_PATH_MAX], new[LK_PATH_MAX];
        struct stat info;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        ok = lk_path_join(old, from, e->d_name, NULL) && lk_path_join(new, to, e->d_name, NULL);
        if (!ok || lstat(new, &info) == 0 || lstat(old, &info) != 0) continue;
        if (!S_ISDIR(info.st_mode)) ok = link(old, new) == 0;
        else if (folders) ok = rename(old, new) == 0;
    }
    if (d) closedir(d);
    return ok;
}

static bool exchange(const char *path, const char *other)
{
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0;
#else
    (void)path, (void)other;
    return false;
#endif
}

/* Exchanges both folders in one step. False: all is as it was. */
static bool by_exchange(const Folder *f)
{
    if (!exchange(f->temporary, f->path)) return false;
    if (carry(f->temporary, f->path, true)) {
        lk_folder_remove(f->temporary);
        return true;
    }
    /* A folder in the old one could not be moved: exchanges both again, and moves back the folders
     * that were moved. */
    if (exchange(f->temporary, f->path)) carry(f->temporary, f->path, true);
    return false;
}

/* Moves the old folder aside, and the new one into its place. After a kill in between,
 * lk_folder_begin tidies up. False: all is as it was. */
static bool by_aside(const Folder *f)
{
    if (rename(f->path, f->aside) != 0) return false;
    if (rename(f->temporary, f->path) == 0) {
        if (carry(f->aside, f->path, true)) {
            lk_folder_remove(f->aside);
            return true;
        }
        carry(f->path, f->aside, true);
        if (rename(f->path, f->temporary) != 0) return false;
    }
    rename(f->aside, f->path);
    return false;
}

enum { FILES_MAX = 16 };
typedef char FileName[sizeof((struct dirent *)NULL)->d_name];

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Lists the files of a folder in the order of their names; -1: too many, or it cannot be read. */
static int list_files(const char *folder, FileName names[FILES_MAX])
{
    int count = 0;
    DIR *d = opendir(folder);
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (count < FILES_MAX) strcpy(names[count], e->d_name);
        count++;
    }
    closedir(d);
    if (count > FILES_MAX) {
        errno = E2BIG;
        return -1;
    }
    qsort(names, (size_t)count, sizeof *names, by_name);
    return count;
}

/* FOLDER/NAME or FOLDER/NAME.old */
static const char *file_in(char path[LK_PATH_MAX], const char *folder, const char *name, bool old)
{
    bool fits =
        lk_path_join(path, folder, name, NULL) && strlen(path) + sizeof ".old" <= LK_PATH_MAX;
    if (!fits) return ""; /* renaming it fails */
    return old ? strcat(path, ".old") : path;
}

/* Replaces file by file. The old ones are moved aside in the order of their names, and the new
 * ones come in the reverse order. So a description that is first in the alphabet
 * (adapter_config.json) is never there together with the weights of another version. False: all is
 * as it was. */
static bool by_files(const Folder *f)
{
    FileName names[FILES_MAX];
    char from[LK_PATH_MAX], to[LK_PATH_MAX];
    int count = list_files(f->temporary, names), gone = 0, missing = count;
    if (count < 0) return false;
    for (; gone < count; gone++)
        if (rename(file_in(from, f->path, names[gone], false),
                   file_in(to, f->temporary, names[gone], true)) != 0 &&
            errno != ENOENT)
            break;
    while (gone == count && missing > 0) {
        const char *name = names[missing - 1];
        if (rename(file_in(from, f->temporary, name, false), file_in(to, f->path, name, false)))
            break;
        missing--;
    }
    int reason = errno;
    if (missing == 0) {
        lk_folder_remove(f->temporary);
        return true;
    }
    for (int i = count; i-- > 0;) { /* all come back; a new file without an old one is removed */
        file_in(to, f->path, names[i], false);
        if (rename(file_in(from, f->temporary, names[i], true), to) != 0 && i >= missing)
            unlink(to);
    }
    errno = reason;
    return false;
}

static bool put_in_place(const Folder *f)
{
    struct stat info;
    if (f->inside) return by_files(f);
    if (stat(f->path, &info) != 0) return rename(f->temporary, f->path) == 0;
    /* Gives the new folder the permissions and the files of the old one, so that each way but the
     * last replaces the folder as a whole. */
    bool whole =
        chmod(f->temporary, info.st_mode & 07777) == 0 && carry(f->path, f->temporary, false);
    return (whole && (by_exchange(f) || by_aside(f))) || by_files(f);
}

/* ---- begin and end -------------------------------------------------------------------------- */

static bool fail(const Folder *f, const char *path, int reason, Error *err)
{
    return lk_error_set(err, LK_EIO, "%s%s%.200s: cannot be written: %s",
                        f->caller ? f->caller : "", f->caller ? ": " : "", path, strerror(reason));
}

/* Brings back the folder that a kill left aside, unless the new one was already there, and removes
 * the rest. */
static void clean(const Folder *f)
{
    rename(f->aside, f->path);
    lk_folder_remove(f->aside);
    lk_folder_remove(f->temporary);
}

bool lk_folder_begin(Folder *f, const char *caller, const char *path, Error *err)
{
    struct stat info;
    if (!f || !path || !*path)
        return lk_error_set(err, LK_EVALUE, "%s: the folder has no name",
                            caller ? caller : "lk_folder_begin");
    *f = (Folder){ .caller = caller };
    bool link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    if (link && !realpath(path, f->path)) return fail(f, path, errno, err);
    size_t length = link ? strlen(f->path) : strlen(path);
    while (length > 1 && (link ? f->path : path)[length - 1] == '/') length--;
    if (length + sizeof "/new.old.tmp" > LK_PATH_MAX) return fail(f, path, ENAMETOOLONG, err);
    if (!link) memcpy(f->path, path, length);
    f->path[length] = '\0';
    snprintf(f->temporary, sizeof f->temporary, "%.*s.tmp", (int)length, f->path);
    snprintf(f->aside, sizeof f->aside, "%.*s.old.tmp", (int)length, f->path);
    clean(f);
    bool exists = stat(f->path, &info) == 0;
    if (exists && !S_ISDIR(info.st_mode)) return fail(f, path, ENOTDIR, err);
    if (exists && access(f->path, W_OK) != 0) return fail(f, path, errno, err);
    if (mkdir(f->temporary, 0777) == 0) return true;
    if (!exists) return fail(f, path, errno, err);
    f->inside = true;
    snprintf(f->temporary, sizeof f->temporary, "%.*s/new.tmp", (int)length, f->path);
    lk_folder_remove(f->temporary);
    return mkdir(f->temporary, 0777) == 0 || fail(f, path, errno, err);
}

bool lk_folder_end(Folder *f, bool ok, Error *err)
{
    char parent[LK_PATH_MAX];
    if (!f) return lk_error_set(err, LK_EVALUE, "lk_folder_end: the folder is NULL");
    ok = ok && (flush(f->temporary) || fail(f, f->path, errno, err));
    if (ok && !put_in_place(f)) ok = fail(f, f->path, errno, err);
    if (!ok) lk_folder_remove(f->temporary);
    /* A failure here does not matter: the new folder is in its place, and the disk gets its name a
     * little later. */
    if (ok && lk_path_join(parent, f->path, "..", NULL)) flush(parent);
    return ok;
}
