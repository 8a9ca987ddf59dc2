/* renames.h - renaming that fails when a test wants it to: these take the place of libc's. Before any other header, as it
 * asks for _GNU_SOURCE. */
#ifndef RENAMES_H
#define RENAMES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool no_swap;     /* a file system without RENAME_EXCHANGE */
static int failing = -1; /* so many renames succeed, and then one fails */

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (no_swap) return errno = EINVAL, -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int rename(const char *from, const char *to)
{
    if (failing-- == 0) return errno = EIO, -1;
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

#endif
