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

#include "core/kernels/gemm_product.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define LK_REAL_SOURCE "core/kernels/gemm_pack_real.h"
#include "core/real.h"

typedef struct Team {
    int thread, threads; /* the number of this one, and how many there are */
} Team;

/* The part of the product that is computed between two barriers. */
typedef struct Block {
    int64_t row, rows, column, columns, step, steps;
    int64_t down, across;   /* tiles */
    int64_t height, higher; /* the first `higher` tiles are one row higher than height */
} Block;

static void *at(const Product *g, Mat x, int64_t row, int64_t col)
{
    const int64_t size = x.dtype == g->c.dtype ? g->size : (int64_t)lk_dtype_size(x.dtype);
    return (char *)x.data + (row * x.row + col * x.col) * size;
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

/* Packs a narrow x, as `pack` says. Where its rows have to be transposed, they are widened first,
 * a piece at a time. */
static void pack_narrow(Mat x, int64_t row, int64_t rows, int64_t col, int64_t cols, float *to,
                        int64_t to_step)
{
    enum { SIDE = 32 };
    float piece[SIDE * SIDE];
    if (x.row == 1) {
        lk__widen(lk__mat_T(x), col, cols, row, rows, to, to_step);
        return;
    }
    for (int64_t i = 0; i < rows; i += SIDE) {
        for (int64_t p = 0; p < cols; p += SIDE) {
            int64_t width = smaller(SIDE, rows - i), steps = smaller(SIDE, cols - p);
            lk__widen(x, row + i, width, col + p, steps, piece, SIDE);
            LK_REAL(LK_F32, pack, width, steps, piece, SIDE, 1, to + p * to_step + i, to_step);
        }
    }
}

/* to[p to_step + i] = x[row + i][col + p] for i < rows, p < cols. */
static void pack(const Product *g, Mat x, int64_t row, int64_t rows, int64_t col, int64_t cols,
                 void *to, int64_t to_step)
{
    if (lk__is_narrow(x)) pack_narrow(x, row, rows, col, cols, to, to_step);
    else LK_REAL(g->c.dtype, pack, rows, cols, at(g, x, row, col), x.row, x.col, to, to_step);
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
            pack(g, g->a, x->row + row, rows, x->step + p, smaller(most, end - p),
                 g->packed_a + ((slot + t - i) * x->steps + p) * height * g->size, height);
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
            pack(g, lk__mat_T(g->b), x->column + column, columns, x->step + p,
                 smaller(most, end - p), g->packed_b + (t * x->steps + p) * width * g->size,
                 width);
        }
    }
}

/* Packs or widens all of the block's A or B by all threads together. Each thread has some
 * steps. */
static void pack_together(const Product *g, const Block *x, bool a, bool b, Team team)
{
    int64_t p = cut(x->steps, team.threads, team.thread),
            end = cut(x->steps, team.threads, team.thread + 1);
    if (a) pack_rows(g, x, 0, x->down, 0, p, end);
    if (b) pack_panels(g, x, 0, x->across, p, end);
    if (g->widen_b)
        lk__widen(g->b, x->step + p, end - p, x->column, x->columns,
                  (float *)g->packed_b + p * x->columns, x->columns);
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
    if (g->widen_b) {
        strip.b = g->packed_b + (step * x->columns + column) * g->size;
        strip.b_step = x->columns;
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
        bool fetches = !g->pack_b && !g->widen_b && is_far(g);
        int64_t next = fetches ? smaller(steps, x->steps - step - steps) : 0;
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
    int64_t most = g->widen_b ? widened_columns(g->kernels, g->k, g->size) : COLUMN_BLOCK;
    bool packs = g->pack_a || g->pack_b || g->widen_b;
    for (int64_t p = 0; p < blocks; p++) {
        int64_t step = cut(g->k, blocks, p), steps = cut(g->k, blocks, p + 1) - step;
        for (int64_t row = 0; row < g->m; row += ROW_BLOCK) {
            for (int64_t column = 0; column < g->n; column += most) {
                Block x = block_of(g, row, ROW_BLOCK, column, most, step, steps);
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

/* Computes the dot products of some columns of a narrow B. They are widened before, as many at a
 * time as fit, by fours where four fit. */
static void widened_dots(const Product *g, GemmDots d, int64_t step, int64_t j)
{
    enum { ROOM = DOT_BYTES / sizeof(float) };
    float room[ROOM] __attribute__((aligned(64)));
    int64_t most = ROOM / d.steps, end = j + d.columns;
    if (most > GEMM_DOT_COLUMNS) most -= most % GEMM_DOT_COLUMNS;
    for (; j < end; j += most) {
        d.columns = smaller(most, end - j);
        lk__widen(lk__mat_T(g->b), j, d.columns, step, d.steps, room, d.steps);
        d.b = room;
        d.b_col = d.steps;
        d.c = at(g, g->c, 0, j);
        g->kernels->dots(&d);
    }
}

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
            pack(g, lk__mat_T(g->a), step + q, end - q, 0, g->m, g->packed_a + q * g->size, steps);
            a = g->packed_a;
            a_row = steps;
            barrier(team);
        }
        int64_t j = cut(groups, team.threads, team.thread) * GEMM_DOT_COLUMNS;
        int64_t end = smaller(cut(groups, team.threads, team.thread + 1) * GEMM_DOT_COLUMNS, g->n);
        GemmDots d = { .rows = g->m,
                       .columns = end - j,
                       .steps = steps,
                       .a = a,
                       .a_row = a_row,
                       .b = at(g, g->b, step, j),
                       .b_col = g->b.col,
                       .c = at(g, g->c, 0, j),
                       .c_row = g->c.row,
                       .c_col = g->c.col,
                       .add = g->add || p > 0,
                       .fetch = !g->widen_b && is_far(g) };
        if (g->widen_b) widened_dots(g, d, step, j);
        else g->kernels->dots(&d);
        if (g->pack_a) barrier(team);
    }
}

/* ---- the product ---------------------------------------------------------------------------- */

static void run(const Product *g, Team team)
{
    if (g->dots) run_dots(g, team);
    else if (g->panels) run_panels(g, team);
    else run_tiles(g, team);
}

void lk__gemm(Mat c, Mat a, Mat b, bool add, void *workspace)
{
    const double products = lk__gemm_work(c.rows, c.cols, a.cols);
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
    lk__gemm_plan(&g, workspace);
#ifdef _OPENMP
    if (products >= WORTH_THREADS && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel
        run(&g, (Team){ omp_get_thread_num(), omp_get_num_threads() });
        return;
    }
#endif
    run(&g, (Team){ 0, 1 });
}
