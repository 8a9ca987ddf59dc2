/* bfloat16.h - a bfloat16 is the upper half of a float32: its sign, all 8 bits of its exponent,
 * and 7 bits of its fraction. Internal: not installed. */
#ifndef LK_BFLOAT16_H
#define LK_BFLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float lk__bf16_to_f32(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Rounds to the nearest, and to even in the middle between two: the addition carries into the
 * upper half when the lower half is more than half of a unit, or just half and the unit is odd. A
 * NaN becomes PyTorch's, since a carry could make it infinite. */
static inline uint16_t lk__bf16_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(value != value ? 0x7fc0 : rounded);
}

#endif
