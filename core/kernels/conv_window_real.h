/* conv_window_real.h - the window of a convolution: a piece of x with the zeros around it, in
 * `real` (core/real.h). */

/* Elements first, first + step, … of a row of x with `in` elements; zeros outside of it. */
static inline void LK_F(window_row)(const real *x, int64_t in, int64_t first, int64_t step,
                                    int64_t count, real *to)
{
    int64_t low = first < 0 ? (step - 1 - first) / step : 0;
    int64_t high = first < in ? (in - first + step - 1) / step : 0;
    if (high > count) high = count;
    if (low > high) low = high;
    for (int64_t j = 0; j < low; j++) to[j] = 0;
    if (step == 1 && low < high)
        memcpy(to + low, x + first + low, (size_t)(high - low) * sizeof *to);
    if (step == 2)
        for (int64_t j = low; j < high; j++) to[j] = x[first + j * 2];
    for (int64_t j = low; step > 2 && j < high; j++) to[j] = x[first + j * step];
    for (int64_t j = high; j < count; j++) to[j] = 0;
}

static void LK_F(fill_window)(const Window *w, int64_t rows, const void *source, int64_t channels,
                              void *window)
{
    for (int64_t c = 0; c < channels; c++) {
        const real *plane = (const real *)source + c * w->in_height * w->in_width;
        real *to = (real *)window + c * w->plane;
        for (int64_t r = 0; r < rows; r++) {
            const int64_t y = w->top + r;
            const bool inside = y >= 0 && y < w->in_height;
            for (int64_t p = 0; p < w->phases; p++, to += w->width) {
                if (inside) LK_F(window_row)
                (plane + y * w->in_width, w->in_width, w->left + p, w->phases, w->width, to);
                else memset(to, 0, (size_t)w->width * sizeof *to); }
        }
    }
}
