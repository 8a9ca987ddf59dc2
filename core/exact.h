/* exact.h - refuses the compiler flags that would break the library's promises. CMakeLists.txt
 * includes it in front of each file of the library. Files that are compiled by hand get it through
 * core/internal.h, so that a complete library cannot be built with these flags. Compile files that
 * do not include core/internal.h with -include core/exact.h. Programs that use the library may
 * have the flags: this header is not installed. */
#ifndef LK_EXACT_H
#define LK_EXACT_H

#include <float.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__NO_SIGNED_ZEROS__) || defined(__RECIPROCAL_MATH__)
#error "Lorikeet cannot be compiled with -ffast-math or parts of it; your own files may have it"
#endif

/* The x87 unit of 32-bit x86 computes a float in 80 bits: exp and softmax come out wrong, and
 * other results depend on the compiler. */
#if FLT_EVAL_METHOD != 0
#error "Lorikeet needs floats that are computed as floats: on 32-bit x86, -msse2 -mfpmath=sse"
#endif

#endif
