/* gemm_tile.h - the source of the kernels that gemm_kernels.h describes. The file of an instruction set includes it for
 * float32 and again for float64, each time after it said what a vector is:
 *
 *     real, F(name)              the element type, and its suffix for a function: name_f32
 *     V, LANES                   a vector, and how many elements it has
 *     splat(x)                   x in every lane
 *     load(p), store(p, v)       LANES elements at any address
 *     load_part(p, n)            the first n elements, 1 <= n <= LANES, and zeros; no other element is read
 *     store_part(p, n, v)        the first n lanes; no other element is written
 *     fma(a, b, c)               a b + c
 *     sum4(v, s)                 s[0 … 3] = the sums of the lanes of v[0 … 3]
 *
 * and, once for both:
 *
 *     TARGET                     the function attribute that allows the instructions
 *     TILE_ROWS, TILE_CASES(_)   the largest tile, in rows of two vectors; _(1) … _(TILE_ROWS)
 *     DOT_ROWS, DOT_CASES(_)     the same for dot products, in rows of four sums
 *
 * Tiles are arrays of vectors in registers. For that the compiler must know their sizes: the INLINE functions are
 * copied into the cases of a switch, with constants for the sizes (LK_SPECIALIZE in gemm_kernels.h says when). */

#ifndef INLINE
#ifdef LK_SPECIALIZE
#define INLINE TARGET static inline __attribute__((always_inline))
#else
#define INLINE TARGET static
#endif
enum { TILE_VECTORS = 2 };
#endif

/* A whole vector, or the first n lanes of it. */
INLINE V F(load_lanes)(const real *p, bool whole, int n)
{
    if (whole) return load(p);
    return load_part(p, n);
}

/* ---- a tile: a sum of outer products ------------------------------------------------------------------------------
 * Each step adds the product of a column of A and a row of B: rows · vectors fused multiply-adds for rows + vectors
 * loads. `last` is the number of elements of the last vector, `whole` says that it has all. */

INLINE void F(tile_step)(int rows, int vectors, bool whole, int last, V sum[TILE_ROWS][TILE_VECTORS], const real *a,
                         const real *b)
{
    V row[TILE_VECTORS];
    LK_UNROLL for (int v = 0; v < vectors; v++) row[v] = F(load_lanes)(b + v * LANES, whole || v + 1 < vectors, last);
    LK_UNROLL for (int i = 0; i < rows; i++) {
        V x = splat(a[i]);
        LK_UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = fma(x, row[v], sum[i][v]);
    }
}

/* `packed`: the steps lie one behind the other, so that distances are constants, and the processor itself sees what to
 * fetch next. C is fetched meanwhile, it is needed at the end. Not packed: rows of B may be pages apart, and the next
 * tile's go into the L2 cache, a line at a time: it is a while until then. */
INLINE void F(tile_of)(int rows, int vectors, bool whole, int last, bool packed, const GemmTile *t, real *c,
                       int64_t c_row, bool add)
{
    enum { LINE = 64 / sizeof(real) };
    V sum[TILE_ROWS][TILE_VECTORS];
    LK_UNROLL for (int i = 0; i < rows; i++) {
        LK_UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = splat(0);
    }
    const real *a = t->a, *b = t->b, *next = t->next;
    int64_t a_step = t->a_step, b_step = t->b_step, steps = t->steps;
    if (packed) {
        LK_UNROLL for (int i = 0; i < rows; i++) {
            __builtin_prefetch(c + i * c_row);
            __builtin_prefetch(c + i * c_row + vectors * LANES - 1);
        }
        LK_UNROLL_4 for (int64_t p = 0; p < steps; p++) {
            F(tile_step)(rows, vectors, whole, last, sum, a + p * TILE_ROWS, b + p * (TILE_VECTORS * LANES));
        }
    } else {
        for (int64_t p = 0; p < steps; p++) {
            LK_UNROLL for (int v = 0; v < vectors * LANES; v += LINE) __builtin_prefetch(next + p * b_step + v, 0, 2);
            F(tile_step)(rows, vectors, whole, last, sum, a + p * a_step, b + p * b_step);
        }
    }
    LK_UNROLL for (int i = 0; i < rows; i++) {
        LK_UNROLL for (int v = 0; v < vectors; v++) {
            bool full = whole || v + 1 < vectors;
            real *to = c + i * c_row + v * LANES;
            V y = sum[i][v];
            if (add) y += F(load_lanes)(to, full, last);
            if (full) store(to, y);
            else store_part(to, last, y);
        }
    }
}

TARGET static void F(tile)(const GemmTile *t)
{
    enum { WIDTH = TILE_VECTORS * LANES };
    real apart[TILE_ROWS * WIDTH]; /* the tile, when the columns of C do not lie side by side */
    bool packed = t->columns == WIDTH && t->a_step == TILE_ROWS && t->b_step == WIDTH;
    bool direct = t->c_col == 1, add = t->add && direct;
    real *c = direct ? t->c : apart;
    int64_t c_row = direct ? t->c_row : WIDTH;
    int last = t->columns > LANES ? t->columns - LANES : t->columns;
#define TILE(rows)                                                                          \
    if (packed) F(tile_of)(rows, 2, true, LANES, true, t, c, c_row, add);                   \
    else if (t->columns == WIDTH) F(tile_of)(rows, 2, true, LANES, false, t, c, c_row, add); \
    else if (t->columns > LANES) F(tile_of)(rows, 2, false, last, false, t, c, c_row, add);  \
    else F(tile_of)(rows, 1, false, last, false, t, c, c_row, add);
#define CASE(rows)  \
    case rows:      \
        TILE(rows)  \
        break;
#ifdef LK_SPECIALIZE
    switch (t->rows) {
        TILE_CASES(CASE)
    }
#else
    TILE(t->rows)
#endif
#undef CASE
#undef TILE
    if (direct) return;
    for (int j = 0; j < t->columns; j++) {
        for (int i = 0; i < t->rows; i++) {
            real *to = (real *)t->c + i * t->c_row + j * t->c_col, y = apart[i * WIDTH + j];
            *to = t->add ? *to + y : y;
        }
    }
}

/* ---- dot products ------------------------------------------------------------------------------------------------
 * A vector holds LANES steps of one row of A or one column of B; rows · 4 sums of vectors become as many numbers. */

INLINE void F(dots_step)(int rows, V sum[DOT_ROWS][GEMM_DOT_COLUMNS], const real *a, int64_t a_row,
                         const real *const b[GEMM_DOT_COLUMNS], int64_t p, bool whole, int n)
{
    V x[DOT_ROWS];
    LK_UNROLL for (int i = 0; i < rows; i++) x[i] = F(load_lanes)(a + i * a_row + p, whole, n);
    LK_UNROLL for (int j = 0; j < GEMM_DOT_COLUMNS; j++) {
        V y = F(load_lanes)(b[j] + p, whole, n);
        LK_UNROLL for (int i = 0; i < rows; i++) sum[i][j] = fma(x[i], y, sum[i][j]);
    }
}

/* The dot products of `rows` rows from row i. */
INLINE void F(dots_of)(int rows, int64_t i, const GemmDots *d, const real *next)
{
    V sum[DOT_ROWS][GEMM_DOT_COLUMNS];
    const real *a = (const real *)d->a + i * d->a_row, *b[GEMM_DOT_COLUMNS];
    int64_t a_row = d->a_row, b_col = d->b_col, steps = d->steps, p = 0;
    LK_UNROLL for (int j = 0; j < GEMM_DOT_COLUMNS; j++) {
        b[j] = (const real *)d->b + (j < d->columns ? j : d->columns - 1) * b_col; /* a missing one: the last again */
        LK_UNROLL for (int r = 0; r < rows; r++) sum[r][j] = splat(0);
    }
    for (; p + LANES <= steps; p += LANES) {
        __builtin_prefetch(next + p);
        __builtin_prefetch(next + b_col + p);
        F(dots_step)(rows, sum, a, a_row, b, p, true, LANES);
    }
    if (p < steps) F(dots_step)(rows, sum, a, a_row, b, p, false, (int)(steps - p));
    real s[DOT_ROWS][GEMM_DOT_COLUMNS];
    LK_UNROLL for (int r = 0; r < rows; r++) sum4(sum[r], s[r]);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < d->columns; j++) {
            real *to = (real *)d->c + (i + r) * d->c_row + j * d->c_col;
            *to = d->add ? *to + s[r][j] : s[r][j];
        }
    }
}

TARGET static void F(dots)(const GemmDots *d)
{
    int64_t tiles = (d->rows + DOT_ROWS - 1) / DOT_ROWS; /* of nearly equal height */
    for (int64_t t = 0; t < tiles; t++) {
        int64_t i = d->rows * t / tiles, end = d->rows * (t + 1) / tiles;
        /* The next four columns are fetched meanwhile, two by each tile: memory and arithmetic at the same time. */
        const real *next = (const real *)d->b + (GEMM_DOT_COLUMNS + 2 * (t % 2)) * d->b_col;
#define CASE(rows)                    \
    case rows:                        \
        F(dots_of)(rows, i, d, next); \
        break;
#ifdef LK_SPECIALIZE
        switch (end - i) {
            DOT_CASES(CASE)
        }
#else
        F(dots_of)((int)(end - i), i, d, next);
#endif
#undef CASE
    }
}

#undef real
#undef F
#undef V
#undef LANES
#undef splat
#undef load
#undef store
#undef load_part
#undef store_part
#undef fma
#undef sum4
