/* conv_weight.c - the gradient of a convolution's weight.
 *
 * A task is some channels of x and some images. It goes through all positions of these images,
 * which are the steps of the product. When several tasks compute one part of the gradient, each
 * has a copy of its own, and the copies are summed in their order. */
#include "core/internal.h"
#include "core/kernels/conv_plan.h"

#define LK_REAL_SOURCE "core/kernels/conv_weight_real.h"
#include "core/real.h"

enum { SUMS_BYTES = 256 << 10 }; /* of the gradient that one task computes */

static Plan plan_weight(const Conv *c)
{
    Plan p = lk__conv_plan(c);
    const int64_t panel = p.kernels->columns, columns = c->channels * p.taps;
    p.steps = STEP_BYTES / p.size;
    p.chunks = parts_of(c->channels, larger(1, SUMS_BYTES / (c->rows * p.taps * p.size)));
    if (c->groups * p.chunks < TASKS) {
        int64_t more = smaller(parts_of(TASKS, c->groups), columns / (8 * panel));
        p.chunks = smaller(c->channels, larger(p.chunks, more));
        p.pieces = smaller(c->n, parts_of(TASKS, c->groups * p.chunks));
    }
    p.depth = parts_of(c->channels, p.chunks);
    lk__conv_choose_block(&p, c->y.out);
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
    const int runs = lk__conv_runs(p, b, first, count, run);
    const int64_t plane = c->out_height * c->out_width, tile_bytes = k->rows * count * p->size;
    const char *out = b->out + lk__conv_element(p, b, first) * p->size;
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
            Block b = lk__conv_block(p, n, group, i);
            lk__conv_fill(p, &b, from, channels, own);
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
    return lk__conv_plan_bytes(&p, threads);
}

void lk__conv_weight(const Conv *c, int threads, void *workspace)
{
    (void)threads; /* without OpenMP there is one */
    Plan p = plan_weight(c);
    lk__conv_place(&p, workspace);
    const int64_t tasks = p.pieces * c->groups * p.chunks,
                  elements = c->groups * c->rows * c->channels * p.taps;
#pragma omp parallel for schedule(static) \
    num_threads(threads) if (threads > 1 && lk__conv_is_large(&p))
    for (int64_t i = 0; i < tasks; i++) compute_weight(&p, i, p.own + lk__thread() * p.own_bytes);
    for (int64_t s = 0; s < p.pieces && p.pieces > 1; s++)
        LK_REAL(c->dtype, add_piece, elements, p.weight + s * elements * p.size, c->add || s > 0,
                c->weight);
}
