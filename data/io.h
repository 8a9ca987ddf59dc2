/* io.h - every call to the operating system by which data/ reads and writes files, in one table;
 * hidden. Tests put their own table in its place: its calls fail, kill or are recorded. */
#ifndef LK_IO_H
#define LK_IO_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Each call is that of POSIX: it returns -1 (or NULL) and sets errno on failure. */
typedef struct Io {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*pread)(int file, void *bytes, size_t size, off_t offset);
    void *(*mmap)(size_t size, int protection, int flags, int file);
    ssize_t (*write)(int file, const void *bytes, size_t size);
    int (*fsync)(int file);
    int (*flock)(int file, int operation);
    int (*close)(int file);
    int (*stat)(const char *path, struct stat *info);
    int (*lstat)(const char *path, struct stat *info);
    int (*fstat)(int file, struct stat *info);
    int (*access)(const char *path, int mode);
    char *(*realpath)(const char *path, char *room);
    int (*chmod)(const char *path, mode_t mode);
    int (*fchmod)(int file, mode_t mode);
    int (*link)(const char *from, const char *to);
    int (*rename)(const char *from, const char *to);
    int (*exchange)(const char *a, const char *b); /* renameat2 with RENAME_EXCHANGE */
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rmdir)(const char *path);
    DIR *(*opendir)(const char *path);
    struct dirent *(*readdir)(DIR *folder);
    int (*closedir)(DIR *folder);
} Io;
extern const Io *lk__io; /* libc's, unless a test has put another one here */

/* Callers use these instead of the bare calls: a call that a signal interrupts is made again, and
 * short counts are completed. errno has the reason of a failure. */
int lk__io_open(const char *path, int flags); /* closed by exec; a new file gets mode 0666 */
/* The bytes from offset on: fewer than size only where the file ends. -1: a failure. */
int64_t lk__io_read(int file, void *bytes, size_t size, int64_t offset);
/* All bytes. ENOSPC when the system takes none of them. */
bool lk__io_write(int file, const void *bytes, size_t size);
/* fsync: the content of the file, or the names in the folder, reach the disk. */
bool lk__io_flush(int file);
bool lk__io_close(int file);
/* The same for a folder by its path. True where its file system cannot, or where it may not be
 * opened for reading. */
bool lk__io_flush_folder(const char *path);
DIR *lk__io_opendir(const char *path);
/* The next name in a folder, without "." and "..". NULL: the end, with errno 0, or a failure. */
const char *lk__io_next(DIR *folder);
/* Whether the last call failed since there is no such file. */
bool lk__io_is_missing(void);

#endif
