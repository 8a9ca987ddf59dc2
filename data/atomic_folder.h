/* atomic_folder.h - putting a folder in the place of another one as a whole; for single files:
 * atomic_file.h. */
#ifndef LK_ATOMIC_FOLDER_H
#define LK_ATOMIC_FOLDER_H

#include <stdbool.h>

#include "core/api.h"

/* `made`, a folder beside `path`, takes its place at one moment, and what else is in the old one
 * comes along: files at that moment, folders just after it. The old one, with what was replaced,
 * is then called `made`. False, with all as it was: where folders cannot change places (an old
 * file system, "." and "..", a mount point), or what is in the old one cannot be moved. */
LK_API bool lk_folder_replace(const char *path, const char *made);

/* the names in it reach the disk; false: the reason in errno */
LK_API bool lk_folder_sync(const char *path);
/* with the files in it; folders in it stay, and so it does */
LK_API void lk_folder_remove(const char *path);

#endif
