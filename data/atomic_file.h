/* atomic_file.h - writes a file that is there as a whole or not at all.
 *
 *     AtomicFile f;
 *     bool ok = lk_atomic_begin(&f, "lk_save_…", path, &err) && lk_atomic_write(&f, bytes, size);
 *     ok = lk_atomic_end(&f, ok); */
#ifndef LK_ATOMIC_FILE_H
#define LK_ATOMIC_FILE_H

#include "data/path.h"

typedef struct AtomicFile {
    const char *caller, *path; /* for messages; caller may be NULL */
    Error *err;
    int file; /* -1: none */
    char target[LK_PATH_MAX];
    char temporary[LK_PATH_MAX + 64];
} AtomicFile;

/* Opens a temporary file in the folder of path. Call lk_atomic_end afterwards, on failure too. */
LK_API bool lk_atomic_begin(AtomicFile *f, const char *caller, const char *path, Error *err);
LK_API bool lk_atomic_write(AtomicFile *f, const void *bytes, size_t size);
/* With ok the temporary file replaces path. Without ok, or on an error, it is removed, and path
 * stays as it was. After a power loss path is the old file or the new one, whole: the new one as
 * soon as the system has written the folder's names, which takes seconds. */
LK_API bool lk_atomic_end(AtomicFile *f, bool ok);

/* Begin, write and end in one call, for a file whose bytes are in memory. */
LK_API bool lk_atomic_save(const char *caller, const char *path, const void *bytes, size_t size,
                           Error *err);

#endif
