/* folder.c - makes a temporary folder beside the old one, flushes it to the disk, and puts it in
 * the place of the old one. So at every moment there is the old content or the new one, even after
 * a kill or a crash. */
#include "data/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/atomic_file.h"
#include "data/io.h"

/* ---- folders -------------------------------------------------------------------------------- */

bool lk_folder_make(const char *path, Error *err)
{
    char part[LK_PATH_MAX], probe[LK_PATH_MAX];
    if (!path) return lk_error_set(err, LK_EVALUE, "lk_folder_make: the path is NULL");
    if (!lk_path_join(probe, path, ".probe.tmp", err)) return false;
    strcpy(part, path);
    for (char *c = part; *c; c++) {
        if (*c != '/' || c == part) continue;
        *c = '\0';
        lk__io->mkdir(part, 0777); /* a failure that matters shows below: the folder is not made */
        *c = '/';
    }
    if (lk__io->mkdir(path, 0777) != 0 && errno != EEXIST)
        return lk_path_failed(path, "cannot be made", err);
    /* A killed process may have left it, and another one may remove it at this moment. */
    bool made = lk__io->mkdir(probe, 0777) == 0 || errno == EEXIST;
    return (made && (lk__io->rmdir(probe) == 0 || lk__io_is_missing())) ||
           lk_path_failed(path, "cannot be written", err);
}

bool lk_folder_same(const char *a, const char *b)
{
    struct stat x, y;
    return a && b && lk__io->stat(a, &x) == 0 && lk__io->stat(b, &y) == 0 &&
           x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool lk_folder_copy(const char *from, const char *to, const char *name, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX], buffer[1 << 14];
    AtomicFile f;
    if (!lk_path_join(source, from, name, err) || !lk_path_join(target, to, name, err))
        return false;
    struct stat info;
    int in = lk__io_open(source, O_RDONLY);
    if (in < 0) return lk_path_failed(source, "cannot be read", err);
    if (lk__io->fstat(in, &info) != 0) {
        lk_path_failed(source, "cannot be read", err);
        lk__io_close(in);
        return false;
    }
    bool ok = lk_atomic_begin(&f, NULL, target, err);
    for (int64_t at = 0, n = 0; ok && at < info.st_size; at += n) {
        n = lk__io_read(in, buffer, sizeof buffer, at);
        if (n > 0) ok = lk_atomic_write(&f, buffer, (size_t)n);
        else if (n < 0) ok = lk_path_failed(source, "cannot be read", err);
        else ok = lk_error_set(err, LK_EIO, "%.300s: was shortened while it was read", source);
    }
    lk__io_close(in);
    return lk_atomic_end(&f, ok);
}

void lk_folder_remove(const char *path)
{
    char file[LK_PATH_MAX];
    DIR *folder = path ? lk__io_opendir(path) : NULL;
    if (!folder) return;
    for (const char *name; (name = lk__io_next(folder));)
        if (lk_path_join(file, path, name, NULL)) lk__io->unlink(file);
    lk__io->closedir(folder);
    lk__io->rmdir(path);
}

/* ---- three ways to put one folder in the place of another ----------------------------------- */

/* The outcome of a way. */
typedef enum Outcome {
    PLACED,     /* the new folder is in its place */
    AS_IT_WAS,  /* nothing has changed: errno has the reason, and another way may work */
    OLD_ASIDE,  /* it failed, and the old one could not be brought back from f->aside */
    OLD_PARTED, /* it failed, and folders of the old one are in f->temporary or f->aside */
} Outcome;

enum { FILES = 1, FOLDERS = 2 };

/* Gives `to` the entries of `from` that it lacks. Files get a second name, so that they are in
 * both; folders, which cannot have two names, are moved. */
static bool carry(const char *from, const char *to, int kinds)
{
    DIR *d = lk__io_opendir(from);
    bool ok = d;
    for (const char *name; ok && (name = lk__io_next(d));) {
        char old[LK_PATH_MAX], new[LK_PATH_MAX];
        struct stat info;
        ok = lk_path_join(old, from, name, NULL) && lk_path_join(new, to, name, NULL);
        if (!ok || lk__io->lstat(new, &info) == 0) continue;
        ok = lk__io_is_missing();
        if (!ok) break;
        if (lk__io->lstat(old, &info) != 0) ok = lk__io_is_missing(); /* it was removed just now */
        else if (!S_ISDIR(info.st_mode)) ok = !(kinds & FILES) || lk__io->link(old, new) == 0;
        else ok = !(kinds & FOLDERS) || lk__io->rename(old, new) == 0;
    }
    ok = ok && errno == 0;
    int reason = errno;
    if (d) lk__io->closedir(d);
    errno = reason;
    return ok;
}

static bool flush_parent(const Folder *f)
{
    char parent[LK_PATH_MAX];
    return !lk_path_join(parent, f->path, "..", NULL) || lk__io_flush_folder(parent);
}

/* Gives the new folder in its place what it lacks of the old one. A folder is moved when the disk
 * has the place to which it goes, and the old one can be removed when the disk has all. */
static bool complete(const Folder *f, const char *old)
{
    return flush_parent(f) && carry(old, f->path, FILES | FOLDERS) && lk__io_flush_folder(f->path);
}

/* Puts a folder where none is. */
static Outcome by_rename(const Folder *f)
{
    if (lk__io->rename(f->temporary, f->path) != 0) return AS_IT_WAS;
    if (flush_parent(f)) return PLACED;
    int reason = errno;
    if (lk__io->rename(f->path, f->temporary) != 0) return PLACED;
    errno = reason;
    return AS_IT_WAS;
}

/* Exchanges both folders in one step. */
static Outcome by_exchange(const Folder *f)
{
    if (lk__io->exchange(f->temporary, f->path) != 0) return AS_IT_WAS;
    if (complete(f, f->temporary)) {
        lk_folder_remove(f->temporary);
        return PLACED;
    }
    int reason = errno;
    if (lk__io->exchange(f->temporary, f->path) != 0)
        return carry(f->temporary, f->path, FILES | FOLDERS) ? PLACED : OLD_PARTED;
    bool back = carry(f->temporary, f->path, FOLDERS);
    errno = reason;
    return back ? AS_IT_WAS : OLD_PARTED;
}

/* Moves the old folder aside, and the new one into its place. After a kill in between,
 * lk_folder_begin tidies up. */
static Outcome by_aside(const Folder *f)
{
    if (lk__io->rename(f->path, f->aside) != 0) return AS_IT_WAS;
    bool back = true;
    int reason = 0;
    if (lk__io->rename(f->temporary, f->path) == 0) {
        if (complete(f, f->aside)) {
            lk_folder_remove(f->aside);
            return PLACED;
        }
        reason = errno;
        if (lk__io->rename(f->path, f->temporary) != 0)
            return carry(f->aside, f->path, FILES | FOLDERS) ? PLACED : OLD_PARTED;
        back = carry(f->temporary, f->aside, FOLDERS);
    }
    if (!reason) reason = errno;
    bool there = lk__io->rename(f->aside, f->path) == 0;
    errno = reason;
    if (!there) return OLD_ASIDE;
    return back ? AS_IT_WAS : OLD_PARTED;
}

enum { FILES_MAX = 16 };
typedef char FileName[sizeof((struct dirent *)NULL)->d_name];

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Lists the files of a folder in the order of their names; -1: too many, or it cannot be read. */
static int list_files(const char *folder, FileName names[FILES_MAX])
{
    int count = 0;
    DIR *d = lk__io_opendir(folder);
    if (!d) return -1;
    for (const char *name; (name = lk__io_next(d)); count++)
        if (count < FILES_MAX) strcpy(names[count], name);
    int reason = count > FILES_MAX ? E2BIG : errno;
    lk__io->closedir(d);
    errno = reason;
    if (reason) return -1;
    qsort(names, (size_t)count, sizeof *names, by_name);
    return count;
}

/* Moves a file of one folder into another one, over a file of that name. */
static bool move(const char *from, const char *to, const char *name)
{
    char old[LK_PATH_MAX], new[LK_PATH_MAX];
    return lk_path_join(old, from, name, NULL) && lk_path_join(new, to, name, NULL) &&
           lk__io->rename(old, new) == 0;
}

/* Undoes by_files: all old files come back from f->aside; new ones from `missing` on, which had no
 * old one, are removed. */
static bool undo_files(const Folder *f, FileName *names, int count, int missing)
{
    char path[LK_PATH_MAX];
    bool ok = true;
    for (int i = count; i-- > 0;) {
        if (move(f->aside, f->path, names[i])) continue;
        ok = ok && lk__io_is_missing();
        if (ok && i >= missing && lk_path_join(path, f->path, names[i], NULL))
            ok = lk__io->unlink(path) == 0;
    }
    return ok;
}

/* Replaces file by file. The old ones are moved aside in the order of their names, and the new
 * ones come in the reverse order. So a description that is first in the alphabet
 * (adapter_config.json) is never there together with the weights of another version. */
static Outcome by_files(const Folder *f, FileName *names, int count)
{
    int gone = 0, missing = count;
    if (lk__io->mkdir(f->aside, 0777) != 0) return AS_IT_WAS;
    while (gone < count && (move(f->path, f->aside, names[gone]) || lk__io_is_missing())) gone++;
    while (gone == count && missing > 0 && move(f->temporary, f->path, names[missing - 1]))
        missing--;
    int reason = errno;
    bool placed = missing == 0 && lk__io_flush_folder(f->path);
    if (missing == 0) reason = errno;
    if (!placed) {
        bool back = undo_files(f, names, count, missing);
        if (back) lk__io->rmdir(f->aside);
        errno = reason;
        return back ? AS_IT_WAS : OLD_ASIDE;
    }
    lk_folder_remove(f->temporary); /* first: lk_folder_begin takes both for an unfinished work */
    lk_folder_remove(f->aside);
    return PLACED;
}

static Outcome put_in_place(const Folder *f)
{
    struct stat info;
    FileName names[FILES_MAX];
    int count = list_files(f->temporary, names), why = errno;
    if (count < 0 && why != E2BIG) return AS_IT_WAS;
    Outcome outcome = AS_IT_WAS;
    bool there = lk__io->stat(f->path, &info) == 0;
    if (!there && !lk__io_is_missing()) return AS_IT_WAS;
    /* Gives the new folder the permissions and the files of the old one, so that each way but the
     * last replaces the folder as a whole. */
    bool whole = !there || (!f->inside && lk__io->chmod(f->temporary, info.st_mode & 07777) == 0 &&
                            carry(f->path, f->temporary, FILES));
    if ((whole || f->inside) && !lk__io_flush_folder(f->temporary)) return AS_IT_WAS;
    if (!there) return by_rename(f);
    if (whole) outcome = by_exchange(f);
    if (whole && outcome == AS_IT_WAS) outcome = by_aside(f);
    if (outcome != AS_IT_WAS) return outcome;
    if (count < 0) errno = why;
    return count < 0 ? AS_IT_WAS : by_files(f, names, count);
}

/* ---- begin and end -------------------------------------------------------------------------- */

static bool fail(const Folder *f, const char *path, int reason, Error *err)
{
    return lk_error_set(err, LK_EIO, "%s%s%.200s: cannot be written: %s",
                        f->caller ? f->caller : "", f->caller ? ": " : "", path, strerror(reason));
}

/* Brings back what a kill left aside, and removes the rest: the old folder, unless the new one was
 * in its place already; the old files, unless all new ones were there and only the removing was
 * left; the folders of an old one. A temporary folder that is not locked here is left alone. */
static bool clean(const Folder *f, const FolderLock *temporary)
{
    FileName names[FILES_MAX];
    struct stat info;
    bool ok = true;
    if (lk__io->rename(f->aside, f->path) != 0 && !lk__io_is_missing()) {
        int why = errno;
        if (lk__io->lstat(f->path, &info) != 0) {
            if (lk__io_is_missing()) errno = why;
            return false;
        }
        bool unfinished = lk__io->lstat(f->temporary, &info) == 0;
        if (!unfinished && !lk__io_is_missing()) return false;
        int files = unfinished ? list_files(f->aside, names) : 0;
        ok = files >= 0 || lk__io_is_missing();
        for (int i = 0; ok && i < files; i++) ok = move(f->aside, f->path, names[i]);
    }
    const char *const left[] = { f->aside, f->temporary };
    const int count = lk__folder_lock_holds(temporary) ? 2 : 1;
    for (int i = 0; ok && i < count; i++)
        if (lk__io->lstat(left[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            ok = carry(left[i], f->path, FOLDERS);
            if (ok) lk_folder_remove(left[i]);
        }
    return ok;
}

/* Locks the temporary folder that was just made. False: the reason is in err, or another writer
 * took it for one that a killed process left (*taken). */
static bool lock_temporary(Folder *f, bool *taken, Error *err)
{
    Error reason = { 0 };
    struct stat info;
    f->lock = lk__folder_lock_new(f->caller, f->temporary, true, &reason);
    *taken = f->lock && lk__io->lstat(f->temporary, &info) != 0 && lk__io_is_missing();
    if (f->lock && !*taken) return true;
    lk_folder_lock_free(f->lock);
    f->lock = NULL;
    if (*taken) return false;
    if (reason.code != LK_ESTATE) lk__io->rmdir(f->temporary);
    return lk_error_pass(err, &reason);
}

/* Locks f->path, if it is there and not locked yet. */
static bool lock_path(Folder *f, Error *err)
{
    if (f->path_lock && lk__folder_lock_holds(f->path_lock)) return true;
    lk_folder_lock_free(f->path_lock);
    f->path_lock = lk__folder_lock_new(f->caller, f->path, false, err);
    return f->path_lock;
}

/* Removes what a killed process left, and makes the temporary folder. *why: errno, or 0 where the
 * reason is in err. */
static bool make_temporary(Folder *f, int *why, Error *err)
{
    enum { ATTEMPTS = 20 };
    for (int i = 0; i < ATTEMPTS; i++) {
        bool taken = false, ready = false, made = false;
        *why = 0;
        if (!lock_path(f, err)) return false;
        FolderLock *left = lk__folder_lock_new(f->caller, f->temporary, true, err);
        /* Another writer may have put a folder in its place just now. */
        if (left && lock_path(f, err)) {
            ready = clean(f, left);
            made = ready && lk__io->mkdir(f->temporary, 0777) == 0;
            if (!made) *why = errno;
        }
        lk_folder_lock_free(left);
        if (made && lock_temporary(f, &taken, err)) return true;
        /* A writer that is a moment ahead is found by its lock in the next round. */
        if (!taken && (!ready || made || *why != EEXIST)) return false;
    }
    return false;
}

static void unlock(Folder *f)
{
    lk_folder_lock_free(f->lock);
    lk_folder_lock_free(f->path_lock);
    f->lock = f->path_lock = NULL;
}

/* Sets f->path: `path` without slashes at its end, or the target of that link. */
static bool find_path(Folder *f, const char *path)
{
    struct stat info;
    bool link = lk__io->lstat(path, &info) == 0;
    if (!link && !lk__io_is_missing()) return false;
    link = link && S_ISLNK(info.st_mode);
    if (link && !lk__io->realpath(path, f->path)) return false;
    size_t length = strlen(link ? f->path : path);
    while (length > 1 && (link ? f->path : path)[length - 1] == '/') length--;
    errno = ENAMETOOLONG;
    if (length + sizeof "/old.tmp" > LK_PATH_MAX) return false;
    if (!link) memcpy(f->path, path, length);
    f->path[length] = '\0';
    return true;
}

bool lk_folder_begin(Folder *f, const char *caller, const char *path, Error *err)
{
    struct stat info;
    if (!f || !path || !*path)
        return lk_error_set(err, LK_EVALUE, "%s: the folder has no name",
                            caller ? caller : "lk_folder_begin");
    *f = (Folder){ .caller = caller };
    if (!find_path(f, path)) return fail(f, path, errno, err);
    int why, length = (int)strlen(f->path);
    bool exists = lk__io->stat(f->path, &info) == 0;
    if (!exists && errno != ENOENT) return fail(f, path, errno, err);
    if (exists && !S_ISDIR(info.st_mode)) return fail(f, path, ENOTDIR, err);
    if (exists && lk__io->access(f->path, W_OK) != 0) return fail(f, path, errno, err);
    snprintf(f->temporary, sizeof f->temporary, "%.*s.tmp", length, f->path);
    snprintf(f->aside, sizeof f->aside, "%.*s.old.tmp", length, f->path);
    bool ok = make_temporary(f, &why, err);
    if (!ok && why && exists) {
        f->inside = true;
        snprintf(f->temporary, sizeof f->temporary, "%.*s/new.tmp", length, f->path);
        snprintf(f->aside, sizeof f->aside, "%.*s/old.tmp", length, f->path);
        ok = make_temporary(f, &why, err);
    }
    if (ok) return true;
    unlock(f);
    return why ? fail(f, path, why, err) : false;
}

bool lk_folder_end(Folder *f, bool ok, Error *err)
{
    if (!f) return lk_error_set(err, LK_EVALUE, "lk_folder_end: the folder is NULL");
    const Outcome outcome = ok ? put_in_place(f) : AS_IT_WAS;
    const char *reason = strerror(errno);
    if (ok && outcome == AS_IT_WAS) fail(f, f->path, errno, err);
    if (outcome == AS_IT_WAS) lk_folder_remove(f->temporary);
    if (outcome == OLD_ASIDE)
        lk_error_set(err, LK_EIO,
                     "%s%s%.200s: cannot be written: %s; the old one is in %.200s, and the next "
                     "save brings it back",
                     f->caller ? f->caller : "", f->caller ? ": " : "", f->path, reason, f->aside);
    if (outcome == OLD_PARTED)
        lk_error_set(
            err, LK_EIO,
            "%s%s%.200s: cannot be written: %s; folders of the old one are beside it, and "
            "the next save brings them back",
            f->caller ? f->caller : "", f->caller ? ": " : "", f->path, reason);
    unlock(f);
    return outcome == PLACED;
}
