/* ops_batch_norm_real.h - tiles of batch normalization, in `real` (core/real.h). The elements of a
 * tile belong to m channels. p[0] are the moments of the channels, p[1] is x. All values of a
 * channel are double: a float mean would lose the small differences of large numbers. */
#include "core/gather_real.h"

static inline Moments *LK_F(moments_of)(const Fold *f, int64_t i)
{
    return (Moments *)((double *)f->p[0] + i * f->step_m[0]);
}

static inline double LK_F(value_of)(const void *values, int64_t c, double without)
{
    return values ? (double)((const real *)values)[c] : without;
}

/* y = (x - mean) factor + shift */
static inline void LK_F(normalize)(const Fold *f)
{
    const double *mean = f->room[1], *factor = f->room[2], *shift = f->room[3];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        real *restrict y = (real *)f->p[2] + r * f->step_row[2];
        if (f->n == 1 && f->step_m[1] == 1 && f->step_m[2] == 1)
            for (int64_t i = 0; i < f->m; i++)
                y[i] = (real)LK_MADD((double)x[i] - mean[i], factor[i], shift[i]);
        else
            for (int64_t i = 0; i < f->m; i++, x += f->step_m[1], y += f->step_m[2]) {
                const double m = mean[i], w = factor[i], b = shift[i];
                if (f->step_n[1] == 1 && f->step_n[2] == 1)
                    for (int64_t k = 0; k < f->n; k++)
                        y[k] = (real)LK_MADD((double)x[k] - m, w, b);
                else
                    for (int64_t k = 0; k < f->n; k++)
                        y[k * f->step_n[2]] = (real)LK_MADD((double)x[k * f->step_n[1]] - m, w, b);
            }
    }
}

/* Two passes for the moments, unless they are known, and one for y. */
static void LK_F(batch_norm_fold)(const Fold *f, const void *arg)
{
    const BatchNormCall *a = arg;
    double *sum = f->room[0], *mean = f->room[1], *factor = f->room[2], *shift = f->room[3];
    if (f->pass < a->passes - 1) {
        if (f->pass == 0) LK_F(gather)(LK_F(add_x), LK_F(plus), 0, f);
        else LK_F(gather)(LK_F(add_square), LK_F(plus), 0, f);
        for (int64_t i = 0; i < f->m && f->last; i++) {
            Moments *m = LK_F(moments_of)(f, i);
            if (f->pass == 0) mean[i] = m->mean = sum[i] / (double)a->norm->n;
            else m->variance = sum[i] / (double)a->norm->n;
        }
        return;
    }
    for (int64_t i = 0; i < f->m && f->first; i++) {
        Moments *m = LK_F(moments_of)(f, i);
        const int64_t c = m - a->norm->moments;
        m->scale = 1 / sqrt(m->variance + a->norm->eps);
        mean[i] = m->mean;
        factor[i] = m->scale * LK_F(value_of)(a->weight, c, 1);
        shift[i] = LK_F(value_of)(a->bias, c, 0);
    }
    LK_F(normalize)(f);
}

static LK_ALWAYS_INLINE void LK_F(project_column)(int64_t m, int64_t sx, int64_t sdy,
                                                  const real *x, const real *dy,
                                                  const double *mean, double *restrict g,
                                                  double *restrict gx)
{
    for (int64_t i = 0; i < m; i++) {
        const double d = (double)dy[i * sdy];
        g[i] += d;
        gx[i] = LK_MADD(d, (double)x[i * sx] - mean[i], gx[i]);
    }
}

/* room[0] = Σ dy and room[1] = Σ dy (x - mean); p[2] is dy. */
static inline void LK_F(projections)(const Fold *f)
{
    double *g = f->room[0], *gx = f->room[1];
    const double *mean = f->room[2];
    const int64_t kx = f->step_n[1], kg = f->step_n[2];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1],
                   *dy = (const real *)f->p[2] + r * f->step_row[2];
        if (f->n == 1 && f->step_m[1] == 1 && f->step_m[2] == 1)
            LK_F(project_column)(f->m, 1, 1, x, dy, mean, g, gx);
        else if (f->n == 1)
            LK_F(project_column)(f->m, f->step_m[1], f->step_m[2], x, dy, mean, g, gx);
        for (int64_t i = 0; i < f->m && f->n > 1; i++, x += f->step_m[1], dy += f->step_m[2]) {
            double part[LK_LANES] = { 0 }, part_x[LK_LANES] = { 0 };
            const double m = mean[i];
            int64_t k = 0;
            for (; k + LK_LANES <= f->n; k += LK_LANES) {
#pragma omp simd
                for (int l = 0; l < LK_LANES; l++) {
                    const double d = (double)dy[(k + l) * kg];
                    part[l] += d;
                    part_x[l] = LK_MADD(d, (double)x[(k + l) * kx] - m, part_x[l]);
                }
            }
            for (int l = 0; k < f->n; k++, l++) {
                part[l] += (double)dy[k * kg];
                part_x[l] = LK_MADD((double)dy[k * kg], (double)x[k * kx] - m, part_x[l]);
            }
            for (int l = 0; l < LK_LANES; l++) {
                g[i] += part[l];
                gx[i] += part_x[l];
            }
        }
    }
}

static LK_ALWAYS_INLINE void LK_F(dx_row)(int64_t n, int64_t kx, int64_t kg, int64_t kd,
                                          const real *x, const real *dy, real *restrict dx,
                                          double a, double b, double c, double mean, bool fresh)
{
    for (int64_t k = 0; k < n; k++) {
        const double along = b * ((double)x[k * kx] - mean);
        const real d = (real)(LK_MADD(a, (double)dy[k * kg], along) + c);
        dx[k * kd] = fresh ? d : dx[k * kd] + d;
    }
}

/* dx += a dy + b (x - mean) + c for the four rooms; p[3] is dx. */
static inline void LK_F(slopes)(const Fold *f, bool fresh)
{
    const double *a = f->room[0], *b = f->room[1], *mean = f->room[2], *c = f->room[3];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1],
                   *dy = (const real *)f->p[2] + r * f->step_row[2];
        real *restrict dx = (real *)f->p[3] + r * f->step_row[3];
        if (f->n == 1 && fresh && f->step_m[1] == 1 && f->step_m[2] == 1 && f->step_m[3] == 1) {
            for (int64_t i = 0; i < f->m; i++)
                dx[i] =
                    (real)(LK_MADD(a[i], (double)dy[i], b[i] * ((double)x[i] - mean[i])) + c[i]);
            continue;
        }
        for (int64_t i = 0; i < f->m; i++) {
            const real *xi = x + i * f->step_m[1], *dyi = dy + i * f->step_m[2];
            real *dxi = dx + i * f->step_m[3];
            if (fresh && f->step_n[1] == 1 && f->step_n[2] == 1 && f->step_n[3] == 1)
                LK_F(dx_row)(f->n, 1, 1, 1, xi, dyi, dxi, a[i], b[i], c[i], mean[i], true);
            else LK_F(dx_row)
            (f->n, f->step_n[1], f->step_n[2], f->step_n[3], xi, dyi, dxi, a[i], b[i], c[i],
             mean[i], fresh);
        }
    }
}

static void LK_F(batch_norm_backward_fold)(const Fold *f, const void *arg)
{
    const BatchNormCall *a = arg;
    double *g = f->room[0], *gx = f->room[1], *mean = f->room[2], *rest = f->room[3];
    if (f->pass == 0) {
        for (int64_t i = 0; i < f->m && f->first; i++) {
            g[i] = gx[i] = 0;
            mean[i] = LK_F(moments_of)(f, i)->mean;
        }
        LK_F(projections)(f);
        if (!f->last) return;
        for (int64_t i = 0; i < f->m; i++) {
            const Moments *m = LK_F(moments_of)(f, i);
            const int64_t c = m - a->norm->moments;
            const double scale = m->scale, n = (double)a->norm->n,
                         factor = scale * LK_F(value_of)(a->weight, c, 1);
            if (a->dweight) ((real *)a->dweight)[c] += (real)(gx[i] * scale);
            if (a->dbias) ((real *)a->dbias)[c] += (real)g[i];
            rest[i] = a->norm->training ? -factor * g[i] / n : 0;
            gx[i] = a->norm->training ? -factor * gx[i] * scale * scale / n : 0;
            g[i] = factor;
        }
        return;
    }
    LK_F(slopes)(f, a->fresh);
}
