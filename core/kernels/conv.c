/* conv.c - convolutions in pieces that fit the caches.
 *
 * A task is a block of output positions of one image and group. For some channels at a time, it
 * copies the part of x that the block reads, with the zeros around x, into a window. There a tap
 * is a distance from a position, the same for all positions. So a panel of patches is packed from
 * runs of consecutive elements. A panel stays in the L1 cache while the packed tiles of W pass by.
 * With one or two rows, packing would take longer than the products: `direct_row` reads the window
 * itself.
 *
 * A task of lk__conv_weight is some channels of x and some images. It goes through all positions
 * of these images. When several tasks compute one part of W's gradient, each has a copy of its
 * own, and the copies are summed in their order. */
#include "core/kernels/conv.h"

#include <string.h>

#include "core/internal.h"
#include "core/kernels/gemm_kernels.h"

enum {
    STEP_BYTES = 1536,        /* steps of a panel at a time, as in gemm.c: 384 of float32 */
    WINDOW_BYTES = 128 << 10, /* of the window, and of packed panels or tiles: */
    PACKED_BYTES = 128 << 10, /* together half of a small L2 cache */
    SUMS_BYTES = 256 << 10,   /* of W's gradient that one task computes */
    SLACK_BYTES = 256,        /* behind the window and the panels: whole vectors are copied */
    TASKS = 16,               /* at least so many, where the sizes allow */
    FEW_ROWS = 2,             /* rows that are computed without packing */
    TILE_BYTES = 16 << 10,    /* room for any tile */
    MOST_COLUMNS = 64,        /* of any panel */
};

/* Where the window lies in x, and how its elements lie. An x stride of several is taken apart: a
 * row of the window has `phases` rows, each with every so manieth element of x. */
typedef struct Window {
    int64_t in_height, in_width, top, left;
    int64_t width, phases, plane; /* of a row; rows of a row; elements of a channel */
} Window;

/* Elements that follow each other both in the window and where they are packed. */
typedef struct Run {
    int32_t from, to, length;
} Run;

/* A block of positions for direct_rows. */
typedef struct Direct {
    int64_t rows, columns, row; /* row: elements of the window from one row to the next */
    int64_t out_row, out_step;
    int64_t steps;
    const int32_t *offset;
} Direct;

#define LK_REAL_SOURCE "core/kernels/conv_real.h"
#include "core/real.h"

typedef struct Plan {
    const Conv *c;
    const GemmKernels *kernels;
    int64_t size, taps;
    int64_t depth, parts;                /* channels at a time, and how often */
    int64_t first_y, first_x;            /* smallest offsets */
    int64_t reach_y, reach_x;            /* largest offsets from these */
    int64_t height, width, down, across; /* of a block; blocks */
    int64_t chunks, pieces;              /* of rows or channels; of the images */
    int64_t steps;                       /* positions at a time, in lk__conv_weight */
    Window window;
    int64_t window_bytes, packed_bytes, panel_bytes, own_bytes; /* of a thread */
    int64_t weight_bytes; /* of the packed W, or of the copies of its gradient */
    char *weight, *own;
    int32_t *offset;
} Plan;

/* A block of positions of one image and group. */
typedef struct Block {
    int64_t image, group, y, x, height, width;
    const char *source; /* the first channel of the group */
    char *out;          /* the first row of the group */
} Block;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t parts_of(int64_t n, int64_t most) { return (n + most - 1) / most; }
static int64_t cut(int64_t n, int64_t parts, int64_t i)
{
    return n / parts * i + n % parts * i / parts;
}
static int64_t round_up(int64_t n, int64_t unit) { return parts_of(n, unit) * unit; }

/* ---- the plan ------------------------------------------------------------------------------- */

static void reach_of(const ConvAxis *a, int64_t *first, int64_t *reach)
{
    int64_t last = a->offset + (a->taps - 1) * a->offset_step;
    *first = smaller(a->offset, last);
    *reach = larger(a->offset, last) - *first;
}

static int64_t window_width(const Plan *p, int64_t columns)
{
    return columns + p->reach_x / p->c->x.stride;
}

/* The bytes of a window of all channels at a time, for so many rows and columns of positions. */
static int64_t window_bytes(const Plan *p, int64_t rows, int64_t columns)
{
    int64_t height = (rows - 1) * p->c->y.stride + p->reach_y + 1;
    return p->depth * height * p->c->x.stride * window_width(p, columns) * p->size;
}

/* Chooses the block: all positions, or some rows, or a part of a row. */
static void choose_block(Plan *p, int64_t most_rows)
{
    const Conv *c = p->c;
    const int64_t panel = p->kernels->columns, fair = smaller(c->x.out, 4 * panel);
    for (;; p->depth = parts_of(p->depth, 2)) {
        p->height = smaller(c->y.out, most_rows);
        p->width = c->x.out;
        while (p->height > 1 && window_bytes(p, p->height, p->width) > WINDOW_BYTES) p->height--;
        while (p->width > panel && window_bytes(p, 1, p->width) > WINDOW_BYTES)
            p->width = round_up(p->width / 2, panel);
        if (p->depth == 1 || p->width >= fair) break;
    }
    p->down = parts_of(c->y.out, p->height);
    p->across = parts_of(c->x.out, p->width);
    p->height = parts_of(c->y.out, p->down);
    p->parts = parts_of(c->channels, p->depth);
    p->depth = parts_of(c->channels, p->parts);
    p->window = (Window){ .in_height = c->y.in, .in_width = c->x.in, .phases = c->x.stride };
    p->window.width = window_width(p, p->width);
    p->window.plane =
        ((p->height - 1) * c->y.stride + p->reach_y + 1) * p->window.phases * p->window.width;
    p->window_bytes = round_up(p->depth * p->window.plane * p->size + SLACK_BYTES, 64);
}

static Plan plan_of(const Conv *c)
{
    Plan p = { .c = c,
               .kernels = lk__gemm_kernels(c->dtype),
               .size = (int64_t)lk_dtype_size(c->dtype),
               .taps = c->y.taps * c->x.taps,
               .chunks = 1,
               .pieces = 1 };
    reach_of(&c->y, &p.first_y, &p.reach_y);
    reach_of(&c->x, &p.first_x, &p.reach_x);
    return p;
}

static int64_t tile_count(const Plan *p) { return parts_of(p->c->rows, p->kernels->rows); }

/* The bytes of the packed W for so many channels. */
static int64_t tiles_bytes(const Plan *p, int64_t channels)
{
    return tile_count(p) * p->kernels->rows * channels * p->taps * p->size;
}

static Plan plan_forward(const Conv *c)
{
    Plan p = plan_of(c);
    const int64_t panel = p.kernels->columns, work = c->n * c->groups;
    p.depth = larger(1, smaller(c->channels, STEP_BYTES / p.size / p.taps));
    p.depth = parts_of(c->channels, parts_of(c->channels, p.depth));
    int64_t most_rows = c->y.out;
    if (work < TASKS) /* more blocks, but none of less than two panels */
        most_rows = larger(parts_of(c->y.out * work, TASKS), parts_of(2 * panel, c->x.out));
    choose_block(&p, most_rows);
    const int64_t tasks = work * p.down * p.across;
    if (tasks < TASKS) p.chunks = smaller(parts_of(TASKS, tasks), larger(1, tile_count(&p) / 4));
    p.panel_bytes = p.depth * p.taps * panel * p.size;
    p.packed_bytes = round_up(larger(PACKED_BYTES, p.panel_bytes) + SLACK_BYTES, 64);
    p.weight_bytes = round_up(c->groups * tiles_bytes(&p, c->channels), 64);
    p.own_bytes = p.window_bytes + p.packed_bytes;
    return p;
}

static Plan plan_weight(const Conv *c)
{
    Plan p = plan_of(c);
    const int64_t panel = p.kernels->columns, columns = c->channels * p.taps;
    p.steps = STEP_BYTES / p.size;
    p.chunks = parts_of(c->channels, larger(1, SUMS_BYTES / (c->rows * p.taps * p.size)));
    if (c->groups * p.chunks < TASKS) {
        int64_t more = smaller(parts_of(TASKS, c->groups), columns / (8 * panel));
        p.chunks = smaller(c->channels, larger(p.chunks, more));
        p.pieces = smaller(c->n, parts_of(TASKS, c->groups * p.chunks));
    }
    p.depth = parts_of(c->channels, p.chunks);
    choose_block(&p, c->y.out);
    p.chunks = p.parts;
    p.panel_bytes = p.steps * panel * p.size;
    p.packed_bytes = round_up(PACKED_BYTES, 64);
    p.weight_bytes =
        p.pieces > 1 ? round_up(p.pieces * c->groups * c->rows * columns * p.size, 64) : 0;
    int64_t runs = p.steps * (int64_t)sizeof(Run);
    p.own_bytes =
        p.window_bytes + p.packed_bytes + round_up(p.panel_bytes + SLACK_BYTES + runs, 64);
    return p;
}

static size_t workspace_of(const Plan *p, int threads)
{
    int64_t offsets = round_up(p->depth * p->taps * (int64_t)sizeof(int32_t), 64);
    return (size_t)(p->weight_bytes + offsets + threads * p->own_bytes);
}

/* Gives the plan its memory, and computes where each tap lies in the window. */
static void place(Plan *p, void *workspace)
{
    const Conv *c = p->c;
    p->weight = workspace;
    p->offset = (int32_t *)(void *)(p->weight + p->weight_bytes);
    p->own = (char *)p->offset + round_up(p->depth * p->taps * (int64_t)sizeof(int32_t), 64);
    int32_t *at = p->offset;
    for (int64_t i = 0; i < p->depth; i++) {
        for (int64_t y = 0; y < c->y.taps; y++) {
            int64_t down = c->y.offset + y * c->y.offset_step - p->first_y;
            for (int64_t x = 0; x < c->x.taps; x++) {
                int64_t right = c->x.offset + x * c->x.offset_step - p->first_x;
                int64_t row = down * p->window.phases + right % p->window.phases;
                *at++ = (int32_t)(i * p->window.plane + row * p->window.width +
                                  right / p->window.phases);
            }
        }
    }
}

/* ---- blocks --------------------------------------------------------------------------------- */

static Block block_of(const Plan *p, int64_t image, int64_t group, int64_t number)
{
    const Conv *c = p->c;
    Block b = { .image = image, .group = group };
    b.y = number / p->across * p->height;
    b.x = number % p->across * p->width;
    b.height = smaller(p->height, c->y.out - b.y);
    b.width = smaller(p->width, c->x.out - b.x);
    int64_t plane = image * c->groups + group;
    b.source = (const char *)c->source + plane * c->channels * c->y.in * c->x.in * p->size;
    b.out = (char *)c->out + plane * c->rows * c->out_height * c->out_width * p->size;
    return b;
}

static void fill(const Plan *p, const Block *b, int64_t channel, int64_t channels, char *own)
{
    const Conv *c = p->c;
    Window w = p->window;
    w.top = b->y * c->y.stride + p->first_y;
    w.left = b->x * c->x.stride + p->first_x;
    LK_REAL(c->dtype, fill_window, &w, (b->height - 1) * c->y.stride + p->reach_y + 1,
            b->source + channel * c->y.in * c->x.in * p->size, channels, own);
}

/* The elements from one row of positions to the next in the window. */
static int64_t window_row(const Plan *p)
{
    return p->c->y.stride * p->window.phases * p->window.width;
}

/* Finds the runs of `count` positions of the block from `first` on; returns their number. */
static int runs_of(const Plan *p, const Block *b, int64_t first, int64_t count, Run *run)
{
    const int64_t row = window_row(p);
    int runs = 0;
    for (int64_t at = 0; at < count;) {
        int64_t y = (first + at) / b->width, x = (first + at) % b->width;
        int64_t length = smaller(b->width - x, count - at);
        run[runs++] = (Run){ (int32_t)(y * row + x), (int32_t)at, (int32_t)length };
        at += length;
    }
    return runs;
}

/* The element of y that belongs to a position of the block. */
static int64_t place_of(const Plan *p, const Block *b, int64_t position)
{
    const Conv *c = p->c;
    int64_t y = b->y + position / b->width, x = b->x + position % b->width;
    return (c->y.out_first + y * c->y.out_step) * c->out_width + c->x.out_first +
           x * c->x.out_step;
}

/* The first row of tile i, when the rows are cut into tiles of nearly equal height. */
static int64_t row_of(const Plan *p, int64_t i)
{
    int64_t tiles = tile_count(p), height = p->c->rows / tiles, higher = p->c->rows % tiles;
    return height * i + smaller(i, higher);
}

/* ---- y -------------------------------------------------------------------------------------- */

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
        strip.c = out + place_of(p, b, first) * p->size;
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
            int runs = runs_of(p, b, first, smaller(width, end - first), run);
            LK_REAL(p->c->dtype, pack_taps, own, w->steps, p->offset, runs, run, width,
                    packed + (first - group) / width * panel_bytes);
        }
        for (int64_t chunk = tile; chunk < last; chunk += near) {
            for (int64_t first = group; first < end; first += width) {
                const int64_t count = smaller(width, end - first);
                int64_t places[MOST_COLUMNS];
                for (int64_t j = 0; j < count && !dense; j++)
                    places[j] = place_of(p, b, first + j);
                for (int64_t i = chunk; i < smaller(chunk + near, last); i++)
                    compute_tile(p, b, w, i, packed + (first - group) / width * panel_bytes, first,
                                 count, dense ? NULL : places);
            }
        }
    }
}

/* Computes all rows of the block, which are few, from a filled window. */
static void compute_direct(const Plan *p, const Block *b, const Part *w, char *own)
{
    const Conv *c = p->c;
    const Direct d = { b->height,     b->width, window_row(p), c->y.out_step * c->out_width,
                       c->x.out_step, w->steps, p->offset };
    for (int64_t row = 0; row < c->rows; row++) {
        char *out = b->out + (row * c->out_height * c->out_width + place_of(p, b, 0)) * p->size;
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
    Block b = block_of(p, plane / c->groups, plane % c->groups, number);
    for (int64_t part = 0; part < p->parts; part++) {
        Part w = part_of(p, b.group, part);
        fill(p, &b, part * p->depth, w.steps / p->taps, own);
        if (c->rows <= FEW_ROWS && tiles == 1) compute_direct(p, &b, &w, own);
        else
            compute_packed(p, &b, &w, cut(tiles, p->chunks, chunk),
                           cut(tiles, p->chunks, chunk + 1), own);
    }
}

size_t lk__conv_workspace(const Conv *c, int threads)
{
    Plan p = plan_forward(c);
    return workspace_of(&p, threads);
}

/* The multiply-adds that take longer than waking the threads up. */
static bool is_worth_threads(const Plan *p)
{
    const Conv *c = p->c;
    return (double)(c->n * c->groups * c->rows * c->channels) * (double)p->taps *
               (double)(c->y.out * c->x.out) >
           1 << 18;
}

void lk__conv(const Conv *c, int threads, void *workspace)
{
    Plan p = plan_forward(c);
    place(&p, workspace);
    const int64_t tiles = c->groups * p.parts * tile_count(&p);
    const int64_t tasks = c->n * c->groups * p.down * p.across * p.chunks;
    const bool together = threads > 1 && is_worth_threads(&p);
#pragma omp parallel num_threads(threads) if (together)
    {
        char *own = p.own + lk__thread() * p.own_bytes;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++) pack_tile(&p, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tasks; i++) compute(&p, i, own);
    }
}

/* ---- w -------------------------------------------------------------------------------------- */

/* Where a task adds up its channels of a group. */
typedef struct Sums {
    char *data; /* the first row, the first of its channels */
    int64_t row, columns;
    bool add;
} Sums;

/* Adds the positions first, first + 1, … of the block, from a filled window. */
static void add_positions(const Plan *p, const Block *b, int64_t first, int64_t count,
                          const Sums *sums, char *own)
{
    const Conv *c = p->c;
    const GemmKernels *k = p->kernels;
    char *tiles = own + p->window_bytes, *panel = tiles + p->packed_bytes;
    Run *run = (Run *)(void *)(panel + p->panel_bytes + SLACK_BYTES);
    const int runs = runs_of(p, b, first, count, run);
    const int64_t plane = c->out_height * c->out_width, tile_bytes = k->rows * count * p->size;
    const char *out = b->out + place_of(p, b, first) * p->size;
    if (c->rows <= FEW_ROWS) {
        for (int64_t i = 0; i < c->rows; i++)
            LK_REAL(c->dtype, direct_weight, own, sums->columns, p->offset, runs, run,
                    out + i * plane * p->size, sums->add, sums->data + i * sums->row * p->size);
        return;
    }
    const int64_t near = larger(1, PACKED_BYTES / tile_bytes), last = tile_count(p);
    for (int64_t chunk = 0; chunk < last; chunk += near) {
        const int64_t end = smaller(chunk + near, last);
        for (int64_t i = chunk; i < end; i++)
            LK_REAL(c->dtype, pack, row_of(p, i + 1) - row_of(p, i), count,
                    out + row_of(p, i) * plane * p->size, plane, 1,
                    tiles + (i - chunk) * tile_bytes, k->rows);
        for (int64_t q = 0; q < sums->columns; q += k->columns) {
            const int64_t taps = smaller(k->columns, sums->columns - q);
            LK_REAL(c->dtype, pack_positions, own, taps, p->offset + q, runs, run, k->columns,
                    panel);
            for (int64_t i = chunk; i < end; i++) {
                GemmStrip strip = {
                    .rows = row_of(p, i + 1) - row_of(p, i),
                    .columns = taps,
                    .steps = count,
                    .a = tiles + (i - chunk) * tile_bytes,
                    .a_row = 1,
                    .a_step = k->rows,
                    .b = panel,
                    .b_step = k->columns,
                    .panel = k->columns,
                    .c = sums->data + (row_of(p, i) * sums->row + q) * p->size,
                    .c_row = sums->row,
                    .c_col = 1,
                    .add = sums->add,
                };
                k->strip(&strip);
            }
        }
    }
}

static void compute_weight(const Plan *p, int64_t task, char *own)
{
    const Conv *c = p->c;
    const int64_t chunk = task % p->chunks, group = task / p->chunks % c->groups,
                  piece = task / p->chunks / c->groups;
    const int64_t from = chunk * p->depth, channels = smaller(p->depth, c->channels - from);
    Sums sums = { .row = c->channels * p->taps, .columns = channels * p->taps };
    sums.data =
        p->pieces > 1 ? p->weight + piece * c->groups * c->rows * sums.row * p->size : c->weight;
    sums.data += (group * c->rows * sums.row + from * p->taps) * p->size;
    sums.add = p->pieces == 1 && c->add;
    for (int64_t n = cut(c->n, p->pieces, piece); n < cut(c->n, p->pieces, piece + 1); n++) {
        for (int64_t i = 0; i < p->down * p->across; i++) {
            Block b = block_of(p, n, group, i);
            fill(p, &b, from, channels, own);
            const int64_t positions = b.height * b.width, times = parts_of(positions, p->steps);
            for (int64_t j = 0; j < times; j++) {
                int64_t first = cut(positions, times, j);
                add_positions(p, &b, first, cut(positions, times, j + 1) - first, &sums, own);
                sums.add = true;
            }
        }
    }
}

size_t lk__conv_weight_workspace(const Conv *c, int threads)
{
    Plan p = plan_weight(c);
    return workspace_of(&p, threads);
}

void lk__conv_weight(const Conv *c, int threads, void *workspace)
{
    Plan p = plan_weight(c);
    place(&p, workspace);
    const int64_t tasks = p.pieces * c->groups * p.chunks,
                  elements = c->groups * c->rows * c->channels * p.taps;
    const bool together = threads > 1 && is_worth_threads(&p);
#pragma omp parallel for schedule(static) num_threads(threads) if (together)
    for (int64_t i = 0; i < tasks; i++) compute_weight(&p, i, p.own + lk__thread() * p.own_bytes);
    for (int64_t s = 0; s < p.pieces && p.pieces > 1; s++)
        LK_REAL(c->dtype, add_piece, elements, p.weight + s * elements * p.size, c->add || s > 0,
                c->weight);
}
