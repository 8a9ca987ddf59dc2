/* zlib_memory.h - gives zlib the library's memory; hidden, and empty without zlib.
 *
 *     z_stream s = { .zalloc = zlib_alloc, .zfree = zlib_free }; */
#ifndef LK_ZLIB_MEMORY_H
#define LK_ZLIB_MEMORY_H
#ifdef LK_HAVE_ZLIB

#include <zlib.h>

#include "core/memory.h"

static inline void *zlib_alloc(void *unused, unsigned count, unsigned size)
{
    (void)unused;
    return lk_mem_calloc(count, size);
}

static inline void zlib_free(void *unused, void *block)
{
    (void)unused;
    lk_mem_free(block);
}

#endif
#endif
