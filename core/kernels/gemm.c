/* gemm.c - the matrix product: how it is cut into pieces that fit the caches, and which thread
 * computes which piece.
 *
 * There are three ways to compute a product. `run_tiles` and `run_panels` compute C in tiles that
 * stay in registers, each a sum of outer products (Goto and van de Geijn 2008, the BLIS papers).
 * `run_tiles` goes along C with the A of a tile in the L1 cache. It reads A and B in place where
 * it can, because packing the weights of a small batch would take longer than using them.
 * `run_panels` is for large products on narrow vectors. It packs A and B into the order of reading
 * and goes down C with a panel of B in the L1 cache. `run_dots` is for y = x Wᵀ with few rows of
 * x. The rows of x and of W lie along k, so C is made of dot products, and W is read once, in
 * place. The inner loops are in gemm_tile_real.h; gemm_kernels.h declares a set of them.
 *
 * The bits are the same for any number of threads: one thread sums an element of C, in an order
 * that depends only on the sizes and strides. Threads get whole tiles. Their number only decides
 * which thread gets which tiles. */
#include <string.h>

#include "core/kernels/gemm_kernels.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define LK_REAL_SOURCE "core/kernels/gemm_pack_real.h"
#include "core/real.h"

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
    char *packed_a, *packed_b;
} Product;

typedef struct Team {
    int thread, threads; /* the number of this one, and how many there are */
} Team;

/* The part of the product that is computed between two barriers. */
typedef struct Block {
    int64_t row, rows, column, columns, step, steps;
    int64_t down, across;   /* tiles */
    int64_t height, higher; /* the first `higher` tiles are one row higher than height */
} Block;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Cuts n into parts of at most `most`: their number. A division takes long, so it asks first. */
static int64_t parts_of(int64_t n, int64_t most)
{
    return n <= most ? n > 0 : (n + most - 1) / most;
}

/* Returns where part i begins when n is cut into nearly equal parts: n i / parts without
 * overflow. */
static int64_t cut(int64_t n, int64_t parts, int64_t i)
{
    return parts == 1 ? n * i : n / parts * i + n % parts * i / parts;
}

static int64_t round_up(int64_t n, int64_t unit) { return parts_of(n, unit) * unit; }

static void *at(const Product *g, Mat x, int64_t row, int64_t col)
{
    return (char *)x.data + (row * x.row + col * x.col) * g->size;
}

/* Whether B exceeds an L2 cache. */
static bool is_far(const Product *g) { return g->k * g->n * g->size > 2 * NEAR_BYTES; }

/* Waits for all threads. Then all of them see what was packed before, and memory that was read
 * before may be overwritten. */
static void barrier(Team team)
{
    if (team.threads > 1) {
#pragma omp barrier
    }
}

/* Cuts the rows into tiles of nearly equal height, and the columns into panels that are full
 * except the last. */
static Block block_of(const Product *g, int64_t row, int64_t rows, int64_t column, int64_t columns,
                      int64_t step, int64_t steps)
{
    rows = smaller(rows, g->m - row);
    columns = smaller(columns, g->n - column);
    int64_t down = parts_of(rows, g->kernels->rows), height = down > 1 ? rows / down : rows;
    return (Block){ row,    rows,
                    column, columns,
                    step,   steps,
                    down,   parts_of(columns, g->kernels->columns),
                    height, rows - height * down };
}

/* The first row of tile i. */
static int64_t row_of(const Block *x, int64_t i) { return x->height * i + smaller(i, x->higher); }

/* ---- packing -------------------------------------------------------------------------------- */

/* For each step, a packed tile of A has its rows side by side, and a packed panel of B its
 * columns. Tiles of A go to numbered slots, panels of B lie one after the other. */

static void pack(const Product *g, int64_t width, int64_t steps, const void *from, int64_t across,
                 int64_t along, void *to, int64_t to_step)
{
    LK_REAL(g->c.dtype, pack, width, steps, from, across, along, to, to_step);
}

/* Returns how many steps of all tiles or panels are packed before the next steps, so that memory
 * is read in long rows. It is few where a row of the matrix is a step, and all where a row lies
 * along k. */
static int64_t steps_at_once(int64_t across, int64_t steps)
{
    return across == 1 ? smaller(SHALLOW, steps) : steps;
}

/* Packs steps p to end of tiles i to i_end. The first tile goes to the given slot. */
static void pack_rows(const Product *g, const Block *x, int64_t i, int64_t i_end, int64_t slot,
                      int64_t p, int64_t end)
{
    int64_t height = g->kernels->rows, most = steps_at_once(g->a.row, x->steps);
    for (; p < end; p += most) {
        for (int64_t t = i; t < i_end; t++) {
            int64_t row = row_of(x, t), rows = row_of(x, t + 1) - row;
            pack(g, rows, smaller(most, end - p), at(g, g->a, x->row + row, x->step + p), g->a.row,
                 g->a.col, g->packed_a + ((slot + t - i) * x->steps + p) * height * g->size,
                 height);
        }
    }
}

/* Packs steps p to end of panels j to j_end. */
static void pack_panels(const Product *g, const Block *x, int64_t j, int64_t j_end, int64_t p,
                        int64_t end)
{
    int64_t width = g->kernels->columns, most = steps_at_once(g->b.col, x->steps);
    for (; p < end; p += most) {
        for (int64_t t = j; t < j_end; t++) {
            int64_t column = t * width, columns = smaller(width, x->columns - column);
            pack(g, columns, smaller(most, end - p), at(g, g->b, x->step + p, x->column + column),
                 g->b.col, g->b.row, g->packed_b + (t * x->steps + p) * width * g->size, width);
        }
    }
}

/* Packs all of the block's A or B by all threads together. Each thread packs some steps. */
static void pack_together(const Product *g, const Block *x, bool a, bool b, Team team)
{
    int64_t p = cut(x->steps, team.threads, team.thread),
            end = cut(x->steps, team.threads, team.thread + 1);
    if (a) pack_rows(g, x, 0, x->down, 0, p, end);
    if (b) pack_panels(g, x, 0, x->across, p, end);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* Computes tiles of C side by side: row tile i (packed in `slot`) and panels j to j_end, for
 * `steps` steps from `step` of the block. Then the `next` steps of B come. */
static void compute_strip(const Product *g, const Block *x, int64_t i, int64_t slot, int64_t j,
                          int64_t j_end, int64_t step, int64_t steps, int64_t next)
{
    const GemmKernels *kernels = g->kernels;
    int64_t row = row_of(x, i), rows = row_of(x, i + 1) - row, width = kernels->columns,
            column = j * width;
    int64_t columns = smaller(j_end * width, x->columns) - column;
    GemmStrip strip = {
        .rows = rows,
        .columns = columns,
        .steps = steps,
        .a = at(g, g->a, x->row + row, x->step + step),
        .a_row = g->a.row,
        .a_step = g->a.col,
        .b = at(g, g->b, x->step + step, x->column + column),
        .b_step = g->b.row,
        .panel = width,
        .c = at(g, g->c, x->row + row, x->column + column),
        .c_row = g->c.row,
        .c_col = g->c.col,
        .add = g->add || x->step + step > 0,
        .ahead = steps * g->b.row,
        .fetch = i == 0 ? next : 0, /* the other rows of tiles read the same */
    };
    if (g->pack_a) {
        strip.a = g->packed_a + (slot * x->steps + step) * kernels->rows * g->size;
        strip.a_row = 1;
        strip.a_step = kernels->rows;
    }
    if (g->pack_b) {
        strip.b = g->packed_b + (column * x->steps + step * width) * g->size;
        strip.b_step = width;
        strip.panel = x->steps * width;
    }
    kernels->strip(&strip);
}

/* Returns how many steps at a time a tile reads of B in place. A single row of C takes all steps,
 * because it reads rows of B from end to end. */
static int64_t steps_in_place(const Product *g, const Block *x)
{
    if (g->m == 1) return x->steps;
    if (g->c.col != 1) return DEEP;
    int64_t pages = PAGES - 2 * x->height, row = g->b.row * g->size;
    if (x->steps <= pages || row <= 0 || row > PAGE / 2) return pages;
    return smaller(PAGE / row * pages, PLACE_DEPTH);
}

/* Computes this thread's tiles of a block. The tiles are numbered row by row through as many
 * panels as stay near, then through the next panels. A thread computes a range of these numbers.
 * So it has its own panels where there are enough of them, and its own rows otherwise. */
static void compute_block(const Product *g, const Block *x, Team team)
{
    int64_t first = cut(x->down * x->across, team.threads, team.thread);
    int64_t last = cut(x->down * x->across, team.threads, team.thread + 1);
    int64_t rounds = g->pack_b ? 1 : parts_of(x->steps, steps_in_place(g, x));
    int64_t panel_bytes = parts_of(x->steps, rounds) * g->kernels->columns * g->size;
    int64_t near = NEAR_BYTES < panel_bytes ? 1 : NEAR_BYTES / panel_bytes;
    if (x->down == 1) near = x->across; /* a single row of tiles reads B once */

    for (int64_t round = 0; round < rounds; round++) {
        int64_t step = cut(x->steps, rounds, round),
                steps = cut(x->steps, rounds, round + 1) - step;
        int64_t next = !g->pack_b && is_far(g) ? smaller(steps, x->steps - step - steps) : 0;
        for (int64_t panel = 0; panel < x->across; panel += near) {
            int64_t panels = smaller(near, x->across - panel);
            int64_t base = panel * x->down, end = smaller(base + panels * x->down, last);
            for (int64_t t = first > base ? first : base; t < end;) {
                int64_t i = x->down > 1 ? (t - base) / panels : 0, j = t - base - i * panels;
                int64_t j_end = smaller(panels, j + end - t);
                compute_strip(g, x, i, i, panel + j, panel + j_end, step, steps, next);
                t += j_end - j;
            }
        }
    }
}

static void run_tiles(const Product *g, Team team)
{
    int64_t blocks = parts_of(g->k, g->pack_b ? TILE_DEPTH / g->size : DIRECT_DEPTH);
    bool packs = g->pack_a || g->pack_b;
    for (int64_t p = 0; p < blocks; p++) {
        int64_t step = cut(g->k, blocks, p), steps = cut(g->k, blocks, p + 1) - step;
        for (int64_t row = 0; row < g->m; row += ROW_BLOCK) {
            for (int64_t column = 0; column < g->n; column += COLUMN_BLOCK) {
                Block x = block_of(g, row, ROW_BLOCK, column, COLUMN_BLOCK, step, steps);
                pack_together(g, &x, g->pack_a && column == 0, g->pack_b, team);
                if (packs) barrier(team);
                compute_block(g, &x, team);
                if (packs) barrier(team);
            }
        }
    }
}

/* ---- panels --------------------------------------------------------------------------------- */

/* All threads together pack A or B. The other one is packed by the thread that is about to use it,
 * into its own caches. `low` means that the rows are so few that all tiles stay near, and that
 * there are panels for every thread. Then a thread packs some panels of its own and goes down C
 * with each. Otherwise it has rows of its own. It packs as many as stay near, and then all panels
 * pass by. */

static void compute_panels(const Product *g, const Block *x, bool low, Team team)
{
    int64_t thread = team.thread, threads = team.threads;
    if (low) {
        int64_t last = cut(x->across, threads, thread + 1);
        int64_t near = NEAR_BYTES / 2 / (x->steps * g->kernels->columns * g->size);
        for (int64_t j = cut(x->across, threads, thread); j < last; j += near) {
            int64_t end = smaller(j + near, last);
            pack_panels(g, x, j, end, 0, x->steps);
            for (int64_t t = j; t < end; t++) {
                for (int64_t i = 0; i < x->down; i++)
                    compute_strip(g, x, i, i, t, t + 1, 0, x->steps, 0);
            }
        }
        return;
    }
    /* The slots of ROW_BLOCK rows are shared out in the same way as the rows. So a thread without
     * a slot has no rows either. */
    int64_t slots = parts_of(smaller(x->rows, ROW_BLOCK), g->kernels->rows);
    threads = smaller(threads, slots);
    if (thread >= threads) return;
    int64_t slot = cut(slots, threads, thread);
    int64_t most = NEAR_BYTES / (x->steps * g->kernels->rows * g->size);
    int64_t near = smaller(most, cut(slots, threads, thread + 1) - slot);
    int64_t last = cut(x->down, threads, thread + 1);
    for (int64_t i = cut(x->down, threads, thread); i < last; i += near) {
        int64_t end = smaller(i + near, last);
        pack_rows(g, x, i, end, slot, 0, x->steps);
        for (int64_t j = 0; j < x->across; j++) {
            for (int64_t t = i; t < end; t++)
                compute_strip(g, x, t, slot + t - i, j, j + 1, 0, x->steps, 0);
        }
    }
}

static void run_panels(const Product *g, Team team)
{
    int64_t blocks = parts_of(g->k, TILE_DEPTH / g->size);
    for (int64_t p = 0; p < blocks; p++) {
        int64_t step = cut(g->k, blocks, p), steps = cut(g->k, blocks, p + 1) - step;
        for (int64_t column = 0; column < g->n; column += COLUMN_BLOCK) {
            Block x = block_of(g, 0, g->m, column, COLUMN_BLOCK, step, steps);
            bool low = x.rows * steps * g->size <= NEAR_BYTES &&
                       x.across >= smaller(x.down, 2 * team.threads);
            pack_together(g, &x, low, !low, team);
            barrier(team);
            compute_panels(g, &x, low, team);
            barrier(team);
        }
    }
}

/* ---- dot products --------------------------------------------------------------------------- */

static void run_dots(const Product *g, Team team)
{
    int64_t groups = parts_of(g->n, GEMM_DOT_COLUMNS);
    int64_t blocks = parts_of(g->k, DOT_BYTES / g->size / smaller(g->m, 4));
    for (int64_t p = 0; p < blocks; p++) {
        int64_t step = cut(g->k, blocks, p), steps = cut(g->k, blocks, p + 1) - step;
        const void *a = at(g, g->a, 0, step);
        int64_t a_row = g->a.row;
        if (g->pack_a) { /* into rows along k: each thread packs some steps of all rows */
            int64_t q = cut(steps, team.threads, team.thread),
                    end = cut(steps, team.threads, team.thread + 1);
            pack(g, end - q, g->m, at(g, g->a, 0, step + q), g->a.col, g->a.row,
                 g->packed_a + q * g->size, steps);
            a = g->packed_a;
            a_row = steps;
            barrier(team);
        }
        int64_t j = cut(groups, team.threads, team.thread) * GEMM_DOT_COLUMNS;
        int64_t end = smaller(cut(groups, team.threads, team.thread + 1) * GEMM_DOT_COLUMNS, g->n);
        g->kernels->dots(&(GemmDots){ g->m, end - j, steps, a, a_row, at(g, g->b, step, j),
                                      g->b.col, at(g, g->c, 0, j), g->c.row, g->c.col,
                                      g->add || p > 0, is_far(g) });
        if (g->pack_a) barrier(team);
    }
}

/* ---- which way ------------------------------------------------------------------------------ */

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
 * pack. */
static int64_t room_a(const GemmKernels *kernels, int64_t m, int64_t k, int64_t size)
{
    int64_t block = round_up(smaller(m, ROW_BLOCK), kernels->rows) * smaller(k, TILE_DEPTH / size);
    int64_t direct = round_up(smaller(m, DOT_ROWS_MAX), kernels->rows) * smaller(k, DIRECT_DEPTH);
    return round_up(block > direct ? block : direct, 16);
}

static int64_t room_b(const GemmKernels *kernels, int64_t n, int64_t k, int64_t size)
{
    return round_up(smaller(n, COLUMN_BLOCK), kernels->columns) * smaller(k, TILE_DEPTH / size);
}

static double work(int64_t m, int64_t n, int64_t k)
{
    return (double)m * (double)n * (double)k; /* in double: it does not overflow */
}

static void plan(Product *g)
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

static void run(const Product *g, Team team)
{
    if (g->dots) run_dots(g, team);
    else if (g->panels) run_panels(g, team);
    else run_tiles(g, team);
}

/* ---- the functions of gemm.h ---------------------------------------------------------------- */

size_t lk__gemm_workspace(DType dtype, int64_t m, int64_t n, int64_t k)
{
    if (work(m, n, k) <= TINY) return 0;
    const GemmKernels *kernels = lk__gemm_kernels(dtype);
    int64_t size = (int64_t)lk_dtype_size(dtype);
    int64_t straight = room_a(kernels, m, k, size) + room_b(kernels, n, k, size);
    int64_t swapped = room_a(kernels, n, k, size) + room_b(kernels, m, k, size);
    return (size_t)((straight > swapped ? straight : swapped) * size);
}

void lk__gemm(Mat c, Mat a, Mat b, bool add, void *workspace)
{
    const double products = work(c.rows, c.cols, a.cols);
    if (products <= TINY) {
        lk__gemm_reference(c, a, b, add);
        return;
    }
    Product g; /* not cleared: that would take as long as 30 multiply-adds of vectors */
    g.kernels = lk__gemm_kernels(c.dtype);
    g.size = (int64_t)lk_dtype_size(c.dtype);
    g.m = c.rows;
    g.n = c.cols;
    g.k = a.cols;
    g.a = a;
    g.b = b;
    g.c = c;
    g.c.col = 1; /* c.col may be anything when there is a single column */
    g.add = add;
    plan(&g);
    g.packed_a = workspace;
    g.packed_b = g.packed_a + room_a(g.kernels, g.m, g.k, g.size) * g.size;
#ifdef _OPENMP
    if (products >= WORTH_THREADS && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel
        run(&g, (Team){ omp_get_thread_num(), omp_get_num_threads() });
        return;
    }
#endif
    run(&g, (Team){ 0, 1 });
}
