/* atomic_folder.c - folders as a whole. Who uses it: data/peft.c, and the checkpoints of examples/folder.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "data/atomic_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

bool lk_folder_sync(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return false;
    bool ok = fsync(folder) == 0 || errno == EINVAL; /* EINVAL: its file system has no fsync */
    int reason = errno;
    close(folder);
    errno = reason;
    return ok;
}

bool lk_folder_swap(const char *path, const char *other)
{
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0;
#else
    (void)path, (void)other;
    errno = ENOSYS;
    return false;
#endif
}

void lk_folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));) unlinkat(dirfd(folder), e->d_name, 0); /* . and .. stay */
    if (folder) closedir(folder);
    rmdir(path);
}
