/* loader_real.h - bytes become numbers of a batch, in `real` (core/real.h). */

/* to[i] = ((from[i] / 255) - mean) / std in float32, with two true divisions as in PyTorch: a
 * multiplication by 1 / 255 differs in the last bit. */
static void LK_F(transform)(int64_t n, const uint8_t *restrict from, Transform by,
                            real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] = (real)(((float)from[i] / 255.0f - by.mean) / by.std);
}
