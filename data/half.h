/* half.h - converts numbers in half precision, which many files of the hub have, to float32; no
 * part of the interface. */
#ifndef LK_HALF_H
#define LK_HALF_H

#include <stdint.h>

/* Widen n numbers of 16 bits. float32 has all of their values, so each stays exactly what it is:
 * zeros with their sign, subnormal numbers, infinities; a NaN keeps its sign and its payload.
 * `from` need not be aligned, and may be the second half of the memory at `to`: a file is read
 * there and widened in place. */
void lk__widen_f16(float *to, const void *from, int64_t n);  /* IEEE binary16: exponent 5 bits */
void lk__widen_bf16(float *to, const void *from, int64_t n); /* the upper half of a float32 */

#endif
