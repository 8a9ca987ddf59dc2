/* buffer.h - bytes that grow at their end, in the library's memory.
 *
 *     Buffer b = { 0 };
 *     lk_buffer_print(&b, "%d tensors\n", n);
 *     if (!b.failed) fputs(b.bytes, out);
 *     lk_buffer_free(&b);
 *
 * Without memory a buffer fails, and takes nothing more: ask once, at the end. */
#ifndef LK_BUFFER_H
#define LK_BUFFER_H

#include "core/api.h"

typedef struct Buffer {
    char *bytes; /* with a '\0' behind them; NULL: nothing was put */
    size_t length;
    bool failed; /* memory ran out, and something is missing */
    size_t room; /* private */
} Buffer;

LK_API void lk_buffer_put(Buffer *b, const void *bytes, size_t count); /* adds them at the end */
/* Adds a text, as printf makes it. Numbers have a point in every locale. */
LK_API void lk_buffer_print(Buffer *b, const char *format, ...) LK_PRINTF(2, 3);
LK_API void lk_buffer_free(Buffer *b); /* it is empty then, and may be used again */

#endif
