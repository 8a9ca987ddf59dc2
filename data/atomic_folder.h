/* atomic_folder.h - what it takes to put a folder in its place as a whole; for single files: atomic_file.h. */
#ifndef LK_ATOMIC_FOLDER_H
#define LK_ATOMIC_FOLDER_H

#include <stdbool.h>

#include "core/api.h"

/* Each returns false with the reason in errno. */
LK_API bool lk_folder_sync(const char *path);                    /* the names in it reach the disk */
LK_API bool lk_folder_swap(const char *path, const char *other); /* both change places at one moment, where that goes */
LK_API void lk_folder_remove(const char *path);                  /* with the files in it; not if it has folders */

#endif
