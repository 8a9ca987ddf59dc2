/* gemm_pack_real.h - copies a piece of a matrix into the order in which the kernels of
 * gemm_tile_real.h read it, in `real` (core/real.h). */

/* The first and the last halves of two vectors of 16 bytes, interleaved: a0 b0 a1 b1, a2 b2 a3
 * b3. */
#if LK_REAL_IS_FLOAT
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif

enum { LK_F(LANES) = 16 / sizeof(real) };
typedef real LK_F(Vector) __attribute__((vector_size(16)));

/* Transposes a square with one vector as its side: to[p to_step + i] = from[i][at + p].
 * Interleaving the upper half of the rows with the lower half is one step of a perfect shuffle;
 * log2(side) steps exchange the two indices. */
static inline void LK_F(transpose)(const real *const *from, int64_t at, real *to, int64_t to_step)
{
    enum { SIDE = LK_F(LANES) };
    LK_F(Vector) v[SIDE], w[SIDE];
    LK_UNROLL
    for (int i = 0; i < SIDE; i++) memcpy(&v[i], from[i] + at, sizeof v[i]);
    LK_UNROLL
    for (int step = 1; step < SIDE; step *= 2) {
        LK_UNROLL
        for (int i = 0; i < SIDE / 2; i++) {
            w[2 * i] = LOW(v[i], v[i + SIDE / 2]);
            w[2 * i + 1] = HIGH(v[i], v[i + SIDE / 2]);
        }
        LK_UNROLL
        for (int i = 0; i < SIDE; i++) v[i] = w[i];
    }
    LK_UNROLL
    for (int p = 0; p < SIDE; p++) memcpy(to + p * to_step, &v[p], sizeof v[p]);
}

/* to[p to_step + i] = from[i across + p along] for i < width, p < steps. */
static void LK_F(pack)(int64_t width, int64_t steps, const void *from, int64_t across,
                       int64_t along, void *to, int64_t to_step)
{
    const real *x = from;
    real *y = to;
    int64_t wide = 0, deep = 0; /* whole vectors copy i < wide, p < deep */
    if (across == 1 && width >= LK_F(LANES)) {
        wide = width;
        deep = steps;
        for (int64_t p = 0; p < deep; p++) {
            for (int64_t i = 0; i < wide; i += LK_F(LANES)) {
                /* the last vector may overlap the one before */
                int64_t j = i + LK_F(LANES) <= wide ? i : wide - LK_F(LANES);
                memcpy(y + p * to_step + j, x + p * along + j, sizeof(LK_F(Vector)));
            }
        }
    } else if (along == 1 && width >= LK_F(LANES)) {
        wide = width;
        deep = steps - steps % LK_F(LANES);
        for (int64_t i = 0; i < wide; i += LK_F(LANES)) {
            int64_t j = i + LK_F(LANES) <= wide ? i : wide - LK_F(LANES);
            const real *rows[LK_F(LANES)];
            for (int l = 0; l < LK_F(LANES); l++) rows[l] = x + (j + l) * across;
            for (int64_t p = 0; p < deep; p += LK_F(LANES))
                LK_F(transpose)(rows, p, y + p * to_step + j, to_step);
        }
    }
    for (int64_t p = 0; p < steps; p++) {
        for (int64_t i = p < deep ? wide : 0; i < width; i++)
            y[p * to_step + i] = x[i * across + p * along];
    }
}
#undef LOW
#undef HIGH
