/* conv_weight_real.h - the gradient of a convolution's weight, in `real` (core/real.h). */
#include "core/kernels/gemm_pack_real.h"

typedef real LK_F(Native) __attribute__((vector_size(LK_VECTOR_BYTES)));

/* Packs positions as the steps of a panel, taps side by side: to[(run.to + j) panel + i] =
 * window[offset[i] + run.from + j]. */
static void LK_F(pack_positions)(const void *window, int64_t taps, const int32_t *offset, int runs,
                                 const Run *run, int64_t panel, void *to)
{
    enum { SIDE = LK_F(LANES) };
    for (int r = 0; r < runs; r++) {
        const real *x = (const real *)window + run[r].from;
        real *y = (real *)to + run[r].to * panel;
        const int64_t length = run[r].length;
        const bool whole = length >= SIDE && taps >= SIDE;
        for (int64_t i = 0; i < taps; i += whole ? SIDE : 1) {
            /* the last square may overlap the one before */
            const int64_t first = whole && i + SIDE > taps ? taps - SIDE : i;
            const real *from[SIDE];
            for (int l = 0; l < SIDE && whole; l++) from[l] = x + offset[first + l];
            for (int64_t j = 0; j < length && whole; j += SIDE) {
                const int64_t at = j + SIDE > length ? length - SIDE : j;
                LK_F(transpose)(from, at, y + at * panel + first, panel);
            }
            for (int64_t j = 0; j < length && !whole; j++) y[j * panel + i] = x[offset[i] + j];
        }
    }
}

/* dw[q] = Σ dy[run.to + j] window[offset[q] + run.from + j], added to dw or in place of it. */
static void LK_F(direct_weight)(const void *window, int64_t steps, const int32_t *offset, int runs,
                                const Run *run, const void *dy, bool add, void *to)
{
    enum { LANES_EACH = LK_VECTOR_BYTES / sizeof(real), VECTORS = LK_LANES / LANES_EACH };
    real *dw = to;
    for (int64_t q = 0; q < steps; q++) {
        const real *from = (const real *)window + offset[q];
        LK_F(Native) parts[VECTORS], a, b;
        real total = 0, lanes[LK_LANES];
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) parts[v] = (LK_F(Native)){ 0 };
        for (int r = 0; r < runs; r++) {
            const real *x = from + run[r].from, *g = (const real *)dy + run[r].to;
            int64_t j = 0;
            for (; j + LK_LANES <= run[r].length; j += LK_LANES) {
                LK_UNROLL
                for (int v = 0; v < VECTORS; v++) {
                    memcpy(&a, x + j + v * LANES_EACH, sizeof a);
                    memcpy(&b, g + j + v * LANES_EACH, sizeof b);
                    parts[v] += a * b;
                }
            }
            for (; j < run[r].length; j++) total += x[j] * g[j];
        }
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) memcpy(lanes + v * LANES_EACH, &parts[v], sizeof a);
        for (int l = 0; l < LK_LANES; l++) total += lanes[l];
        dw[q] = add ? dw[q] + total : total;
    }
}

static void LK_F(add_piece)(int64_t n, const void *piece, bool add, void *sum)
{
    const real *x = piece;
    real *y = sum;
    if (add)
        for (int64_t i = 0; i < n; i++) y[i] += x[i];
    else memcpy(y, x, (size_t)n * sizeof *y);
}
