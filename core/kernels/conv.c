/* conv.c - y of a convolution, in panels of patches.
 *
 * A panel is packed from the window (conv_plan.h). It stays in the L1 cache while the packed tiles
 * of W pass by. With few rows, packing takes longer than the products, which then read the window
 * itself: `taps` of the kernels in vectors that lie in one row of positions each, `direct_rows`
 * with one or two rows of y. */
#include "core/internal.h"
#include "core/kernels/conv_plan.h"

enum {
    TILE_BYTES = 16 << 10, /* room for any tile */
    PACKING_ROWS = 5       /* packing a panel takes as long as so many rows of its product */
};

/* A block of positions for direct_rows. */
typedef struct Direct {
    int64_t rows, columns, row; /* row: elements of the window from one row to the next */
    int64_t out_row, out_step;
    int64_t steps;
    const int32_t *offset;
} Direct;

#define LK_REAL_SOURCE "core/kernels/conv_real.h"
#include "core/real.h"

/* The bytes of the packed W for so many channels. */
static int64_t tiles_bytes(const Plan *p, int64_t channels)
{
    return tile_count(p) * p->kernels->rows * channels * p->taps * p->size;
}

static Plan plan_forward(const Conv *c)
{
    Plan p = lk__conv_plan(c);
    const int64_t panel = p.kernels->columns, work = c->n * c->groups;
    p.depth = larger(1, smaller(c->channels, STEP_BYTES / p.size / p.taps));
    p.depth = parts_of(c->channels, parts_of(c->channels, p.depth));
    int64_t most_rows = c->y.out;
    if (work < TASKS) /* more blocks, but none of less than two panels */
        most_rows = larger(parts_of(c->y.out * work, TASKS), parts_of(2 * panel, c->x.out));
    lk__conv_choose_block(&p, most_rows);
    const int64_t tasks = work * p.down * p.across;
    if (tasks < TASKS) p.chunks = smaller(parts_of(TASKS, tasks), larger(1, tile_count(&p) / 4));
    /* vectors end with each row of positions, panels do not */
    const int64_t vectors = round_up(p.width, p.kernels->lanes);
    p.unpacked = c->x.out_step == 1 && c->rows * vectors <= (c->rows + PACKING_ROWS) * p.width;
    p.panel_bytes = p.depth * p.taps * panel * p.size;
    p.packed_bytes = round_up(larger(PACKED_BYTES, p.panel_bytes) + SLACK_BYTES, 64);
    p.weight_bytes = round_up(c->groups * tiles_bytes(&p, c->channels), 64);
    p.own_bytes = p.window_bytes + p.packed_bytes;
    return p;
}

/* The part of W that is used now. */
typedef struct Part {
    int64_t steps;
    const char *weight; /* its packed tiles */
    bool first;
} Part;

static Part part_of(const Plan *p, int64_t group, int64_t part)
{
    const Conv *c = p->c;
    int64_t from = part * p->depth, channels = smaller(p->depth, c->channels - from);
    const char *weight = p->weight + group * tiles_bytes(p, c->channels) + tiles_bytes(p, from);
    return (Part){ channels * p->taps, weight, part == 0 };
}

static void pack_tile(const Plan *p, int64_t number)
{
    const Conv *c = p->c;
    int64_t tiles = tile_count(p), tile = number % tiles, part = number / tiles % p->parts,
            group = number / tiles / p->parts, row = row_of(p, tile);
    Part w = part_of(p, group, part);
    int64_t from = group * c->w_group + row * c->w_row + part * p->depth * c->w_channel;
    LK_REAL(c->dtype, pack_weight, c, (const char *)c->weight + from * p->size,
            row_of(p, tile + 1) - row, w.steps / p->taps,
            p->weight + (w.weight - p->weight) + tile * p->kernels->rows * w.steps * p->size,
            p->kernels->rows);
}

static const void *bias_of(const Plan *p, const Block *b, int64_t row)
{
    const Conv *c = p->c;
    return c->bias ? (const char *)c->bias + (b->group * c->rows + row) * p->size : NULL;
}

/* Computes one tile: rows of y for the positions of a panel. */
static void compute_tile(const Plan *p, const Block *b, const Part *w, int64_t tile,
                         const void *panel, int64_t first, int64_t count, const int64_t *places)
{
    _Alignas(64) char scattered[TILE_BYTES];
    const Conv *c = p->c;
    const int64_t row = row_of(p, tile), plane = c->out_height * c->out_width;
    char *out = b->out + row * plane * p->size;
    GemmStrip strip = { .rows = row_of(p, tile + 1) - row,
                        .columns = count,
                        .steps = w->steps,
                        .a = w->weight + tile * p->kernels->rows * w->steps * p->size,
                        .a_row = 1,
                        .a_step = p->kernels->rows,
                        .b = panel,
                        .b_step = p->kernels->columns,
                        .panel = p->kernels->columns,
                        .c = scattered,
                        .c_row = p->kernels->columns,
                        .c_col = 1 };
    const void *bias = w->first ? bias_of(p, b, row) : NULL;
    const bool add = !w->first || c->add;
    if (!places) {
        strip.c = out + lk__conv_element(p, b, first) * p->size;
        strip.c_row = plane;
        strip.add = add || bias;
        if (bias) LK_REAL(c->dtype, fill_rows, strip.rows, count, bias, strip.c, plane);
    }
    p->kernels->strip(&strip);
    if (places)
        LK_REAL(c->dtype, scatter, strip.rows, count, scattered, p->kernels->columns, bias, add,
                places, out, plane);
}

/* Whether consecutive positions of a block are consecutive in y. */
static bool is_dense(const Plan *p, const Block *b)
{
    const Conv *c = p->c;
    return c->x.out_step == 1 &&
           (b->height == 1 || (c->y.out_step == 1 && b->width == c->out_width));
}

/* Computes tiles `tile` to `last` of all positions of the block, from a filled window. */
static void compute_packed(const Plan *p, const Block *b, const Part *w, int64_t tile,
                           int64_t last, char *own)
{
    enum { MOST_PANELS = 32 };
    const int64_t width = p->kernels->columns, positions = b->height * b->width;
    const int64_t panel_bytes = w->steps * width * p->size,
                  tile_bytes = w->steps * p->kernels->rows * p->size;
    /* so many tiles stay in the L2 cache. When there are more, several panels pass by them */
    const int64_t near = larger(1, PACKED_BYTES / tile_bytes);
    const int64_t panels =
        last - tile <= near ? 1 : larger(1, smaller(MOST_PANELS, PACKED_BYTES / panel_bytes));
    char *packed = own + p->window_bytes;
    const bool dense = is_dense(p, b);
    for (int64_t group = 0; group < positions; group += panels * width) {
        const int64_t end = smaller(group + panels * width, positions);
        for (int64_t first = group; first < end; first += width) {
            Run run[MOST_COLUMNS];
            int runs = lk__conv_runs(p, b, first, smaller(width, end - first), run);
            LK_REAL(p->c->dtype, pack_taps, own, w->steps, p->offset, runs, run, width,
                    packed + (first - group) / width * panel_bytes);
        }
        for (int64_t chunk = tile; chunk < last; chunk += near) {
            for (int64_t first = group; first < end; first += width) {
                const int64_t count = smaller(width, end - first);
                int64_t places[MOST_COLUMNS];
                for (int64_t j = 0; j < count && !dense; j++)
                    places[j] = lk__conv_element(p, b, first + j);
                for (int64_t i = chunk; i < smaller(chunk + near, last); i++)
                    compute_tile(p, b, w, i, packed + (first - group) / width * panel_bytes, first,
                                 count, dense ? NULL : places);
            }
        }
    }
}

/* Computes the same without packing. Two vectors at a time, from one row of positions or two. */
static void compute_unpacked(const Plan *p, const Block *b, const Part *w, int64_t tile,
                             int64_t last, const char *own)
{
    const Conv *c = p->c;
    const GemmKernels *k = p->kernels;
    GemmTapsFn *const compute_taps = lk__gemm_taps(c->dtype);
    const int64_t plane = c->out_height * c->out_width, row = lk__conv_window_row(p),
                  across = parts_of(b->width, k->lanes), vectors = b->height * across;
    for (int64_t first = 0; first < vectors; first += 2) {
        GemmTaps t = { .steps = w->steps,
                       .offset = p->offset,
                       .b = { own, own },
                       .c_row = plane,
                       .add = !w->first || c->add };
        char *out[2] = { NULL };
        for (int v = 0; v < 2 && first + v < vectors; v++) {
            int64_t y = (first + v) / across, x = (first + v) % across * k->lanes;
            t.b[v] = own + (y * row + x) * p->size;
            t.columns[v] = (int)smaller(k->lanes, b->width - x);
            out[v] = b->out + lk__conv_element(p, b, y * b->width + x) * p->size;
        }
        for (int64_t i = tile; i < last; i++) {
            t.rows = row_of(p, i + 1) - row_of(p, i);
            t.a = w->weight + i * k->rows * w->steps * p->size;
            t.bias = w->first ? bias_of(p, b, row_of(p, i)) : NULL;
            for (int v = 0; v < 2; v++)
                t.c[v] = t.columns[v] ? out[v] + row_of(p, i) * plane * p->size : NULL;
            compute_taps(&t);
        }
    }
}

/* Computes all rows of the block, which are few, from a filled window. */
static void compute_direct(const Plan *p, const Block *b, const Part *w, char *own)
{
    const Conv *c = p->c;
    const Direct d = {
        b->height, b->width, lk__conv_window_row(p), c->y.out_step * c->out_width, c->x.out_step,
        w->steps,  p->offset
    };
    for (int64_t row = 0; row < c->rows; row++) {
        char *out =
            b->out + (row * c->out_height * c->out_width + lk__conv_element(p, b, 0)) * p->size;
        LK_REAL(c->dtype, direct_rows, &d, own, w->weight + row * p->size, p->kernels->rows,
                w->first ? bias_of(p, b, row) : NULL, !w->first || c->add, out);
    }
}

static void compute(const Plan *p, int64_t task, char *own)
{
    const Conv *c = p->c;
    const int64_t blocks = p->down * p->across, tiles = tile_count(p);
    const int64_t chunk = task % p->chunks, number = task / p->chunks % blocks,
                  plane = task / p->chunks / blocks;
    Block b = lk__conv_block(p, plane / c->groups, plane % c->groups, number);
    for (int64_t part = 0; part < p->parts; part++) {
        Part w = part_of(p, b.group, part);
        lk__conv_fill(p, &b, part * p->depth, w.steps / p->taps, own);
        const int64_t tile = cut(tiles, p->chunks, chunk), last = cut(tiles, p->chunks, chunk + 1);
        if (c->rows <= FEW_ROWS && tiles == 1) compute_direct(p, &b, &w, own);
        else if (p->unpacked) compute_unpacked(p, &b, &w, tile, last, own);
        else compute_packed(p, &b, &w, tile, last, own);
    }
}

size_t lk__conv_workspace(const Conv *c, int threads)
{
    Plan p = plan_forward(c);
    return lk__conv_plan_bytes(&p, threads);
}

void lk__conv(const Conv *c, int threads, void *workspace)
{
    (void)threads; /* without OpenMP there is one */
    Plan p = plan_forward(c);
    lk__conv_place(&p, workspace);
    const int64_t tiles = c->groups * p.parts * tile_count(&p);
    const int64_t tasks = c->n * c->groups * p.down * p.across * p.chunks;
#pragma omp parallel num_threads(threads) if (threads > 1 && lk__conv_is_large(&p))
    {
        char *own = p.own + lk__thread() * p.own_bytes;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++) pack_tile(&p, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tasks; i++) compute(&p, i, own);
    }
}
