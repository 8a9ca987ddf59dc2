/* gemm_product.h - one product on its way through gemm.c (the loops) and gemm_plan.c (which loops,
 * and how much memory): sizes of pieces, and the state that all threads share. Internal, as
 * gemm_kernels.h is. */
#ifndef LK_GEMM_PRODUCT_H
#define LK_GEMM_PRODUCT_H

#include "core/kernels/gemm_kernels.h"
#include "core/kernels/gemm_narrow.h"
#include "core/kernels/pieces.h"

enum {
    /* TILE_DEPTH is the steps of k at a time, in bytes: 384 steps of float32. A panel of B takes
     * 24 KB with 16 columns, which leaves room in an L1 cache of 32 KB for the A of the tiles that
     * pass by. With 32 columns it does not fit, but the A of a tile (14 rows: 21 KB) does.
     * DOT_BYTES is the part that dot products read again: four rows of W, once for each tile of x,
     * or x when it has fewer rows. */
    TILE_DEPTH = 1536,
    PANEL_BYTES = 24 << 10,
    DOT_BYTES = 24 << 10,

    /* The part of B that a column of tiles reads, or of A that a row of tiles reads, before the
     * next part comes. It is half of a small L2 cache (512 KB). */
    NEAR_BYTES = 256 << 10,

    /* The most rows of A and columns of B that are packed at a time. With them, the workspace is
     * at most 9.4 MB. */
    ROW_BLOCK = 2016,
    COLUMN_BLOCK = 4096,

    /* B is not packed when few rows use it. Neither A nor B is packed when they have few steps.
     * If the A of a small batch is packed, then DIRECT_DEPTH steps at a time, mostly all of it. */
    FEW = 64,
    SHALLOW = 16,
    DIRECT_DEPTH = 2048,
    DOT_ROWS_MAX = 128,

    /* In place, a tile reads as many steps at a time as lie in PAGES pages, together with its rows
     * of A and of C. An L1 TLB knows 64 pages or more. It reads at most PLACE_DEPTH steps, so that
     * a panel stays in the L1 cache (16 KB with 32 columns). It reads DEEP steps where a tile is
     * transposed on its way to C, one element at a time. */
    PAGES = 40,
    /* columns or rows that lie PAGE apart also share the same places of the L1 cache */
    PAGE = 4096,
    PLACE_DEPTH = 128,
    DEEP = 256,

    TINY = 96,              /* multiply-adds below which three plain loops are the fastest */
    WORTH_THREADS = 1 << 19 /* those that take longer than waking the threads up */
};

/* One call of lk__gemm, the same for all threads. */
typedef struct Product {
    const GemmKernels *kernels;
    int64_t size; /* bytes of an element */
    int64_t m, n, k;
    Mat a, b, c; /* c.col is not 1 when the product was transposed */
    bool add;
    bool dots, panels; /* which way; tiles when both are false */
    bool pack_a, pack_b;
    bool widen_b; /* a narrow B that is not packed: into rows, as those that are read in place */
    char *packed_a, *packed_b;
} Product;

/* multiply-adds; in double, so that they do not overflow */
static inline double lk__gemm_work(int64_t m, int64_t n, int64_t k)
{
    return (double)m * (double)n * (double)k;
}

/* The columns of B that are widened at a time when it is not packed: whole panels that stay
 * near. */
static inline int64_t widened_columns(const GemmKernels *kernels, int64_t k, int64_t size)
{
    int64_t most = NEAR_BYTES / size / smaller(k, DIRECT_DEPTH);
    return most / kernels->columns * kernels->columns;
}

/* Chooses the way of a product whose kernels, sizes and operands are set. May exchange them for
 * those of the transposed product. */
void lk__gemm_plan(Product *g, void *workspace);

#endif
