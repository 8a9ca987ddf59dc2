/* utf8.h - reads text that should be UTF-8 and may be broken, and writes characters; no part of
 * the interface. */
#ifndef LK_UTF8_H
#define LK_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LK_UTF8_BROKEN UINT32_MAX
#define LK_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD, which replaces broken bytes */

/* Reads the character at p, where `room` > 0 bytes may be read: returns its bytes (1 to 4), and
 * its code point in *code. The first byte says how many follow and what the second may be: the
 * shortest form only, no surrogates, nothing above U+10FFFF. Anything else is LK_UTF8_BROKEN, of
 * as many bytes as could begin a character (the "maximal subpart" of the Unicode standard). */
static inline size_t lk__utf8(const unsigned char *p, size_t room, uint32_t *code)
{
    const unsigned char first = p[0];
    *code = first;
    if (first < 0x80) return 1;
    size_t n = 1, size = 0; /* 0: no character begins like this */
    if (first >= 0xC2 && first < 0xF5) size = 2u + (first >= 0xE0) + (first >= 0xF0);
    unsigned char low = 0x80, high = 0xBF;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
    uint32_t c = first & (0x7Fu >> size);
    for (; n < size && n < room && p[n] >= low && p[n] <= high; n++, low = 0x80, high = 0xBF)
        c = c << 6 | (p[n] & 0x3Fu);
    *code = n == size ? c : LK_UTF8_BROKEN;
    return n;
}

/* Writes a character, 1 to 4 bytes; returns how many. */
static inline size_t lk__put_utf8(char *out, uint32_t code)
{
    static const unsigned char first[] = { 0, 0xC0, 0xE0, 0xF0 };
    const size_t more = (size_t)(code >= 0x80) + (code >= 0x800) + (code >= 0x10000);
    for (size_t i = more; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
    *out = (char)(first[more] | code);
    return more + 1;
}

static inline bool lk__is_utf8(const char *text)
{
    size_t size = strlen(text);
    for (uint32_t code; size > 0;) {
        size_t n = lk__utf8((const unsigned char *)text, size, &code);
        if (code == LK_UTF8_BROKEN) return false;
        text += n;
        size -= n;
    }
    return true;
}

#endif
