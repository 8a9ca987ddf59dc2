/* decimal.c - the C library's functions, called while this thread has the C locale. */
#include "core/decimal.h"

#include <locale.h>
#include <stdlib.h>

#ifdef __wasi__
/* WebAssembly has the C locale alone. */
static locale_t begin(void) { return (locale_t)0; }
#else
#include <pthread.h>

static locale_t c_locale; /* for the whole process, never freed */

static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* Sets the C locale and returns the previous one. When memory is short, it sets nothing and
 * returns 0. */
static locale_t begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    return c_locale ? uselocale(c_locale) : (locale_t)0;
}
#endif

static void end(locale_t before)
{
    if (before) uselocale(before);
}

int lk_vfprintf(FILE *out, const char *format, va_list args)
{
    if (!out || !format) return -1;
    const locale_t before = begin();
    const int length = vfprintf(out, format, args);
    end(before);
    return length;
}

int lk_vsnprintf(char *text, size_t size, const char *format, va_list args)
{
    if (!format) return -1;
    const locale_t before = begin();
    const int length = vsnprintf(text, text ? size : 0, format, args);
    end(before);
    return length;
}

int lk_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = lk_vfprintf(stdout, format, args);
    va_end(args);
    return length;
}

int lk_fprintf(FILE *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = lk_vfprintf(out, format, args);
    va_end(args);
    return length;
}

int lk_snprintf(char *text, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = lk_vsnprintf(text, size, format, args);
    va_end(args);
    return length;
}

double lk_strtod(const char *text, const char **stop)
{
    char *last = NULL;
    const locale_t before = begin();
    const double value = text ? strtod(text, &last) : 0;
    end(before);
    if (stop) *stop = last;
    return value;
}
