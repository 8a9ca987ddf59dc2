/* atomic_folder.c - folders as a whole. Who uses it: data/peft.c, and the checkpoints of
 * examples/folder.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "data/atomic_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/atomic_file.h"

/* What is in a folder and not in the other one gets there: files by a second name, so that they
 * are in both; folders, which cannot have one, are moved. */
static bool carry(const char *from, const char *to, bool folders)
{
    DIR *d = opendir(from);
    bool ok = d;
    for (struct dirent *e; ok && (e = readdir(d));) {
        char old[LK_ATOMIC_PATH_MAX], new[LK_ATOMIC_PATH_MAX];
        struct stat info;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        ok = snprintf(old, sizeof old, "%s/%s", from, e->d_name) < LK_ATOMIC_PATH_MAX &&
             snprintf(new, sizeof new, "%s/%s", to, e->d_name) < LK_ATOMIC_PATH_MAX;
        if (!ok || lstat(new, &info) == 0 || lstat(old, &info) != 0) continue;
        if (!S_ISDIR(info.st_mode)) ok = link(old, new) == 0;
        else if (folders) ok = rename(old, new) == 0;
    }
    if (d) closedir(d);
    return ok;
}

static bool swap(const char *path, const char *other)
{
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0;
#else
    (void)path, (void)other;
    return false;
#endif
}

bool lk_folder_replace(const char *path, const char *made)
{
    struct stat info;
    if (!path || !made) return false;
    if (stat(path, &info) != 0 || chmod(made, info.st_mode & 07777) != 0 ||
        !carry(path, made, false) || !swap(made, path))
        return false;
    if (carry(made, path, true) || !swap(made, path)) return true;
    /* one cannot be moved: both are back, and so are those that could be */
    carry(made, path, true);
    return false;
}

bool lk_folder_sync(const char *path)
{
    if (!path) return false;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return false;
    bool ok = fsync(folder) == 0 || errno == EINVAL; /* EINVAL: its file system has no fsync */
    int reason = errno;
    close(folder);
    errno = reason;
    return ok;
}

void lk_folder_remove(const char *path)
{
    if (!path) return;
    DIR *folder = opendir(path);
    /* . and .. stay */
    for (struct dirent *e; folder && (e = readdir(folder));) unlinkat(dirfd(folder), e->d_name, 0);
    if (folder) closedir(folder);
    rmdir(path);
}
