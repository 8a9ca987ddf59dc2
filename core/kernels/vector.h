/* vector.h - real.h for every instruction set: one source for float32 and float64, compiled for
 * AVX-512, for AVX2 with FMA and for any processor; which one runs is asked when it is called.
 * Included by a file that wants to be read six times more:
 *
 *     #ifndef real                                   -- first reading
 *     #define LK_REAL_SOURCE "core/ops_norm.c"
 *     #include "core/kernels/vector.h"
 *     … LK_VECTOR(x->dtype, norm_rows, rows, n, x->data) calls the one that fits
 *     #else                                          -- the arithmetic: plain loops, which the compiler makes vectors of
 *     TARGET static void F(norm_rows)(int64_t rows, int64_t n, const real *x) { … }
 *     #endif
 *
 * TARGET stands before every function. MADD(a, b, c) is a b + c, rounded once where the set has an
 * instruction for it: the bits are the same for any number of threads, and the same for AVX2 and
 * AVX-512. Sums are taken in LK_LANES parts, element i in part i % LK_LANES, so that they are
 * vector code too and still have one order. A `parallel for` belongs around the call and not into
 * the arithmetic: what a compiler makes of it need not be compiled for TARGET. Internal: not
 * installed. No include guard: every family includes it once. */
#include <math.h>
#include <tgmath.h>

#include "core/kernels/simd.h"

#define LK_VECTOR(dtype, f, ...) \
    ((dtype) == LK_F64 ? LK_SET(f##_f64, __VA_ARGS__) : LK_SET(f##_f32, __VA_ARGS__))
#ifdef __x86_64__
#define LK_SET(f, ...) \
    (lk_simd() == LK_SIMD_AVX512 ? f##_avx512(__VA_ARGS__) \
     : lk_simd() == LK_SIMD_AVX2 ? f##_avx2(__VA_ARGS__) \
                                 : f##_portable(__VA_ARGS__))
#else
#define LK_SET(f, ...) f##_portable(__VA_ARGS__)
#endif

#ifdef __x86_64__
#define MADD(a, b, c) fma(a, b, c)

#define TARGET __attribute__((target("avx512f,fma")))
#define real float
#define REAL_IS_FLOAT 1
#define F(name) name##_f32_avx512
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#define real double
#define REAL_IS_FLOAT 0
#define F(name) name##_f64_avx512
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#undef TARGET

#define TARGET __attribute__((target("avx2,fma")))
#define real float
#define REAL_IS_FLOAT 1
#define F(name) name##_f32_avx2
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#define real double
#define REAL_IS_FLOAT 0
#define F(name) name##_f64_avx2
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#undef TARGET

#undef MADD
#endif

#define MADD(a, b, c) ((a) * (b) + (c))
#define TARGET
#define real float
#define REAL_IS_FLOAT 1
#define F(name) name##_f32_portable
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#define real double
#define REAL_IS_FLOAT 0
#define F(name) name##_f64_portable
#include LK_REAL_SOURCE
#undef real
#undef REAL_IS_FLOAT
#undef F
#undef TARGET
#undef MADD
