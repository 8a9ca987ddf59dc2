/* ops_softmax.c - softmax, its logarithm, and the losses. Rows are shifted by their maximum: e^x
 * never overflows. */
#ifndef real
#include "core/internal.h"
#include "core/ops.h"
#include "core/kernels/vmath.h"

#define LK_REAL_SOURCE "core/ops_softmax.c"
#include "core/real.h"

/* ---- softmax along a dimension -------------------------------------------------------------- */

/* y_i = e^x_i / Σ_j e^x_j, so dx_i += y_i (dy_i - Σ_j y_j dy_j). */
static void softmax_backward(Tape *t, Node *n)
{
    const Along *a = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (dx)
        LK_REAL(dx->dtype, softmax_gradient, a->outer, a->n, a->inner, n->out->data, n->grad->data,
                dx->data);
}

/* y_i = x_i - ln Σ_j e^x_j, so dx_i += dy_i - e^y_i Σ_j dy_j. */
static void log_softmax_backward(Tape *t, Node *n)
{
    const Along *a = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (dx)
        LK_REAL(dx->dtype, log_softmax_gradient, a->outer, a->n, a->inner, n->out->data,
                n->grad->data, dx->data);
}

static const Op SOFTMAX = { "SoftmaxBackward0", softmax_backward, { LK_OUT } };
static const Op LOG_SOFTMAX = { "LogSoftmaxBackward0", log_softmax_backward, { LK_OUT } };

static Tensor *softmax(Tape *t, const char *function, const Op *op, Tensor *x, int dim)
{
    if (!lk_check_floating(t, function, 1, &x)) return NULL;
    int d = lk_check_dim(t, function, x->ndim, dim);
    if (d < 0) return NULL;
    Along a = lk_along(x, d);
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y) return NULL;
    if (op == &SOFTMAX) LK_REAL(x->dtype, softmax, a.outer, a.n, a.inner, packed->data, y->data);
    else LK_REAL(x->dtype, log_softmax, a.outer, a.n, a.inner, packed->data, y->data);
    return lk_record(t, op, y, LK_INPUTS(x), &a, sizeof a);
}

Tensor *lk_softmax(Tape *t, Tensor *x, int dim)
{
    return softmax(t, "lk_softmax", &SOFTMAX, x, dim);
}

Tensor *lk_log_softmax(Tape *t, Tensor *x, int dim)
{
    return softmax(t, "lk_log_softmax", &LOG_SOFTMAX, x, dim);
}

/* ---- cross-entropy -------------------------------------------------------------------------- */

typedef struct CrossEntropy {
    int64_t ignore_index;
    double scale; /* 1, or 1 / number of rows that count */
} CrossEntropy;

/* loss = scale Σ_i (ln Σ_j e^x_ij - x_i,label), so dx_ij += scale dloss (softmax(x_i)_j - [j =
 * label]). */
static void cross_entropy_backward(Tape *t, Node *n)
{
    const CrossEntropy *c = n->state;
    Tensor *dx = lk_grad_in(t, n, 0), *x = lk_packed(t, n->in[0]),
           *labels = lk_packed(t, n->in[1]);
    if (dx && x && labels)
        LK_REAL(x->dtype, cross_entropy_gradient, x->shape[0], x->shape[1], x->data, labels->data,
                c->ignore_index, c->scale, n->grad->data, dx->data);
}

static const Op CROSS_ENTROPY = { "NllLossBackward0",
                                  cross_entropy_backward,
                                  { LK_IN0 | LK_IN1 } };

Tensor *lk_cross_entropy_with(Tape *t, Tensor *logits, Tensor *labels, int64_t ignore_index,
                              Reduction reduction)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_cross_entropy", LK_INPUTS(logits, labels))) return NULL;
    if (!lk_check_floating(t, "lk_cross_entropy", 1, &logits)) return NULL;
    if (labels->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE,
                       "lk_cross_entropy: labels must be int64, not %s; lk_to converts",
                       lk_dtype_name(labels->dtype));
    if (logits->ndim != 2 || labels->ndim != 1 || logits->shape[0] != labels->shape[0])
        return lk_fail(t, LK_ESHAPE,
                       "lk_cross_entropy: logits %s and labels %s: they must be (N, C) and (N)",
                       lk_shape_text(logits, sx), lk_shape_text(labels, sy));
    Tensor *x = lk_packed(t, logits), *y = lk_packed(t, labels);
    Tensor *loss = lk_empty(t, logits->dtype, LK_SCALAR);
    if (!x || !y || !loss) return NULL;
    const int64_t *label = y->data;
    int64_t counted = 0;
    for (int64_t i = 0; i < x->shape[0]; i++) {
        if (label[i] == ignore_index) continue;
        if (label[i] < 0 || label[i] >= x->shape[1])
            return lk_fail(
                t, LK_EVALUE,
                "lk_cross_entropy: Target %lld is out of bounds: row %lld of %s has %lld "
                "classes",
                (long long)label[i], (long long)i, lk_shape_text(logits, sx),
                (long long)x->shape[1]);
        counted++;
    }
    if (reduction == LK_MEAN && counted == 0)
        return lk_fail(
            t, LK_ESHAPE,
            "lk_cross_entropy: the mean over no row: none of the %lld labels counts, %lld is "
            "ignored",
            (long long)x->shape[0], (long long)ignore_index);
    CrossEntropy c = { ignore_index, reduction == LK_MEAN ? 1.0 / (double)counted : 1.0 };
    double *losses = lk_tape_scratch(t, (size_t)x->shape[0] * sizeof *losses), sum = 0;
    if (!losses) return NULL;
    LK_REAL(x->dtype, cross_entropy_rows, x->shape[0], x->shape[1], x->data, label, ignore_index,
            losses);
    /* in one order, whoever computed them */
    for (int64_t i = 0; i < x->shape[0]; i++) sum += losses[i];
    lk_fill_(loss, reduction == LK_MEAN ? sum / (double)counted : sum);
    return lk_record(t, &CROSS_ENTROPY, loss, LK_INPUTS(logits, labels), &c, sizeof c);
}

Tensor *lk_cross_entropy(Tape *t, Tensor *logits, Tensor *labels)
{
    return lk_cross_entropy_with(t, logits, labels, -100, LK_MEAN);
}

/* ---- mean squared error --------------------------------------------------------------------- */

/* loss = Σ (x - y)² / n, so dx += 2 (x - y) dloss / n and dy' -= the same. */
static void mse_backward(Tape *t, Node *n)
{
    double scale = 2.0 * lk_item(n->grad) / (double)lk_numel(n->in[0]);
    for (int i = 0; i < 2; i++, scale = -scale) {
        Tensor *d = lk_grad_in(t, n, i);
        if (!d) continue;
        const Tensor *operands[] = { d, n->in[0], n->in[1] };
        lk_loop(LK_ROW(d->dtype, add_difference_row), &scale, 3, operands);
    }
}

static const Op MSE = { "MseLossBackward0", mse_backward, { LK_IN0 | LK_IN1, LK_IN0 | LK_IN1 } };

Tensor *lk_mse_loss(Tape *t, Tensor *x, Tensor *y)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_mse_loss", LK_INPUTS(x, y))) return NULL;
    if (!lk_same_shape(x, y))
        return lk_fail(t, LK_ESHAPE, "lk_mse_loss: %s and %s must be the same shape",
                       lk_shape_text(x, sx), lk_shape_text(y, sy));
    if (lk_numel(x) == 0)
        return lk_fail(t, LK_ESHAPE, "lk_mse_loss: the mean over nothing: the shape is %s",
                       lk_shape_text(x, sx));
    Tensor *px = lk_packed(t, x), *py = lk_packed(t, y), *loss = lk_empty(t, x->dtype, LK_SCALAR);
    if (!px || !py || !loss) return NULL;
    double sum = LK_REAL(x->dtype, square_sum, lk_numel(x), px->data, py->data);
    lk_fill_(loss, sum / (double)lk_numel(x));
    return lk_record(t, &MSE, loss, LK_INPUTS(x, y), NULL, 0);
}

#else /* ---- in real: float, then double ------------------------------------------------------ */

/* of a row whose elements do not lie side by side, or whose exponentials nobody keeps */
enum { F(PIECE) = 512 };

/* max of n elements `step` apart. A NaN is passed over: its own e^NaN reaches every result through
 * the sum. */
static real F(maximum)(int64_t n, int64_t step, const real *x)
{
    real best = -INFINITY;
    if (step == 1) return F(lk_vmax)(n, x);
    for (int64_t i = 0; i < n; i++)
        if (x[i * step] > best) best = x[i * step];
    return best;
}

/* y = e^(x - shift), and its sum; y NULL: the sum alone. The same bits for any step. */
static real F(exponentials)(int64_t n, int64_t step, const real *x, real shift, real *y)
{
    real sums[LK_LANES] = { 0 }, piece[F(PIECE)];
    if (step == 1 && y) {
        F(lk_vexp_sum)(n, x, shift, y, sums);
        return F(lk_vtotal)(sums);
    }
    for (int64_t first = 0; first < n; first += F(PIECE)) {
        int64_t count = n - first < F(PIECE) ? n - first : F(PIECE);
        for (int64_t i = 0; i < count; i++) piece[i] = x[(first + i) * step];
        F(lk_vexp_sum)(count, piece, shift, piece, sums);
        if (y)
            for (int64_t i = 0; i < count; i++) y[(first + i) * step] = piece[i];
    }
    return F(lk_vtotal)(sums);
}

/* Σ y dy, or Σ dy when there is no y, of elements `step` apart; the same bits for any step. */
static real F(dot)(int64_t n, int64_t step, const real *y, const real *dy)
{
    real sums[LK_LANES] = { 0 };
    if (step == 1 && y) return F(lk_vdot)(n, y, dy);
    for (int64_t i = 0; i < n; i++)
        sums[i % LK_LANES] += y ? y[i * step] * dy[i * step] : dy[i * step];
    return F(lk_vtotal)(sums);
}

static void F(softmax)(int64_t outer, int64_t n, int64_t inner, const real *xs, real *ys)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *x = xs + r / inner * n * inner + r % inner;
        real *y = ys + (x - xs),
             factor = 1 / F(exponentials)(n, inner, x, F(maximum)(n, inner, x), y);
        for (int64_t i = 0; i < n; i++) y[i * inner] *= factor;
    }
}

static void F(softmax_gradient)(int64_t outer, int64_t n, int64_t inner, const real *ys,
                                const real *dys, real *dxs)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *y = ys + r / inner * n * inner + r % inner, *dy = dys + (y - ys);
        real *dx = dxs + (y - ys), dot = F(dot)(n, inner, y, dy);
        for (int64_t i = 0; i < n; i++) dx[i * inner] += y[i * inner] * (dy[i * inner] - dot);
    }
}

static void F(log_softmax)(int64_t outer, int64_t n, int64_t inner, const real *xs, real *ys)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *x = xs + r / inner * n * inner + r % inner;
        real *y = ys + (x - xs), max = F(maximum)(n, inner, x);
        const real log_sum = log(F(exponentials)(n, inner, x, max, NULL));
        for (int64_t i = 0; i < n; i++) y[i * inner] = x[i * inner] - max - log_sum;
    }
}

static void F(log_softmax_gradient)(int64_t outer, int64_t n, int64_t inner, const real *ys,
                                    const real *dys, real *dxs)
{
#pragma omp parallel for schedule(static) if (outer * n * inner > 1 << 16)
    for (int64_t r = 0; r < outer * inner; r++) {
        const real *y = ys + r / inner * n * inner + r % inner, *dy = dys + (y - ys);
        real *dx = dxs + (y - ys), sum = F(dot)(n, inner, NULL, dy), piece[F(PIECE)];
        for (int64_t first = 0; first < n;
             first += F(PIECE), y += F(PIECE) * inner, dy += F(PIECE) * inner) {
            int64_t count = n - first < F(PIECE) ? n - first : F(PIECE);
            for (int64_t i = 0; i < count; i++) piece[i] = y[i * inner];
            F(lk_vexp)(count, piece, piece);
            for (int64_t i = 0; i < count; i++)
                dx[(first + i) * inner] += dy[i * inner] - piece[i] * sum;
        }
    }
}

/* losses[i] = ln Σ_j e^x_ij - x_i,label, in double; 0 for a row that does not count. */
static void F(cross_entropy_rows)(int64_t rows, int64_t n, const real *xs, const int64_t *label,
                                  int64_t ignore_index, double *losses)
{
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real *x = xs + r * n;
        losses[r] = 0;
        if (label[r] == ignore_index) continue;
        real max = F(maximum)(n, 1, x), sum = F(exponentials)(n, 1, x, max, NULL);
        losses[r] = (double)(log(sum) - (x[label[r]] - max));
    }
}

static void F(cross_entropy_gradient)(int64_t rows, int64_t n, const real *xs,
                                      const int64_t *label, int64_t ignore_index, double scale,
                                      const real *dloss, real *dxs)
{
    const real factor = *dloss * (real)scale;
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t r = 0; r < rows; r++) {
        const real *x = xs + r * n;
        real *dx = dxs + r * n, piece[F(PIECE)];
        if (label[r] == ignore_index) continue;
        real max = F(maximum)(n, 1, x), sum = F(exponentials)(n, 1, x, max, NULL);
        for (int64_t first = 0; first < n; first += F(PIECE)) {
            int64_t count = n - first < F(PIECE) ? n - first : F(PIECE);
            for (int64_t i = 0; i < count; i++) piece[i] = x[first + i] - max;
            F(lk_vexp)(count, piece, piece);
            for (int64_t i = 0; i < count; i++) dx[first + i] += factor * (piece[i] / sum);
        }
        dx[label[r]] -= factor;
    }
}

/* Σ (x - y)² */
static double F(square_sum)(int64_t n, const real *x, const real *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
    return sum;
}

/* d += c (x - y) */
static void F(add_difference_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const real c = (real) * (const double *)arg;
    real *d = p[0];
    const real *x = p[1], *y = p[2];
    for (int64_t i = 0; i < n; i++) d[i * step[0]] += c * (x[i * step[1]] - y[i * step[2]]);
}
#endif
