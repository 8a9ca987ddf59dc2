/* error.c - fills an Error; the first failure wins. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/decimal.h"
#include "core/report.h"

bool lk_error_set(Error *err, ErrorCode code, const char *format, ...)
{
    if (!err || err->code != LK_OK) return false;
    va_list args;
    va_start(args, format);
    lk_vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    err->code = code;
    return false;
}

bool lk_error_pass(Error *err, const Error *reason)
{
    return reason ? lk_error_set(err, reason->code, "%s", reason->message) : false;
}

void lk__print_error(const Error *err, void *user)
{
    (void)user;
    fprintf(stderr, "%s\n", err->message);
}
