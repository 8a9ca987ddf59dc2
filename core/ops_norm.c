/* ops_norm.c - layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450), and the end of a
 * transformer's block: the normalized sum of a residual and a dropout.
 *
 * Both are one operation, h = x or h = residual + dropout(x), normalized along the rows. For
 * backward it keeps the mean and 1 / std of each row; h is made again from the inputs, a row at a
 * time. */
#ifndef real
#include <string.h>

#include "core/kernels/dropout.h"
#include "core/internal.h"
#include "core/ops.h"

/* In double for both dtypes: float sums would lose what distinguishes the elements of a row around
 * 1000, and overflow in the variance of one around 1e30. */
typedef struct Moments {
    double mean, scale; /* scale: 1 / std */
} Moments;

typedef struct Norm {
    int64_t rows, n;
    double eps;
    DropoutMask mask; /* p is 0 when nothing is dropped */
    Moments *moments; /* of each row; NULL when backward will not ask for them */
} Norm;

/* Rows `first` … `first + rows - 1`, and where everything is. NULL: not there, or not wanted. */
typedef struct NormRows {
    const Norm *norm;
    int64_t first, rows;
    const void *x, *residual, *weight, *bias;
    void *y;
    /* Backward: gradients, to be written (fresh) or added to; of weight and bias only the part of
     * these rows. */
    const void *dy;
    void *dx, *dresidual, *dweight, *dbias;
    bool fresh_x, fresh_residual;
    void *row;     /* room for a row */
    uint8_t *keep; /* and for its mask */
} NormRows;

#define LK_REAL_SOURCE "core/ops_norm.c"
#include "core/kernels/vector.h"

enum { X, RESIDUAL, WEIGHT, BIAS, INPUTS };

static const void *data_of(const Tensor *x) { return x ? x->data : NULL; }

/* Work is cut into slabs of rows, as many as their number says. */
static int64_t rows_of_slab(int64_t rows)
{
    enum { FEWEST = 16, MOST_SLABS = 64 };
    int64_t rows_each = (rows + MOST_SLABS - 1) / MOST_SLABS;
    return rows_each > FEWEST ? rows_each : FEWEST;
}

/* With h' = (h - mean) / std, y = h' w + b: dw += Σ dy h', db += Σ dy over the rows, and for g =
 * dy w dh = (g - mean(g) - h' mean(g h')) / std, because mean and std move with h; dresidual +=
 * dh, dx += dh noise. */
static void norm_backward(Tape *t, Node *n)
{
    const Norm *norm = n->state;
    Tensor *x = lk_packed(t, n->in[X]), *residual = lk_packed(t, n->in[RESIDUAL]),
           *w = lk_packed(t, n->in[WEIGHT]);
    if (!x || (n->in[RESIDUAL] && !residual) || (n->in[WEIGHT] && !w)) return;
    NormRows all = { .norm = norm,
                     .x = x->data,
                     .residual = data_of(residual),
                     .weight = data_of(w),
                     .dy = n->grad->data };
    /* The residual first, as in norm_rows_backward: x may be the same tensor, and then its
     * gradient is added. */
    Tensor *dresidual = lk_grad_in_fresh(t, n, RESIDUAL, &all.fresh_residual);
    Tensor *dx = lk_grad_in_fresh(t, n, X, &all.fresh_x);
    Tensor *dweight = lk_grad_in(t, n, WEIGHT), *dbias = lk_grad_in(t, n, BIAS);
    if (lk_tape_error(t)->code != LK_OK || norm->rows == 0) return;
    all.dx = dx ? dx->data : NULL;
    all.dresidual = dresidual ? dresidual->data : NULL;

    /* A slab has its own sums for dw and db, a row and a mask; the sums are added in the order of
     * the slabs. */
    const size_t row = (size_t)norm->n * lk_dtype_size(x->dtype),
                 room = (3 * row + (size_t)norm->n + 63) & ~(size_t)63;
    const int64_t each = rows_of_slab(norm->rows), slabs = (norm->rows + each - 1) / each;
    char *scratch = lk_tape_scratch(t, (size_t)slabs * room);
    if (!scratch) return;
#pragma omp parallel for schedule(static) if (norm->rows * norm->n > 1 << 15)
    for (int64_t s = 0; s < slabs; s++) {
        NormRows a = all;
        char *own = scratch + (size_t)s * room;
        a.first = s * each;
        a.rows = norm->rows - a.first < each ? norm->rows - a.first : each;
        if (dweight) a.dweight = memset(own, 0, row);
        if (dbias) a.dbias = memset(own + row, 0, row);
        a.row = own + 2 * row;
        a.keep = (uint8_t *)own + 3 * row;
        LK_VECTOR(x->dtype, norm_rows_backward, &a);
    }
    for (int64_t s = 1; s <= slabs; s++) { /* the others to the first, and that to the gradient */
        const char *own = scratch + (s < slabs ? (size_t)s * room : 0);
        if (dweight)
            LK_VECTOR(x->dtype, add, norm->n, own, s < slabs ? (void *)scratch : dweight->data);
        if (dbias)
            LK_VECTOR(x->dtype, add, norm->n, own + row,
                      s < slabs ? (void *)(scratch + row) : dbias->data);
    }
}

static const Op NORM = { "NativeLayerNormBackward0",
                         norm_backward,
                         { LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN1,
                           0 } };

/* weight or bias, if there is one, has the last `dims` sizes of x. */
static bool fits(Tape *t, const char *function, const char *name, const Tensor *w, const Tensor *x,
                 int dims)
{
    char sw[LK_SHAPE_TEXT], sx[LK_SHAPE_TEXT];
    bool same = !w || w->ndim == dims;
    for (int d = 0; w && same && d < dims; d++) same = w->shape[d] == x->shape[x->ndim - dims + d];
    return same || lk_fail(t, LK_ESHAPE, "%s: %s %s does not have the last %d sizes of x %s",
                           function, name, lk_shape_text(w, sw), dims, lk_shape_text(x, sx));
}

static Tensor *norm_of(Tape *t, const char *function, int dims, Tensor *const in[INPUTS], double p,
                       double eps)
{
    char sx[LK_SHAPE_TEXT];
    Tensor *x = in[X], *given[INPUTS];
    int count = 0;
    for (int i = 0; i < INPUTS; i++)
        if (in[i] || i == X) given[count++] = in[i];
    if (!lk_check_floating(t, function, count, given)) return NULL;
    if (!lk_check_optional(t, function, "weight", in[WEIGHT]) ||
        !lk_check_optional(t, function, "bias", in[BIAS]))
        return NULL;
    if (dims < 1 || dims > x->ndim)
        return lk_fail(t, LK_ESHAPE, "%s: x %s cannot be normalized over its last %d dimensions",
                       function, lk_shape_text(x, sx), dims);
    if (!fits(t, function, "weight", in[WEIGHT], x, dims) ||
        !fits(t, function, "bias", in[BIAS], x, dims))
        return NULL;
    Norm norm = { .rows = 1, .n = 1, .eps = eps };
    for (int d = 0; d < x->ndim; d++) *(d < x->ndim - dims ? &norm.rows : &norm.n) *= x->shape[d];
    if (in[RESIDUAL] && !lk_dropout_mask(t, function, p, &norm.mask)) return NULL;

    Tensor *packed[INPUTS], *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    for (int i = 0; i < INPUTS; i++)
        if (!(packed[i] = lk_packed(t, in[i])) && in[i]) return NULL;
    if (!y) return NULL;
    if (lk_records(t, INPUTS, in)) {
        norm.moments = lk_tape_alloc(t, (size_t)norm.rows * sizeof *norm.moments);
        if (!norm.moments) return NULL;
    }
    const int64_t each = rows_of_slab(norm.rows);
#pragma omp parallel for schedule(static) if (norm.rows * norm.n > 1 << 15)
    for (int64_t first = 0; first < norm.rows; first += each) {
        NormRows a = { .norm = &norm,
                       .first = first,
                       .rows = norm.rows - first < each ? norm.rows - first : each,
                       .x = packed[X]->data,
                       .residual = data_of(packed[RESIDUAL]),
                       .weight = data_of(packed[WEIGHT]),
                       .bias = data_of(packed[BIAS]),
                       .y = y->data };
        LK_VECTOR(x->dtype, norm_rows, &a);
    }
    return lk_record(t, &NORM, y, INPUTS, in, &norm, sizeof norm);
}

Tensor *lk_layer_norm(Tape *t, Tensor *x, int dims, Tensor *weight, Tensor *bias, double eps)
{
    return norm_of(t, "lk_layer_norm", dims, (Tensor *[INPUTS]){ x, NULL, weight, bias }, 0, eps);
}

Tensor *lk_residual_norm(Tape *t, Tensor *x, Tensor *residual, double p, Tensor *weight,
                         Tensor *bias, double eps)
{
    char sx[LK_SHAPE_TEXT], sr[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_residual_norm", LK_INPUTS(x, residual))) return NULL;
    if (!lk_same_shape(x, residual))
        return lk_fail(t, LK_ESHAPE,
                       "lk_residual_norm: x %s and residual %s must be the same shape",
                       lk_shape_text(x, sx), lk_shape_text(residual, sr));
    return norm_of(t, "lk_residual_norm", 1, (Tensor *[INPUTS]){ x, residual, weight, bias }, p,
                   eps);
}

#else /* ---- in real, for every instruction set ----------------------------------------------- */

/* h = residual + x noise, rounded as the two operations round it; keep has room for the mask of
 * the row, or for a piece of it when nobody needs it later. */
TARGET static void F(mix)(const NormRows *a, int64_t r, real *h, uint8_t *keep)
{
    const int64_t n = a->norm->n;
    const real *x = (const real *)a->x + r * n, *residual = (const real *)a->residual + r * n;
    const real scale = (real)lk_dropout_scale(&a->norm->mask, REAL_IS_FLOAT ? LK_F32 : LK_F64);
    enum { PIECE = 1024 };
    uint8_t piece[PIECE];
    if (a->norm->mask.p == 0) {
        for (int64_t i = 0; i < n; i++) h[i] = residual[i] + x[i];
        return;
    }
    for (int64_t first = 0; first < n; first += PIECE) {
        const int64_t count = n - first < PIECE ? n - first : PIECE;
        uint8_t *kept = keep ? keep + first : piece;
        lk_dropout_keep(&a->norm->mask, r * n + first, count, kept);
        for (int64_t i = 0; i < count; i++)
            h[first + i] = residual[first + i] + x[first + i] * ((real)kept[i] * scale);
    }
}

TARGET static inline double F(sum)(int64_t n, const real *x)
{
    double parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES)
        for (int l = 0; l < LK_LANES; l++) parts[l] += (double)x[i + l];
    for (int l = 0; i < n; i++, l++) parts[l] += (double)x[i];
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

TARGET static inline double F(square_sum)(int64_t n, const real *x, double mean)
{
    double parts[LK_LANES] = { 0 }, total = 0;
    int64_t i = 0;
    for (; i + LK_LANES <= n; i += LK_LANES) {
#pragma omp simd
        for (int l = 0; l < LK_LANES; l++) {
            const double d = (double)x[i + l] - mean;
            parts[l] = MADD(d, d, parts[l]);
        }
    }
    for (int l = 0; i < n; i++, l++)
        parts[l] = MADD((double)x[i] - mean, (double)x[i] - mean, parts[l]);
    for (int l = 0; l < LK_LANES; l++) total += parts[l];
    return total;
}

/* h' = (h - mean) / std, which may lie on h. The mean keeps the digits that a float leaves out, as
 * `rest`; floats so far apart that their difference could overflow are made smaller first, by a
 * power of 2. */
TARGET static inline void F(normalize)(int64_t n, const real *h, Moments m, real *normal)
{
    const double small = REAL_IS_FLOAT && m.scale < 0x1p-64 ? 0x1p-64 : 1;
    const real mean = (real)(m.mean * small), rest = (real)(m.mean * small - (double)mean);
    const real factor = (real)small, scale = (real)(m.scale / small);
    for (int64_t i = 0; i < n; i++) normal[i] = (h[i] * factor - mean - rest) * scale;
}

TARGET static void F(norm_rows)(const NormRows *a)
{
    const int64_t n = a->norm->n;
    const real *w = a->weight, *b = a->bias;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        real *y = (real *)a->y + r * n;
        const real *h = (const real *)a->x + r * n;
        if (a->residual) F(mix)(a, r, y, NULL), h = y;
        Moments m = { .mean = F(sum)(n, h) / (double)n };
        m.scale = 1 / sqrt(F(square_sum)(n, h, m.mean) / (double)n + a->norm->eps);
        if (a->norm->moments) a->norm->moments[r] = m;
        F(normalize)(n, h, m, y);
        if (w && b)
            for (int64_t i = 0; i < n; i++) y[i] = MADD(y[i], w[i], b[i]);
        else if (w)
            for (int64_t i = 0; i < n; i++) y[i] *= w[i];
        else if (b)
            for (int64_t i = 0; i < n; i++) y[i] += b[i];
    }
}

/* Σ g and Σ g h' of a row, for g = dy w or dy. */
TARGET static inline void F(projections)(int64_t n, const real *dy, const real *w,
                                         const real *normal, real *sum_g, real *sum_gh)
{
    real g[LK_LANES] = { 0 }, gh[LK_LANES] = { 0 };
    int64_t i = 0;
    if (w)
        for (; i + LK_LANES <= n; i += LK_LANES)
            for (int l = 0; l < LK_LANES; l++) {
                g[l] = MADD(dy[i + l], w[i + l], g[l]);
                gh[l] = MADD(dy[i + l] * w[i + l], normal[i + l], gh[l]);
            }
    else
        for (; i + LK_LANES <= n; i += LK_LANES)
            for (int l = 0; l < LK_LANES; l++) {
                g[l] += dy[i + l];
                gh[l] = MADD(dy[i + l], normal[i + l], gh[l]);
            }
    for (int l = 0; i < n; i++, l++) {
        const real gi = w ? dy[i] * w[i] : dy[i];
        g[l] += gi;
        gh[l] = MADD(gi, normal[i], gh[l]);
    }
    *sum_g = *sum_gh = 0;
    for (int l = 0; l < LK_LANES; l++) *sum_g += g[l], *sum_gh += gh[l];
}

TARGET static void F(norm_rows_backward)(const NormRows *a)
{
    const int64_t n = a->norm->n;
    const real *w = a->weight;
    const bool drops = a->residual && a->norm->mask.p != 0;
    const real noise =
        drops ? (real)lk_dropout_scale(&a->norm->mask, REAL_IS_FLOAT ? LK_F32 : LK_F64) : 1;
    /* first h, then h', then dh */
    real *restrict dw = a->dweight, *restrict db = a->dbias, *row = a->row;
    for (int64_t r = a->first; r < a->first + a->rows; r++) {
        const real *dy = (const real *)a->dy + r * n, *h = (const real *)a->x + r * n;
        const Moments m = a->norm->moments[r];
        if (db)
            for (int64_t i = 0; i < n; i++) db[i] += dy[i];
        if (!dw && !a->dx && !a->dresidual) continue;
        if (a->residual) F(mix)(a, r, row, a->keep), h = row;
        F(normalize)(n, h, m, row);
        if (dw)
            for (int64_t i = 0; i < n; i++) dw[i] = MADD(dy[i], row[i], dw[i]);
        if (!a->dx && !a->dresidual) continue;
        real sum_g, sum_gh;
        F(projections)(n, dy, w, row, &sum_g, &sum_gh);
        const real mean_g = sum_g / (real)n, mean_gh = sum_gh / (real)n, scale = (real)m.scale;
#define DH(i, g) (((g)-mean_g - row[i] * mean_gh) * scale)
        real *dx = a->dx ? (real *)a->dx + r * n : NULL;
        /* straight to where it belongs, if it is there alone */
        real *to = a->residual || !a->fresh_x ? row : dx;
        if (w) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) to[i] = DH(i, dy[i] * w[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) to[i] = DH(i, dy[i]);
        }
#undef DH
        if (a->dresidual) {
            real *dr = (real *)a->dresidual + r * n;
            if (a->fresh_residual) memcpy(dr, row, (size_t)n * sizeof *dr);
            else
                for (int64_t i = 0; i < n; i++) dr[i] += row[i];
        }
        if (!dx || to == dx) continue;
        if (drops)
            for (int64_t i = 0; i < n; i++) row[i] *= (real)a->keep[i] * noise;
        if (a->fresh_x) memcpy(dx, row, (size_t)n * sizeof *dx);
        else
            for (int64_t i = 0; i < n; i++) dx[i] += row[i];
    }
}

TARGET static void F(add)(int64_t n, const void *part, void *sum)
{
    const real *from = part;
    real *to = sum;
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
#endif
