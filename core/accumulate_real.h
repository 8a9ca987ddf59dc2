/* accumulate_real.h - the additions of lk_accumulate, in `real` (core/real.h). */

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

/* Returns the sum of a row. It keeps four partial sums, so that additions do not wait for each
 * other. */
static inline double LK_F(row_sum)(int64_t n, int64_t step, const real *x)
{
    double part[4] = { 0 };
    int64_t i = 0;
    if (step == 1)
        for (; i + 4 <= n; i += 4)
            for (int j = 0; j < 4; j++) part[j] += (double)x[i + j];
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) part[j] += (double)x[(i + j) * step];
    for (; i < n; i++) part[0] += (double)x[i * step];
    return (part[0] + part[1]) + (part[2] + part[3]);
}

/* Returns the same for up to 4 elements. */
static LK_ALWAYS_INLINE double LK_F(brief_sum)(int64_t n, int64_t step, const real *x)
{
    if (n == 4)
        return ((double)x[0] + (double)x[step]) + ((double)x[2 * step] + (double)x[3 * step]);
    double sum = (double)x[0];
    for (int64_t k = 1; k < n; k++) sum += (double)x[k * step];
    return sum;
}

static LK_ALWAYS_INLINE void LK_F(sum_across)(const Fold *f, int64_t n, int64_t step_n,
                                              int64_t step_m)
{
    double *sums = f->room[0];
    const real *x = f->p[1];
    for (int64_t r = 0; r < f->rows; r++, x += f->step_row[1])
        for (int64_t i = 0; i < f->m; i++) sums[i] += LK_F(brief_sum)(n, step_n, x + i * step_m);
}

static inline void LK_F(sum_along)(const Fold *f)
{
    double *sums = f->room[0];
    for (int64_t i = 0; i < f->m; i++) {
        const real *x = (const real *)f->p[1] + i * f->step_m[1];
        double sum = sums[i];
        if (f->n == 1)
            for (int64_t r = 0; r < f->rows; r++) sum += (double)x[r * f->step_row[1]];
        else
            for (int64_t r = 0; r < f->rows; r++, x += f->step_row[1])
                sum += LK_F(row_sum)(f->n, f->step_n[1], x);
        sums[i] = sum;
    }
}

/* Rows of up to 4 elements without gaps become vector code, because the compiler sees n and the
 * steps. */
static inline void LK_F(sum_tile)(const Fold *f)
{
    const int64_t n = f->n, step_n = f->step_n[1], step_m = f->step_m[1];
    const bool is_tight = step_m == n && (n == 1 || step_n == 1);
    if (n > 4 || !lk__fold_goes_across(f)) LK_F(sum_along)(f);
    else if (is_tight && n == 1) LK_F(sum_across)(f, 1, 1, 1);
    else if (is_tight && n == 2) LK_F(sum_across)(f, 2, 1, 2);
    else if (is_tight && n == 3) LK_F(sum_across)(f, 3, 1, 3);
    else if (is_tight) LK_F(sum_across)(f, 4, 1, 4);
    else if (n == 1) LK_F(sum_across)(f, 1, 1, step_m);
    else LK_F(sum_across)(f, n, step_n, step_m);
}

/* Sums are taken in double. Each is rounded once, then divided, then added to y. */
static void LK_F(sum_fold)(const Fold *f, const void *arg)
{
    const Sum *s = arg;
    double *sums = f->room[0];
    if (f->first) memset(sums, 0, (size_t)f->m * sizeof *sums);
    LK_F(sum_tile)(f);
    if (!f->last) return;
    real *y = f->p[0];
    const int64_t step = f->step_m[0];
    if (s->divisor != 1)
        for (int64_t i = 0; i < f->m; i++) sums[i] = (double)(real)sums[i] / s->divisor;
    if (s->fresh)
        for (int64_t i = 0; i < f->m; i++) y[i * step] = (real)sums[i];
    else
        for (int64_t i = 0; i < f->m; i++) y[i * step] += (real)sums[i];
}
