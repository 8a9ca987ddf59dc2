/* lock.h - keeps two runs from writing into one folder.
 *
 *     FolderLock *lock = lk_folder_lock_new("results", &err);
 *     if (!lock) … "results: another run writes here (process 4711): …"
 *     …
 *     lk_folder_lock_free(lock);
 *
 * The lock is advisory, and the kernel keeps it: no file shows it, and it ends with its process,
 * also when that is killed. Inside of one process a folder can be locked several times, so that a
 * program and its Trainer both lock their output. Where the file system has no locks, or the
 * folder may not be read, nothing is locked. */
#ifndef LK_LOCK_H
#define LK_LOCK_H

#include "core/error.h"

typedef struct FolderLock FolderLock;

/* Locks a folder. NULL: another process holds it (LK_ESTATE), it is not there (LK_EIO),
 * LK_EMEMORY. */
LK_API FolderLock *lk_folder_lock_new(const char *path, Error *err);
LK_API void lk_folder_lock_free(FolderLock *lock);

/* The same with the caller's name in messages. A folder that is not there is no error: the lock
 * holds nothing then. With `alone` the folder must not be locked by this process either. */
FolderLock *lk__folder_lock_new(const char *caller, const char *path, bool alone, Error *err);
/* Whether it holds a folder. */
bool lk__folder_lock_holds(const FolderLock *lock);

#endif
