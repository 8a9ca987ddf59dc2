/* accumulate_real.h - the additions of lk_accumulate by rows, in `real` (core/real.h). */

/* dst += src */
static void LK_F(add_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const real *src = p[1];
    if (step[0] == 1 && step[1] == 1)
        for (int64_t i = 0; i < n; i++) dst[i] += src[i];
    else
        for (int64_t i = 0; i < n; i++) dst[i * step[0]] += src[i * step[1]];
}

/* dst += (real)sum */
static void LK_F(add_sums_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const double *sum = p[1];
    for (int64_t i = 0; i < n; i++) dst[i * step[0]] += (real)sum[i * step[1]];
}

/* sum += src. When the whole row goes to one sum, it keeps four partial sums, so that additions do
 * not wait for each other. */
static void LK_F(sum_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    double *sum = p[0];
    const real *src = p[1];
    if (step[0] != 0) {
        for (int64_t i = 0; i < n; i++) sum[i * step[0]] += (double)src[i * step[1]];
        return;
    }
    double part[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) part[j] += (double)src[(i + j) * step[1]];
    for (; i < n; i++) part[0] += (double)src[i * step[1]];
    *sum += (part[0] + part[1]) + (part[2] + part[3]);
}
