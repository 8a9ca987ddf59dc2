/* simd.h - which vector instructions this processor has. Internal: not installed, hidden in the
 * shared library. */
#ifndef LK_SIMD_H
#define LK_SIMD_H

#include <stdbool.h>
#include <stdint.h>

/* AVX2: with FMA */
typedef enum SimdSet { LK_SIMD_PORTABLE, LK_SIMD_AVX2, LK_SIMD_AVX512 } SimdSet;

/* The best set that core/kernels/vector.h may use. */
SimdSet lk_simd(void);
/* None above this one from now on, for tests of all of them; returns the set that is used now. */
SimdSet lk_simd_limit(SimdSet best);

enum { LK_LANES = 16 }; /* parts of a sum: a vector of AVX-512 in float32 */

#endif
