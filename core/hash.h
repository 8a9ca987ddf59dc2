/* hash.h - FNV-1a: a hash that takes bytes one by one, for comparing data that is too large to
 * keep. */
#ifndef LK_HASH_H
#define LK_HASH_H

#include "core/api.h"

#define LK_HASH_START 14695981039346656037u /* the hash of no bytes */

/* Adds `count` bytes to a hash and returns the new one. The first hash is LK_HASH_START. */
LK_API uint64_t lk_hash(uint64_t hash, const void *bytes, size_t count);

#endif
