/* ops_reduce_real.h - rows of sums, means and extremes, in `real` (core/real.h). */

/* dx += c dy */
static void LK_F(add_scaled_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const real c = (real) * (const double *)arg;
    real *dx = p[0];
    const real *dy = p[1];
    for (int64_t i = 0; i < n; i++) dx[i * step[0]] += c * dy[i * step[1]];
}

/* y /= n */
static void LK_F(divide_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const double divisor = *(const double *)arg;
    real *y = p[0];
    for (int64_t i = 0; i < n; i++) y[i * step[0]] = (real)((double)y[i * step[0]] / divisor);
}

/* y = max(y, x), or the minimum for sign -1. Once y is NaN, it stays NaN. */
static void LK_F(extreme_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const real sign = (real) * (const double *)arg;
    real *y = p[0];
    const real *x = p[1];
    for (int64_t i = 0; i < n; i++) {
        real *best = &y[i * step[0]], value = x[i * step[1]];
        if (!(isnan(*best) || sign * *best >= sign * value)) *best = value;
    }
}

/* Whether x is the extreme value y. A NaN equals nothing, but it can be the extreme value too. */
static bool LK_F(is_extreme)(real x, real y) { return x == y || (isnan(x) && isnan(y)); }

/* count += 1 where x is y */
static void LK_F(count_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    double *count = p[0];
    const real *x = p[1], *y = p[2];
    for (int64_t i = 0; i < n; i++)
        count[i * step[0]] += LK_F(is_extreme)(x[i * step[1]], y[i * step[2]]) ? 1 : 0;
}

/* dx += dy / count where x is y */
static void LK_F(share_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dx = p[0];
    const real *x = p[1], *y = p[2], *dy = p[3];
    const double *count = p[4];
    for (int64_t i = 0; i < n; i++)
        if (LK_F(is_extreme)(x[i * step[1]], y[i * step[2]]))
            dx[i * step[0]] += (real)((double)dy[i * step[3]] / count[i * step[4]]);
}

/* Finds the first largest of n elements, `inner` apart, for each outer and inner index, or the
 * first smallest for sign -1. A NaN counts as more extreme than any number. */
static void LK_F(find_extreme)(int64_t outer, int64_t n, int64_t inner, double sign, const real *x,
                               real *y, int64_t *index)
{
    const real s = (real)sign;
    for (int64_t o = 0; o < outer; o++, x += n * inner)
        for (int64_t i = 0; i < inner; i++) {
            int64_t best = 0;
            for (int64_t k = 1; k < n && !isnan(x[best * inner + i]); k++) {
                const real value = x[k * inner + i];
                if (isnan(value) || s * value > s * x[best * inner + i]) best = k;
            }
            *y++ = x[best * inner + i];
            *index++ = best;
        }
}

/* dx at the index += dy */
static void LK_F(add_at)(int64_t outer, int64_t n, int64_t inner, const int64_t *index,
                         const real *dy, real *dx)
{
    for (int64_t o = 0; o < outer; o++, dx += n * inner)
        for (int64_t i = 0; i < inner; i++) dx[*index++ * inner + i] += *dy++;
}
