/* report.h - hidden functions of error.c and strict.c, for what is reported. */
#ifndef LK_REPORT_H
#define LK_REPORT_H

#include "core/error.h"

/* The default ErrorHandler: prints the message to stderr. */
void lk__print_error(const Error *err, void *user);
/* Makes the message printable. All that fill an Error end with it. */
void lk__seal_message(Error *err);
/* Puts a block that strict mode does not free on a list, where leak checkers find it. */
void lk__bury(void *block);

#endif
