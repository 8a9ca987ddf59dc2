/* hash.c - Fowler, Noll and Vo's hash of 64 bits, variant 1a. */
#include "core/hash.h"

uint64_t lk_hash(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; p && i < count; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}
