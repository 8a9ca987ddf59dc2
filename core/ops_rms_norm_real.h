/* ops_rms_norm_real.h - normalization by the root mean square, in `real` (core/real.h). */

/* Returns Σ a b, in double. */
static inline double LK_F(dot)(int64_t n, const real *a, const real *b)
{
    double part[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES) {
#pragma omp simd
        for (int l = 0; l < LK_LANES; l++)
            part[l] = LK_MADD((double)a[i + l], (double)b[i + l], part[l]);
    }
    for (int l = 0; i < n; i++, l++) part[l] = LK_MADD((double)a[i], (double)b[i], part[l]);
    for (int l = 0; l < LK_LANES; l++) total += part[l];
    return total;
}

static void LK_F(rms_rows)(const RmsRows *a)
{
    const int64_t n = a->n;
    const real *w = a->weight;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        const real *x = (const real *)a->x + r * n;
        real *y = (real *)a->y + r * n;
        const double exact = 1 / sqrt(LK_F(dot)(n, x, x) / (double)n + a->eps);
        const real scale = (real)exact;
        if (a->scales) a->scales[r] = exact;
        if (w)
            for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
        else
            for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale;
    }
}

static void LK_F(rms_rows_backward)(const RmsRows *a)
{
    const int64_t n = a->n;
    const real *w = a->weight;
    real *restrict dw = a->dweight, *g = a->row;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        const real *x = (const real *)a->x + r * n, *dy = (const real *)a->dy + r * n;
        const double exact = a->scales[r];
        const real scale = (real)exact;
        if (dw)
            for (int64_t i = 0; i < n; i++) dw[i] = LK_MADD(dy[i], x[i] * scale, dw[i]);
        if (!a->dx) continue;
        for (int64_t i = 0; i < n; i++) g[i] = w ? dy[i] * w[i] : dy[i];
        const real along = (real)(LK_F(dot)(n, g, x) / (double)n * exact * exact);
        real *dx = (real *)a->dx + r * n;
        if (a->fresh)
            for (int64_t i = 0; i < n; i++) dx[i] = (g[i] - x[i] * along) * scale;
        else
            for (int64_t i = 0; i < n; i++) dx[i] += (g[i] - x[i] * along) * scale;
    }
}

static void LK_F(add)(int64_t n, const void *part, void *sum)
{
    const real *from = part;
    real *to = sum;
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
