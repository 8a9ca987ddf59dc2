/* ops_reduce_real.h - tiles (core/fold.h) of means and extremes, in `real` (core/real.h).
 *
 * Where the rows of a tile are short, its columns are visited. A column has one element of each
 * result, and a loop over it becomes vector code. */

/* ---- dx += c dy, spread over the elements --------------------------------------------------- */

static LK_ALWAYS_INLINE void LK_F(spread_column)(int64_t m, int64_t step, real *dx,
                                                 const real *value, bool fresh)
{
    if (fresh)
        for (int64_t i = 0; i < m; i++) dx[i * step] = value[i];
    else
        for (int64_t i = 0; i < m; i++) dx[i * step] += value[i];
}

static LK_ALWAYS_INLINE void LK_F(spread_row)(int64_t n, int64_t step, real *dx, real value,
                                              bool fresh)
{
    if (fresh)
        for (int64_t k = 0; k < n; k++) dx[k * step] = value;
    else
        for (int64_t k = 0; k < n; k++) dx[k * step] += value;
}

/* For a fresh dx, 0 + c dy makes 0 of -0, as an addition to 0 does. */
static void LK_F(spread_fold)(const Fold *tile, const void *arg)
{
    const Spread *s = arg;
    const bool across = lk__fold_goes_across(tile);
    const Fold one = across ? *tile : lk__fold_long_rows(tile), *f = &one;
    const real c = (real)s->c, *dy = f->p[0];
    real *value = f->room[0];
    for (int64_t i = 0; i < f->m && f->first; i++) value[i] = 0 + c * dy[i * f->step_m[0]];
    for (int64_t r = 0; r < f->rows; r++) {
        real *dx = (real *)f->p[1] + r * f->step_row[1];
        if (across && f->step_m[1] == 1)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(spread_column)(f->m, 1, dx + k * f->step_n[1], value, s->fresh);
        else if (across)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(spread_column)(f->m, f->step_m[1], dx + k * f->step_n[1], value, s->fresh);
        else if (f->step_n[1] == 1)
            for (int64_t i = 0; i < f->m; i++)
                LK_F(spread_row)(f->n, 1, dx + i * f->step_m[1], value[i], s->fresh);
        else
            for (int64_t i = 0; i < f->m; i++)
                LK_F(spread_row)(f->n, f->step_n[1], dx + i * f->step_m[1], value[i], s->fresh);
    }
}

/* ---- y = max x ------------------------------------------------------------------------------ */

/* Returns the larger, or the smaller for sign -1; of equal ones the first. A NaN stays. Both
 * choices are made without a branch: so loops over it become vector code. */
static LK_ALWAYS_INLINE real LK_F(extreme_of)(real best, real x, real sign)
{
    const real number = sign * best >= sign * x ? best : x;
    return isnan(best) ? best : number;
}

static LK_ALWAYS_INLINE void LK_F(extreme_column)(int64_t m, int64_t step, const real *x,
                                                  real *best, real sign)
{
    for (int64_t i = 0; i < m; i++) best[i] = LK_F(extreme_of)(best[i], x[i * step], sign);
}

/* Returns extreme_of `best` and all elements of a row. It takes LK_LANES elements at a time. Then
 * only the value is known. So it goes through the row again where equal values differ in their
 * bits: 0 and -0, and several NaNs. */
static LK_ALWAYS_INLINE real LK_F(row_extreme)(int64_t n, int64_t step, const real *x, real best,
                                               real sign)
{
    int64_t i = 0;
    if (n >= LK_LANES) {
        real lane[LK_LANES], odd[LK_LANES] = { 0 }, top = x[0], any = 0;
        for (int l = 0; l < LK_LANES; l++) lane[l] = x[l * step];
        for (; i + LK_LANES <= n; i += LK_LANES) {
            real piece[LK_LANES];
            for (int l = 0; l < LK_LANES; l++) piece[l] = x[(i + l) * step];
#pragma omp simd
            for (int l = 0; l < LK_LANES; l++) {
                lane[l] = sign * lane[l] >= sign * piece[l] ? lane[l] : piece[l];
                odd[l] = isnan(piece[l]) ? 1 : odd[l];
            }
        }
        for (int l = 0; l < LK_LANES; l++) {
            top = sign * top >= sign * lane[l] ? top : lane[l];
            any += odd[l];
        }
        if (any == 0 && top != 0) best = LK_F(extreme_of)(best, top, sign);
        else i = 0;
    }
    for (; i < n; i++) best = LK_F(extreme_of)(best, x[i * step], sign);
    return best;
}

static void LK_F(extreme_fold)(const Fold *tile, const void *arg)
{
    const bool across = lk__fold_goes_across(tile);
    const Fold one = across ? *tile : lk__fold_long_rows(tile), *f = &one;
    const real sign = (real) * (const double *)arg;
    real *best = f->room[0], *y = f->p[0];
    for (int64_t i = 0; i < f->m && f->first; i++) best[i] = -sign * (real)INFINITY;
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        if (across && f->step_m[1] == 1)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(extreme_column)(f->m, 1, x + k * f->step_n[1], best, sign);
        else if (across)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(extreme_column)(f->m, f->step_m[1], x + k * f->step_n[1], best, sign);
        else if (f->step_n[1] == 1)
            for (int64_t i = 0; i < f->m; i++)
                best[i] = LK_F(row_extreme)(f->n, 1, x + i * f->step_m[1], best[i], sign);
        else
            for (int64_t i = 0; i < f->m; i++)
                best[i] =
                    LK_F(row_extreme)(f->n, f->step_n[1], x + i * f->step_m[1], best[i], sign);
    }
    for (int64_t i = 0; i < f->m && f->last; i++) y[i * f->step_m[0]] = best[i];
}

/* ---- dx += dy / (number of x that are y) where x is y --------------------------------------- */

/* Returns 1 where x is the extreme value y, else 0. A NaN is always the extreme value. */
static LK_ALWAYS_INLINE real LK_F(equal)(real x, real y) { return (isnan(x) | (x == y)) ? 1 : 0; }

static LK_ALWAYS_INLINE void LK_F(count_column)(int64_t m, int64_t step, const real *x,
                                                const real *y, double *count)
{
    for (int64_t i = 0; i < m; i++) count[i] += (double)LK_F(equal)(x[i * step], y[i]);
}

static LK_ALWAYS_INLINE double LK_F(count_row)(int64_t n, int64_t step, const real *x, real y)
{
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) count += LK_F(equal)(x[k * step], y) != 0;
    return (double)count;
}

static inline void LK_F(count)(const Fold *f, bool across)
{
    double *count = f->room[0];
    const real *y = f->room[1];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        if (across && f->step_m[1] == 1)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(count_column)(f->m, 1, x + k * f->step_n[1], y, count);
        else if (across)
            for (int64_t k = 0; k < f->n; k++)
                LK_F(count_column)(f->m, f->step_m[1], x + k * f->step_n[1], y, count);
        else
            for (int64_t i = 0; i < f->m; i++)
                count[i] += f->step_n[1] == 1
                                ? LK_F(count_row)(f->n, 1, x + i * f->step_m[1], y[i])
                                : LK_F(count_row)(f->n, f->step_n[1], x + i * f->step_m[1], y[i]);
    }
}

/* The choices of a column come first, in vector code; stores with gaps are none. */
static LK_ALWAYS_INLINE void LK_F(share_column)(int64_t m, int64_t step, const real *x,
                                                const real *y, const real *share, real *part)
{
    for (int64_t i = 0; i < m; i++) part[i] = LK_F(equal)(x[i * step], y[i]) != 0 ? share[i] : 0;
}

/* -0 stays where nothing is added. */
static LK_ALWAYS_INLINE real LK_F(plus)(real dx, real part, bool fresh)
{
    const real sum = part != 0 ? dx + part : dx;
    return fresh ? part : sum;
}

static LK_ALWAYS_INLINE void LK_F(share_row)(int64_t n, int64_t step_x, int64_t step_dx,
                                             const real *x, real y, real share, real *restrict dx,
                                             bool fresh)
{
    if (fresh)
        for (int64_t k = 0; k < n; k++)
            dx[k * step_dx] = LK_F(equal)(x[k * step_x], y) != 0 ? share : 0;
    else
        for (int64_t k = 0; k < n; k++) {
            const real part = LK_F(equal)(x[k * step_x], y) != 0 ? share : 0;
            dx[k * step_dx] = LK_F(plus)(dx[k * step_dx], part, false);
        }
}

static inline void LK_F(share)(const Fold *f, bool across, bool fresh)
{
    const real *y = f->room[1], *share = f->room[2];
    real part[LK_FOLD_MOST];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        real *dx = (real *)f->p[2] + r * f->step_row[2];
        for (int64_t k = 0; k < f->n && across; k++, x += f->step_n[1], dx += f->step_n[2]) {
            if (f->step_m[1] == 1) LK_F(share_column)(f->m, 1, x, y, share, part);
            else LK_F(share_column)(f->m, f->step_m[1], x, y, share, part);
            for (int64_t i = 0; i < f->m; i++) {
                real *to = &dx[i * f->step_m[2]];
                *to = LK_F(plus)(*to, part[i], fresh);
            }
        }
        for (int64_t i = 0; i < f->m && !across; i++, x += f->step_m[1], dx += f->step_m[2]) {
            if (f->step_n[1] == 1 && f->step_n[2] == 1)
                LK_F(share_row)(f->n, 1, 1, x, y[i], share[i], dx, fresh);
            else LK_F(share_row)(f->n, f->step_n[1], f->step_n[2], x, y[i], share[i], dx, fresh);
        }
    }
}

/* The first pass counts, in double: a float stays at 2^24 when 1 is added. The second shares. */
static void LK_F(share_fold)(const Fold *tile, const void *arg)
{
    const bool across = lk__fold_goes_across(tile);
    const Fold one = across ? *tile : lk__fold_long_rows(tile), *f = &one;
    double *count = f->room[0];
    real *value = f->room[1], *share = f->room[2];
    const real *y = f->p[0], *dy = f->p[3];
    for (int64_t i = 0; i < f->m && f->first; i++)
        if (f->pass == 0) {
            count[i] = 0;
            value[i] = y[i * f->step_m[0]];
        } else {
            share[i] = 0 + (real)((double)dy[i * f->step_m[3]] / count[i]);
        }
    if (f->pass == 0) LK_F(count)(f, across);
    else LK_F(share)(f, across, *(const bool *)arg);
}

/* ---- the extreme along a dimension, and where it is ----------------------------------------- */

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
