/* file_report.c - the one form of messages about files. */
#include "data/file_report.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/decimal.h"

bool lk__file_fail(const FileReport *r, ErrorCode code, const char *format, ...)
{
    char text[384], line[40] = "";
    va_list args;
    va_start(args, format);
    lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->line > 0) snprintf(line, sizeof line, "line %lld: ", (long long)r->line);
    return lk_error_set(r->err, code, "%s: %.200s: %s%s", r->caller, r->path, line, text);
}
