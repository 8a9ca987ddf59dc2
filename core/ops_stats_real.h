/* ops_stats_real.h - tiles of variances, norms, log-sum-exps and products, in `real`
 * (core/real.h). A pass gathers room[0]; what a later one needs, it moves to room[1]. */
#include "core/kernels/vmath_real.h"

#include "core/gather_real.h"

static inline double LK_F(times)(double a, double b) { return a * b; }
static inline double LK_F(larger)(double a, double b) { return ((a >= b) | isnan(a)) ? a : b; }

/* Writes the results of a tile: y = f(i). */
#define LK_RESULTS(f, i, expression) \
    for (int64_t i = 0; i < (f)->m && (f)->last; i++) \
    ((real *)(f)->p[0])[i * (f)->step_m[0]] = (real)(expression)
/* The result and its gradient in a backward: y of p[0], dy of p[3]. */
#define LK_Y(f, i) ((double)((const real *)(f)->p[0])[(i) * (f)->step_m[0]])
#define LK_DY(f, i) ((double)((const real *)(f)->p[3])[(i) * (f)->step_m[3]])

/* ---- var and std ---------------------------------------------------------------------------- */

/* Moves the means of the first pass to room[1]. */
static void LK_F(take_means)(const Fold *f, double n)
{
    double *sum = f->room[0], *mean = f->room[1];
    for (int64_t i = 0; i < f->m && f->last; i++) mean[i] = sum[i] / n;
}

static void LK_F(var_fold)(const Fold *f, const void *arg)
{
    const Stats *s = arg;
    const double n = (double)s->plan.together, rest = n > s->c ? n - s->c : 0, *sum = f->room[0];
    if (f->pass == 0) {
        LK_F(gather)(LK_F(add_x), LK_F(plus), 0, f);
        LK_F(take_means)(f, n);
        return;
    }
    LK_F(gather)(LK_F(add_square), LK_F(plus), 0, f);
    if (s->root) LK_RESULTS(f, i, sqrt(sum[i] / rest));
    else LK_RESULTS(f, i, sum[i] / rest);
}

static inline double LK_F(deviation_slope)(real x, double factor, double mean)
{
    return ((double)x - mean) * factor;
}

static void LK_F(var_backward_fold)(const Fold *f, const void *arg)
{
    const StatsBackward *b = arg;
    const double n = (double)b->stats->plan.together;
    double *factor = f->room[0];
    if (f->pass == 0) {
        LK_F(gather)(LK_F(add_x), LK_F(plus), 0, f);
        LK_F(take_means)(f, n);
        return;
    }
    for (int64_t i = 0; i < f->m && f->first; i++) {
        const double rest = n - b->stats->c;
        if (!b->stats->root) factor[i] = 2 * LK_DY(f, i) / rest;
        else factor[i] = LK_Y(f, i) == 0 ? 0 : LK_DY(f, i) / (LK_Y(f, i) * rest);
    }
    LK_F(scatter)(LK_F(deviation_slope), f, b->fresh);
}

/* ---- norms ---------------------------------------------------------------------------------- */

static inline double LK_F(size)(real x) { return (double)(x < 0 ? -x : x); }

static inline double LK_F(add_1)(double sum, real x, double value)
{
    (void)value;
    return sum + LK_F(size)(x);
}
static inline double LK_F(add_2)(double sum, real x, double value)
{
    (void)value;
    return LK_MADD((double)x, (double)x, sum);
}
static inline double LK_F(add_other)(double sum, real x, double value)
{
    (void)value;
    return sum + (x == 0 ? 0 : 1);
}
static inline double LK_F(add_p)(double sum, real x, double p)
{
    return sum + (double)pow(LK_F(size)(x), p);
}
static inline double LK_F(top)(double top, real x, double value)
{
    (void)value;
    return LK_F(larger)(top, LK_F(size)(x));
}
static inline double LK_F(add_tops)(double count, real x, double top)
{
    const double size = LK_F(size)(x);
    return count + (((size == top) | (isnan(size) & isnan(top))) ? 1 : 0);
}

static void LK_F(norm_fold)(const Fold *f, const void *arg)
{
    const double p = ((const Stats *)arg)->c;
    double *sum = f->room[0], *value = f->room[1];
    for (int64_t i = 0; i < f->m && f->first; i++) value[i] = p;
    if (p == 2) LK_F(gather)(LK_F(add_2), LK_F(plus), 0, f);
    else if (p == 1) LK_F(gather)(LK_F(add_1), LK_F(plus), 0, f);
    else if (p == 0) LK_F(gather)(LK_F(add_other), LK_F(plus), 0, f);
    else if (isinf(p)) LK_F(gather)(LK_F(top), LK_F(larger), 0, f);
    else LK_F(gather)(LK_F(add_p), LK_F(plus), 0, f);
    if (p == 2) LK_RESULTS(f, i, sqrt(sum[i]));
    else if (p == 1 || p == 0 || isinf(p)) LK_RESULTS(f, i, sum[i]);
    else LK_RESULTS(f, i, pow(sum[i], 1 / p));
}

static inline double LK_F(slope_2)(real x, double factor, double p)
{
    (void)p;
    return (double)x * factor;
}
static inline double LK_F(slope_1)(real x, double factor, double p)
{
    (void)p;
    return LK_F(sign)(x) * factor;
}
static inline double LK_F(slope_top)(real x, double factor, double top)
{
    return LK_F(size)(x) == top ? LK_F(sign)(x) * factor : 0;
}
static inline double LK_F(slope_p)(real x, double factor, double p)
{
    return x == 0 ? 0 : LK_F(sign)(x) * (double)pow(LK_F(size)(x), p - 1) * factor;
}

/* For p = INFINITY the first pass counts the largest elements, which share the gradient. */
static void LK_F(norm_backward_fold)(const Fold *f, const void *arg)
{
    const StatsBackward *b = arg;
    const double p = b->stats->c;
    double *factor = f->room[0], *value = f->room[1];
    if (f->pass == 0) {
        for (int64_t i = 0; i < f->m && f->first; i++) value[i] = isinf(p) ? LK_Y(f, i) : p;
        if (isinf(p)) LK_F(gather)(LK_F(add_tops), LK_F(plus), 0, f);
        return;
    }
    for (int64_t i = 0; i < f->m && f->first; i++) {
        const double y = LK_Y(f, i), dy = LK_DY(f, i);
        if (isinf(p)) factor[i] = dy / factor[i];
        else if (p == 0 || (p != 1 && y == 0)) factor[i] = 0;
        else if (p == 1 || p == 2) factor[i] = p == 1 ? dy : dy / y;
        else factor[i] = dy / (double)pow(y, p - 1);
    }
    if (p == 2) LK_F(scatter)(LK_F(slope_2), f, b->fresh);
    else if (p == 1 || p == 0) LK_F(scatter)(LK_F(slope_1), f, b->fresh);
    else if (isinf(p)) LK_F(scatter)(LK_F(slope_top), f, b->fresh);
    else LK_F(scatter)(LK_F(slope_p), f, b->fresh);
}

/* ---- log-sum-exp ---------------------------------------------------------------------------- */

static inline double LK_F(max_x)(double top, real x, double value)
{
    (void)value;
    return LK_F(larger)(top, (double)x);
}

static inline double LK_F(add_exp)(double sum, real x, double top)
{
    return sum + (double)LK_F(exp)((real)((double)x - top));
}

/* The first pass takes the maxima, with which nothing overflows; infinite ones count as 0. */
static void LK_F(logsumexp_fold)(const Fold *f, const void *arg)
{
    (void)arg;
    double *sum = f->room[0], *top = f->room[1];
    if (f->pass == 0) {
        LK_F(gather)(LK_F(max_x), LK_F(larger), -INFINITY, f);
        for (int64_t i = 0; i < f->m && f->last; i++) top[i] = isinf(sum[i]) ? 0 : sum[i];
        return;
    }
    LK_F(gather)(LK_F(add_exp), LK_F(plus), 0, f);
    LK_RESULTS(f, i, top[i] + log(sum[i]));
}

static inline double LK_F(slope_exp)(real x, double dy, double y)
{
    return dy * (double)LK_F(exp)((real)((double)x - y));
}

static void LK_F(logsumexp_backward_fold)(const Fold *f, const void *arg)
{
    double *dy = f->room[0], *y = f->room[1];
    for (int64_t i = 0; i < f->m && f->first; i++) {
        dy[i] = LK_DY(f, i);
        y[i] = LK_Y(f, i);
    }
    LK_F(scatter)(LK_F(slope_exp), f, ((const StatsBackward *)arg)->fresh);
}

/* ---- products ------------------------------------------------------------------------------- */

static inline double LK_F(times_x)(double product, real x, double value)
{
    (void)value;
    return product * (double)x;
}
static inline double LK_F(times_other)(double product, real x, double value)
{
    (void)value;
    return x == 0 ? product : product * (double)x;
}
static inline double LK_F(add_zero)(double count, real x, double value)
{
    (void)value;
    return count + (x == 0 ? 1 : 0);
}

static void LK_F(prod_fold)(const Fold *f, const void *arg)
{
    (void)arg;
    const double *product = f->room[0];
    LK_F(gather)(LK_F(times_x), LK_F(times), 1, f);
    LK_RESULTS(f, i, product[i]);
}

/* The product of the others: of all divided by x, or of all but the only zero. */
static inline double LK_F(slope_prod)(real x, double rest, double zeros)
{
    const double at_zero = zeros == 1 ? rest : 0, elsewhere = zeros == 0 ? rest : 0;
    return x == 0 ? at_zero : elsewhere / (double)x;
}

/* The first pass counts the zeros, the second multiplies the others. */
static void LK_F(prod_backward_fold)(const Fold *f, const void *arg)
{
    double *rest = f->room[0], *zeros = f->room[1];
    if (f->pass == 0) {
        LK_F(gather)(LK_F(add_zero), LK_F(plus), 0, f);
        for (int64_t i = 0; i < f->m && f->last; i++) zeros[i] = rest[i];
        return;
    }
    if (f->pass == 1) {
        LK_F(gather)(LK_F(times_other), LK_F(times), 1, f);
        return;
    }
    for (int64_t i = 0; i < f->m && f->first; i++) rest[i] *= LK_DY(f, i);
    LK_F(scatter)(LK_F(slope_prod), f, ((const StatsBackward *)arg)->fresh);
}
