/* gemm_plan.c - which of the ways of gemm.c computes a product, and the memory that it takes. */
#include "core/kernels/gemm_product.h"

/* Whether dot products are the fastest way. They sum the lanes m n times and read all of A for
 * every four columns of B. The other ways pack the n k elements of B. In measurements, dot
 * products win up to about k / 4 rows and a dozen tiles. Where the columns of B lie whole pages
 * apart, they win only up to a third of these tiles. */
static bool dots_fit(const Product *g, int64_t m, int64_t k, Mat b)
{
    int64_t tiles = b.col * g->size % PAGE == 0 ? 4 : 12;
    return b.row == 1 &&
           (m <= 4 || (4 * m <= k && m <= smaller(DOT_ROWS_MAX, tiles * g->kernels->rows)));
}

/* Return the elements of workspace for A and for B. They hold all that run_tiles and run_dots
 * pack or widen. */
static int64_t room_a(const GemmKernels *kernels, int64_t m, int64_t k, int64_t size)
{
    int64_t block = round_up(smaller(m, ROW_BLOCK), kernels->rows) * smaller(k, TILE_DEPTH / size);
    int64_t direct = round_up(smaller(m, DOT_ROWS_MAX), kernels->rows) * smaller(k, DIRECT_DEPTH);
    return round_up(block > direct ? block : direct, 16);
}

static int64_t room_b(const GemmKernels *kernels, int64_t n, int64_t k, int64_t size)
{
    int64_t block =
        round_up(smaller(n, COLUMN_BLOCK), kernels->columns) * smaller(k, TILE_DEPTH / size);
    int64_t wide = smaller(round_up(n, kernels->columns), widened_columns(kernels, k, size)) *
                   smaller(k, DIRECT_DEPTH);
    return block > wide ? block : wide;
}

/* Chooses the way; a narrow operand changes nothing about it, so that its bits are those of a
 * float32 one. */
static void choose(Product *g)
{
    if (g->m == 1) g->a.row = 1; /* a stride that is never used: take the convenient one */
    if (g->n == 1) g->b.col = 1;
    bool straight = dots_fit(g, g->m, g->k, g->b),
         swapped = dots_fit(g, g->n, g->k, lk__mat_T(g->a));
    bool few = g->n < g->kernels->lanes || (g->n <= FEW && g->k >= DEEP);
    bool swap = g->n < g->m && (swapped || (!straight && few));
    if (swap) {
        /* With few columns, compute Cᵀ = Bᵀ Aᵀ. It has few rows, which need not fill a vector, and
         * reads the large A as it would read B. */
        const Mat a = g->a;
        const int64_t m = g->m;
        g->a = lk__mat_T(g->b);
        g->b = lk__mat_T(a);
        g->c = lk__mat_T(g->c);
        g->m = g->n;
        g->n = m;
    }
    g->dots = swap ? swapped : straight;
    if (g->dots) {
        g->pack_a = g->a.col != 1;
        g->pack_b = g->panels = false;
        return;
    }
    /* in these cases reading in place is slower: float64 has half as many columns in a tile */
    bool slow = swap || g->size == 8 || g->b.row * g->size % PAGE == 0;
    g->pack_b = g->b.col != 1 || (g->k >= SHALLOW && g->m > (slow ? FEW / 2 : FEW));
    /* When k is one block, C is written only once, which is faster along its rows: use tiles. */
    g->panels = g->pack_b && g->k * g->size > TILE_DEPTH &&
                TILE_DEPTH * g->kernels->columns <= PANEL_BYTES;
    g->pack_a = g->k >= SHALLOW && (g->pack_b || g->a.col > FEW || g->a.row * g->size % PAGE == 0);
}

void lk__gemm_plan(Product *g, void *workspace)
{
    choose(g);
    g->pack_a = g->pack_a || lk__is_narrow(g->a);
    g->widen_b = lk__is_narrow(g->b) && !g->pack_b;
    g->packed_a = workspace;
    g->packed_b = g->packed_a + room_a(g->kernels, g->m, g->k, g->size) * g->size;
}

size_t lk__gemm_workspace(DType dtype, int64_t m, int64_t n, int64_t k)
{
    if (lk__gemm_work(m, n, k) <= TINY) return 0;
    const GemmKernels *kernels = lk__gemm_kernels(dtype);
    int64_t size = (int64_t)lk_dtype_size(dtype);
    int64_t straight = room_a(kernels, m, k, size) + room_b(kernels, n, k, size);
    int64_t swapped = room_a(kernels, n, k, size) + room_b(kernels, m, k, size);
    return (size_t)((straight > swapped ? straight : swapped) * size);
}
