/* gather_real.h - tiles of reductions (core/fold.h) that a formula for one element describes, in
 * `real` (core/real.h). The files of families include it in their …_real.h. Sums and products are
 * taken in double for both dtypes. Elements with gaps between them are moved side by side first:
 * so each formula is compiled for two loops only, which become vector code. */

enum { LK_F(PARTS) = 8 }; /* of a row, so that one addition does not wait for the other */

typedef double (*LK_F(Step))(double sum, real x, double value);
typedef double (*LK_F(Merge))(double a, double b);

/* Steps and a merge of several families: Σ x, and Σ (x - mean)². */
static inline double LK_F(plus)(double a, double b) { return a + b; }

static inline double LK_F(add_x)(double sum, real x, double value)
{
    (void)value;
    return sum + (double)x;
}

static inline double LK_F(add_square)(double sum, real x, double mean)
{
    const double d = (double)x - mean;
    return LK_MADD(d, d, sum);
}

/* Copies n elements, `step` apart, side by side. It is not inlined, nor is put: all formulas share
 * them. */
__attribute__((noinline)) static void LK_F(pack)(int64_t n, int64_t step, const real *x, real *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = x[i * step];
}

/* Returns n elements side by side: x itself, or their copy in `room`. */
static inline const real *LK_F(tight)(int64_t n, int64_t step, const real *x, real *room)
{
    if (step == 1) return x;
    LK_F(pack)(n, step, x, room);
    return room;
}

static LK_ALWAYS_INLINE void LK_F(gather_column)(LK_F(Step) step, int64_t m, const real *x,
                                                 const double *value, double *sum)
{
    for (int64_t i = 0; i < m; i++) sum[i] = step(sum[i], x[i], value[i]);
}

static LK_ALWAYS_INLINE void LK_F(gather_row)(LK_F(Step) step, int64_t n, const real *x,
                                              double value, double part[LK_F(PARTS)])
{
    int64_t k = 0;
    for (; k + LK_F(PARTS) <= n; k += LK_F(PARTS)) {
#pragma omp simd
        for (int l = 0; l < LK_F(PARTS); l++) part[l] = step(part[l], x[k + l], value);
    }
    for (; k < n; k++) part[0] = step(part[0], x[k], value);
}

/* room[0] = step(room[0], x, room[1]) for all elements x of p[1]. It begins with `start`, and
 * merge(start, a) must be a. */
static LK_ALWAYS_INLINE void LK_F(gather)(LK_F(Step) step, LK_F(Merge) merge, double start,
                                          const Fold *tile)
{
    const bool across = lk__fold_goes_across(tile);
    const Fold one = across ? *tile : lk__fold_long_rows(tile), *f = &one;
    double *sum = f->room[0];
    const double *value = f->room[1];
    real room[LK_FOLD_MOST];
    for (int64_t i = 0; i < f->m && f->first; i++) sum[i] = start;
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        for (int64_t k = 0; k < f->n && across; k++, x += f->step_n[1])
            LK_F(gather_column)(step, f->m, LK_F(tight)(f->m, f->step_m[1], x, room), value, sum);
        for (int64_t i = 0; i < f->m && !across; i++, x += f->step_m[1]) {
            double part[LK_F(PARTS)];
            const int64_t most = f->step_n[1] == 1 ? f->n : LK_FOLD_MOST;
            for (int l = 0; l < LK_F(PARTS); l++) part[l] = start;
            for (int64_t k = 0; k < f->n; k += most) {
                const int64_t n = f->n - k < most ? f->n - k : most;
                const real *piece = x + k * f->step_n[1];
                LK_F(gather_row)
                (step, n, LK_F(tight)(n, f->step_n[1], piece, room), value[i], part);
            }
            for (int l = 0; l < LK_F(PARTS); l++) sum[i] = merge(sum[i], part[l]);
        }
    }
}

typedef double (*LK_F(Slope))(real x, double a, double b);

/* dx += d, or dx = d for a fresh dx, `step` apart */
__attribute__((noinline)) static void LK_F(put)(int64_t n, int64_t step, const real *d, real *dx,
                                                bool fresh)
{
    if (fresh)
        for (int64_t i = 0; i < n; i++) dx[i * step] = d[i];
    else
        for (int64_t i = 0; i < n; i++) dx[i * step] += d[i];
}

static LK_ALWAYS_INLINE void LK_F(slope_column)(LK_F(Slope) slope, int64_t m, const real *x,
                                                const double *a, const double *b, real *d)
{
    for (int64_t i = 0; i < m; i++) d[i] = (real)slope(x[i], a[i], b[i]);
}

static LK_ALWAYS_INLINE void LK_F(slope_row)(LK_F(Slope) slope, int64_t n, const real *x, double a,
                                             double b, real *d)
{
    for (int64_t k = 0; k < n; k++) d[k] = (real)slope(x[k], a, b);
}

/* p[2] += slope(x, room[0], room[1]) for all elements x of p[1]; = for fresh ones. */
static LK_ALWAYS_INLINE void LK_F(scatter)(LK_F(Slope) slope, const Fold *tile, bool fresh)
{
    const bool across = lk__fold_goes_across(tile);
    const Fold one = across ? *tile : lk__fold_long_rows(tile), *f = &one;
    const double *a = f->room[0], *b = f->room[1];
    real room[LK_FOLD_MOST], d[LK_FOLD_MOST];
    for (int64_t r = 0; r < f->rows; r++) {
        const real *x = (const real *)f->p[1] + r * f->step_row[1];
        real *dx = (real *)f->p[2] + r * f->step_row[2];
        for (int64_t k = 0; k < f->n && across; k++, x += f->step_n[1], dx += f->step_n[2]) {
            LK_F(slope_column)(slope, f->m, LK_F(tight)(f->m, f->step_m[1], x, room), a, b, d);
            LK_F(put)(f->m, f->step_m[2], d, dx, fresh);
        }
        for (int64_t i = 0; i < f->m && !across; i++, x += f->step_m[1], dx += f->step_m[2])
            for (int64_t k = 0; k < f->n; k += LK_FOLD_MOST) {
                const int64_t n = f->n - k < LK_FOLD_MOST ? f->n - k : LK_FOLD_MOST;
                const real *piece = x + k * f->step_n[1];
                LK_F(slope_row)
                (slope, n, LK_F(tight)(n, f->step_n[1], piece, room), a[i], b[i], d);
                LK_F(put)(n, f->step_n[2], d, dx + k * f->step_n[2], fresh);
            }
    }
}
