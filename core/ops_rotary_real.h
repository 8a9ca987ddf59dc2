/* ops_rotary_real.h - turns pairs of elements, in `real` (core/real.h). */

/* y = x turned by the angles of its row in the sequence, or by the negative angles, or y += that.
 * The table has cos and sin of each row's n / 2 angles. */
static void LK_F(turn)(int64_t heads, int64_t n, const double *angles, bool back, bool add,
                       const void *from, void *to)
{
    const int64_t half = n / 2;
    const double *cosine = angles, *sine = angles + half;
    for (int64_t h = 0; h < heads; h++) {
        const real *x = (const real *)from + h * n;
        real *y = (real *)to + h * n;
        for (int64_t j = 0; j < half; j++) {
            const real c = (real)cosine[j], s = (real)(back ? -sine[j] : sine[j]);
            const real first = x[j] * c - x[j + half] * s, second = x[j + half] * c + x[j] * s;
            y[j] = add ? y[j] + first : first;
            y[j + half] = add ? y[j + half] + second : second;
        }
    }
}
