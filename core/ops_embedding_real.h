/* ops_embedding_real.h - the gradient of a table, in `real` (core/real.h). */

/* dw_id(i) += dy_i for columns first … first + width - 1 of d, in the order of i. */
static void LK_F(add_rows)(int64_t count, const int64_t *id, int64_t padding, int64_t d,
                           int64_t first, int64_t width, const real *dy, real *dw)
{
    for (int64_t i = 0; i < count; i++) {
        if (id[i] == padding) continue;
        for (int64_t j = first; j < first + width; j++) dw[id[i] * d + j] += dy[i * d + j];
    }
}
