/* ops_binary_real.h - rows of elementwise operations of two operands, in `real` (core/real.h). */

static inline real LK_F(pow_gradient_a)(real a, real b, real dy)
{
    return b == 0 ? 0 : dy * (b * pow(a, b - 1));
}

static inline real LK_F(pow_gradient_b)(real a, real b, real y, real dy)
{
    return a == 0 && b >= 0 ? 0 : dy * (y * log(a));
}

/* A NaN wins over every number. */
static inline real LK_F(larger)(real a, real b) { return a > b || a != a ? a : b; }
static inline real LK_F(smaller)(real a, real b) { return a < b || a != a ? a : b; }

/* The gradient of a in the maximum of a and b. Equal operands share it, and each gets all of it
 * when one is NaN, as in PyTorch. */
static inline real LK_F(larger_gradient)(real a, real b, real dy)
{
    const real apart = a < b ? 0 : dy;
    return a == b ? dy / 2 : apart;
}

/* y = f(a, b). Unit steps have a loop of their own, which becomes vector code. */
static LK_ALWAYS_INLINE void LK_F(forward)(real (*f)(real a, real b), int64_t n, void *const *p,
                                           const int64_t *step)
{
    real *y = p[0];
    const real *a = p[1], *b = p[2];
    if (step[0] == 1 && step[1] == 1 && step[2] == 1)
        for (int64_t i = 0; i < n; i++) y[i] = f(a[i], b[i]);
    else
        for (int64_t i = 0; i < n; i++) y[i * step[0]] = f(a[i * step[1]], b[i * step[2]]);
}

/* d += f(a, b, y, dy) */
static LK_ALWAYS_INLINE void LK_F(backward)(real (*f)(real a, real b, real y, real dy), int64_t n,
                                            void *const *p, const int64_t *step)
{
    real *d = p[0];
    const real *dy = p[1], *a = p[2], *b = p[3], *y = p[4];
    for (int64_t i = 0; i < n; i++)
        d[i * step[0]] += f(a[i * step[2]], b[i * step[3]], y[i * step[4]], dy[i * step[1]]);
}

#define BINARY_BACKWARD(name, gradient) \
    static inline real LK_F(name)(real a, real b, real y, real dy) \
    { \
        (void)a, (void)b, (void)y; \
        return gradient; \
    } \
    static void LK_F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        LK_F(backward)(LK_F(name), n, p, step); \
    }
#define BINARY(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b) \
    static inline real LK_F(name)(real a, real b) { return formula; } \
    static void LK_F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        LK_F(forward)(LK_F(name), n, p, step); \
    } \
    BINARY_BACKWARD(name##_da, gradient_a) \
    BINARY_BACKWARD(name##_db, gradient_b)
#define BINARY_INT(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b, integer) \
    BINARY(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b)
#include "core/ops_binary_table.h"
#undef BINARY_INT
#undef BINARY
#undef BINARY_BACKWARD
