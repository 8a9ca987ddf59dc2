/* gemm_tile_real.h - the source of the kernels that gemm_kernels.h describes. The file of an
 * instruction set includes it for float32 and again for float64, each time after it said what a
 * vector is:
 *
 *     real, LK_F(name)           the element type, and a function of it, name_f32
 *     V, LANES                   a vector, and how many elements it has
 *     splat(x)                   x in every lane
 *     load(p), store(p, v)       LANES elements at any address
 *     load_part(p, n)            the first n elements, 1 <= n <= LANES, and zeros; no other
 *                                element is read
 *     store_part(p, n, v)        the first n lanes; no other element is written
 *     fma(a, b, c)               a b + c
 *     sum4(v, s)                 s[0 … 3] = the sums of the lanes of v[0 … 3]
 *
 * and, once for both:
 *
 *     TILE_ROWS, TILE_CASES(_)   the largest tile, in rows of two vectors; _(1) … _(TILE_ROWS)
 *     DOT_ROWS, DOT_CASES(_)     the same for dot products, in rows of up to four sums
 *
 * Tiles are arrays of vectors in registers. For that the compiler must know their sizes: the
 * INLINE functions are copied into the cases of a switch, with constants for the sizes
 * (LK_SPECIALIZE in gemm_kernels.h says when). */

#ifndef INLINE
#ifdef LK_SPECIALIZE
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static
#endif
enum { TILE_VECTORS = 2, SWEEP = 8 };
#endif

/* A whole vector, or the first n lanes of it. */
INLINE V LK_F(load_lanes)(const real *p, bool whole, int n)
{
    if (whole) return load(p);
    return load_part(p, n);
}

/* ---- a tile: a sum of outer products -------------------------------------------------------- */

/* Each step adds the product of a column of A and a row of B: rows · vectors fused multiply-adds
 * for rows + vectors loads. `last` is the number of elements of the last vector, `whole` says that
 * it has all. */

INLINE void LK_F(tile_step)(int rows, int vectors, bool whole, int last,
                            V sum[TILE_ROWS][TILE_VECTORS], const real *const a[TILE_ROWS / 4 + 1],
                            int64_t a_row, const real *b)
{
    V row[TILE_VECTORS];
    LK_UNROLL
    for (int v = 0; v < vectors; v++)
        row[v] = LK_F(load_lanes)(b + v * LANES, whole || v + 1 < vectors, last);
    LK_UNROLL
    for (int i = 0; i < rows; i++) {
        V x = splat(a[i / 4][i % 4 * a_row]);
        LK_UNROLL
        for (int v = 0; v < vectors; v++) sum[i][v] = fma(x, row[v], sum[i][v]);
    }
}

/* `packed`: the steps lie one behind the other. So the distances are constants, and the processor
 * itself fetches A and B ahead. This function only prefetches C, which is needed at the end. Not
 * packed: the rows of B are too many streams for the processor to fetch ahead. Then each step
 * prefetches a row of the steps that follow these ones into the L2 cache, which is near enough. */
INLINE void LK_F(tile_of)(int rows, int vectors, bool whole, int last, bool packed,
                          const GemmStrip *t, const real *b, real *c, int64_t c_row, bool add)
{
    enum { LINE = 64 / sizeof(real) };
    V sum[TILE_ROWS][TILE_VECTORS];
    LK_UNROLL
    for (int i = 0; i < rows; i++) {
        LK_UNROLL
        for (int v = 0; v < vectors; v++) sum[i][v] = splat(0);
    }
    /* pointers to every fourth row of A, few enough for registers; the three rows after it are
     * found from its pointer */
    const real *a[TILE_ROWS / 4 + 1];
    int64_t a_row = packed ? 1 : t->a_row, a_step = packed ? TILE_ROWS : t->a_step,
            steps = t->steps;
    int64_t b_step = packed ? TILE_VECTORS * LANES : t->b_step;
    LK_UNROLL
    for (int i = 0; i < rows; i += 4) a[i / 4] = (const real *)t->a + i * a_row;
    if (packed) {
        LK_UNROLL
        for (int i = 0; i < rows; i++) {
            __builtin_prefetch(c + i * c_row);
            __builtin_prefetch(c + i * c_row + vectors * LANES - 1);
        }
        LK_UNROLL_4
        for (int64_t p = 0; p < steps; p++) {
            LK_F(tile_step)(rows, vectors, whole, last, sum, a, 1, b);
            LK_UNROLL
            for (int i = 0; i < rows; i += 4) a[i / 4] += TILE_ROWS;
            b += TILE_VECTORS * LANES;
        }
    } else {
        const int64_t ahead = t->ahead, fetch = t->fetch;
        for (int64_t p = 0; p < steps; p++) {
            if (p < fetch) {
                LK_UNROLL
                for (int v = 0; v < vectors * LANES; v += LINE)
                    __builtin_prefetch(b + ahead + v, 0, 2);
            }
            LK_F(tile_step)(rows, vectors, whole, last, sum, a, a_row, b);
            LK_UNROLL
            for (int i = 0; i < rows; i += 4) {
                a[i / 4] += a_step;
                LK_OPAQUE(a[i / 4]);
            }
            b += b_step;
        }
    }
    LK_UNROLL
    for (int i = 0; i < rows; i++, c += c_row) {
        LK_OPAQUE(c);
        LK_UNROLL
        for (int v = 0; v < vectors; v++) {
            bool full = whole || v + 1 < vectors;
            real *to = c + v * LANES;
            V y = sum[i][v];
            if (add) y += LK_F(load_lanes)(to, full, last);
            if (full) store(to, y);
            else store_part(to, last, y);
        }
    }
}

/* A strip of a single row is a vector times a matrix. It takes as long as reading the matrix. So
 * SWEEP rows of B are read at the same time, from end to end: the processor can follow that many
 * streams. C goes through the L1 cache meanwhile. */
INLINE void LK_F(sweep)(int steps, int64_t columns, const real *a, int64_t a_step, const real *b,
                        int64_t b_step, real *c, bool add)
{
    V x[SWEEP];
    LK_UNROLL
    for (int p = 0; p < steps; p++) x[p] = splat(a[p * a_step]);
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES) {
        V y = splat(0);
        if (add) y = load(c + j);
        LK_UNROLL
        for (int p = 0; p < steps; p++) y = fma(x[p], load(b + p * b_step + j), y);
        store(c + j, y);
    }
    if (j < columns) {
        int last = (int)(columns - j);
        V y = splat(0);
        if (add) y = load_part(c + j, last);
        LK_UNROLL
        for (int p = 0; p < steps; p++) y = fma(x[p], load_part(b + p * b_step + j, last), y);
        store_part(c + j, last, y);
    }
}

static void LK_F(row)(const GemmStrip *t)
{
    const real *a = t->a, *b = t->b;
    bool add = t->add;
    for (int64_t left = t->steps; left > 0; add = true) {
        int64_t steps = left < SWEEP ? left : SWEEP;
#define CASE(steps) \
    case steps: LK_F(sweep)(steps, t->columns, a, t->a_step, b, t->b_step, t->c, add); break;
        switch (steps) {
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
        }
#undef CASE
        left -= steps;
        a += steps * t->a_step;
        b += steps * t->b_step;
    }
}

static void LK_F(strip)(const GemmStrip *t)
{
    enum { WIDTH = TILE_VECTORS * LANES };
    real apart[TILE_ROWS * WIDTH]; /* a tile, when the columns of C do not lie side by side */
    bool packed = t->a_row == 1 && t->a_step == TILE_ROWS && t->b_step == WIDTH;
    bool direct = t->c_col == 1, add = t->add && direct;
    int64_t c_row = direct ? t->c_row : WIDTH;
    const real *b = t->b;
    real *c = t->c;
    if (t->rows == 1 && direct && t->panel == WIDTH) {
        LK_F(row)(t);
        return;
    }
    for (int64_t columns = t->columns; columns > 0;
         columns -= WIDTH, b += t->panel, c += WIDTH * t->c_col) {
        real *to = direct ? c : apart;
        int last = (int)(columns > LANES ? columns - LANES : columns);
#define TILE(rows) \
    if (columns >= WIDTH && packed) \
        LK_F(tile_of)(rows, 2, true, LANES, true, t, b, to, c_row, add); \
    else if (columns >= WIDTH) LK_F(tile_of)(rows, 2, true, LANES, false, t, b, to, c_row, add); \
    else if (columns > LANES) LK_F(tile_of)(rows, 2, false, last, false, t, b, to, c_row, add); \
    else LK_F(tile_of)(rows, 1, false, last, false, t, b, to, c_row, add);
#define CASE(rows) \
    case rows: \
        TILE(rows) \
        break;
#ifdef LK_SPECIALIZE
        switch (t->rows) {
            TILE_CASES(CASE)
        }
#else
        TILE((int)t->rows)
#endif
#undef CASE
#undef TILE
        for (int j = 0; !direct && j < WIDTH && j < columns; j++) {
            for (int i = 0; i < t->rows; i++) {
                real *y = c + i * t->c_row + j * t->c_col, x = apart[i * WIDTH + j];
                *y = t->add ? *y + x : x;
            }
        }
    }
}

/* ---- a tile over a window ------------------------------------------------------------------- */

INLINE void LK_F(taps_of)(int rows, const GemmTaps *t)
{
    V sum[TILE_ROWS][TILE_VECTORS];
    LK_UNROLL
    for (int i = 0; i < rows; i++) {
        LK_UNROLL
        for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = splat(0);
    }
    const real *a = t->a, *b = t->b[0], *second = t->b[1], *bias = t->bias;
    const int32_t *offset = t->offset, *end = offset + t->steps;
    for (; offset < end; offset++, a += TILE_ROWS) {
        V row[TILE_VECTORS] = { load(b + *offset), load(second + *offset) };
        LK_UNROLL
        for (int i = 0; i < rows; i++) {
            V x = splat(a[i]);
            LK_UNROLL
            for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = fma(x, row[v], sum[i][v]);
        }
    }
    LK_UNROLL
    for (int v = 0; v < TILE_VECTORS; v++) {
        real *c = t->c[v];
        const int columns = t->columns[v];
        for (int i = 0; i < rows && columns > 0; i++, c += t->c_row) {
            V y = sum[i][v];
            if (bias) y += splat(bias[i]);
            if (t->add) y += LK_F(load_lanes)(c, columns == LANES, columns);
            if (columns == LANES) store(c, y);
            else store_part(c, columns, y);
        }
    }
}

static void LK_F(taps)(const GemmTaps *t)
{
#define CASE(rows) \
    case rows: \
        LK_F(taps_of)(rows, t); \
        break;
#ifdef LK_SPECIALIZE
    switch (t->rows) {
        TILE_CASES(CASE)
    }
#else
    LK_F(taps_of)((int)t->rows, t);
#endif
#undef CASE
}

/* ---- dot products --------------------------------------------------------------------------- */

/* A vector holds LANES steps of one row of A or one column of B. At the end the lanes of each of
 * the rows · columns sums are added up to one number. */

INLINE void LK_F(dots_step)(int rows, int columns, V sum[DOT_ROWS * GEMM_DOT_COLUMNS],
                            const real *a, int64_t a_row, const real *b, int64_t b_col, bool whole,
                            int n)
{
    V x[DOT_ROWS];
    LK_UNROLL
    for (int i = 0; i < rows; i++) x[i] = LK_F(load_lanes)(a + i * a_row, whole, n);
    LK_UNROLL
    for (int j = 0; j < columns; j++) {
        V y = LK_F(load_lanes)(b + j * b_col, whole, n);
        if (rows < DOT_ROWS) LK_KEEP(y);
        LK_UNROLL
        for (int i = 0; i < rows; i++) sum[i * columns + j] = fma(x[i], y, sum[i * columns + j]);
    }
}

/* The dot products of some rows and columns of A and B. */
INLINE void LK_F(dots_of)(int rows, int columns, const GemmDots *d, const real *a, const real *b,
                          real *c, const real *next)
{
    /* without gaps, even when there are few columns: sum4 takes four sums */
    V sum[DOT_ROWS * GEMM_DOT_COLUMNS];
    int64_t a_row = d->a_row, b_col = d->b_col, c_row = d->c_row, c_col = d->c_col,
            steps = d->steps, p = 0;
    const bool fetch = d->fetch;
    LK_UNROLL
    for (int i = 0; i < (rows * columns + 3) / 4 * 4; i++) sum[i] = splat(0);
    for (; p + LANES <= steps; p += LANES) {
        if (fetch && rows > 1 && columns == GEMM_DOT_COLUMNS) { /* one row would gain nothing */
            __builtin_prefetch(next + p);
            __builtin_prefetch(next + b_col + p);
        }
        LK_F(dots_step)(rows, columns, sum, a + p, a_row, b + p, b_col, true, LANES);
    }
    if (p < steps)
        LK_F(dots_step)(rows, columns, sum, a + p, a_row, b + p, b_col, false, (int)(steps - p));
    real s[DOT_ROWS * GEMM_DOT_COLUMNS];
    LK_UNROLL
    for (int i = 0; i < rows * columns; i += 4) sum4(sum + i, s + i);
    LK_UNROLL
    for (int r = 0; r < rows; r++, c += c_row) {
        real *to = c;
        LK_UNROLL
        for (int j = 0; j < columns; j++, to += c_col) {
            LK_OPAQUE(to);
            *to = d->add ? *to + s[r * columns + j] : s[r * columns + j];
        }
    }
}

static void LK_F(dots)(const GemmDots *d)
{
    /* tiles of nearly equal height: the first `higher` tiles have one row more */
    int64_t tiles = (d->rows + DOT_ROWS - 1) / DOT_ROWS;
    int64_t height = tiles == 1 ? d->rows : d->rows / tiles, higher = d->rows - height * tiles;
    const real *b = d->b;
    real *c = d->c;
    for (int64_t left = d->columns; left > 0; left -= GEMM_DOT_COLUMNS) {
        const real *a = d->a;
        real *to = c;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t rows = height + (t < higher);
            /* The next four columns are fetched meanwhile, two by each tile: memory and arithmetic
             * at the same time. Where B ends, the columns of now are named again: to prefetch a
             * page that is not there takes as long as a hundred products. */
            int64_t ahead = GEMM_DOT_COLUMNS + 2 * (t % 2);
            const real *next = left >= ahead + 2 ? b + ahead * d->b_col : b;
#define DOTS(rows) \
    if (left >= 4) LK_F(dots_of)(rows, 4, d, a, b, to, next); \
    else if (left == 3) LK_F(dots_of)(rows, 3, d, a, b, to, next); \
    else if (left == 2) LK_F(dots_of)(rows, 2, d, a, b, to, next); \
    else LK_F(dots_of)(rows, 1, d, a, b, to, next);
#define CASE(rows) \
    case rows: \
        DOTS(rows) \
        break;
#ifdef LK_SPECIALIZE
            switch (rows) {
                DOT_CASES(CASE)
            }
#else
            DOTS((int)rows)
#endif
#undef CASE
#undef DOTS
            a += rows * d->a_row;
            to += rows * d->c_row;
        }
        b += GEMM_DOT_COLUMNS * d->b_col;
        c += GEMM_DOT_COLUMNS * d->c_col;
    }
}

#undef real
#undef LK_F
#undef V
#undef LANES
#undef splat
#undef load
#undef store
#undef load_part
#undef store_part
#undef fma
#undef sum4
