/* ops_loss_real.h - rows of the losses that compare element by element, in `real`
 * (core/real.h). */
#include "core/kernels/vmath_real.h"

/* ---- formulas that are longer than a line of the table -------------------------------------- */

static inline real LK_F(smooth_l1)(real d, real beta)
{
    const real u = fabs(d);
    return u < beta ? (real)0.5 * d * d / beta : u - (real)0.5 * beta;
}

static inline real LK_F(smooth_l1_slope)(real d, real beta)
{
    return fabs(d) >= beta ? LK_F(sign)(d) : d / beta;
}

static inline real LK_F(huber)(real d, real delta)
{
    const real u = fabs(d);
    return u <= delta ? (real)0.5 * d * d : delta * (u - (real)0.5 * delta);
}

static inline real LK_F(huber_slope)(real d, real delta)
{
    return fabs(d) > delta ? delta * LK_F(sign)(d) : d;
}

static inline real LK_F(y_log_y)(real y) { return y == 0 ? 0 : y * log(y); }

/* ---- rows ----------------------------------------------------------------------------------- */

typedef double LK_F(Value)(real x, real y, real w, real c);
typedef real LK_F(Slope)(real x, real y, real w, real c);

/* Adds the losses of a row to the sum. */
static LK_ALWAYS_INLINE void LK_F(add_up)(LK_F(Value) * f, int64_t n, void *const *p,
                                          const int64_t *step, const void *arg)
{
    const LossRow *a = arg;
    const real c = (real)a->c, *x = p[0], *y = p[1], *w = p[2];
    double sum = *a->sum;
    for (int64_t i = 0; i < n; i++) sum += f(x[i * step[0]], y[i * step[1]], w[i * step[2]], c);
    *a->sum = sum;
}

/* Stores the loss of each element. */
static LK_ALWAYS_INLINE void LK_F(each)(LK_F(Value) * f, int64_t n, void *const *p,
                                        const int64_t *step, const void *arg)
{
    const LossRow *a = arg;
    const real c = (real)a->c, *x = p[1], *y = p[2], *w = p[3];
    real *out = p[0];
    if (step[0] == 1 && step[1] == 1 && step[2] == 1 && step[3] == 0)
        for (int64_t i = 0; i < n; i++) out[i] = (real)f(x[i], y[i], *w, c);
    else
        for (int64_t i = 0; i < n; i++)
            out[i * step[0]] = (real)f(x[i * step[1]], y[i * step[2]], w[i * step[3]], c);
}

/* d += f dloss / count. A loss that is one number has step 0. */
static LK_ALWAYS_INLINE void LK_F(backward)(LK_F(Slope) * f, int64_t n, void *const *p,
                                            const int64_t *step, const void *arg)
{
    const LossRow *a = arg;
    const real c = (real)a->c, *dloss = p[1], *x = p[2], *y = p[3], *w = p[4];
    const real factor = (real)((double)*dloss / a->count);
    real *d = p[0];
    const bool unit = step[0] == 1 && step[2] == 1 && step[3] == 1 && step[4] == 0;
    if (unit && step[1] == 0)
        for (int64_t i = 0; i < n; i++) d[i] += factor * f(x[i], y[i], *w, c);
    else
        for (int64_t i = 0; i < n; i++) {
            const real own = step[1] == 0 ? factor : dloss[i * step[1]];
            d[i * step[0]] += own * f(x[i * step[2]], y[i * step[3]], w[i * step[4]], c);
        }
}

#define LOSS_ROW(name, loop, formula_type, formula) \
    static inline formula_type LK_F(name)(real x, real y, real w, real c) \
    { \
        (void)x, (void)y, (void)w, (void)c; \
        return formula; \
    } \
    static void LK_F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        LK_F(loop)(LK_F(name), n, p, step, arg); \
    }
#define LOSS(name, none, mean, sum, needs_x, needs_y, formula, dx, dy) \
    LOSS_ROW(name##_loss, add_up, double, formula) \
    static void LK_F(name##_each_row)(int64_t n, void *const *p, const int64_t *step, \
                                      const void *arg) \
    { \
        LK_F(each)(LK_F(name##_loss), n, p, step, arg); \
    } \
    LOSS_ROW(name##_dx, backward, real, dx) \
    LOSS_ROW(name##_dy, backward, real, dy)
#include "core/ops_loss_table.h"
#undef LOSS
#undef LOSS_ROW
