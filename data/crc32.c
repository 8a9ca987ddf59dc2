/* crc32.c - CRC-32 of ISO 3309, eight bytes at a time: table k has the remainder of a byte that k
 * more bytes follow. */
#include "data/crc32.h"

typedef struct Tables {
    uint32_t of[8][256];
} Tables;

static void fill(Tables *t)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t r = byte;
        for (int bit = 0; bit < 8; bit++) r = r >> 1 ^ (r & 1 ? UINT32_C(0xedb88320) : 0);
        t->of[0][byte] = r;
    }
    for (int k = 1; k < 8; k++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t r = t->of[k - 1][byte];
            t->of[k][byte] = r >> 8 ^ t->of[0][r & 255];
        }
}

uint32_t lk__crc32(uint32_t crc, const void *bytes, size_t size)
{
    Tables t; /* made anew: a static one would need a lock */
    fill(&t);
    const unsigned char *b = bytes;
    crc = ~crc;
    for (; size >= 8; size -= 8, b += 8) {
        uint32_t first =
            crc ^ (b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
        crc = t.of[7][first & 255] ^ t.of[6][first >> 8 & 255] ^ t.of[5][first >> 16 & 255] ^
              t.of[4][first >> 24] ^ t.of[3][b[4]] ^ t.of[2][b[5]] ^ t.of[1][b[6]] ^ t.of[0][b[7]];
    }
    for (; size > 0; size--, b++) crc = crc >> 8 ^ t.of[0][(crc ^ *b) & 255];
    return ~crc;
}
