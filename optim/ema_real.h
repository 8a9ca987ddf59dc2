/* ema_real.h - averaging and exchanging of elements, in `real` (core/real.h). */

static void LK_F(average)(int64_t n, real *restrict average, const real *restrict p, double decay)
{
    const real keep = (real)decay, rest = (real)(1.0 - decay);
    for (int64_t i = 0; i < n; i++) average[i] = keep * average[i] + rest * p[i];
}

static void LK_F(exchange)(int64_t n, real *restrict a, real *restrict b)
{
    for (int64_t i = 0; i < n; i++) {
        real x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}
