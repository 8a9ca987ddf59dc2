/* path.h - names of files: how long they may be, joined, and in messages. */
#ifndef LK_PATH_H
#define LK_PATH_H

#include "core/error.h"

enum { LK_PATH_MAX = 4096 }; /* bytes of a path, its '\0' included */

/* folder/name; LK_EIO when that is too long. */
LK_API bool lk_path_join(char path[LK_PATH_MAX], const char *folder, const char *name, Error *err);
/* "PATH: FAILED: No such file or directory", LK_EIO by errno; always false. */
LK_API bool lk_path_failed(const char *path, const char *failed, Error *err);

#endif
