/* names.c - lists of names, for reports and messages. */
#include "data/names.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"

void lk_names_free(Names *names)
{
    if (!names) return;
    for (int i = 0; i < names->count; i++) lk_mem_free(names->items[i]);
    lk_mem_free(names->items);
    *names = (Names){ 0 };
}

bool lk_names_has(const Names *names, const char *name)
{
    for (int i = 0; names && name && i < names->count; i++)
        if (strcmp(names->items[i], name) == 0) return true;
    return false;
}

/* The array always has room for a power of two of names. So it is full when the count is 0 or a
 * power of two. */
static bool make_room(Names *names)
{
    size_t count = (size_t)names->count;
    if ((count & (count - 1)) != 0) return true;
    char **items = lk_mem_calloc(count ? 2 * count : 1, sizeof *items);
    if (!items) return false;
    if (count > 0) memcpy(items, names->items, count * sizeof *items);
    lk_mem_free(names->items);
    names->items = items;
    return true;
}

bool lk_names_add(Names *names, Error *err, const char *format, ...)
{
    if (!names || !format)
        return lk_error_set(err, LK_EVALUE, "lk_names_add: the %s is NULL",
                            names ? "format" : "list");
    va_list args;
    va_start(args, format);
    int length = lk_vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *item = length < 0 ? NULL : lk_mem_alloc((size_t)length + 1);
    if (!item || !make_room(names)) {
        lk_mem_free(item);
        return lk_error_set(err, LK_EMEMORY, "no memory for a list of %d names", names->count + 1);
    }
    va_start(args, format);
    lk_vsnprintf(item, (size_t)length + 1, format, args);
    va_end(args);
    names->items[names->count++] = item;
    return true;
}

const char *lk_names_text(const Names *names, char *text, size_t size)
{
    static const char more[] = "…";
    size_t length = 0;
    if (!text || size == 0) return "";
    *text = '\0';
    for (int i = 0; names && i < names->count && length < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s", i ? ", " : "");
        if (length < size) length += lk_printable(names->items[i], text + length, size - length);
    }
    if (length >= size && size >= sizeof more)
        memcpy(text + size - sizeof more, more, sizeof more);
    return text;
}
