/* ops_rearrange_real.h - sums over part of a row, in `real` (core/real.h). */

/* dx += dy for n elements from `first` on */
static void LK_F(add)(int64_t first, int64_t n, const real *dy, real *dx)
{
    for (int64_t i = first; i < first + n; i++) dx[i] += dy[i];
}
