/* ops_index_real.h - elements chosen by an index or a mask, in `real` (core/real.h). */

/* dx[place] += dy, one after the other, because places may repeat. */
static void LK_F(scatter)(int64_t n, const int64_t *place, const real *dy, real *dx)
{
    for (int64_t i = 0; i < n; i++) dx[place[i]] += dy[i];
}

/* taken = dy[place] */
static void LK_F(take)(int64_t n, const int64_t *place, const real *dy, real *taken)
{
    for (int64_t i = 0; i < n; i++) taken[i] = dy[place[i]];
}

/* y[index] += src for the columns first … first + STRIPE - 1 of the slices in block `outer` */
static void LK_F(add_slices)(const Slices *s, int64_t outer, int64_t first, const real *src,
                             real *y)
{
    const int64_t inner = s->along.inner, left = inner - first, n = left < STRIPE ? left : STRIPE;
    src += outer * s->count * inner + first;
    y += outer * s->along.n * inner + first;
    for (int64_t i = 0; i < s->count; i++, src += inner) {
        real *to = y + s->index[i] * inner;
        for (int64_t j = 0; j < n; j++) to[j] += src[j];
    }
}

/* dsrc += dy[index] for the same columns */
static void LK_F(take_slices)(const Slices *s, int64_t outer, int64_t first, const real *dy,
                              real *dsrc)
{
    const int64_t inner = s->along.inner, left = inner - first, n = left < STRIPE ? left : STRIPE;
    dsrc += outer * s->count * inner + first;
    dy += outer * s->along.n * inner + first;
    for (int64_t i = 0; i < s->count; i++, dsrc += inner) {
        const real *from = dy + s->index[i] * inner;
        for (int64_t j = 0; j < n; j++) dsrc[j] += from[j];
    }
}

/* y = mask ? value : x */
static void LK_F(fill_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const real value = (real) * (const double *)arg;
    real *y = p[0];
    const real *x = p[1];
    const bool *mask = p[2];
    for (int64_t i = 0; i < n; i++) y[i * step[0]] = mask[i * step[2]] ? value : x[i * step[1]];
}

/* dx += mask ? 0 : dy */
static void LK_F(add_unmasked_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dx = p[0];
    const real *dy = p[1];
    const bool *mask = p[2];
    for (int64_t i = 0; i < n; i++)
        if (!mask[i * step[2]]) dx[i * step[0]] += dy[i * step[1]];
}
