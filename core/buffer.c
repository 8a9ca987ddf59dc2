/* buffer.c - a block that doubles when it is full. */
#include "core/buffer.h"

#include <stdarg.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"

/* Makes room for `more` bytes and a '\0'. */
static bool reserve(Buffer *b, size_t more)
{
    enum { FIRST = 256 };
    if (b->failed || more < b->room - b->length) return !b->failed;
    size_t room = b->room ? b->room : FIRST;
    /* beyond all memory the room becomes 0 */
    while (room - b->length <= more && !__builtin_mul_overflow(room, 2, &room)) continue;
    char *bytes = room > 0 ? lk_mem_alloc(room) : NULL;
    b->failed = !bytes;
    if (!bytes) return false;
    if (b->length > 0) memcpy(bytes, b->bytes, b->length);
    lk_mem_free(b->bytes);
    b->bytes = bytes;
    b->room = room;
    return true;
}

void lk_buffer_put(Buffer *b, const void *bytes, size_t count)
{
    if (!b || (!bytes && count > 0) || !reserve(b, count)) return;
    if (count > 0) memcpy(b->bytes + b->length, bytes, count);
    b->length += count;
    b->bytes[b->length] = '\0';
}

void lk_buffer_print(Buffer *b, const char *format, ...)
{
    if (!b || !format) return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = lk_vsnprintf(NULL, 0, format, args);
    if (length < 0) b->failed = true;
    else if (reserve(b, (size_t)length)) {
        lk_vsnprintf(b->bytes + b->length, (size_t)length + 1, format, again);
        b->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

void lk_buffer_free(Buffer *b)
{
    if (!b) return;
    lk_mem_free(b->bytes);
    *b = (Buffer){ 0 };
}
