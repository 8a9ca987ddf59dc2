/* gemm_portable.c - the kernels of gemm_tile_real.h without intrinsics, for every processor. They
 * use vectors of 16 bytes, which the compiler makes of what it has (SSE2, NEON). SSE2 has no fused
 * multiply-add, so product and sum are rounded separately. */
#include "core/kernels/gemm_kernels.h"

/* 4 x 2 sums, 2 vectors of B, 1 of A and a product: 12 of 16 registers. For dot products 2 x 4
 * sums, 2 vectors of A, 1 of B and a product. */
enum { TILE_ROWS = 4, DOT_ROWS = 2 };
#define TILE_CASES(_) _(1) _(2) _(3) _(4)
#define DOT_CASES(_) _(1) _(2)

typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(16)));
typedef float FloatsAnywhere __attribute__((vector_size(16), aligned(4), may_alias));
typedef double DoublesAnywhere __attribute__((vector_size(16), aligned(8), may_alias));

/* Lanes that are not wanted read the first element again and are cleared. So no branch prevents
 * unrolling. */
static inline Floats load_part_f32(const float *p, int n)
{
    Floats v = { p[0], p[n > 1 ? 1 : 0], p[n > 2 ? 2 : 0], p[n > 3 ? 3 : 0] };
    Ints lane = { 0, 1, 2, 3 };
    return (Floats)((Ints)v & (lane < n));
}

static inline Doubles load_part_f64(const double *p, int n)
{
    return (Doubles){ p[0], n > 1 ? p[1] : 0 };
}

static inline void sum4_f32(const Floats v[4], float s[4])
{
    LK_UNROLL
    for (int j = 0; j < 4; j++) s[j] = (v[j][0] + v[j][2]) + (v[j][1] + v[j][3]);
}

static inline void sum4_f64(const Doubles v[4], double s[4])
{
    LK_UNROLL
    for (int j = 0; j < 4; j++) s[j] = v[j][0] + v[j][1];
}

#define real float
#define LK_F(name) name##_f32
#define V Floats
#define LANES 4
#define splat(x) ((Floats){ x, x, x, x })
#define load(p) (*(const FloatsAnywhere *)(p))
#define store(p, v) (*(FloatsAnywhere *)(p) = (v))
#define load_part(p, n) load_part_f32(p, n)
#define store_part(p, n, v) \
    do { \
        for (int lane = 0; lane < (n); lane++) (p)[lane] = (v)[lane]; \
    } while (0)
#define fma(a, b, c) ((a) * (b) + (c))
#define sum4(v, s) sum4_f32(v, s)
#include "core/kernels/gemm_tile_real.h"

#define real double
#define LK_F(name) name##_f64
#define V Doubles
#define LANES 2
#define splat(x) ((Doubles){ x, x })
#define load(p) (*(const DoublesAnywhere *)(p))
#define store(p, v) (*(DoublesAnywhere *)(p) = (v))
#define load_part(p, n) load_part_f64(p, n)
#define store_part(p, n, v) \
    do { \
        for (int lane = 0; lane < (n); lane++) (p)[lane] = (v)[lane]; \
    } while (0)
#define fma(a, b, c) ((a) * (b) + (c))
#define sum4(v, s) sum4_f64(v, s)
#include "core/kernels/gemm_tile_real.h"

const GemmKernels lk__gemm_portable[2] = {
    { TILE_ROWS, 8, 4, strip_f32, dots_f32 },
    { TILE_ROWS, 4, 2, strip_f64, dots_f64 },
};
GemmTapsFn *const lk__gemm_taps_portable[2] = { taps_f32, taps_f64 };
