/* decimal.h - decimal numbers as text, with a point in every locale. After setlocale(LC_ALL,
 * "de_DE.UTF-8") C's own functions write and expect "0,25", which no JSON, no HTML and no other
 * program understands. The library and its examples write and read all their numbers with these
 * functions. Apart from the point, the functions behave like those of C. */
#ifndef LK_DECIMAL_H
#define LK_DECIMAL_H

#include <stdarg.h>
#include <stdio.h>

#include "core/api.h"

/* C's functions without the lk_: the number of bytes (of a buffer, as if it were large enough), or
 * a negative number on an error. */
LK_API int lk_printf(const char *format, ...) LK_PRINTF(1, 2);
LK_API int lk_fprintf(FILE *out, const char *format, ...) LK_PRINTF(2, 3);
LK_API int lk_vfprintf(FILE *out, const char *format, va_list args) LK_PRINTF(2, 0);
LK_API int lk_snprintf(char *text, size_t size, const char *format, ...) LK_PRINTF(3, 4);
LK_API int lk_vsnprintf(char *text, size_t size, const char *format, va_list args) LK_PRINTF(3, 0);
/* strtod: *end is set behind the number, to text when there is none; end may be NULL. */
LK_API double lk_strtod(const char *text, const char **end);

#endif
