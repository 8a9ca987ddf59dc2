/* ops_conv_real.h - the gradient of a convolution's bias, in `real` (core/real.h). */

/* Adds to *sum the elements of one channel: `images` rows of n elements, `step` apart. */
static void LK_F(channel_sum)(int64_t images, int64_t n, const void *dy, int64_t step, void *sum)
{
    double parts[LK_LANES] = { 0 }, total = 0;
    for (int64_t i = 0; i < images; i++) {
        const real *x = (const real *)dy + i * step;
        int64_t j = 0;
        for (; j + LK_LANES <= n; j += LK_LANES)
            for (int l = 0; l < LK_LANES; l++) parts[l] += (double)x[j + l];
        for (int l = 0; j < n; j++, l++) parts[l] += (double)x[j];
    }
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    *(real *)sum += (real)total;
}
