/* half.h - numbers in half precision, as many files of the hub have them: what reading them needs;
 * no part of the interface. */
#ifndef LK_HALF_H
#define LK_HALF_H

#include "data/safetensors.h"

/* n numbers of 16 bits as float32. Both kinds are subsets of it, so every value stays exactly what
 * it is: zeros with their sign, subnormal numbers, infinities; a NaN keeps its sign and its
 * payload. `from` need not be aligned, and may be the second half of the memory at `to`: a file is
 * read there and widened in place. */
/* IEEE 754 binary16: 5 bits of exponent, 10 of fraction */
void lk_widen_f16(float *to, const void *from, int64_t n);
/* bfloat16, the upper half of a float32: 8 and 7 */
void lk_widen_bf16(float *to, const void *from, int64_t n);

/* All tensors of a file, as lk_load_safetensors gives them; *widened counts those that were in
 * half precision (data/safetensors.c). */
StateDict *lk_safetensors_all_new(SafeTensors *file, int *widened, Error *err);

#endif
