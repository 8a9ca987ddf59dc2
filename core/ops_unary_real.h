/* ops_unary_real.h - rows of elementwise operations of one operand, in `real` (core/real.h). */
#include "core/kernels/vmath_real.h"

/* ---- formulas that are longer than a line of the table -------------------------------------- */

/* Returns x^c as PyTorch does. When c is ±1/2, C's pow would treat -0 and -infinity as 0 and
 * infinity. */
static inline real LK_F(power)(real x, real c)
{
    if (c == 2) return x * x;
    if (c == (real)0.5) return sqrt(x);
    if (c == (real)-0.5) return 1 / sqrt(x);
    return pow(x, c);
}

static inline real LK_F(power_gradient)(real x, real c, real dy)
{
    return c == 0 ? 0 : dy * (c * LK_F(power)(x, c - 1));
}

static inline real LK_F(abs_gradient)(real x, real dy)
{
    const real left = x < 0 ? -dy : 0;
    return x > 0 ? dy : left;
}

/* x from low to high; high where the two cross. A NaN wins, a bound that is NaN too. */
static inline real LK_F(clamp)(real x, real low, real high)
{
    const real y = x < low || low != low ? low : x;
    return y > high || high != high ? high : y;
}

static inline real LK_F(silu)(real x) { return x / (1 + LK_F(exp)(-x)); }

static inline real LK_F(silu_slope)(real x)
{
    const real s = LK_F(sigmoid)(x);
    return s * (1 + x * (1 - s));
}

/* x s(2u) with s = sigmoid and u = √(2/π) (x + 0.044715 x³), because (1 + tanh u) / 2 = s(2u). */
static inline real LK_F(gelu_tanh)(real x)
{
    const real k = (real)1.5957691216057308; /* 2 √(2/π) */
    return x * LK_F(sigmoid)(k * (x + (real)0.044715 * x * x * x));
}

static inline real LK_F(gelu_tanh_slope)(real x)
{
    const real k = (real)1.5957691216057308;
    const real s = LK_F(sigmoid)(k * (x + (real)0.044715 * x * x * x));
    return s + x * s * (1 - s) * (k * (1 + (real)0.134145 * x * x));
}

/* PyTorch's threshold: from 20 on, softplus is x. */
static inline real LK_F(softplus_to_20)(real x) { return x > 20 ? x : LK_F(softplus)(x); }
static inline real LK_F(softplus_slope)(real x) { return x > 20 ? 1 : LK_F(sigmoid)(x); }

static inline real LK_F(elu)(real x, real alpha) { return x <= 0 ? alpha * LK_F(expm1)(x) : x; }
static inline real LK_F(elu_slope)(real x, real alpha)
{
    return x <= 0 ? alpha * LK_F(exp)(x) : 1;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* y = f(x, c, d). Unit steps have a loop of their own, which becomes vector code. */
static LK_ALWAYS_INLINE void LK_F(forward)(real (*f)(real x, real c, real d), int64_t n,
                                           void *const *p, const int64_t *step, const void *arg)
{
    const UnaryConstants *k = arg;
    const real c = (real)k->c, d = (real)k->d, *x = p[1];
    real *y = p[0];
    if (step[0] == 1 && step[1] == 1)
        for (int64_t i = 0; i < n; i++) y[i] = f(x[i], c, d);
    else
        for (int64_t i = 0; i < n; i++) y[i * step[0]] = f(x[i * step[1]], c, d);
}

/* dx += f(x, y, dy, c, d), or dx = f(x, y, dy, c, d) for a fresh dx. */
static LK_ALWAYS_INLINE void LK_F(backward)(real (*f)(real x, real y, real dy, real c, real d),
                                            int64_t n, void *const *p, const int64_t *step,
                                            const void *arg)
{
    const UnaryBackward *b = arg;
    const real c = (real)b->k.c, d = (real)b->k.d, *dy = p[1], *x = p[2], *y = p[3];
    real *dx = p[0];
    const bool unit = step[0] == 1 && step[1] == 1 && step[2] == 1 && step[3] == 1;
    if (unit && b->fresh)
        for (int64_t i = 0; i < n; i++) dx[i] = f(x[i], y[i], dy[i], c, d);
    else if (unit)
        for (int64_t i = 0; i < n; i++) dx[i] += f(x[i], y[i], dy[i], c, d);
    else
        for (int64_t i = 0; i < n; i++) {
            const real own = f(x[i * step[2]], y[i * step[3]], dy[i * step[1]], c, d);
            dx[i * step[0]] = b->fresh ? own : dx[i * step[0]] + own;
        }
}

#define UNARY(name, grad_fn, needs, formula, gradient) \
    static inline real LK_F(name)(real x, real c, real d) \
    { \
        (void)x, (void)c, (void)d; \
        return formula; \
    } \
    static void LK_F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        LK_F(forward)(LK_F(name), n, p, step, arg); \
    } \
    static inline real LK_F(name##_gradient)(real x, real y, real dy, real c, real d) \
    { \
        (void)x, (void)y, (void)dy, (void)c, (void)d; \
        return gradient; \
    } \
    static void LK_F(name##_backward_row)(int64_t n, void *const *p, const int64_t *step, \
                                          const void *arg) \
    { \
        LK_F(backward)(LK_F(name##_gradient), n, p, step, arg); \
    }
#define UNARY_C UNARY
#define UNARY_CD UNARY
#include "core/ops_unary_table.h"
#undef UNARY_CD
#undef UNARY_C
#undef UNARY
