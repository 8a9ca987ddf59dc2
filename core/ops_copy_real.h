/* ops_copy_real.h - adds rows to the places where they were taken, in `real` (core/real.h). */

static void LK_F(add_rows)(int64_t count, int64_t n, int64_t rows, const int64_t *index,
                           int64_t step, const real *dy, real *dx)
{
    for (int64_t i = 0; i < count; i++, dy += n) {
        int64_t row = index[i * step];
        real *to = dx + (row < 0 ? row + rows : row) * n;
        for (int64_t j = 0; j < n; j++) to[j] += dy[j];
    }
}
