/* ops_dropout_real.h - elements times their mask, in `real` (core/real.h). */

/* y = x noise or y += x noise. A dropped infinity is a NaN, as in PyTorch. */
static void LK_F(multiply)(const DropoutMask *mask, int64_t n, const real *x, real *y, bool add)
{
    enum { LK_F(PIECE) = 2048 };
    const real scale = (real)lk__dropout_scale(mask, LK_REAL_IS_FLOAT ? LK_F32 : LK_F64);
#pragma omp parallel for schedule(static) if (n > 1 << 15)
    for (int64_t first = 0; first < n; first += LK_F(PIECE)) {
        uint8_t keep[LK_F(PIECE)];
        int64_t count = n - first < LK_F(PIECE) ? n - first : LK_F(PIECE);
        lk__dropout_keep(mask, first, count, keep);
        const real *from = x + first;
        real *to = y + first;
        if (add)
            for (int64_t i = 0; i < count; i++) to[i] += from[i] * ((real)keep[i] * scale);
        else
            for (int64_t i = 0; i < count; i++) to[i] = from[i] * ((real)keep[i] * scale);
    }
}
