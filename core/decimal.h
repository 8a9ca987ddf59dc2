/* dot.h - printf and strtod whose numbers have a dot: after setlocale(LC_ALL, "de_DE.UTF-8") those
 * of C write and expect a comma, and no JSON, no HTML and no other program reads "0,25". All
 * numbers that the library and its examples write or read go through these. Otherwise they are
 * C's. */
#ifndef LK_DOT_H
#define LK_DOT_H

#include <stdarg.h>
#include <stdio.h>

#include "core/api.h"

LK_API int lk_printf(const char *format, ...) LK_PRINTF(1, 2);
LK_API int lk_fprintf(FILE *out, const char *format, ...) LK_PRINTF(2, 3);
LK_API int lk_vfprintf(FILE *out, const char *format, va_list args) LK_PRINTF(2, 0);
LK_API int lk_snprintf(char *text, size_t size, const char *format, ...) LK_PRINTF(3, 4);
LK_API int lk_vsnprintf(char *text, size_t size, const char *format, va_list args) LK_PRINTF(3, 0);
LK_API double lk_strtod(const char *text, const char **end);

#endif
