/* folder.h - makes folders, and replaces them as a whole or not at all. For single files:
 * data/atomic_file.h.
 *
 *     Folder f;
 *     if (!lk_folder_begin(&f, "lk_save_peft", "results/adapter", &err)) return false;
 *     bool ok = … files are written into f.temporary …;
 *     return lk_folder_end(&f, ok, &err); */
#ifndef LK_FOLDER_H
#define LK_FOLDER_H

#include "core/error.h"
#include "data/lock.h"
#include "data/path.h"

/* os.makedirs(path, exist_ok=True). Makes sure that files can be made in it: makes one and removes
 * it again. Error: LK_EIO. */
LK_API bool lk_folder_make(const char *path, Error *err);
/* Whether both are there, and are the same folder. */
LK_API bool lk_folder_same(const char *a, const char *b);
/* Copies the file `name` of one folder into another one, whole or not at all. Error: LK_EIO. */
LK_API bool lk_folder_copy(const char *from, const char *to, const char *name, Error *err);
/* Removes a folder with the files in it. Folders in it stay, and then the folder itself stays
 * too. */
LK_API void lk_folder_remove(const char *path);

typedef struct Folder {
    const char *caller; /* for messages; NULL: none, in a program's own files */
    bool inside;        /* temporary is in path, since nothing can be made beside it */
    char path[LK_PATH_MAX], temporary[LK_PATH_MAX], aside[LK_PATH_MAX];
    FolderLock *lock, *path_lock; /* of temporary and of path */
} Folder;

/* Makes the temporary folder, PATH.tmp, for files; brings back or removes what a killed process
 * left. The folder around PATH must be there; if PATH is a symbolic link, its target is replaced.
 * Errors: LK_EIO, LK_EVALUE, LK_EMEMORY, LK_ESTATE when another run writes there (data/lock.h);
 * then there is nothing to end. */
LK_API bool lk_folder_begin(Folder *f, const char *caller, const char *path, Error *err);

/* With ok the temporary folder becomes PATH in one step, and gets the files and folders of the old
 * PATH that it lacks. Where folders cannot be exchanged (an old file system), the old one is moved
 * aside for a moment; where PATH cannot be renamed (".", a mount point), its files are replaced
 * one by one, in reverse order of their names. After a kill in between the next lk_folder_begin
 * brings the old one back.
 *
 * True: the new folder is in its place, and it is still there after a power loss, as far as the
 * file system can promise that. False (LK_EIO, or without ok): PATH is as it was; or, where
 * undoing fails as well, the message says what stands there. A power loss in between leaves the
 * old folder or the new one, whole. */
LK_API bool lk_folder_end(Folder *f, bool ok, Error *err);

#endif
