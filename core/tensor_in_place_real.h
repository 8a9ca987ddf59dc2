/* tensor_in_place_real.h - rows of arithmetic in place, in `real` (core/real.h). */

/* PyTorch's form, which is exact at both ends. */
static inline real LK_F(lerp)(real x, real end, real weight)
{
    const real way = end - x;
    return fabs(weight) < (real)0.5 ? x + weight * way : end - way * (1 - weight);
}

/* x = f(x, y, c). Unit steps have a loop of their own, which becomes vector code. */
#define IN_PLACE(name, formula) \
    static void LK_F(name)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        const real c = (real) * (const double *)arg; \
        real *xs = p[0]; \
        const real *ys = p[1]; \
        const bool unit = step[0] == 1 && step[1] == 1; \
        (void)c; \
        for (int64_t i = 0; unit && i < n; i++) { \
            const real x = xs[i], y = ys[i]; \
            (void)y; \
            xs[i] = formula; \
        } \
        for (int64_t i = 0; !unit && i < n; i++) { \
            const real x = xs[i * step[0]], y = ys[i * step[1]]; \
            (void)y; \
            xs[i * step[0]] = formula; \
        } \
    }
IN_PLACE(add_row, x + c * y)
IN_PLACE(mul_row, x *y)
IN_PLACE(scale_row, c *x)
IN_PLACE(lerp_row, LK_F(lerp)(x, y, c))
#undef IN_PLACE
