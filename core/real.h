/* real.h - arithmetic that is written once, in the type `real`, and compiled for float32 and for
 * float64, and for each instruction set: AVX-512, AVX2 with FMA, NEON, and what every processor
 * has.
 *
 * The arithmetic is plain C in a header of its own, whose name ends in _real.h. The file of the
 * operation includes it by way of this header, and calls it for a dtype:
 *
 *     twice_real.h    static void LK_F(twice)(int64_t n, const real *x, real *y)
 *                     {
 *                         for (int64_t i = 0; i < n; i++) y[i] = 2 * x[i];
 *                     }
 *
 *     twice.c         #define LK_REAL_SOURCE "twice_real.h"
 *                     #include "core/real.h"
 *                     …
 *                     LK_REAL(x->dtype, twice, n, x->data, y->data);
 *
 * The compiler looks for LK_REAL_SOURCE in the folders of its option -I. It reads the file twice
 * for each set (on x86-64 six times), between the pragmas that allow its instructions, with these
 * names:
 *
 *     real               float, then double; LK_REAL_IS_FLOAT is 1, then 0
 *     LK_F(name)         name_f32_avx512, name_f64_avx512, name_f32_avx2, …: a function (or type,
 *                        or constant) of this reading
 *     LK_MADD(a, b, c)   a b + c, rounded once where the set has an instruction for it
 *     LK_VECTOR_BYTES    64, 32 or 16: what the set computes at a time
 *     exp, sqrt, …       those of `real` (<tgmath.h>)
 *
 * LK_REAL calls the function of a dtype, in the instruction set that is in use (core/kernels.h),
 * and gives its result. LK_ROW gives the address of that function: a RowFn for lk_loop
 * (core/op.h). LK_ROWS is a RowTable, a table of all these functions, and LK_ROW_OF takes one from
 * it. LK_OF_SET(twice_f32) is the function for float32 in the set that is in use.
 *
 * The result is the same for any number of threads. It is also the same from all sets, unless the
 * arithmetic uses LK_MADD: -ffp-contract=off keeps the compiler from fusing products and sums
 * itself. A sum is taken in LK_LANES parts, element i in part i % LK_LANES: so the order is fixed,
 * and the compiler can use vectors. Write a `parallel for` around LK_REAL rather than into the
 * arithmetic: the compiler may move the body of such a loop into a function without the
 * instruction set.
 *
 * No include guard: a file includes it once, after all other headers. */
#include <math.h>
#include <tgmath.h>

#include "core/kernels.h"

#define LK_LANES 16                                            /* a vector of AVX-512 in float32 */
#define LK_ALWAYS_INLINE inline __attribute__((always_inline)) /* a part of a set's function */

/* clang-format off */
#define LK_REAL(dtype, f, ...) \
    ((dtype) == LK_F64 ? LK_OF_SET(f##_f64)(__VA_ARGS__) : LK_OF_SET(f##_f32)(__VA_ARGS__))
#define LK_ROW(dtype, f) ((dtype) == LK_F64 ? LK_OF_SET(f##_f64) : LK_OF_SET(f##_f32))
#define LK_ROW_OF(rows, dtype) ((rows)[lk_kernel_set()][dtype])
#define LK_BOTH(f, set) { f##_f32_##set, f##_f64_##set } /* one row of LK_ROWS */

#ifdef __x86_64__
#define LK_OF_SET(f) (lk_kernel_set() == LK_AVX512 ? f##_avx512 : LK_BELOW_AVX512(f))
#define LK_BELOW_AVX512(f) (lk_kernel_set() == LK_AVX2 ? f##_avx2 : f##_portable)
#define LK_ROWS(f) { LK_BOTH(f, portable), LK_BOTH(f, avx2), LK_BOTH(f, avx512) }
#elif defined __aarch64__
#define LK_OF_SET(f) (lk_kernel_set() == LK_NEON ? f##_neon : f##_portable)
#define LK_ROWS(f) { LK_BOTH(f, portable), LK_BOTH(f, neon) }
#else
#define LK_OF_SET(f) f##_portable
#define LK_ROWS(f) { LK_BOTH(f, portable) }
#endif
/* clang-format on */

#ifdef __x86_64__
#define LK_MADD(a, b, c) fma(a, b, c)

/* ---- AVX-512 -------------------------------------------------------------------------------- */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma")
#endif

#define LK_VECTOR_BYTES 64
#define real float
#define LK_REAL_IS_FLOAT 1
#define LK_F(name) name##_f32_avx512
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F

#define real double
#define LK_REAL_IS_FLOAT 0
#define LK_F(name) name##_f64_avx512
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F
#undef LK_VECTOR_BYTES

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* ---- AVX2 with FMA -------------------------------------------------------------------------- */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define LK_VECTOR_BYTES 32
#define real float
#define LK_REAL_IS_FLOAT 1
#define LK_F(name) name##_f32_avx2
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F

#define real double
#define LK_REAL_IS_FLOAT 0
#define LK_F(name) name##_f64_avx2
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F
#undef LK_VECTOR_BYTES

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#undef LK_MADD
#endif

/* ---- NEON: what every 64-bit Arm has, with fused multiply-adds ------------------------------ */

#ifdef __aarch64__
#define LK_MADD(a, b, c) fma(a, b, c)

#define LK_VECTOR_BYTES 16
#define real float
#define LK_REAL_IS_FLOAT 1
#define LK_F(name) name##_f32_neon
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F

#define real double
#define LK_REAL_IS_FLOAT 0
#define LK_F(name) name##_f64_neon
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F
#undef LK_VECTOR_BYTES

#undef LK_MADD
#endif

/* ---- every processor ------------------------------------------------------------------------ */

#define LK_MADD(a, b, c) ((a) * (b) + (c))

#define LK_VECTOR_BYTES 16
#define real float
#define LK_REAL_IS_FLOAT 1
#define LK_F(name) name##_f32_portable
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F

#define real double
#define LK_REAL_IS_FLOAT 0
#define LK_F(name) name##_f64_portable
#include LK_REAL_SOURCE
#undef real
#undef LK_REAL_IS_FLOAT
#undef LK_F
#undef LK_VECTOR_BYTES

#undef LK_MADD
#undef LK_REAL_SOURCE
