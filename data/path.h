/* path.h - names of files: their length, joining them, and messages about them. */
#ifndef LK_PATH_H
#define LK_PATH_H

#include "core/error.h"

enum { LK_PATH_MAX = 4096 }; /* bytes of a path, its '\0' included */

/* Writes folder/name into path. Error: LK_EIO when it is too long. */
LK_API bool lk_path_join(char path[LK_PATH_MAX], const char *folder, const char *name, Error *err);
/* Sets LK_EIO, "PATH: FAILED: No such file or directory" by errno; returns false. */
LK_API bool lk_path_failed(const char *path, const char *failed, Error *err);

#endif
