/* faults.h - files are read and changed call by call, and any of these calls can fail, or be the
 * place where the process is killed. A test goes through all of them and needs no luck:
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
 * A program that includes this header has another table of calls in data/ (data/io.h), and these
 * calls come from it. No call reaches the disk: a kill ends the process, and the kernel keeps its
 * writes. A program without Criterion defines check(condition, …) before it includes this. */
#ifndef FAULTS_H
#define FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/io.h"
#ifndef check
#include "tests/check.h"
#endif

static bool no_swap; /* set it, and the file system has no exchange of two folders */

/* Kinds of calls. */
enum {
    OPENING = 1 << 0, /* what is there */
    READING = 1 << 1,
    ASKING = 1 << 2, /* stat and its like, readdir */
    MAPPING = 1 << 3,
    LOCKING = 1 << 4,
    CREATING = 1 << 5, /* a file */
    WRITING = 1 << 6,
    FLUSHING = 1 << 7,
    CLOSING = 1 << 8,
    NAMING = 1 << 9, /* of folders, renaming, permissions */
    REMOVING = 1 << 10,
    CHANGES = CREATING | WRITING | FLUSHING | NAMING | REMOVING,
    EVERY_CALL = (1 << 11) - 1,
};

typedef struct Fault {
    const char *name;
    int calls;    /* of these kinds */
    int error;    /* errno; 0: the call does less than it was asked for */
    bool nothing; /* with error 0: nothing at all. Else: half of it */
    bool lasting; /* all later calls of these kinds, too */
    int gap;      /* > 0: of those calls, that many later one more fails */
} Fault;

static struct {
    int left; /* calls until the faulty one, itself included; 0: none is to come */
    Fault fault;
    bool deadly;   /* it kills */
    bool happened; /* and lasts */
    int kind;      /* of the faulty one; where REMOVING failed, something is left */
} faults;

/* The k-th call from here on that the fault is about fails. k = 1, 2, … */
static inline void inject(int k, const Fault *fault)
{
    faults.left = k;
    faults.fault = *fault;
    faults.deadly = faults.happened = false;
}

/* The k-th change from here on fails. */
static inline void fail_at(int k) { inject(k, &(Fault){ "EIO", CHANGES, EIO, false, false, 0 }); }

/* No call fails from here on. Whether one did. */
static inline bool end_faults(void)
{
    bool happened = faults.happened;
    faults.left = 0;
    faults.happened = false;
    return happened;
}

/* Runs act(user), which makes no check, in a child that is killed at its k-th call of these kinds.
 * Whether it was; else it returned true. */
static inline bool killed_at_call(int k, int calls, bool (*act)(void *user), void *user)
{
    pid_t child = fork();
    check(child >= 0, "no process");
    if (child == 0) {
        inject(k, &(Fault){ .calls = calls });
        faults.deadly = true;
        _exit(act(user) ? 0 : 1);
    }
    int status;
    check(waitpid(child, &status, 0) == child, "no child");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d before call %d", status, k);
    return false;
}

static inline bool killed_at(int k, bool (*act)(void *user), void *user)
{
    return killed_at_call(k, CHANGES, act, user);
}

/* Says at the beginning of a call whether it is to fail. */
static inline bool fault_of(int kind)
{
    if (!(faults.fault.calls & kind)) return false;
    if (faults.left == 0) return faults.happened && faults.fault.lasting;
    if (--faults.left > 0) return false;
    if (faults.deadly) kill(getpid(), SIGKILL);
    if (!faults.happened) {
        faults.left = faults.fault.gap;
        faults.kind = kind;
    }
    faults.happened = true;
    return true;
}

/* A place of the test's own to be killed at. */
static inline bool faulty(bool removing) { return fault_of(removing ? REMOVING : NAMING); }

/* ---- the table ------------------------------------------------------------------------------ */

static const Io *real_io; /* libc's */

/* The bytes of a call that reads or writes `size`; -1: it fails. */
static inline ssize_t fault_size(int kind, size_t size)
{
    if (!fault_of(kind)) return (ssize_t)size;
    errno = faults.fault.error;
    if (faults.fault.error) return -1;
    return faults.fault.nothing ? 0 : (ssize_t)(size > 1 ? size / 2 : size);
}

static inline bool fails(int kind)
{
    if (!fault_of(kind)) return false;
    errno = faults.fault.error;
    return true;
}

static int io_open(const char *path, int flags, mode_t mode)
{
    return fails(flags & O_CREAT ? CREATING : OPENING) ? -1 : real_io->open(path, flags, mode);
}

static ssize_t io_pread(int file, void *bytes, size_t size, off_t offset)
{
    ssize_t part = fault_size(READING, size);
    return part < 0 ? -1 : real_io->pread(file, bytes, (size_t)part, offset);
}

static void *io_mmap(size_t size, int protection, int flags, int file)
{
    return fails(MAPPING) ? MAP_FAILED : real_io->mmap(size, protection, flags, file);
}

/* Writes only the first half in every other call, as it may: a file is also seen half written. */
static ssize_t io_write(int file, const void *bytes, size_t size)
{
    static bool half;
    ssize_t part = fault_size(WRITING, size);
    half = faults.left > 0 && size > 1 && !half;
    if (half && part == (ssize_t)size) part /= 2;
    return part <= 0 ? part : real_io->write(file, bytes, (size_t)part);
}

static int io_fsync(int file)
{
    (void)file;
    return fails(FLUSHING) ? -1 : 0;
}

static int io_flock(int file, int operation)
{
    return fails(LOCKING) ? -1 : real_io->flock(file, operation);
}

/* Like the kernel it closes the file where it reports a failure, too. */
static int io_close(int file)
{
    bool failing = fault_of(CLOSING);
    int result = real_io->close(file);
    if (!failing) return result;
    errno = faults.fault.error;
    return -1;
}

static int io_stat(const char *path, struct stat *info)
{
    return fails(ASKING) ? -1 : real_io->stat(path, info);
}

static int io_lstat(const char *path, struct stat *info)
{
    return fails(ASKING) ? -1 : real_io->lstat(path, info);
}

static int io_fstat(int file, struct stat *info)
{
    return fails(ASKING) ? -1 : real_io->fstat(file, info);
}

static int io_access(const char *path, int mode)
{
    return fails(ASKING) ? -1 : real_io->access(path, mode);
}

static char *io_realpath(const char *path, char *room)
{
    return fails(ASKING) ? NULL : real_io->realpath(path, room);
}

static int io_chmod(const char *path, mode_t mode)
{
    return fails(NAMING) ? -1 : real_io->chmod(path, mode);
}

static int io_fchmod(int file, mode_t mode)
{
    return fails(NAMING) ? -1 : real_io->fchmod(file, mode);
}

static int io_link(const char *from, const char *to)
{
    return fails(NAMING) ? -1 : real_io->link(from, to);
}

static int io_rename(const char *from, const char *to)
{
    return fails(NAMING) ? -1 : real_io->rename(from, to);
}

static int io_exchange(const char *a, const char *b)
{
    if (fails(NAMING)) return -1;
    errno = EINVAL;
    return no_swap ? -1 : real_io->exchange(a, b);
}

static int io_unlink(const char *path) { return fails(REMOVING) ? -1 : real_io->unlink(path); }

static int io_mkdir(const char *path, mode_t mode)
{
    return fails(NAMING) ? -1 : real_io->mkdir(path, mode);
}

static int io_rmdir(const char *path) { return fails(REMOVING) ? -1 : real_io->rmdir(path); }

static DIR *io_opendir(const char *path) { return fails(OPENING) ? NULL : real_io->opendir(path); }

static struct dirent *io_readdir(DIR *folder)
{
    return fails(ASKING) ? NULL : real_io->readdir(folder);
}

static int io_closedir(DIR *folder) { return real_io->closedir(folder); }

static const Io faulty_io = {
    io_open,     io_pread,  io_mmap,   io_write,    io_fsync,   io_flock,   io_close,    io_stat,
    io_lstat,    io_fstat,  io_access, io_realpath, io_chmod,   io_fchmod,  io_link,     io_rename,
    io_exchange, io_unlink, io_mkdir,  io_rmdir,    io_opendir, io_readdir, io_closedir,
};

__attribute__((constructor)) static void use_faulty_io(void)
{
    real_io = lk__io;
    lk__io = &faulty_io;
}

#endif
