/* ops_pool_real.h - pooling and upsampling of one plane (H, W), in `real` (core/real.h). */

/* ---- windows -------------------------------------------------------------------------------- */

/* One tap of a row of windows: element ox step of x belongs to window ox, `first` <= ox < end. y
 * has the maxima so far, and index, if it is not NULL, where they are. */
static LK_ALWAYS_INLINE void LK_F(max_tap)(int64_t first, int64_t end, int64_t step, const real *x,
                                           int32_t at, real *restrict y, int32_t *restrict index)
{
    if (!index) {
        for (int64_t o = first; o < end; o++) {
            const real v = x[o * step];
            y[o] = v > y[o] || v != v ? v : y[o];
        }
        return;
    }
    const int32_t each = (int32_t)step, last = (int32_t)end;
    for (int32_t o = (int32_t)first; o < last; o++) {
        const real v = x[o * step];
        const bool more = v > y[o] || v != v;
        index[o] = more ? at + o * each : index[o];
        y[o] = more ? v : y[o];
    }
}

static LK_ALWAYS_INLINE void LK_F(add_tap)(int64_t first, int64_t end, int64_t step, const real *x,
                                           real *restrict y)
{
    for (int64_t o = first; o < end; o++) y[o] += x[o * step];
}

static LK_ALWAYS_INLINE void LK_F(give_tap)(int64_t first, int64_t end, int64_t step,
                                            const real *dy, real area, real *restrict dx)
{
    for (int64_t o = first; o < end; o++) dx[o * step] += dy[o] / area;
}

/* `call` with the step as a constant where it is 1 or 2: the compiler makes vector code of it. */
#define WITH_STEP(s, call) \
    do { \
        if (s == 1) { \
            enum { step = 1 }; \
            call; \
        } else if (s == 2) { \
            enum { step = 2 }; \
            call; \
        } else { \
            const int64_t step = s; \
            call; \
        } \
    } while (0)

/* The first tap of each window in x, a row that begins at `row`. It is the maximum if all are
 * -infinity. */
static inline void LK_F(first_taps)(const Pool *p, int64_t row, int32_t *index)
{
    const int32_t step = (int32_t)p->stride[1], before = (int32_t)p->padding[1],
                  from = (int32_t)row, n = (int32_t)p->out[1];
    for (int32_t o = 0; p->dilation[1] > 1 && o < n; o++)
        index[o] = from + (int32_t)taps_of(p, 1, o).first;
    for (int32_t o = 0; p->dilation[1] == 1 && o < n; o++) {
        const int32_t at = o * step - before;
        index[o] = from + (at > 0 ? at : 0);
    }
}

/* The maxima of a row of windows that lie inside of x, each found in registers. */
static LK_ALWAYS_INLINE void LK_F(max_row)(const Pool *p, int64_t kh, int64_t kw, int64_t first,
                                           const real *restrict x, real *restrict y,
                                           int32_t *restrict index)
{
    const int64_t step = p->stride[1], width = p->in[1];
    for (int64_t o = 0; o < p->out[1]; o++) {
        const int64_t corner = first + o * step;
        int32_t where = (int32_t)corner;
        real best = x[corner];
        for (int64_t i = 0; i < kh; i++) {
            for (int64_t j = 0; j < kw; j++) {
                const int64_t at = corner + i * width + j;
                const real v = x[at];
                const bool more = v > best || v != v;
                where = more ? (int32_t)at : where;
                best = more ? v : best;
            }
        }
        y[o] = best;
        if (index) index[o] = where;
    }
}

/* max_row with the size of the kernel as a constant where it is a usual one. */
static void LK_F(max_inside)(const Pool *p, const real *x, real *y, int32_t *index)
{
    const int64_t kh = p->kernel[0], kw = p->kernel[1], n = p->out[1];
    for (int64_t o = 0; o < p->out[0]; o++, y += n, index += index ? n : 0) {
        const int64_t first = o * p->stride[0] * p->in[1];
        if (kh == 2 && kw == 2) LK_F(max_row)(p, 2, 2, first, x, y, index);
        else if (kh == 3 && kw == 3) LK_F(max_row)(p, 3, 3, first, x, y, index);
        else LK_F(max_row)(p, kh, kw, first, x, y, index);
    }
}

static void LK_F(max_plane)(const Pool *p, const void *from, void *to, int32_t *index)
{
    const real *x = from;
    real *y = to;
    if (p->inside) {
        LK_F(max_inside)(p, x, y, index);
        return;
    }
    for (int64_t oy = 0; oy < p->out[0]; oy++, y += p->out[1]) {
        const Taps down = taps_of(p, 0, oy);
        for (int64_t ox = 0; ox < p->out[1]; ox++) y[ox] = -(real)INFINITY;
        if (index) LK_F(first_taps)(p, down.first * p->in[1], index);
        for (int64_t iy = down.first; iy < down.end; iy += p->dilation[0]) {
            for (int64_t k = 0; k < p->kernel[1]; k++) {
                const Taps o = windows_of(p, k);
                const int64_t at = iy * p->in[1] + k * p->dilation[1] - p->padding[1];
                WITH_STEP(p->stride[1],
                          LK_F(max_tap)(o.first, o.end, step, x + at, (int32_t)at, y, index));
            }
        }
        if (index) index += p->out[1];
    }
}

static void LK_F(max_plane_backward)(int64_t n, const void *from, const int32_t *index, void *to)
{
    const real *dy = from;
    real *dx = to;
    for (int64_t i = 0; i < n; i++) dx[index[i]] += dy[i];
}

static void LK_F(avg_plane)(const Pool *p, const void *from, void *to)
{
    const real *x = from, area = (real)(p->kernel[0] * p->kernel[1]);
    real *y = to;
    for (int64_t oy = 0; oy < p->out[0]; oy++, y += p->out[1]) {
        const Taps down = taps_of(p, 0, oy);
        for (int64_t ox = 0; ox < p->out[1]; ox++) y[ox] = 0;
        for (int64_t iy = down.first; iy < down.end; iy++) {
            for (int64_t k = 0; k < p->kernel[1]; k++) {
                const Taps o = windows_of(p, k);
                const real *row = x + iy * p->in[1] + k - p->padding[1];
                WITH_STEP(p->stride[1], LK_F(add_tap)(o.first, o.end, step, row, y));
            }
        }
        if (p->even)
            for (int64_t ox = 0; ox < p->out[1]; ox++) y[ox] /= area;
        else
            for (int64_t ox = 0; ox < p->out[1]; ox++)
                y[ox] /= (real)(counted(p, 0, oy) * counted(p, 1, ox));
    }
}

static void LK_F(avg_plane_backward)(const Pool *p, const void *from, void *to)
{
    const real *dy = from, area = (real)(p->kernel[0] * p->kernel[1]);
    real *dx = to;
    for (int64_t oy = 0; oy < p->out[0]; oy++, dy += p->out[1]) {
        const Taps down = taps_of(p, 0, oy);
        for (int64_t iy = down.first; iy < down.end; iy++) {
            for (int64_t k = 0; k < p->kernel[1]; k++) {
                const Taps o = windows_of(p, k);
                real *row = dx + iy * p->in[1] + k - p->padding[1];
                if (p->even)
                    WITH_STEP(p->stride[1], LK_F(give_tap)(o.first, o.end, step, dy, area, row));
                for (int64_t ox = o.first; !p->even && ox < o.end; ox++)
                    row[ox * p->stride[1]] +=
                        dy[ox] / (real)(counted(p, 0, oy) * counted(p, 1, ox));
            }
        }
    }
}
#undef WITH_STEP

/* ---- parts of the plane --------------------------------------------------------------------- */

static void LK_F(adaptive_plane)(const Pool *p, const void *from, void *to)
{
    real *y = to;
    for (int64_t oy = 0; oy < p->out[0]; oy++) {
        const Taps down = share_of(p, 0, oy);
        for (int64_t ox = 0; ox < p->out[1]; ox++) {
            const Taps across = share_of(p, 1, ox);
            double parts[LK_LANES] = { 0 }, total = 0;
            for (int64_t iy = down.first; iy < down.end; iy++) {
                const real *x = (const real *)from + iy * p->in[1] + across.first;
                const int64_t n = across.end - across.first;
                int64_t i = 0;
                for (; i + LK_LANES <= n; i += LK_LANES)
                    for (int l = 0; l < LK_LANES; l++) parts[l] += (double)x[i + l];
                for (int l = 0; i < n; i++, l++) parts[l] += (double)x[i];
            }
            for (int l = 0; l < LK_LANES; l++) total += parts[l];
            *y++ = (real)(total / (double)size_of(down) / (double)size_of(across));
        }
    }
}

static void LK_F(adaptive_plane_backward)(const Pool *p, const void *from, void *to)
{
    const real *dy = from;
    for (int64_t oy = 0; oy < p->out[0]; oy++) {
        const Taps down = share_of(p, 0, oy);
        for (int64_t ox = 0; ox < p->out[1]; ox++, dy++) {
            const Taps across = share_of(p, 1, ox);
            const real each = *dy / (real)size_of(down) / (real)size_of(across);
            for (int64_t iy = down.first; iy < down.end; iy++) {
                real *dx = (real *)to + iy * p->in[1];
                for (int64_t ix = across.first; ix < across.end; ix++) dx[ix] += each;
            }
        }
    }
}

/* ---- larger planes -------------------------------------------------------------------------- */

/* x is the smaller plane (in). */
static void LK_F(upsample_plane)(const Pool *p, const void *from, void *to)
{
    const int64_t scale = p->stride[1], width = p->out[1];
    real *y = to;
    for (int64_t iy = 0; iy < p->in[0]; iy++) {
        const real *x = (const real *)from + iy * p->in[1];
        real *first = y;
        for (int64_t ix = 0; ix < p->in[1]; ix++)
            for (int64_t k = 0; k < scale; k++) *y++ = x[ix];
        for (int64_t k = 1; k < p->stride[0]; k++, y += width)
            memcpy(y, first, (size_t)width * sizeof *y);
    }
}

static void LK_F(upsample_plane_backward)(const Pool *p, const void *from, void *to)
{
    const int64_t scale = p->stride[1];
    const real *dy = from;
    real *dx = to;
    for (int64_t oy = 0; oy < p->out[0]; oy++) {
        real *row = dx + oy / p->stride[0] * p->in[1];
        for (int64_t ix = 0; ix < p->in[1]; ix++)
            for (int64_t k = 0; k < scale; k++) row[ix] += *dy++;
    }
}
