/* whole_file.c - reads a regular file into memory. */
#include "data/whole_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"

bool lk__read_whole_file(WholeFile *file, const FileReport *report)
{
    struct stat info;
    if (stat(report->path, &info) != 0)
        return lk__file_fail(report, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return lk__file_fail(report, LK_EIO, "is not a regular file");
    if (info.st_size == 0) return lk__file_fail(report, LK_EFORMAT, "is empty");
    file->size = (size_t)info.st_size;
    file->bytes = lk_mem_alloc(file->size + 1);
    if (!file->bytes)
        return lk__file_fail(report, LK_EMEMORY, "no memory for its %zu bytes", file->size);
    file->bytes[file->size] = '\0';
    FILE *in = fopen(report->path, "rb");
    if (!in) return lk__file_fail(report, LK_EIO, "cannot be opened: %s", strerror(errno));
    errno = 0;
    bool ok = fread(file->bytes, 1, file->size, in) == file->size;
    if (!ok && ferror(in))
        lk__file_fail(report, LK_EIO, "cannot be read: %s", strerror(errno ? errno : EIO));
    else if (!ok) lk__file_fail(report, LK_EIO, "was shortened while it was read");
    fclose(in);
    return ok;
}

void lk__whole_file_free(WholeFile *file)
{
    lk_mem_free(file->bytes);
    *file = (WholeFile){ 0 };
}
