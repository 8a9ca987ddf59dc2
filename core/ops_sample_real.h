/* ops_sample_real.h - random choices in `real` (core/real.h): the rounding of PyTorch's. */

/* Returns the place of the first of n weights, from `first` on, that is not finite or negative,
 * and its value; else -1, and the sum. */
static int64_t LK_F(bad_weight)(int64_t first, int64_t n, const real *p, double *bad, double *sum)
{
    real total = 0;
    for (int64_t i = first; i < first + n; i++) {
        total += p[i];
        if (p[i] >= 0 && !isinf(p[i])) continue;
        *bad = (double)p[i];
        return i;
    }
    *sum = (double)total;
    return -1;
}

/* race = p / q with q = -ln(1 - u): the place of the maximum is i with probability p_i. */
static void LK_F(race)(int64_t n, const real *p, Rng *rng, real *race)
{
    for (int64_t i = 0; i < n; i++) {
        const real q = (real)-log(1 - lk_random_f64(rng));
        race[i] = p[i] > 0 ? p[i] / q : 0;
    }
}

/* The first place whose running sum is above u, for `count` draws a row. */
static void LK_F(draw)(int64_t rows, int64_t n, const real *p, real *sums, Rng *rng, int64_t count,
                       int64_t *y)
{
    for (int64_t r = 0; r < rows; r++, p += n) {
        real sum = 0;
        for (int64_t i = 0; i < n; i++) sums[i] = sum += p[i];
        for (int64_t i = 0; i < n; i++) sums[i] /= sum;
        for (int64_t k = 0; k < count; k++) {
            const double u = lk_random_f64(rng);
            int64_t low = 0, high = n - 1;
            while (low < high) {
                const int64_t middle = low + (high - low) / 2;
                if ((double)sums[middle] <= u) low = middle + 1;
                else high = middle;
            }
            *y++ = low;
        }
    }
}
