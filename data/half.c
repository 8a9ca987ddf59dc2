/* half.c - half precision to float32, in integers: no flag, mode or instruction of the processor
 * can change the result. */
#include "data/half.h"

#include <string.h>

static uint32_t word_at(const void *from, int64_t i)
{
    uint16_t word;
    memcpy(&word, (const char *)from + 2 * i, sizeof word);
    return word;
}

/* `from` may be the second half of `to`. Number i is read before element i is written, and element
 * i covers no number that is read later: its end, 4 i + 4, is at most 2 n + 2 i + 2 for every i <
 * n. */
void lk__widen_bf16(float *to, const void *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i, &(uint32_t){ word_at(from, i) << 16 }, sizeof *to);
}

/* The exponent's bias is 15 here and 127 in float32, so 112 is added. Infinities and NaNs have the
 * highest exponent, 31 here and 255 in float32, so 112 is added once more. The exponent 0 says
 * that there is no leading 1: the number is fraction · 2^-24, which is exact. */
void lk__widen_f16(float *to, const void *from, int64_t n)
{
    const uint32_t hidden = 1u << 10, infinity = 31u << 10, bias = 112u << 23;
    for (int64_t i = 0; i < n; i++) {
        uint32_t word = word_at(from, i), size = word & 0x7fff, bits = (size << 13) + bias, tiny;
        float fraction = (float)size * 0x1p-24f;
        memcpy(&tiny, &fraction, sizeof tiny);
        if (size >= infinity) bits += bias;
        if (size < hidden) bits = tiny;
        bits |= (word & 0x8000) << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
}
