/* folder.h - folders that are made, and replaced as a whole or not at all; for single files:
 * data/atomic_file.h.
 *
 *     Folder f;
 *     if (!lk_folder_begin(&f, "lk_save_peft", "results/adapter", &err)) return false;
 *     bool ok = … files are written into f.temporary …;
 *     return lk_folder_end(&f, ok, &err); */
#ifndef LK_FOLDER_H
#define LK_FOLDER_H

#include "core/error.h"
#include "data/path.h"

/* os.makedirs(path, exist_ok=True). Knows that files can be made in it: it makes one and removes
 * it again. LK_EIO. */
LK_API bool lk_folder_make(const char *path, Error *err);
/* Whether both are there, and are the same folder. */
LK_API bool lk_folder_same(const char *a, const char *b);
/* Copies the file `name` of one folder into another one, whole or not at all. LK_EIO. */
LK_API bool lk_folder_copy(const char *from, const char *to, const char *name, Error *err);
/* Removes a folder with the files in it; folders in it stay, and so does it then. */
LK_API void lk_folder_remove(const char *path);

typedef struct Folder {
    const char *caller; /* for messages; NULL: none, in a program's own files */
    bool inside;        /* temporary is in path, since nothing can be made beside it */
    char path[LK_PATH_MAX], temporary[LK_PATH_MAX], aside[LK_PATH_MAX];
} Folder;

/* Makes the temporary folder, PATH.tmp. A folder that a killed process left under its name is
 * removed. The folder around PATH must be there; where PATH is a symbolic link, its target is
 * replaced. Errors: LK_EIO, LK_EVALUE; then there is nothing to end. */
LK_API bool lk_folder_begin(Folder *f, const char *caller, const char *path, Error *err);

/* ok: the folder becomes PATH at one moment. Files and folders of the old PATH that the new one
 * does not have come along. Where folders cannot be exchanged (an old file system), the old one is
 * aside for a moment, and comes back when the next one begins; where PATH cannot be renamed (".",
 * a mount point), its files are replaced one by one, in reverse order of their names. Not ok, and
 * on an error: the temporary folder is gone and PATH is as it was. LK_EIO. */
LK_API bool lk_folder_end(Folder *f, bool ok, Error *err);

#endif
