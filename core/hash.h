/* hash.h - FNV-1a: a hash that takes bytes one by one, for comparing data that is too large to
 * keep. */
#ifndef LK_HASH_H
#define LK_HASH_H

#include "core/api.h"

#define LK_HASH_START 14695981039346656037u

/* Continues a hash, LK_HASH_START at first, with `count` more bytes. */
LK_API uint64_t lk_hash(uint64_t hash, const void *bytes, size_t count);

#endif
