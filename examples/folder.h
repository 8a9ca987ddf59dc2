/* folder.h - folders that are made, and written as a whole or not at all; for single files:
 * data/atomic_file.h.
 *
 *     Folder f;
 *     if (!folder_begin(&f, "results/checkpoint-10", &err)) return false;
 *     bool ok = … files are written into f.temporary …;
 *     return folder_end(&f, ok, &err); */
#ifndef FOLDER_H
#define FOLDER_H

#include "core/error.h"

enum { FOLDER_PATH_MAX = 4096 };

/* os.makedirs(path, exist_ok=True), and knows that files can be made in it: makes one and removes
 * it again. LK_EIO. */
bool folder_make(const char *path, Error *err);
/* Whether both are there, and are the same folder. */
bool folder_same(const char *a, const char *b);
/* Copies the file `name` of one folder into another one, whole or not at all. LK_EIO. */
bool folder_copy(const char *from, const char *to, const char *name, Error *err);

typedef struct Folder {
    /* PATH, PATH.tmp, PATH.old.tmp */
    char path[FOLDER_PATH_MAX], temporary[FOLDER_PATH_MAX], aside[FOLDER_PATH_MAX];
} Folder;

/* Makes the temporary folder; what a killed process left under its name is removed. The folder
 * around it must be there. LK_EIO; then nothing is to be ended. */
bool folder_begin(Folder *f, const char *path, Error *err);
/* ok: the folder becomes path, and replaces what was there. Else, and on an error, it is gone and
 * path is as it was; only where the last fsync fails, that of the folder around it, path is the
 * new one. */
bool folder_end(Folder *f, bool ok, Error *err);

/* folder/name; LK_EIO when that is too long. */
bool folder_join(char path[FOLDER_PATH_MAX], const char *folder, const char *name, Error *err);
/* "PATH: WHAT: No such file or directory", LK_EIO by errno; always false. */
bool folder_failed(const char *path, const char *what, Error *err);

#endif
