/* whole_file.h - the bytes of a file, read at once; hidden. */
#ifndef LK_WHOLE_FILE_H
#define LK_WHOLE_FILE_H

#include <stddef.h>

#include "data/file_report.h"

typedef struct WholeFile {
    char *bytes; /* with a '\0' behind them */
    size_t size;
    size_t limit; /* larger files are refused; 0: none is */
} WholeFile;

/* Reads the file report->path. Errors: LK_EIO, LK_EMEMORY, LK_EFORMAT for an empty file or one
 * that is too large. Starts as { 0 }; free it on failure too. */
bool lk__read_whole_file(WholeFile *file, const FileReport *report);
void lk__whole_file_free(WholeFile *file);

#endif
