/* error.c - fills an Error; the first failure wins. Messages are printable. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/decimal.h"
#include "core/report.h"

/* ---- control characters --------------------------------------------------------------------- */

/* Returns the bytes of the control character that begins here; 0: none does. Those behind ASCII,
 * U+0080 to U+009F, have two in UTF-8. */
static int control_bytes(const char *text)
{
    const unsigned char c = (unsigned char)text[0];
    if (c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80) return 2;
    return (c != 0 && c < 0x20) || c == 0x7f;
}

size_t lk_printable(const char *text, char *shown, size_t size)
{
    static const char named[] = "\t\n\r", names[] = "tnr", digits[] = "0123456789abcdef";
    size_t length = 0;
    int controls = 0; /* bytes from here on */
    for (const char *c = text ? text : "NULL"; *c; c++) {
        const unsigned char byte = (unsigned char)*c;
        const char *name = strchr(named, *c);
        char piece[4] = { *c, 'x', digits[byte >> 4], digits[byte & 15] };
        if (name) piece[1] = names[name - named];
        size_t count = 1;
        if (controls == 0) controls = control_bytes(c);
        if (controls > 0) {
            controls--;
            piece[0] = '\\';
            count = name ? 2 : 4;
        }
        for (size_t i = 0; i < count; i++, length++)
            if (shown && length + 1 < size) shown[length] = piece[i];
    }
    if (shown && size > 0) shown[length < size ? length : size - 1] = '\0';
    return length;
}

void lk__seal_message(Error *err)
{
    const char *c = err->message;
    while (*c && !control_bytes(c)) c++;
    if (!*c) return;
    const Error raw = *err;
    lk_printable(raw.message, err->message, sizeof err->message);
}

/* ---- errors --------------------------------------------------------------------------------- */

bool lk_error_set(Error *err, ErrorCode code, const char *format, ...)
{
    if (!err || err->code != LK_OK) return false;
    va_list args;
    va_start(args, format);
    lk_vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    lk__seal_message(err);
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
