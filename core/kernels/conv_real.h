/* conv_real.h - packs patches in the order in which the kernels read them, and convolves few rows
 * directly, in `real` (core/real.h). */
#include "core/kernels/gemm_pack_real.h"

typedef real LK_F(Native) __attribute__((vector_size(LK_VECTOR_BYTES)));

/* ---- packing -------------------------------------------------------------------------------- */

/* Copies `count` vectors for each step. A constant count keeps the distances in registers. */
static LK_ALWAYS_INLINE void LK_F(copy_steps)(int count, const real *window, int64_t steps,
                                              const int32_t *offset, const int32_t *from,
                                              const int32_t *to, int64_t panel, real *y)
{
    for (int64_t q = 0; q < steps; q++, y += panel) {
        const real *x = window + offset[q];
        LK_UNROLL
        for (int i = 0; i < count; i++) memcpy(y + to[i], x + from[i], LK_VECTOR_BYTES);
    }
}

/* Packs taps as the steps of a panel, positions side by side: to[q panel + run.to + j] =
 * window[offset[q] + run.from + j]. A run is copied in whole vectors. The next run, or the next
 * step, overwrites what is too much. */
static void LK_F(pack_taps)(const void *window, int64_t steps, const int32_t *offset, int runs,
                            const Run *run, int64_t panel, void *to)
{
    enum { VECTOR = LK_VECTOR_BYTES / sizeof(real) };
    int32_t from[MOST_COLUMNS], at[MOST_COLUMNS];
    int count = 0;
    for (int r = 0; r < runs; r++) {
        for (int32_t j = 0; j < run[r].length; j += VECTOR, count++) {
            from[count] = run[r].from + j;
            at[count] = run[r].to + j;
        }
    }
#define CASE(count) \
    case count: LK_F(copy_steps)(count, window, steps, offset, from, at, panel, to); break;
    /* clang-format off */
    switch (count) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
    default: LK_F(copy_steps)(count, window, steps, offset, from, at, panel, to);
    }
/* clang-format on */
#undef CASE
}

/* Packs rows of the weight: to[q to_step + i] = the weight of row i and tap q of channels. Taps
 * that follow each other in the weight are packed in one go. */
static void LK_F(pack_weight)(const Conv *c, const void *weight, int64_t rows, int64_t channels,
                              void *to, int64_t to_step)
{
    const ConvAxis *y = &c->y, *x = &c->x;
    int64_t across = x->taps, down = y->taps;
    if (x->taps == c->w_down && x->kernel_step == 1 && y->kernel_step == 1) {
        across *= down;
        down = 1;
        if (c->w_channel == across) across *= channels, channels = 1;
    }
    real *at = to;
    for (int64_t i = 0; i < channels; i++) {
        for (int64_t j = 0; j < down; j++, at += across * to_step) {
            const real *from = (const real *)weight + i * c->w_channel +
                               (y->kernel + j * y->kernel_step) * c->w_down + x->kernel;
            LK_F(pack)(rows, across, from, c->w_row, x->kernel_step, at, to_step);
        }
    }
}

/* ---- results -------------------------------------------------------------------------------- */

static void LK_F(fill_rows)(int64_t rows, int64_t columns, const void *bias, void *y, int64_t row)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            ((real *)y)[i * row + j] = bias ? ((const real *)bias)[i] : 0;
}

/* Adds a tile to scattered places of y, or writes it there, with the bias if there is one. */
static void LK_F(scatter)(int64_t rows, int64_t columns, const void *tile, int64_t width,
                          const void *bias, bool add, const int64_t *place, void *y, int64_t row)
{
    for (int64_t i = 0; i < rows; i++) {
        const real *from = (const real *)tile + i * width;
        real *to = (real *)y + i * row;
        const real b = bias ? ((const real *)bias)[i] : 0;
        for (int64_t j = 0; j < columns; j++) to[place[j]] = (add ? to[place[j]] : b) + from[j];
    }
}

/* ---- few rows ------------------------------------------------------------------------------- */

/* y[r][j] = bias + Σq weight[q w_step] window[r row + offset[q] + j] for the rows and columns of a
 * block, without a copy of patches; added to y with `add`. The window has room for reading on
 * behind its end. */
static void LK_F(direct_rows)(const Direct *d, const void *window, const void *weight,
                              int64_t w_step, const void *bias, bool add, void *out)
{
    enum { VECTORS = 4, AT_ONCE = VECTORS * LK_VECTOR_BYTES / sizeof(real) };
    const real *w = weight, b = bias ? *(const real *)bias : 0;
    for (int64_t r = 0; r < d->rows; r++) {
        for (int64_t j = 0; j < d->columns; j += AT_ONCE) {
            const real *x = (const real *)window + r * d->row + j;
            real *y = (real *)out + r * d->out_row + j * d->out_step, done[AT_ONCE];
            LK_F(Native) sum[VECTORS];
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++) sum[v] = (LK_F(Native)){ 0 };
            for (int64_t q = 0; q < d->steps; q++) {
                const real *from = x + d->offset[q], wq = w[q * w_step];
                LK_UNROLL
                for (int v = 0; v < VECTORS; v++) {
                    LK_F(Native) in;
                    memcpy(&in, from + v * (AT_ONCE / VECTORS), sizeof in);
                    sum[v] += in * wq;
                }
            }
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++)
                memcpy(done + v * (AT_ONCE / VECTORS), &sum[v], sizeof sum[v]);
            const int64_t left = d->columns - j < AT_ONCE ? d->columns - j : AT_ONCE;
            if (d->out_step == 1 && !add)
                for (int64_t i = 0; i < left; i++) y[i] = b + done[i];
            else
                for (int64_t i = 0; i < left; i++)
                    y[i * d->out_step] = (add ? y[i * d->out_step] : b) + done[i];
        }
    }
}
