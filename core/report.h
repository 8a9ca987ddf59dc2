/* report.h - hidden functions of error.c and strict.c. */
#ifndef LK_REPORT_H
#define LK_REPORT_H

#include "core/error.h"

/* The default ErrorHandler: prints the message to stderr. */
void lk__print_error(const Error *err, void *user);
/* Puts a block that strict mode does not free on a list, where leak checkers find it. */
void lk__bury(void *block);

#endif
