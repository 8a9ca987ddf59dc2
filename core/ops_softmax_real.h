/* ops_softmax_real.h - softmax and the losses by rows, in `real` (core/real.h). */
#include "core/kernels/vmath_real.h"

/* elements at a time of a row that do not lie side by side, or whose exponentials are not kept */
enum { LK_F(PIECE) = 512 };

/* Returns the max of n elements `step` apart. A NaN is passed over, because e^NaN reaches every
 * result through the sum. */
static real LK_F(maximum)(int64_t n, int64_t step, const real *x)
{
    real best = -INFINITY;
    if (step == 1) return LK_F(max_row)(n, x);
    for (int64_t i = 0; i < n; i++)
        if (x[i * step] > best) best = x[i * step];
    return best;
}

/* Sets y = e^(x - shift), unless y is NULL, and returns the sum. It has the same bits for any
 * step. */
static real LK_F(exponentials)(int64_t n, int64_t step, const real *x, real shift, real *y)
{
    real sums[LK_LANES] = { 0 }, piece[LK_F(PIECE)];
    if (step == 1 && y) {
        LK_F(exp_sum_row)(n, x, shift, y, sums);
        return LK_F(total)(sums);
    }
    for (int64_t first = 0; first < n; first += LK_F(PIECE)) {
        int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
        for (int64_t i = 0; i < count; i++) piece[i] = x[(first + i) * step];
        LK_F(exp_sum_row)(count, piece, shift, piece, sums);
        if (y)
            for (int64_t i = 0; i < count; i++) y[(first + i) * step] = piece[i];
    }
    return LK_F(total)(sums);
}

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

/* losses[i] = ln Σ_j e^x_ij - x_i,label, in double; 0 for a row that does not count. */
static void LK_F(cross_entropy_rows)(int64_t rows, int64_t n, const real *xs, const int64_t *label,
                                     int64_t ignore_index, double *losses)
{
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real *x = xs + r * n;
        losses[r] = 0;
        if (label[r] == ignore_index) continue;
        real max = LK_F(maximum)(n, 1, x), sum = LK_F(exponentials)(n, 1, x, max, NULL);
        losses[r] = (double)(log(sum) - (x[label[r]] - max));
    }
}

static void LK_F(cross_entropy_gradient)(int64_t rows, int64_t n, const real *xs,
                                         const int64_t *label, int64_t ignore_index, double scale,
                                         const real *dloss, real *dxs)
{
    const real factor = *dloss * (real)scale;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real *x = xs + r * n;
        real *dx = dxs + r * n, piece[LK_F(PIECE)];
        if (label[r] == ignore_index) continue;
        real max = LK_F(maximum)(n, 1, x), sum = LK_F(exponentials)(n, 1, x, max, NULL);
        for (int64_t first = 0; first < n; first += LK_F(PIECE)) {
            int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
            for (int64_t i = 0; i < count; i++) piece[i] = x[first + i] - max;
            LK_F(exp_row)(count, piece, piece);
            for (int64_t i = 0; i < count; i++) dx[first + i] += factor * (piece[i] / sum);
        }
        dx[label[r]] -= factor;
    }
}

/* Σ (x - y)² */
static double LK_F(square_sum)(int64_t n, const real *x, const real *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
    return sum;
}

/* d += c (x - y) */
static void LK_F(add_difference_row)(int64_t n, void *const *p, const int64_t *step,
                                     const void *arg)
{
    const real c = (real) * (const double *)arg;
    real *d = p[0];
    const real *x = p[1], *y = p[2];
    for (int64_t i = 0; i < n; i++) d[i * step[0]] += c * (x[i * step[1]] - y[i * step[2]]);
}
