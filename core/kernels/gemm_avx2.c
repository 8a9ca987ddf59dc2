/* gemm_avx2.c - the kernels of gemm_tile_real.h for AVX2 and FMA: 16 registers of 32 bytes. The
 * pragmas allow these instructions in this file, so a portable build has the kernels too. gemm.c
 * calls them where the processor has the instructions. */
#include "core/kernels/gemm_kernels.h"

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

/* 6 x 2 sums, 2 vectors of B and 1 of A: 15 registers. For dot products 3 x 4 sums, 3 vectors
 * of A and 1 of B: 16 registers. */
enum { TILE_ROWS = 6, DOT_ROWS = 3 };
#define TILE_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6)
#define DOT_CASES(_) _(1) _(2) _(3)

static inline void sum4_f32(const __m256 v[4], float s[4])
{
    __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(s, _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1));
}

static inline void sum4_f64(const __m256d v[4], double s[4])
{
    __m256d ab = _mm256_hadd_pd(v[0], v[1]), cd = _mm256_hadd_pd(v[2], v[3]);
    _mm256_storeu_pd(s,
                     _mm256_permute2f128_pd(ab, cd, 0x20) + _mm256_permute2f128_pd(ab, cd, 0x31));
}

/* The signs of an integer vector choose the lanes. The vector is n times -1, then 0. It is read
 * from the middle of a table. */
static const int32_t ones_f32[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
static const int64_t ones_f64[8] = { -1, -1, -1, -1 };
#define FIRST_8(n) _mm256_loadu_si256((const __m256i *)(const void *)(ones_f32 + 8 - (n)))
#define FIRST_4(n) _mm256_loadu_si256((const __m256i *)(const void *)(ones_f64 + 4 - (n)))

#define real float
#define LK_F(name) name##_f32
#define V __m256
#define LANES 8
#define splat(x) _mm256_set1_ps(x)
#define load(p) _mm256_loadu_ps(p)
#define store(p, v) _mm256_storeu_ps(p, v)
#define load_part(p, n) _mm256_maskload_ps(p, FIRST_8(n))
#define store_part(p, n, v) _mm256_maskstore_ps(p, FIRST_8(n), v)
#define fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define sum4(v, s) sum4_f32(v, s)
#include "core/kernels/gemm_tile_real.h"

#define real double
#define LK_F(name) name##_f64
#define V __m256d
#define LANES 4
#define splat(x) _mm256_set1_pd(x)
#define load(p) _mm256_loadu_pd(p)
#define store(p, v) _mm256_storeu_pd(p, v)
#define load_part(p, n) _mm256_maskload_pd(p, FIRST_4(n))
#define store_part(p, n, v) _mm256_maskstore_pd(p, FIRST_4(n), v)
#define fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define sum4(v, s) sum4_f64(v, s)
#include "core/kernels/gemm_tile_real.h"

const GemmKernels lk__gemm_avx2[2] = {
    { TILE_ROWS, 16, 8, strip_f32, dots_f32 },
    { TILE_ROWS, 8, 4, strip_f64, dots_f64 },
};
GemmTapsFn *const lk__gemm_taps_avx2[2] = { taps_f32, taps_f64 };

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
