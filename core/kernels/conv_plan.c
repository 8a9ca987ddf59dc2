/* conv_plan.c - the pieces of a convolution. */
#include "core/kernels/conv_plan.h"

#include <string.h>

#define LK_REAL_SOURCE "core/kernels/conv_window_real.h"
#include "core/real.h"

static void reach_of(const ConvAxis *a, int64_t *first, int64_t *reach)
{
    int64_t last = a->offset + (a->taps - 1) * a->offset_step;
    *first = smaller(a->offset, last);
    *reach = larger(a->offset, last) - *first;
}

Plan lk__conv_plan(const Conv *c)
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

void lk__conv_choose_block(Plan *p, int64_t most_rows)
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

size_t lk__conv_plan_bytes(const Plan *p, int threads)
{
    int64_t offsets = round_up(p->depth * p->taps * (int64_t)sizeof(int32_t), 64);
    return (size_t)(p->weight_bytes + offsets + threads * p->own_bytes);
}

void lk__conv_place(Plan *p, void *workspace)
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

bool lk__conv_is_large(const Plan *p)
{
    const Conv *c = p->c;
    return (double)(c->n * c->groups * c->rows * c->channels) * (double)p->taps *
               (double)(c->y.out * c->x.out) >
           1 << 18;
}

/* ---- blocks --------------------------------------------------------------------------------- */

Block lk__conv_block(const Plan *p, int64_t image, int64_t group, int64_t number)
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

void lk__conv_fill(const Plan *p, const Block *b, int64_t channel, int64_t channels, char *window)
{
    const Conv *c = p->c;
    Window w = p->window;
    w.top = b->y * c->y.stride + p->first_y;
    w.left = b->x * c->x.stride + p->first_x;
    LK_REAL(c->dtype, fill_window, &w, (b->height - 1) * c->y.stride + p->reach_y + 1,
            b->source + channel * c->y.in * c->x.in * p->size, channels, window);
}

int64_t lk__conv_window_row(const Plan *p)
{
    return p->c->y.stride * p->window.phases * p->window.width;
}

int lk__conv_runs(const Plan *p, const Block *b, int64_t first, int64_t count, Run *run)
{
    const int64_t row = lk__conv_window_row(p);
    int runs = 0;
    for (int64_t at = 0; at < count;) {
        int64_t y = (first + at) / b->width, x = (first + at) % b->width;
        int64_t length = smaller(b->width - x, count - at);
        run[runs++] = (Run){ (int32_t)(y * row + x), (int32_t)at, (int32_t)length };
        at += length;
    }
    return runs;
}

int64_t lk__conv_element(const Plan *p, const Block *b, int64_t position)
{
    const Conv *c = p->c;
    int64_t y = b->y + position / b->width, x = b->x + position % b->width;
    return (c->y.out_first + y * c->y.out_step) * c->out_width + c->x.out_first +
           x * c->x.out_step;
}
