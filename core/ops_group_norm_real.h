/* ops_group_norm_real.h - normalization by groups of channels, in `real` (core/real.h). A group is
 * a row of `width` channels of `n` elements each. Sums are taken in double. */

/* Returns Σ x, in double. */
static inline double LK_F(sum)(int64_t n, const real *x)
{
    double part[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; n < LK_LANES && i < n; i++) total += (double)x[i];
    if (n < LK_LANES) return total;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) part[l] += (double)x[i + l];
    for (int l = 0; i < n; i++, l++) part[l] += (double)x[i];
    for (int l = 0; l < LK_LANES; l++) total += part[l];
    return total;
}

/* Returns Σ a (b - mean), in double. With b for a, that is Σ (b - mean)². */
static inline double LK_F(projection)(int64_t n, const real *a, const real *b, double mean,
                                      bool square)
{
    double part[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; n < LK_LANES && i < n; i++) {
        const double d = (double)b[i] - mean;
        total = LK_MADD(square ? d : (double)a[i], d, total);
    }
    if (n < LK_LANES) return total;
    for (; i + LK_LANES <= n; i += LK_LANES) {
#pragma omp simd
        for (int l = 0; l < LK_LANES; l++) {
            const double d = (double)b[i + l] - mean;
            part[l] = LK_MADD(square ? d : (double)a[i + l], d, part[l]);
        }
    }
    for (int l = 0; i < n; i++, l++) {
        const double d = (double)b[i] - mean;
        part[l] = LK_MADD(square ? d : (double)a[i], d, part[l]);
    }
    for (int l = 0; l < LK_LANES; l++) total += part[l];
    return total;
}

static inline double LK_F(value_of)(const void *values, int64_t c, double without)
{
    return values ? (double)((const real *)values)[c] : without;
}

/* One group: number `row` of all, with the channels from c on. */
static void LK_F(group)(const GroupCall *a, int64_t row, int64_t c)
{
    const GroupNorm *g = a->norm;
    const int64_t all = g->width * g->n;
    const real *x = (const real *)a->x + row * all;
    real *y = (real *)a->y + row * all;
    const double mean = LK_F(sum)(all, x) / (double)all,
                 variance = LK_F(projection)(all, x, x, mean, true) / (double)all,
                 scale = 1 / sqrt(variance + g->eps);
    if (g->moments) g->moments[row] = (Moments){ mean, scale };
    for (int64_t k = 0; k < g->width; k++, x += g->n, y += g->n) {
        const double w = LK_F(value_of)(a->weight, c + k, 1) * scale,
                     b = LK_F(value_of)(a->bias, c + k, 0);
        for (int64_t i = 0; i < g->n; i++) y[i] = (real)LK_MADD((double)x[i] - mean, w, b);
    }
}

static void LK_F(group_backward)(const GroupCall *a, int64_t row, int64_t c)
{
    const GroupNorm *g = a->norm;
    const int64_t all = g->width * g->n;
    const real *x = (const real *)a->x + row * all, *dy = (const real *)a->dy + row * all;
    const Moments m = g->moments[row];
    double *sums = a->sums + 2 * row * g->width, mean_g = 0, mean_gx = 0;
    for (int64_t k = 0; k < g->width; k++) {
        const double w = LK_F(value_of)(a->weight, c + k, 1);
        sums[2 * k] = LK_F(projection)(g->n, dy + k * g->n, x + k * g->n, m.mean, false) * m.scale;
        sums[2 * k + 1] = LK_F(sum)(g->n, dy + k * g->n);
        mean_gx += w * sums[2 * k];
        mean_g += w * sums[2 * k + 1];
    }
    mean_gx /= (double)all;
    mean_g /= (double)all;
    real *dx = a->dx ? (real *)a->dx + row * all : NULL;
    for (int64_t k = 0; k < g->width && dx; k++, x += g->n, dy += g->n, dx += g->n) {
        const double w = LK_F(value_of)(a->weight, c + k, 1) * m.scale,
                     along = mean_gx * m.scale * m.scale, constant = mean_g * m.scale;
        if (a->fresh)
            for (int64_t i = 0; i < g->n; i++)
                dx[i] = (real)(w * (double)dy[i] - constant - ((double)x[i] - m.mean) * along);
        else
            for (int64_t i = 0; i < g->n; i++)
                dx[i] += (real)(w * (double)dy[i] - constant - ((double)x[i] - m.mean) * along);
    }
}

/* dweight and dbias of the channels: the sums of all samples, which are added to the first. */
static void LK_F(add_sums)(const GroupNorm *g, double *sums, void *dweight, void *dbias)
{
    const int64_t channels = g->groups * g->width;
    for (int64_t s = 1; s < g->samples; s++)
        for (int64_t i = 0; i < 2 * channels; i++) sums[i] += sums[2 * s * channels + i];
    for (int64_t c = 0; c < channels; c++) {
        if (dweight) ((real *)dweight)[c] += (real)sums[2 * c];
        if (dbias) ((real *)dbias)[c] += (real)sums[2 * c + 1];
    }
}
