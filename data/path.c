/* path.c - paths in buffers of one size. */
#include "data/path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

_Static_assert(LK_PATH_MAX >= PATH_MAX, "realpath writes up to PATH_MAX bytes");

bool lk_path_join(char path[LK_PATH_MAX], const char *folder, const char *name, Error *err)
{
    if (!path || !folder || !name)
        return lk_error_set(err, LK_EVALUE, "lk_path_join: the path, folder or name is NULL");
    if (snprintf(path, LK_PATH_MAX, "%s/%s", folder, name) < LK_PATH_MAX) return true;
    errno = ENAMETOOLONG;
    return lk_error_set(err, LK_EIO, "%.200s: %s", folder, strerror(errno));
}

bool lk_path_failed(const char *path, const char *failed, Error *err)
{
    return lk_error_set(err, LK_EIO, "%.300s: %s: %s", path ? path : "NULL", failed ? failed : "",
                        strerror(errno));
}
