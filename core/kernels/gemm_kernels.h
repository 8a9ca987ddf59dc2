/* gemm_kernels.h - the inner loops of lk__gemm, one set for each instruction set and floating
 * dtype; gemm.c cuts a product into strips and dot products, which the loops compute. Their source
 * is gemm_tile_real.h, compiled by gemm_avx512.c, gemm_avx2.c, gemm_neon.c and gemm_portable.c.
 * Internal: not installed, hidden in the shared library. The tests run every set that the
 * processor has. */
#ifndef LK_GEMM_KERNELS_H
#define LK_GEMM_KERNELS_H

#include "core/kernels.h"
#include "core/kernels/gemm.h"

/* A strip of C: C[i][j] = Σp a[i a_row + p a_step] b[p b_step + j], added to C or in place of it.
 * B is made of panels that are as wide as a tile. In a panel the columns of a row lie side by
 * side; the next panel begins `panel` elements after this one. The next strips read B `ahead`
 * elements further: the first `fetch` rows there are prefetched. C may have any strides, and is
 * fast when c_col is 1. */
typedef struct GemmStrip {
    int64_t rows, columns, steps; /* rows: at most those of a tile */
    const void *a, *b;            /* no element of b outside of its columns is read */
    int64_t a_row, a_step, b_step, panel;
    void *c;
    int64_t c_row, c_col;
    bool add;
    int64_t ahead, fetch;
} GemmStrip;

/* A tile whose rows of B lie anywhere: C[i][j] = bias[i] + Σp a[p A_STEP + i] b[offset[p] + j],
 * added to C or in place of it. Its two vectors of columns begin at places of their own, from
 * which whole vectors are read. A_STEP is the rows of the largest tile. */
typedef struct GemmTaps {
    int64_t rows, steps;
    const void *a, *bias; /* bias NULL: none */
    const int32_t *offset;
    const void *b[2];
    void *c[2];
    int columns[2]; /* that are written of each vector; 0: there is no such vector */
    int64_t c_row;
    bool add;
} GemmTaps;

/* Dot products: C[i][j] = Σp a[i a_row + p] b[j b_col + p]. With `fetch`, the next columns of B
 * are prefetched. */
enum { GEMM_DOT_COLUMNS = 4 };
typedef struct GemmDots {
    int64_t rows, columns, steps;
    const void *a;
    int64_t a_row;
    const void *b;
    int64_t b_col;
    void *c;
    int64_t c_row, c_col;
    bool add, fetch;
} GemmDots;

typedef struct GemmKernels {
    /* rows and columns of the largest tile; elements of a vector. A row of a tile is one or two
     * vectors */
    int rows, columns, lanes;
    void (*strip)(const GemmStrip *strip);
    void (*dots)(const GemmDots *dots);
} GemmKernels;

/* For float32 and for float64. Those for AVX exist on x86-64 only, those for NEON on Arm. */
extern const GemmKernels lk__gemm_avx512[2], lk__gemm_avx2[2], lk__gemm_neon[2],
    lk__gemm_portable[2];

/* The tiles over a window. They lie apart: a program without convolutions does not link them. */
typedef void GemmTapsFn(const GemmTaps *taps);
extern GemmTapsFn *const lk__gemm_taps_avx512[2],
    *const lk__gemm_taps_avx2[2], *const lk__gemm_taps_neon[2], *const lk__gemm_taps_portable[2];

/* A table of what each instruction set has, in the order of KernelSet. */
/* clang-format off */
#ifdef __x86_64__
#define LK_EVERY_SET(name) { name##_portable, name##_avx2, name##_avx512 }
#elif defined __aarch64__
#define LK_EVERY_SET(name) { name##_portable, name##_neon }
#else
#define LK_EVERY_SET(name) { name##_portable }
#endif
/* clang-format on */

/* Those of the instruction set that is in use. */
static inline const GemmKernels *lk__gemm_kernels(DType dtype)
{
    static const GemmKernels *const sets[LK_KERNEL_SETS] = LK_EVERY_SET(lk__gemm);
    return &sets[lk_kernel_set()][dtype == LK_F64];
}

static inline GemmTapsFn *lk__gemm_taps(DType dtype)
{
    static GemmTapsFn *const *const sets[LK_KERNEL_SETS] = LK_EVERY_SET(lk__gemm_taps);
    return sets[lk_kernel_set()][dtype == LK_F64];
}

/* Hides from the compiler where the pointer comes from. Then the compiler keeps the pointer in a
 * register and adds to it. Otherwise it would compute an address for each row before the loop, and
 * keep these addresses in memory. */
#define LK_OPAQUE(pointer) __asm__("" : "+r"(pointer))

/* Keeps a vector in a register. Otherwise the compiler may load it again for each use. */
#if defined(__x86_64__) && defined(__OPTIMIZE__)
#define LK_KEEP(vector) __asm__("" : "+v"(vector))
#else
#define LK_KEEP(vector) ((void)0)
#endif

/* An optimized build compiles the kernel once for every size of a tile. In these copies the
 * LK_UNROLL loops disappear and the arrays of vectors are registers. Debug and sanitizer builds
 * have a single copy for all sizes: more copies would not be faster there, and take minutes to
 * compile. */
#if defined(__has_feature)
#define LK_SANITIZED \
    (__has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer) || \
     __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LK_SANITIZED 1
#else
#define LK_SANITIZED 0
#endif
#if !defined(__OPTIMIZE__) || LK_SANITIZED
#define LK_UNROLL
#define LK_UNROLL_4
#elif defined(__clang__)
#define LK_SPECIALIZE
#define LK_UNROLL _Pragma("clang loop unroll(full)")
#define LK_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#pragma clang diagnostic ignored \
    "-Wpass-failed" /* a loop that was unrolled or removed before is no failure */
#else
#define LK_SPECIALIZE
#define LK_UNROLL _Pragma("GCC unroll 32")
#define LK_UNROLL_4 _Pragma("GCC unroll 4")
#endif

#endif
