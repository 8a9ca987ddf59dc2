/* ops_cosine_real.h - tiles of cosine similarities, in `real` (core/real.h). */

/* room[0], [1] and [2] get Σ ab, Σ a² and Σ b². */
static inline void LK_F(dots)(const Fold *f)
{
    double *ab = f->room[0], *aa = f->room[1], *bb = f->room[2];
    if (f->first)
        for (int64_t i = 0; i < f->m; i++) ab[i] = aa[i] = bb[i] = 0;
    const int64_t sa = f->step_m[1], sb = f->step_m[2], ka = f->step_n[1], kb = f->step_n[2];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *a = (const real *)f->p[1] + r * f->step_row[1],
                   *b = (const real *)f->p[2] + r * f->step_row[2];
        if (f->n == 1)
            for (int64_t i = 0; i < f->m; i++) {
                const double x = (double)a[i * sa], y = (double)b[i * sb];
                ab[i] = LK_MADD(x, y, ab[i]);
                aa[i] = LK_MADD(x, x, aa[i]);
                bb[i] = LK_MADD(y, y, bb[i]);
            }
        for (int64_t i = 0; i < f->m && f->n > 1; i++, a += sa, b += sb) {
            double xy[LK_LANES] = { 0 }, xx[LK_LANES] = { 0 }, yy[LK_LANES] = { 0 };
            int64_t k = 0;
            for (; k + LK_LANES <= f->n; k += LK_LANES) {
#pragma omp simd
                for (int l = 0; l < LK_LANES; l++) {
                    const double x = (double)a[(k + l) * ka], y = (double)b[(k + l) * kb];
                    xy[l] = LK_MADD(x, y, xy[l]);
                    xx[l] = LK_MADD(x, x, xx[l]);
                    yy[l] = LK_MADD(y, y, yy[l]);
                }
            }
            for (int l = 0; k < f->n; k++, l++) {
                const double x = (double)a[k * ka], y = (double)b[k * kb];
                xy[l] = LK_MADD(x, y, xy[l]);
                xx[l] = LK_MADD(x, x, xx[l]);
                yy[l] = LK_MADD(y, y, yy[l]);
            }
            for (int l = 0; l < LK_LANES; l++) {
                ab[i] += xy[l];
                aa[i] += xx[l];
                bb[i] += yy[l];
            }
        }
    }
}

static void LK_F(cosine_fold)(const Fold *f, const void *arg)
{
    const double eps = *(const double *)arg, *ab = f->room[0], *aa = f->room[1], *bb = f->room[2];
    real *y = f->p[0];
    LK_F(dots)(f);
    for (int64_t i = 0; i < f->m && f->last; i++)
        y[i * f->step_m[0]] =
            (real)(ab[i] / at_least(sqrt(aa[i]), eps) / at_least(sqrt(bb[i]), eps));
}

/* The first pass computes the sums again. For the second they become the factors of b and of a in
 * da. Tensors: dy, a, b, da. */
static void LK_F(cosine_backward_fold)(const Fold *f, const void *arg)
{
    const CosineBackward *c = arg;
    double *of_b = f->room[0], *of_a = f->room[1], *bb = f->room[2];
    const real *dy = f->p[0];
    if (f->pass == 0) {
        LK_F(dots)(f);
        return;
    }
    for (int64_t i = 0; i < f->m && f->first; i++) {
        const double a = at_least(sqrt(of_a[i]), c->eps), b = at_least(sqrt(bb[i]), c->eps),
                     ab = of_b[i];
        of_b[i] = (double)dy[i * f->step_m[0]] / (a * b);
        of_a[i] = of_b[i] * ab / (a * a);
    }
    for (int64_t i = 0; i < f->m; i++)
        for (int64_t r = 0; r < f->rows; r++) {
            const real *a = (const real *)f->p[1] + i * f->step_m[1] + r * f->step_row[1],
                       *b = (const real *)f->p[2] + i * f->step_m[2] + r * f->step_row[2];
            real *da = (real *)f->p[3] + i * f->step_m[3] + r * f->step_row[3];
            for (int64_t k = 0; k < f->n; k++) {
                const real d = (real)((double)b[k * f->step_n[2]] * of_b[i] -
                                      (double)a[k * f->step_n[1]] * of_a[i]);
                da[k * f->step_n[3]] = c->fresh ? d : da[k * f->step_n[3]] + d;
            }
        }
}
