/* diagnose_real.h - how long a parameter is and how far it moved, in `real` (core/real.h). */

/* Σ (s a - s b)², or Σ (s a)² if b is NULL. */
static double LK_F(squares)(int64_t n, const real *a, const real *b, double s)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = s * (double)a[i] - (b ? s * (double)b[i] : 0);
        sum += d * d;
    }
    return sum;
}
