/* gemm_avx512.c - the kernels of gemm_tile.h for AVX-512: 32 registers of 64 bytes. The functions carry the instruction
 * set as an attribute, so a portable build has them too; gemm.c asks the processor before it calls them. */
#include "core/gemm_kernels.h"

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f")))

/* 14 x 2 sums, 2 vectors of B and 1 of A: 31 registers. For dot products 6 x 4 sums, 6 and 1. */
enum { TILE_ROWS = 14, DOT_ROWS = 6 };
#define TILE_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6) _(7) _(8) _(9) _(10) _(11) _(12) _(13) _(14)
#define DOT_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6)

/* Four vectors of four quarters: two additions of quarters leave one vector, a quarter of it for each of the four. */
TARGET static inline void sum4_f32(const __m512 v[4], float s[4])
{
    __m512 ab = _mm512_shuffle_f32x4(v[0], v[1], 0x44) + _mm512_shuffle_f32x4(v[0], v[1], 0xee);
    __m512 cd = _mm512_shuffle_f32x4(v[2], v[3], 0x44) + _mm512_shuffle_f32x4(v[2], v[3], 0xee);
    __m512 x = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);
    x += _mm512_permute_ps(x, 0x4e);
    x += _mm512_permute_ps(x, 0xb1);
    __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_storeu_ps(s, _mm512_castps512_ps128(_mm512_permutexvar_ps(first, x)));
}

TARGET static inline void sum4_f64(const __m512d v[4], double s[4])
{
    __m512d ab = _mm512_shuffle_f64x2(v[0], v[1], 0x44) + _mm512_shuffle_f64x2(v[0], v[1], 0xee);
    __m512d cd = _mm512_shuffle_f64x2(v[2], v[3], 0x44) + _mm512_shuffle_f64x2(v[2], v[3], 0xee);
    __m512d x = _mm512_shuffle_f64x2(ab, cd, 0x88) + _mm512_shuffle_f64x2(ab, cd, 0xdd);
    x += _mm512_permute_pd(x, 0x55);
    __m512i first = _mm512_setr_epi64(0, 2, 4, 6, 0, 0, 0, 0);
    _mm256_storeu_pd(s, _mm512_castpd512_pd256(_mm512_permutexvar_pd(first, x)));
}

#define FIRST_16(n) ((__mmask16)((1u << (n)) - 1))
#define FIRST_8(n) ((__mmask8)((1u << (n)) - 1))

#define real float
#define F(name) name##_f32
#define V __m512
#define LANES 16
#define splat(x) _mm512_set1_ps(x)
#define load(p) _mm512_loadu_ps(p)
#define store(p, v) _mm512_storeu_ps(p, v)
#define load_part(p, n) _mm512_maskz_loadu_ps(FIRST_16(n), p)
#define store_part(p, n, v) _mm512_mask_storeu_ps(p, FIRST_16(n), v)
#define fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define sum4(v, s) sum4_f32(v, s)
#include "core/gemm_tile.h"

#define real double
#define F(name) name##_f64
#define V __m512d
#define LANES 8
#define splat(x) _mm512_set1_pd(x)
#define load(p) _mm512_loadu_pd(p)
#define store(p, v) _mm512_storeu_pd(p, v)
#define load_part(p, n) _mm512_maskz_loadu_pd(FIRST_8(n), p)
#define store_part(p, n, v) _mm512_mask_storeu_pd(p, FIRST_8(n), v)
#define fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#define sum4(v, s) sum4_f64(v, s)
#include "core/gemm_tile.h"

const GemmKernels lk_gemm_avx512[2] = {
    { "AVX-512", TILE_ROWS, 32, 16, tile_f32, dots_f32 },
    { "AVX-512", TILE_ROWS, 16, 8, tile_f64, dots_f64 },
};
#endif
