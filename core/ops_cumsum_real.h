/* ops_cumsum_real.h - running sums in double, as PyTorch takes them, of up to STRIPE columns from
 * `first` on in block `outer`; in `real` (core/real.h). A single column, as along the last
 * dimension, keeps its sum in a register. */

/* y_i = x_0 + … + x_i */
static void LK_F(sums_from_start)(const Along *a, int64_t outer, int64_t first, const real *x,
                                  real *y)
{
    const int64_t n = a->n, inner = a->inner, left = inner - first,
                  width = left < STRIPE ? left : STRIPE;
    double sum[STRIPE] = { 0 }, one = 0;
    x += outer * n * inner + first;
    y += outer * n * inner + first;
    if (width == 1)
        for (int64_t i = 0; i < n; i++) y[i * inner] = (real)(one += (double)x[i * inner]);
    else
        for (int64_t i = 0; i < n; i++, x += inner, y += inner)
            for (int64_t j = 0; j < width; j++) y[j] = (real)(sum[j] += (double)x[j]);
}

/* dx_i += dy_i + … + dy_(n-1) */
static void LK_F(add_sums_to_end)(const Along *a, int64_t outer, int64_t first, const real *dy,
                                  real *dx)
{
    const int64_t n = a->n, inner = a->inner, left = inner - first,
                  width = left < STRIPE ? left : STRIPE;
    double sum[STRIPE] = { 0 }, one = 0;
    dy += outer * n * inner + first;
    dx += outer * n * inner + first;
    if (width == 1)
        for (int64_t i = n - 1; i >= 0; i--) dx[i * inner] += (real)(one += (double)dy[i * inner]);
    else
        for (int64_t i = n - 1; i >= 0; i--)
            for (int64_t j = 0; j < width; j++)
                dx[i * inner + j] += (real)(sum[j] += (double)dy[i * inner + j]);
}
