/* conv_plan.h - how a convolution is cut into pieces that fit the caches; shared by conv.c and
 * conv_weight.c.
 *
 * A block is some output positions of one image and group. The part of x that it reads, with the
 * zeros around x, is copied into a window, for some channels at a time. There a tap is a distance
 * from a position, the same for all positions. So patches are copied from runs of consecutive
 * elements. */
#ifndef LK_CONV_PLAN_H
#define LK_CONV_PLAN_H

#include "core/kernels/conv.h"
#include "core/kernels/gemm_kernels.h"
#include "core/kernels/pieces.h"

enum {
    STEP_BYTES = 1536,        /* steps of a panel at a time, as in gemm.c: 384 of float32 */
    WINDOW_BYTES = 128 << 10, /* of the window, and of packed panels or tiles: */
    PACKED_BYTES = 128 << 10, /* together half of a small L2 cache */
    SLACK_BYTES = 256,        /* behind the window and the panels: whole vectors are copied */
    TASKS = 16,               /* at least so many, where the sizes allow */
    FEW_ROWS = 2,             /* rows that are computed without packing */
    MOST_COLUMNS = 64,        /* of any panel */
};

/* Where the window lies in x, and how its elements lie. With an x stride of several, a row of the
 * window is taken apart into so many phases: elements 0, stride, 2 stride, … come first, then 1,
 * 1 + stride, …. So the positions of a tap always follow each other. */
typedef struct Window {
    int64_t in_height, in_width, top, left;
    int64_t width, phases, plane; /* of a row; rows of a row; elements of a channel */
} Window;

/* Elements that follow each other both in the window and where they are packed. */
typedef struct Run {
    int32_t from, to, length;
} Run;

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
    bool unpacked;                       /* lk__conv reads the window itself */
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

/* The rows are cut into tiles of nearly equal height; the first row of tile i. */
static inline int64_t tile_count(const Plan *p) { return parts_of(p->c->rows, p->kernels->rows); }
static inline int64_t row_of(const Plan *p, int64_t i)
{
    int64_t tiles = tile_count(p), height = p->c->rows / tiles, higher = p->c->rows % tiles;
    return height * i + smaller(i, higher);
}

/* Begins a plan. The caller sets depth, calls lk__conv_choose_block, and sets the bytes. */
Plan lk__conv_plan(const Conv *c);
/* Chooses the block: all positions, or some rows of at most most_rows, or a part of a row; depth
 * and parts; and the window. */
void lk__conv_choose_block(Plan *p, int64_t most_rows);
/* The bytes of workspace for all threads. */
size_t lk__conv_plan_bytes(const Plan *p, int threads);
/* Gives the plan its workspace, and computes where each tap lies in the window. */
void lk__conv_place(Plan *p, void *workspace);
/* Whether the products take longer than waking the threads up. */
bool lk__conv_is_large(const Plan *p);

Block lk__conv_block(const Plan *p, int64_t image, int64_t group, int64_t number);
/* Fills the window with channels of the block. */
void lk__conv_fill(const Plan *p, const Block *b, int64_t channel, int64_t channels, char *window);
/* Finds the runs of `count` positions of the block from `first` on; returns their number. */
int lk__conv_runs(const Plan *p, const Block *b, int64_t first, int64_t count, Run *run);
/* The elements from one row of positions to the next in the window. */
int64_t lk__conv_window_row(const Plan *p);
/* The element of y that belongs to a position of the block. */
int64_t lk__conv_element(const Plan *p, const Block *b, int64_t position);

#endif
