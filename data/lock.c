/* lock.c - flock on the descriptor of a folder. The locks of this process are in a list, in which
 * a folder that is locked twice is found again. */
#include "data/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#ifdef __linux__
#include <sys/sysmacros.h> /* major and minor */
#endif

#include "core/memory.h"
#include "data/io.h"
#include "data/path.h"

struct FolderLock {
    FolderLock *next;
    dev_t device;
    ino_t inode;
    int file;    /* -1: nothing is locked */
    int holders; /* the lock is given back by the last of them */
};

static FolderLock *locks; /* but those that are held alone */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

/* ---- another process ------------------------------------------------------------------------ */

/* The process that locks the folder, from Linux's list of locks: "1: FLOCK  ADVISORY  WRITE 4711
 * fe:00:1234 0 EOF" with numbers of process, device and inode. 0: it is not known. */
static long holder_of(const struct stat *folder)
{
    enum { ROOM = 1 << 15 };
    char text[ROOM], *rest = NULL;
    int list = lk__io_open("/proc/locks", O_RDONLY);
    if (list < 0) return 0;
    int64_t length = lk__io_read(list, text, ROOM - 1, 0);
    lk__io_close(list);
    text[length > 0 ? length : 0] = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        long process;
        unsigned major_number, minor_number;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s WRITE %ld %x:%x:%llu", &process, &major_number,
                   &minor_number, &inode) == 4 &&
            major_number == major(folder->st_dev) && minor_number == minor(folder->st_dev) &&
            inode == folder->st_ino)
            return process;
    }
    return 0;
}

static void fail_held(const char *caller, const char *path, const struct stat *folder, Error *err)
{
    char process[40] = "";
    long holder = holder_of(folder);
    if (holder > 0) snprintf(process, sizeof process, " (process %ld)", holder);
    lk_error_set(err, LK_ESTATE,
                 "%s%s%.300s: another run writes here%s: wait until it ends, or end it, or choose "
                 "another folder",
                 caller ? caller : "", caller ? ": " : "", path, process);
}

/* ---- locking -------------------------------------------------------------------------------- */

static FolderLock *find(const struct stat *folder)
{
    FolderLock *lock = locks;
    while (lock && (lock->device != folder->st_dev || lock->inode != folder->st_ino))
        lock = lock->next;
    return lock;
}

/* Whether the path still leads to that folder: its writer may have put another one there. */
static bool is_still(const char *path, const struct stat *folder)
{
    struct stat now;
    return lk__io->stat(path, &now) == 0 && now.st_dev == folder->st_dev &&
           now.st_ino == folder->st_ino;
}

typedef enum Outcome { LOCKED, HELD, CHANGED, FAILED } Outcome;

/* Locks the folder behind lock->file, which it closes where that is not needed; *known is the lock
 * that this process has on it already. */
static Outcome lock_file(FolderLock *lock, const char *path, bool alone, struct stat *folder,
                         FolderLock **known)
{
    if (lk__io->fstat(lock->file, folder) != 0) return FAILED;
    *known = alone ? NULL : find(folder);
    if (*known) return LOCKED;
    int result;
    do result = lk__io->flock(lock->file, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EWOULDBLOCK) return HELD;
    if (!is_still(path, folder)) return CHANGED;
    lock->device = folder->st_dev;
    lock->inode = folder->st_ino;
    return LOCKED; /* or its file system has no locks */
}

FolderLock *lk__folder_lock_new(const char *caller, const char *path, bool alone, Error *err)
{
    enum { ATTEMPTS = 100 };
    struct stat folder;
    Outcome outcome = CHANGED;
    FolderLock *known = NULL, *lock = lk_mem_calloc(1, sizeof *lock);
    if (!lock) {
        lk_error_set(err, LK_EMEMORY, "%.300s: no memory for a lock", path);
        return NULL;
    }
    lock->holders = 1;
    pthread_mutex_lock(&guard);
    for (int i = 0; i < ATTEMPTS && outcome == CHANGED; i++) {
        lock->file = lk__io_open(path, O_RDONLY | O_DIRECTORY);
        if (lock->file < 0) {
            outcome = lk__io_is_missing() || errno == EACCES ? LOCKED : FAILED;
            break;
        }
        outcome = lock_file(lock, path, alone, &folder, &known);
        int reason = errno;
        if (outcome != LOCKED || known) lk__io_close(lock->file);
        errno = reason;
    }
    if (known) known->holders++;
    else if (outcome == LOCKED && !alone && lock->file >= 0) {
        lock->next = locks;
        locks = lock;
    }
    pthread_mutex_unlock(&guard);
    if (outcome == FAILED)
        lk_error_set(err, LK_EIO, "%s%s%.300s: cannot be locked: %s", caller ? caller : "",
                     caller ? ": " : "", path, strerror(errno));
    if (outcome == HELD || outcome == CHANGED) fail_held(caller, path, &folder, err);
    if (outcome == LOCKED && !known) return lock;
    lk_mem_free(lock);
    return known;
}

FolderLock *lk_folder_lock_new(const char *path, Error *err)
{
    struct stat folder;
    if (path && lk__io->stat(path, &folder) == 0)
        return lk__folder_lock_new(NULL, path, false, err);
    if (path) lk_path_failed(path, "cannot be locked", err);
    else lk_error_set(err, LK_EVALUE, "lk_folder_lock_new: the path is NULL");
    return NULL;
}

bool lk__folder_lock_holds(const FolderLock *lock) { return lock->file >= 0; }

void lk_folder_lock_free(FolderLock *lock)
{
    if (!lock) return;
    pthread_mutex_lock(&guard);
    const bool last = --lock->holders == 0;
    if (last) {
        for (FolderLock **at = &locks; *at; at = &(*at)->next)
            if (*at == lock) {
                *at = lock->next;
                break;
            }
        if (lock->file >= 0) lk__io_close(lock->file);
    }
    pthread_mutex_unlock(&guard);
    if (last) lk_mem_free(lock);
}
