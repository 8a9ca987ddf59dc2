/* ops_norm_real.h - layer normalization by rows, in `real` (core/real.h). */

/* h = residual + x noise, rounded as the two operations round it. keep gets the mask of the row;
 * it is NULL when the mask is not needed later. */
static void LK_F(mix)(const NormRows *a, int64_t r, real *h, uint8_t *keep)
{
    const int64_t n = a->norm->n;
    const real *x = (const real *)a->x + r * n, *residual = (const real *)a->residual + r * n;
    const real scale = (real)lk__dropout_scale(&a->norm->mask, LK_REAL_IS_FLOAT ? LK_F32 : LK_F64);
    enum { PIECE = 1024 };
    uint8_t piece[PIECE];
    if (a->norm->mask.p == 0) {
        for (int64_t i = 0; i < n; i++) h[i] = residual[i] + x[i];
        return;
    }
    for (int64_t first = 0; first < n; first += PIECE) {
        const int64_t count = n - first < PIECE ? n - first : PIECE;
        uint8_t *mask = keep ? keep + first : piece;
        lk__dropout_keep(&a->norm->mask, r * n + first, count, mask);
        for (int64_t i = 0; i < count; i++)
            h[first + i] = residual[first + i] + x[first + i] * ((real)mask[i] * scale);
    }
}

static inline double LK_F(sum)(int64_t n, const real *x)
{
    double parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) parts[l] += (double)x[i + l];
    for (int l = 0; i < n; i++, l++) parts[l] += (double)x[i];
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

static inline double LK_F(square_sum)(int64_t n, const real *x, double mean)
{
    double parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES) {
#pragma omp simd
        for (int l = 0; l < LK_LANES; l++) {
            const double d = (double)x[i + l] - mean;
            parts[l] = LK_MADD(d, d, parts[l]);
        }
    }
    for (int l = 0; i < n; i++, l++)
        parts[l] = LK_MADD((double)x[i] - mean, (double)x[i] - mean, parts[l]);
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

/* h' = (h - mean) / std; h' may overwrite h. `rest` has the digits of the mean that a float leaves
 * out. Floats so far apart that their difference could overflow are made smaller first, by a power
 * of 2. */
static inline void LK_F(normalize)(int64_t n, const real *h, Moments m, real *normal)
{
    const double small = LK_REAL_IS_FLOAT && m.scale < 0x1p-64 ? 0x1p-64 : 1;
    const real mean = (real)(m.mean * small), rest = (real)(m.mean * small - (double)mean);
    const real factor = (real)small, scale = (real)(m.scale / small);
    for (int64_t i = 0; i < n; i++) normal[i] = (h[i] * factor - mean - rest) * scale;
}

static void LK_F(norm_rows)(const NormRows *a)
{
    const int64_t n = a->norm->n;
    const real *w = a->weight, *b = a->bias;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        real *y = (real *)a->y + r * n;
        const real *h = (const real *)a->x + r * n;
        if (a->residual) LK_F(mix)(a, r, y, NULL), h = y;
        Moments m = { .mean = LK_F(sum)(n, h) / (double)n };
        m.scale = 1 / sqrt(LK_F(square_sum)(n, h, m.mean) / (double)n + a->norm->eps);
        if (a->norm->moments) a->norm->moments[r] = m;
        LK_F(normalize)(n, h, m, y);
        if (w && b)
            for (int64_t i = 0; i < n; i++) y[i] = LK_MADD(y[i], w[i], b[i]);
        else if (w)
            for (int64_t i = 0; i < n; i++) y[i] *= w[i];
        else if (b)
            for (int64_t i = 0; i < n; i++) y[i] += b[i];
    }
}

/* Σ g and Σ g h' of a row, for g = dy w or dy. */
static inline void LK_F(projections)(int64_t n, const real *dy, const real *w, const real *normal,
                                     real *sum_g, real *sum_gh)
{
    real g[LK_LANES] = { 0 }, gh[LK_LANES] = { 0 };
    int64_t i = 0;
    if (w)
        for (; i + LK_LANES <= n; i += LK_LANES)
            for (int l = 0; l < LK_LANES; l++) {
                g[l] = LK_MADD(dy[i + l], w[i + l], g[l]);
                gh[l] = LK_MADD(dy[i + l] * w[i + l], normal[i + l], gh[l]);
            }
    else
        for (; i + LK_LANES <= n; i += LK_LANES)
            for (int l = 0; l < LK_LANES; l++) {
                g[l] += dy[i + l];
                gh[l] = LK_MADD(dy[i + l], normal[i + l], gh[l]);
            }
    for (int l = 0; i < n; i++, l++) {
        const real gi = w ? dy[i] * w[i] : dy[i];
        g[l] += gi;
        gh[l] = LK_MADD(gi, normal[i], gh[l]);
    }
    *sum_g = *sum_gh = 0;
    for (int l = 0; l < LK_LANES; l++) *sum_g += g[l], *sum_gh += gh[l];
}

static void LK_F(norm_rows_backward)(const NormRows *a)
{
    const int64_t n = a->norm->n;
    const real *w = a->weight;
    const bool drops = a->residual && a->norm->mask.p != 0;
    const DType dtype = LK_REAL_IS_FLOAT ? LK_F32 : LK_F64;
    const real noise = drops ? (real)lk__dropout_scale(&a->norm->mask, dtype) : 1;
    /* row has first h, then h', then dh */
    real *restrict dw = a->dweight, *restrict db = a->dbias, *row = a->row;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        const real *dy = (const real *)a->dy + r * n, *h = (const real *)a->x + r * n;
        const Moments m = a->norm->moments[r];
        if (db)
            for (int64_t i = 0; i < n; i++) db[i] += dy[i];
        if (!dw && !a->dx && !a->dresidual) continue;
        if (a->residual) LK_F(mix)(a, r, row, a->keep), h = row;
        LK_F(normalize)(n, h, m, row);
        if (dw)
            for (int64_t i = 0; i < n; i++) dw[i] = LK_MADD(dy[i], row[i], dw[i]);
        if (!a->dx && !a->dresidual) continue;
        real sum_g, sum_gh;
        LK_F(projections)(n, dy, w, row, &sum_g, &sum_gh);
        const real mean_g = sum_g / (real)n, mean_gh = sum_gh / (real)n, scale = (real)m.scale;
#define DH(i, g) (((g)-mean_g - row[i] * mean_gh) * scale)
        real *dx = a->dx ? (real *)a->dx + r * n : NULL;
        /* without a residual, dh goes straight into a fresh dx */
        real *to = a->residual || !a->fresh_x ? row : dx;
        if (w) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) to[i] = DH(i, dy[i] * w[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) to[i] = DH(i, dy[i]);
        }
#undef DH
        if (a->dresidual) {
            real *dr = (real *)a->dresidual + r * n;
            if (a->fresh_residual) memcpy(dr, row, (size_t)n * sizeof *dr);
            else
                for (int64_t i = 0; i < n; i++) dr[i] += row[i];
        }
        if (!dx || to == dx) continue;
        if (drops)
            for (int64_t i = 0; i < n; i++) row[i] *= (real)a->keep[i] * noise;
        if (a->fresh_x) memcpy(dx, row, (size_t)n * sizeof *dx);
        else
            for (int64_t i = 0; i < n; i++) dx[i] += row[i];
    }
}

static void LK_F(add)(int64_t n, const void *part, void *sum)
{
    const real *from = part;
    real *to = sum;
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
