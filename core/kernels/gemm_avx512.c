/* gemm_avx512.c - the kernels of gemm_tile_real.h for AVX-512: 32 registers of 64 bytes. The
 * pragmas allow these instructions in this file, so a portable build has the kernels too. gemm.c
 * calls them where the processor has the instructions. */
#include "core/kernels/gemm_kernels.h"

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif

/* 14 x 2 sums, 2 vectors of B and 1 of A: 31 registers. For dot products 6 x 4 sums, 6 vectors
 * of A and 1 of B: 31 registers. */
enum { TILE_ROWS = 14, DOT_ROWS = 6 };
#define TILE_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6) _(7) _(8) _(9) _(10) _(11) _(12) _(13) _(14)
#define DOT_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6)

/* Adds the halves of a vector. That comes first, because an addition of 32 bytes may cost half of
 * one of 64. Then one addition serves two vectors a and b, with the halves of one exchanged:
 * [a0 b1] + [a1 b0]. */
static inline __m256 halves_f32(__m512 v)
{
    return _mm512_castps512_ps256(v) +
           _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

static inline void sum4_f32(const __m512 v[4], float s[4])
{
    __m256 a = halves_f32(v[0]), b = halves_f32(v[1]), c = halves_f32(v[2]), d = halves_f32(v[3]);
    __m256 ab = _mm256_blend_ps(a, b, 0xf0) + _mm256_permute2f128_ps(a, b, 0x21);
    __m256 cd = _mm256_blend_ps(c, d, 0xf0) + _mm256_permute2f128_ps(c, d, 0x21);
    __m256 x = _mm256_blend_ps(ab, cd, 0xcc) + _mm256_shuffle_ps(ab, cd, 0x4e);
    x += _mm256_permute_ps(x, 0xb1);
    _mm_storeu_ps(s, _mm_blend_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1), 0xa));
}

static inline __m256d halves_f64(__m512d v)
{
    return _mm512_castpd512_pd256(v) + _mm512_extractf64x4_pd(v, 1);
}

static inline void sum4_f64(const __m512d v[4], double s[4])
{
    __m256d a = halves_f64(v[0]), b = halves_f64(v[1]), c = halves_f64(v[2]), d = halves_f64(v[3]);
    __m256d ac = _mm256_blend_pd(a, c, 0xc) + _mm256_permute2f128_pd(a, c, 0x21);
    __m256d bd = _mm256_blend_pd(b, d, 0xc) + _mm256_permute2f128_pd(b, d, 0x21);
    _mm256_storeu_pd(s, _mm256_blend_pd(ac, bd, 0xa) + _mm256_shuffle_pd(ac, bd, 0x5));
}

#define FIRST_16(n) ((__mmask16)((1u << (n)) - 1))
#define FIRST_8(n) ((__mmask8)((1u << (n)) - 1))

#define real float
#define LK_F(name) name##_f32
#define V __m512
#define LANES 16
#define splat(x) _mm512_set1_ps(x)
#define load(p) _mm512_loadu_ps(p)
#define store(p, v) _mm512_storeu_ps(p, v)
#define load_part(p, n) _mm512_maskz_loadu_ps(FIRST_16(n), p)
#define store_part(p, n, v) _mm512_mask_storeu_ps(p, FIRST_16(n), v)
#define fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define sum4(v, s) sum4_f32(v, s)
#include "core/kernels/gemm_tile_real.h"

#define real double
#define LK_F(name) name##_f64
#define V __m512d
#define LANES 8
#define splat(x) _mm512_set1_pd(x)
#define load(p) _mm512_loadu_pd(p)
#define store(p, v) _mm512_storeu_pd(p, v)
#define load_part(p, n) _mm512_maskz_loadu_pd(FIRST_8(n), p)
#define store_part(p, n, v) _mm512_mask_storeu_pd(p, FIRST_8(n), v)
#define fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#define sum4(v, s) sum4_f64(v, s)
#include "core/kernels/gemm_tile_real.h"

const GemmKernels lk__gemm_avx512[2] = {
    { TILE_ROWS, 32, 16, strip_f32, dots_f32 },
    { TILE_ROWS, 16, 8, strip_f64, dots_f64 },
};
GemmTapsFn *const lk__gemm_taps_avx512[2] = { taps_f32, taps_f64 };

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
