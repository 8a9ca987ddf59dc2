/* clip_real.h - the norm of a gradient, its scaling and cutting, in `real` (core/real.h). */

/* Returns Σ x². Eight sums side by side become vector code, in an order that the source fixes. */
static double LK_F(square_sum)(int64_t n, const real *x)
{
    enum { LANES = 8 };
    double sum[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sum[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) sum[0] += (double)x[i] * (double)x[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void LK_F(scale)(int64_t n, real *x, double factor)
{
    for (int64_t i = 0; i < n; i++) x[i] *= (real)factor;
}

/* A NaN is neither below nor above, and stays. */
static void LK_F(cut)(int64_t n, real *x, double limit)
{
    const real most = (real)limit;
    for (int64_t i = 0; i < n; i++) {
        real y = x[i] < -most ? -most : x[i];
        x[i] = y > most ? most : y;
    }
}
