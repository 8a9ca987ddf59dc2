/* file_report.h - errors about a file that is read or written; hidden. */
#ifndef LK_FILE_REPORT_H
#define LK_FILE_REPORT_H

#include "core/error.h"

typedef struct FileReport {
    const char *caller, *path;
    Error *err;
    int64_t line; /* from 1; 0: the message names none */
} FileReport;

/* Sets the error "CALLER: PATH: line 7: …"; returns false. */
bool lk__file_fail(const FileReport *r, ErrorCode code, const char *format, ...) LK_PRINTF(3, 4);

#endif
