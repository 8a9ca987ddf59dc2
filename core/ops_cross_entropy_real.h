/* ops_cross_entropy_real.h - losses over classes by rows, in `real` (core/real.h). A row is the
 * classes of one label, `inner` apart. */
#include "core/kernels/vmath_real.h"

/* Returns the place of the first class of row r. */
static inline int64_t LK_F(start)(const ClassRows *c, int64_t r)
{
    return r / c->a.inner * c->a.n * c->a.inner + r % c->a.inner;
}

static inline real LK_F(weight_of)(const ClassRows *c, int64_t class)
{
    return c->weight ? ((const real *)c->weight)[class] : 1;
}

/* Returns the probability of a class that a row of soft labels asks for, times its weight. */
static inline double LK_F(wanted)(const ClassRows *c, const real *target, int64_t class)
{
    const double q = (double)target[class * c->a.inner];
    return (double)LK_F(weight_of)(c, class) *
           ((1 - c->smoothing) * q + c->smoothing / (double)c->a.n);
}

/* ---- cross-entropy -------------------------------------------------------------------------- */

/* Returns Σ w_j (ln Σ e^x - x_j), the losses of all classes of a row. */
static double LK_F(all_losses)(const ClassRows *c, const real *x, real max, real log_sum)
{
    double all = 0;
    for (int64_t j = 0; j < c->a.n; j++)
        all += (double)(LK_F(weight_of)(c, j) * (log_sum - (x[j * c->a.inner] - max)));
    return all;
}

/* losses[r] = ln Σ_j e^x_j - x_label, in double; 0 for a row that does not count. */
static void LK_F(cross_entropy_rows)(const ClassRows *c, double *losses)
{
    const int64_t n = c->a.n, inner = c->a.inner, rows = c->a.outer * inner;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = c->label[r];
        const real *x = (const real *)c->x + LK_F(start)(c, r);
        losses[r] = 0;
        if (label == c->ignore_index) continue;
        real max = LK_F(maximum)(n, inner, x), sum = LK_F(exponentials)(n, inner, x, max, NULL);
        losses[r] = (double)(log(sum) - (x[label * inner] - max));
        losses[r] *= (1 - c->smoothing) * (double)LK_F(weight_of)(c, label);
        if (c->smoothing > 0)
            losses[r] += c->smoothing / (double)n * LK_F(all_losses)(c, x, max, log(sum));
    }
}

/* dx += factor softmax(x) for a row of n classes. */
static LK_ALWAYS_INLINE void LK_F(add_softmax)(int64_t n, int64_t step, const real *x, real factor,
                                               real *dx)
{
    real piece[LK_F(PIECE)];
    real max = LK_F(maximum)(n, step, x), sum = LK_F(exponentials)(n, step, x, max, NULL);
    for (int64_t first = 0; first < n; first += LK_F(PIECE)) {
        int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
        for (int64_t i = 0; i < count; i++) piece[i] = x[(first + i) * step] - max;
        LK_F(exp_row)(count, piece, piece);
        for (int64_t i = 0; i < count; i++) dx[(first + i) * step] += factor * (piece[i] / sum);
    }
}

/* The same for any step. A step of 1 becomes vector code. */
static void LK_F(add_softmax_row)(int64_t n, int64_t step, const real *x, real factor, real *dx)
{
    if (step == 1) LK_F(add_softmax)(n, 1, x, factor, dx);
    else LK_F(add_softmax)(n, step, x, factor, dx);
}

static void LK_F(cross_entropy_gradient)(const ClassRows *c, const real *dloss, real *dxs)
{
    const int64_t n = c->a.n, inner = c->a.inner, rows = c->a.outer * inner;
    const real spread = (real)(c->smoothing / (double)n), kept = (real)(1 - c->smoothing);
    real weights = 0; /* of all classes */
    for (int64_t j = 0; j < n && spread > 0; j++) weights += LK_F(weight_of)(c, j);
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = c->label[r];
        if (label == c->ignore_index) continue;
        const real factor = dloss[c->each ? r : 0] * (real)c->scale,
                   own = factor * (kept * LK_F(weight_of)(c, label));
        const real *x = (const real *)c->x + LK_F(start)(c, r);
        real *dx = dxs + LK_F(start)(c, r);
        const real all = spread > 0 ? own + factor * (spread * weights) : own;
        LK_F(add_softmax_row)(n, inner, x, all, dx);
        for (int64_t j = 0; j < n && spread > 0; j++)
            dx[j * inner] -= factor * (spread * LK_F(weight_of)(c, j));
        dx[label * inner] -= own;
    }
}

/* ---- cross-entropy with probabilities q for labels ------------------------------------------ */

/* losses[r] = Σ_j q_j (ln Σ e^x - x_j) */
static void LK_F(soft_rows)(const ClassRows *c, double *losses)
{
    const int64_t n = c->a.n, inner = c->a.inner, rows = c->a.outer * inner;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real *x = (const real *)c->x + LK_F(start)(c, r),
                   *target = (const real *)c->target + LK_F(start)(c, r);
        real max = LK_F(maximum)(n, inner, x);
        const real log_sum = log(LK_F(exponentials)(n, inner, x, max, NULL));
        losses[r] = 0;
        for (int64_t j = 0; j < n; j++)
            losses[r] += LK_F(wanted)(c, target, j) * (double)(log_sum - (x[j * inner] - max));
    }
}

static void LK_F(soft_gradient)(const ClassRows *c, const real *dloss, real *dxs)
{
    const int64_t n = c->a.n, inner = c->a.inner, rows = c->a.outer * inner;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real factor = dloss[c->each ? r : 0] * (real)c->scale;
        const real *x = (const real *)c->x + LK_F(start)(c, r),
                   *target = (const real *)c->target + LK_F(start)(c, r);
        real *dx = dxs + LK_F(start)(c, r);
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            const double q = LK_F(wanted)(c, target, j);
            sum += q;
            dx[j * inner] -= factor * (real)q;
        }
        LK_F(add_softmax_row)(n, inner, x, factor * (real)sum, dx);
    }
}

/* dq_j += w_j (1 - smoothing) (ln Σ e^x - x_j) dloss */
static void LK_F(soft_target_gradient)(const ClassRows *c, const real *dloss, real *dqs)
{
    const int64_t n = c->a.n, inner = c->a.inner, rows = c->a.outer * inner;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real factor = dloss[c->each ? r : 0] * (real)(c->scale * (1 - c->smoothing));
        const real *x = (const real *)c->x + LK_F(start)(c, r);
        real *dq = dqs + LK_F(start)(c, r), max = LK_F(maximum)(n, inner, x);
        const real log_sum = log(LK_F(exponentials)(n, inner, x, max, NULL));
        for (int64_t j = 0; j < n; j++)
            dq[j * inner] += factor * (LK_F(weight_of)(c, j) * (log_sum - (x[j * inner] - max)));
    }
}

/* ---- negative log-likelihood ---------------------------------------------------------------- */

static void LK_F(nll_rows)(const ClassRows *c, double *losses)
{
    const int64_t rows = c->a.outer * c->a.inner;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = c->label[r];
        losses[r] = 0;
        if (label == c->ignore_index) continue;
        const real *x = (const real *)c->x + LK_F(start)(c, r);
        losses[r] = -(double)(LK_F(weight_of)(c, label) * x[label * c->a.inner]);
    }
}

static void LK_F(nll_gradient)(const ClassRows *c, const real *dloss, real *dxs)
{
    const int64_t rows = c->a.outer * c->a.inner;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = c->label[r];
        if (label == c->ignore_index) continue;
        const real factor = dloss[c->each ? r : 0] * (real)c->scale;
        dxs[LK_F(start)(c, r) + label * c->a.inner] -= factor * LK_F(weight_of)(c, label);
    }
}
