/* recurrent_real.h - the gates of one step of an LSTM and of a GRU, forward and backward, in
 * `real` (core/real.h). */
#include "core/kernels/vmath_real.h"

/* The functions of the C library, in float64, are not vector code. */
#if LK_REAL_IS_FLOAT
#define GATES _Pragma("omp simd")
#else
#define GATES
#endif

/* to (columns, rows) = fromᵀ, in squares that stay in the cache. */
static void LK_F(transpose)(int64_t rows, int64_t columns, const void *from, int64_t row,
                            int64_t col, void *to)
{
    enum { SIDE = 16 };
    const real *x = from;
    real *y = to;
    for (int64_t i = 0; i < rows; i += SIDE)
        for (int64_t j = 0; j < columns; j += SIDE)
            for (int64_t c = j; c < columns && c < j + SIDE; c++)
                for (int64_t r = i; r < rows && r < i + SIDE; r++)
                    y[c * rows + r] = x[r * row + c * col];
}

/* The biases of the 4 h columns of a step. Both are added to a gate, except for a GRU's last one:
 * there the first is b_in, and b_hn has columns of its own. A bias that is NULL is 0. */
static void LK_F(sum_biases)(bool gru, int64_t h, const void *b_ih, const void *b_hh, void *to)
{
    const real *one = b_ih, *other = b_hh;
    const int64_t shared = gru ? 2 * h : 4 * h;
    real *b = to;
    for (int64_t j = 0; j < 4 * h; j++) b[j] = 0;
    for (int64_t j = 0; j < shared; j++) b[j] = (one ? one[j] : 0) + (other ? other[j] : 0);
    for (int64_t j = shared; j < 3 * h && one; j++) b[j] = one[j];
    for (int64_t j = shared; j < 3 * h && other; j++) b[j + h] = other[j];
}

/* In a row that is over, the state stays. */
static void LK_F(keep_state)(const Step *s, int64_t row)
{
    const int64_t n = s->hidden;
    const real *h = (const real *)s->h_before + row * n, *c = s->c_before;
    real *to = (real *)s->h + row * n, *cell = s->c;
    for (int64_t j = 0; j < n; j++) to[j] = h[j];
    for (int64_t j = row * n; c && j < (row + 1) * n; j++) cell[j] = c[j];
}

/* In a row that is over, no gate is reached, and the gradient of the state goes on as it is. */
static void LK_F(keep_gradient)(const Step *s, int64_t row)
{
    const int64_t n = s->hidden;
    const real *dy = (const real *)s->dy + row * n;
    real *d = (real *)s->dgates + row * 4 * n, *dh = (real *)s->dh + row * n;
    for (int64_t j = 0; j < 4 * n; j++) d[j] = 0;
    for (int64_t j = 0; j < n; j++) dh[j] += dy[j];
}

/* Calls `row` for the rows of a step, and `over` for those whose sequence has ended. */
static LK_ALWAYS_INLINE void LK_F(each_row)(const Step *s, void (*row)(const Step *, int64_t),
                                            void (*over)(const Step *, int64_t))
{
    for (int64_t r = 0; r < s->rows; r++) {
        if (is_over(s, r)) over(s, r);
        else row(s, r);
    }
}

/* The gates come as sums without their biases, and are left as i, f, g, o. */
static inline void LK_F(lstm_row)(const Step *s, int64_t r)
{
    const int64_t n = s->hidden;
    const real *b = s->bias;
    const real *before = (const real *)s->c_before + r * n;
    real *gate = (real *)s->gates + r * 4 * n, *c = (real *)s->c + r * n,
         *h = (real *)s->h + r * n;
    GATES
    for (int64_t j = 0; j < n; j++) {
        const real i = LK_F(sigmoid)(gate[j] + b[j]), f = LK_F(sigmoid)(gate[n + j] + b[n + j]),
                   g = LK_F(tanh)(gate[2 * n + j] + b[2 * n + j]),
                   o = LK_F(sigmoid)(gate[3 * n + j] + b[3 * n + j]);
        const real cell = f * before[j] + i * g;
        gate[j] = i;
        gate[n + j] = f;
        gate[2 * n + j] = g;
        gate[3 * n + j] = o;
        c[j] = cell;
        h[j] = o * LK_F(tanh)(cell);
    }
}

static void LK_F(lstm_step)(const Step *s) { LK_F(each_row)(s, LK_F(lstm_row), LK_F(keep_state)); }

/* dh and dc come from the step after this one. dgates gets the gradients of the sums, dc that of
 * the cell before. Where lengths are given, dh is cleared: what comes from the gates is added. */
static inline void LK_F(lstm_row_backward)(const Step *s, int64_t r)
{
    const int64_t n = s->hidden;
    const real *gate = (const real *)s->gates + r * 4 * n, *dy = (const real *)s->dy + r * n,
               *before = (const real *)s->c_before + r * n, *c = (const real *)s->c + r * n;
    real *d = (real *)s->dgates + r * 4 * n, *dc = (real *)s->dc + r * n,
         *dh = (real *)s->dh + r * n;
    GATES
    for (int64_t j = 0; j < n; j++) {
        const real i = gate[j], f = gate[n + j], g = gate[2 * n + j], o = gate[3 * n + j],
                   y = LK_F(tanh)(c[j]), d_h = dy[j] + dh[j], d_c = dc[j] + d_h * o * (1 - y * y);
        d[j] = d_c * g * i * (1 - i);
        d[n + j] = d_c * before[j] * f * (1 - f);
        d[2 * n + j] = d_c * i * (1 - g * g);
        d[3 * n + j] = d_h * y * o * (1 - o);
        dc[j] = d_c * f;
    }
    if (s->lengths) memset(dh, 0, (size_t)n * sizeof *dh);
}

static void LK_F(lstm_step_backward)(const Step *s)
{
    LK_F(each_row)(s, LK_F(lstm_row_backward), LK_F(keep_gradient));
}

/* The gates come as the sums of x, those of h stand in `side`. They are left as r, z, n and
 * W_hn h + b_hn. */
static inline void LK_F(gru_row)(const Step *s, int64_t r)
{
    const int64_t n = s->hidden;
    const real *b = s->bias;
    const real *before = (const real *)s->h_before + r * n,
               *side = (const real *)s->side + r * 3 * n;
    real *gate = (real *)s->gates + r * 4 * n, *h = (real *)s->h + r * n;
    GATES
    for (int64_t j = 0; j < n; j++) {
        const real reset = LK_F(sigmoid)(gate[j] + side[j] + b[j]),
                   keep = LK_F(sigmoid)(gate[n + j] + side[n + j] + b[n + j]),
                   part = side[2 * n + j] + b[3 * n + j],
                   fresh = LK_F(tanh)(gate[2 * n + j] + b[2 * n + j] + reset * part);
        gate[j] = reset;
        gate[n + j] = keep;
        gate[2 * n + j] = fresh;
        gate[3 * n + j] = part;
        h[j] = fresh + keep * (before[j] - fresh);
    }
}

static void LK_F(gru_step)(const Step *s) { LK_F(each_row)(s, LK_F(gru_row), LK_F(keep_state)); }

/* dgates gets dn, dr, dz, d(W_hn h). So what belongs to h are its last 3 n columns. dh gets the
 * part of the gradient of the h before that does not go through a gate. */
static inline void LK_F(gru_row_backward)(const Step *s, int64_t r)
{
    const int64_t n = s->hidden;
    const real *gate = (const real *)s->gates + r * 4 * n, *dy = (const real *)s->dy + r * n,
               *before = (const real *)s->h_before + r * n;
    real *d = (real *)s->dgates + r * 4 * n, *dh = (real *)s->dh + r * n;
    GATES
    for (int64_t j = 0; j < n; j++) {
        const real reset = gate[j], keep = gate[n + j], fresh = gate[2 * n + j],
                   part = gate[3 * n + j], d_h = dy[j] + dh[j],
                   dn = d_h * (1 - keep) * (1 - fresh * fresh);
        d[j] = dn;
        d[n + j] = dn * part * reset * (1 - reset);
        d[2 * n + j] = d_h * (before[j] - fresh) * keep * (1 - keep);
        d[3 * n + j] = dn * reset;
        dh[j] = d_h * keep;
    }
}

static void LK_F(gru_step_backward)(const Step *s)
{
    LK_F(each_row)(s, LK_F(gru_row_backward), LK_F(keep_gradient));
}
#undef GATES

/* sum[j] += Σ x[i][j], in double, for at most COLUMNS columns; rows lie `step` apart. */
static void LK_F(column_sums)(int64_t rows, int64_t columns, const void *from, int64_t step,
                              void *to)
{
    double sums[COLUMNS] = { 0 };
    const real *x = from;
    real *sum = to;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) sums[j] += (double)x[i * step + j];
    for (int64_t j = 0; j < columns; j++) sum[j] += (real)sums[j];
}

static void LK_F(add)(int64_t n, const void *part, void *sum)
{
    const real *from = part;
    real *to = sum;
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
