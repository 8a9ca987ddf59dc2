/* faults.h - files are changed call by call, and any of these calls can fail, or be the place
 * where the process is killed. A test goes through all of them and needs no luck:
 *
 *     for (int k = 1; killed_at(k, save, &job); k++) check(is_old(&job) || is_new(&job));
 *
 *     for (int k = 1, failed = 1; failed; k++) {
 *         fail_at(k);
 *         bool ok = save(&job);
 *         failed = end_faults();
 *         check(ok ? is_new(&job) : is_old(&job));
 *     }
 *
 * The functions below take the place of libc's in the program that includes this header, also for
 * calls from the library. stdio's own calls are not seen: files that must be whole are written
 * with write(). Include it before any other header, as it asks for _GNU_SOURCE. */
#ifndef FAULTS_H
#define FAULTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

static bool no_swap; /* set it, and the file system has no RENAME_EXCHANGE */

static struct {
    int left;      /* changes until the faulty one, itself included; 0: none is to come */
    bool deadly;   /* it kills, and else it fails with EIO */
    bool removing; /* the last change was one that removes: where it fails, something is left */
} faults;

/* The k-th change from here on fails. k = 1, 2, … */
static inline void fail_at(int k)
{
    faults.left = k;
    faults.deadly = false;
}

/* No change fails from here on. Whether one did. */
static inline bool end_faults(void)
{
    bool happened = faults.left == 0;
    faults.left = 0;
    return happened;
}

/* Runs act(user), which makes no check, in a child. Whether it was killed at its k-th change; else
 * it returned true. */
static inline bool killed_at(int k, bool (*act)(void *user), void *user)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        faults.left = k;
        faults.deadly = true;
        _exit(act(user) ? 0 : 1);
    }
    int status;
    check(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d before change %d", status, k);
    return false;
}

/* Says at the beginning of a change whether it is to fail. A test may ask too, and so add a place
 * to be killed at. */
static inline bool faulty(bool removing)
{
    if (faults.left == 0) return false;
    faults.removing = removing;
    if (--faults.left > 0) return false;
    if (faults.deadly) kill(getpid(), SIGKILL);
    errno = EIO;
    return true;
}

/* ---- libc's functions ----------------------------------------------------------------------- */

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT && faulty(false)) return -1;
    return openat(AT_FDCWD, path, flags, mode);
}

/* Writes only the first half in every other call, as it may: a file is also seen half written. */
ssize_t write(int file, const void *bytes, size_t size)
{
    static bool half;
    if (faulty(false)) return -1;
    half = faults.left > 0 && size > 1 && !half;
    return syscall(SYS_write, file, bytes, half ? size / 2 : size);
}

/* Leaves the disk alone: a kill ends the process, and the kernel keeps its writes. */
int fsync(int file)
{
    (void)file;
    return faulty(false) ? -1 : 0;
}

int chmod(const char *path, mode_t mode)
{
    return faulty(false) ? -1 : fchmodat(AT_FDCWD, path, mode, 0);
}

int fchmod(int file, mode_t mode)
{
    return faulty(false) ? -1 : (int)syscall(SYS_fchmod, file, mode);
}

int link(const char *from, const char *to)
{
    return faulty(false) ? -1 : linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdir(const char *path, mode_t mode)
{
    return faulty(false) ? -1 : mkdirat(AT_FDCWD, path, mode);
}

int rename(const char *from, const char *to)
{
    return faulty(false) ? -1 : renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (faulty(false)) return -1;
    if (no_swap) return errno = EINVAL, -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int unlinkat(int folder, const char *path, int flags)
{
    return faulty(true) ? -1 : (int)syscall(SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

#endif
