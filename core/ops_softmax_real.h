/* ops_softmax_real.h - softmax and its logarithm by rows, in `real` (core/real.h). */
#include "core/kernels/vmath_real.h"

/* Returns Σ y dy, or Σ dy when y is NULL, of elements `step` apart. It has the same bits for any
 * step. */
static real LK_F(dot)(int64_t n, int64_t step, const real *y, const real *dy)
{
    real sums[LK_LANES] = { 0 };
    if (step == 1 && y) return LK_F(dot_row)(n, y, dy);
    for (int64_t i = 0; i < n; i++)
        sums[i % LK_LANES] += y ? y[i * step] * dy[i * step] : dy[i * step];
    return LK_F(total)(sums);
}

static void LK_F(softmax)(int64_t outer, int64_t n, int64_t inner, const real *xs, real *ys)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *x = xs + r / inner * n * inner + r % inner;
        real *y = ys + (x - xs),
             factor = 1 / LK_F(exponentials)(n, inner, x, LK_F(maximum)(n, inner, x), y);
        for (int64_t i = 0; i < n; i++) y[i * inner] *= factor;
    }
}

static void LK_F(softmax_gradient)(int64_t outer, int64_t n, int64_t inner, const real *ys,
                                   const real *dys, real *dxs)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *y = ys + r / inner * n * inner + r % inner, *dy = dys + (y - ys);
        real *dx = dxs + (y - ys), dot = LK_F(dot)(n, inner, y, dy);
        for (int64_t i = 0; i < n; i++) dx[i * inner] += y[i * inner] * (dy[i * inner] - dot);
    }
}

static void LK_F(log_softmax)(int64_t outer, int64_t n, int64_t inner, const real *xs, real *ys)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *x = xs + r / inner * n * inner + r % inner;
        real *y = ys + (x - xs), max = LK_F(maximum)(n, inner, x);
        const real log_sum = log(LK_F(exponentials)(n, inner, x, max, NULL));
        for (int64_t i = 0; i < n; i++) y[i * inner] = x[i * inner] - max - log_sum;
    }
}

static void LK_F(log_softmax_gradient)(int64_t outer, int64_t n, int64_t inner, const real *ys,
                                       const real *dys, real *dxs)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *y = ys + r / inner * n * inner + r % inner, *dy = dys + (y - ys);
        real *dx = dxs + (y - ys), sum = LK_F(dot)(n, inner, NULL, dy), piece[LK_F(PIECE)];
        for (int64_t first = 0; first < n;
             first += LK_F(PIECE), y += LK_F(PIECE) * inner, dy += LK_F(PIECE) * inner) {
            int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
            for (int64_t i = 0; i < count; i++) piece[i] = y[i * inner];
            LK_F(exp_row)(count, piece, piece);
            for (int64_t i = 0; i < count; i++)
                dx[(first + i) * inner] += dy[i * inner] - piece[i] * sum;
        }
    }
}
