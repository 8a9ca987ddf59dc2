/* crc32.h - the checksum of zip files; hidden. */
#ifndef LK_CRC32_H
#define LK_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* zlib.crc32(bytes, crc): the checksum of what crc was the checksum of (0: nothing), followed by
 * these bytes. */
uint32_t lk__crc32(uint32_t crc, const void *bytes, size_t size);

#endif
