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

/* ---- rows ----------------------------------------------------------------------------------- */

/* y = f(x, c). Unit steps have a loop of their own, which becomes vector code. */
static LK_ALWAYS_INLINE void LK_F(forward)(real (*f)(real x, real c), int64_t n, void *const *p,
                                           const int64_t *step, const void *arg)
{
    const real c = (real) * (const double *)arg, *x = p[1];
    real *y = p[0];
    if (step[0] == 1 && step[1] == 1)
        for (int64_t i = 0; i < n; i++) y[i] = f(x[i], c);
    else
        for (int64_t i = 0; i < n; i++) y[i * step[0]] = f(x[i * step[1]], c);
}

/* dx += f(x, y, dy, c), or dx = f(x, y, dy, c) for a fresh dx. */
static LK_ALWAYS_INLINE void LK_F(backward)(real (*f)(real x, real y, real dy, real c), int64_t n,
                                            void *const *p, const int64_t *step, const void *arg)
{
    const UnaryBackward *b = arg;
    const real c = (real)b->c, *dy = p[1], *x = p[2], *y = p[3];
    real *dx = p[0];
    const bool unit = step[0] == 1 && step[1] == 1 && step[2] == 1 && step[3] == 1;
    if (unit && b->fresh)
        for (int64_t i = 0; i < n; i++) dx[i] = f(x[i], y[i], dy[i], c);
    else if (unit)
        for (int64_t i = 0; i < n; i++) dx[i] += f(x[i], y[i], dy[i], c);
    else
        for (int64_t i = 0; i < n; i++) {
            const real d = f(x[i * step[2]], y[i * step[3]], dy[i * step[1]], c);
            dx[i * step[0]] = b->fresh ? d : dx[i * step[0]] + d;
        }
}

#define UNARY(name, grad_fn, needs, formula, gradient) \
    static inline real LK_F(name)(real x, real c) \
    { \
        (void)x, (void)c; \
        return formula; \
    } \
    static void LK_F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        LK_F(forward)(LK_F(name), n, p, step, arg); \
    } \
    static inline real LK_F(name##_gradient)(real x, real y, real dy, real c) \
    { \
        (void)x, (void)y, (void)dy, (void)c; \
        return gradient; \
    } \
    static void LK_F(name##_backward_row)(int64_t n, void *const *p, const int64_t *step, \
                                          const void *arg) \
    { \
        LK_F(backward)(LK_F(name##_gradient), n, p, step, arg); \
    }
#define UNARY_C UNARY
#include "core/ops_unary_table.h"
#undef UNARY_C
#undef UNARY
