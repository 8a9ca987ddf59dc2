/* exact.h - included by the compiler in front of each of the library's own files (CMakeLists.txt): refuses the flags that
 * would take the promises away. Where files are compiled by hand, those refuse that include core/internal.h, so that no
 * whole library can be made; the others want -include core/exact.h. Programs that use the library may be compiled with them: not installed. */
#ifndef LK_EXACT_H
#define LK_EXACT_H

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__NO_SIGNED_ZEROS__) || defined(__RECIPROCAL_MATH__)
#error "Lorikeet cannot be compiled with -ffast-math, -Ofast or a part of them: the compiler would take NaN and infinity for impossible (relu(NaN) becomes 0) and reorder sums. Your own files may have the flag; leave it out for Lorikeet's."
#endif

#endif
