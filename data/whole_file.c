/* whole_file.c - reads a regular file into memory. */
#include "data/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/memory.h"
#include "data/io.h"

bool lk__read_whole_file(WholeFile *file, const FileReport *report)
{
    struct stat info;
    if (lk__io->stat(report->path, &info) != 0)
        return lk__file_fail(report, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return lk__file_fail(report, LK_EIO, "is not a regular file");
    if (info.st_size == 0) return lk__file_fail(report, LK_EFORMAT, "is empty");
    if (file->limit > 0 && (uint64_t)info.st_size > file->limit)
        return lk__file_fail(report, LK_EFORMAT, "has %lld bytes, above the limit of %zu",
                             (long long)info.st_size, file->limit);
    if ((uint64_t)info.st_size >= SIZE_MAX)
        return lk__file_fail(report, LK_EMEMORY, "has %lld bytes, more than 32 bits can address",
                             (long long)info.st_size);
    file->size = (size_t)info.st_size;
    file->bytes = lk_mem_alloc(file->size + 1);
    if (!file->bytes)
        return lk__file_fail(report, LK_EMEMORY, "no memory for its %zu bytes", file->size);
    file->bytes[file->size] = '\0';
    int in = lk__io_open(report->path, O_RDONLY);
    if (in < 0) return lk__file_fail(report, LK_EIO, "cannot be opened: %s", strerror(errno));
    int64_t got = lk__io_read(in, file->bytes, file->size, 0);
    if (got < 0) lk__file_fail(report, LK_EIO, "cannot be read: %s", strerror(errno));
    else if ((size_t)got < file->size)
        lk__file_fail(report, LK_EIO, "was shortened while it was read");
    lk__io_close(in);
    return got >= 0 && (size_t)got == file->size;
}

void lk__whole_file_free(WholeFile *file)
{
    lk_mem_free(file->bytes);
    *file = (WholeFile){ 0 };
}
