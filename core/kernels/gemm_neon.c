/* gemm_neon.c - the kernels of gemm_tile_real.h for 64-bit Arm: 32 registers of 16 bytes, with
 * fused multiply-adds, on every such processor. */
#include "core/kernels/gemm_kernels.h"

#ifdef __aarch64__
#include <arm_neon.h>

/* 12 x 2 sums, 2 vectors of B, and 3 of A when it is packed (the compiler multiplies by a lane):
 * 29 registers. A step of such a tile is 24 multiply-adds and 8 loads. For dot products 6 x 4
 * sums, 6 vectors of A and 1 of B: 31 registers. */
enum { TILE_ROWS = 12, DOT_ROWS = 6 };
#define TILE_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6) _(7) _(8) _(9) _(10) _(11) _(12)
#define DOT_CASES(_) _(1) _(2) _(3) _(4) _(5) _(6)

/* NEON has no masks. The parts of a vector go through memory. */
static inline float32x4_t load_part_f32(const float *p, int n)
{
    float lanes[4] = { 0 };
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return vld1q_f32(lanes);
}

static inline void store_part_f32(float *p, int n, float32x4_t v)
{
    float lanes[4];
    vst1q_f32(lanes, v);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}

static inline float64x2_t load_part_f64(const double *p, int n)
{
    return vcombine_f64(vld1_f64(p), n > 1 ? vld1_f64(p + 1) : vdup_n_f64(0));
}

static inline void store_part_f64(double *p, int n, float64x2_t v)
{
    p[0] = vgetq_lane_f64(v, 0);
    if (n > 1) p[1] = vgetq_lane_f64(v, 1);
}

static inline void sum4_f32(const float32x4_t v[4], float s[4])
{
    vst1q_f32(s, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
}

static inline void sum4_f64(const float64x2_t v[4], double s[4])
{
    vst1q_f64(s, vpaddq_f64(v[0], v[1]));
    vst1q_f64(s + 2, vpaddq_f64(v[2], v[3]));
}

#define real float
#define LK_F(name) name##_f32
#define V float32x4_t
#define LANES 4
#define splat(x) vdupq_n_f32(x)
#define load(p) vld1q_f32(p)
#define store(p, v) vst1q_f32(p, v)
#define load_part(p, n) load_part_f32(p, n)
#define store_part(p, n, v) store_part_f32(p, n, v)
#define fma(a, b, c) vfmaq_f32(c, a, b)
#define sum4(v, s) sum4_f32(v, s)
#include "core/kernels/gemm_tile_real.h"

#define real double
#define LK_F(name) name##_f64
#define V float64x2_t
#define LANES 2
#define splat(x) vdupq_n_f64(x)
#define load(p) vld1q_f64(p)
#define store(p, v) vst1q_f64(p, v)
#define load_part(p, n) load_part_f64(p, n)
#define store_part(p, n, v) store_part_f64(p, n, v)
#define fma(a, b, c) vfmaq_f64(c, a, b)
#define sum4(v, s) sum4_f64(v, s)
#include "core/kernels/gemm_tile_real.h"

const GemmKernels lk__gemm_neon[2] = {
    { TILE_ROWS, 8, 4, strip_f32, dots_f32 },
    { TILE_ROWS, 4, 2, strip_f64, dots_f64 },
};
GemmTapsFn *const lk__gemm_taps_neon[2] = { taps_f32, taps_f64 };
#endif
