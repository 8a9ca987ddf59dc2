/* exact.h - refuses the flags that would take the library's promises away. The compiler includes
 * it in front of each of the library's own files (CMakeLists.txt). A file that is compiled by hand
 * refuses where it includes core/internal.h, so that no whole library can be made; the others want
 * -include core/exact.h. Programs that use the library may have the flags: this header is not
 * installed. */
#ifndef LK_EXACT_H
#define LK_EXACT_H

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__NO_SIGNED_ZEROS__) || defined(__RECIPROCAL_MATH__)
#error \
    "Lorikeet cannot be compiled with -ffast-math, -Ofast or a part of them. Your own files may have the flag; leave it out for Lorikeet's."
#endif

#endif
