/* ops_sort_real.h - adds to the places that elements were taken from, in `real` (core/real.h). */

/* dx[index] += dy in block `outer`, where k elements of n were taken */
static void LK_F(add_at_places)(int64_t outer, int64_t k, int64_t n, int64_t inner,
                                const int64_t *index, const real *dy, real *dx)
{
    index += outer * k * inner;
    dy += outer * k * inner;
    dx += outer * n * inner;
    for (int64_t i = 0; i < k; i++, index += inner, dy += inner)
        for (int64_t j = 0; j < inner; j++) dx[index[j] * inner + j] += dy[j];
}
