/* hash.h - FNV-1a: a hash that takes bytes one by one, for comparing what is too large to keep. */
#ifndef LK_HASH_H
#define LK_HASH_H

#include <stddef.h>
#include <stdint.h>

#define LK_HASH_START 14695981039346656037u

/* The hash of what it was before, and of `count` more bytes. */
static inline uint64_t lk_hash(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < count; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

#endif
