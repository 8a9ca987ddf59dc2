/* planted_ops.h - the operations of test_planted_bugs.c, each with a right backward and wrong ones
 * by number. The frame, and the faults that all of them can have: planted.h. */
#ifndef PLANTED_OPS_H
#define PLANTED_OPS_H

#include "tests/core/planted.h"

/* y = forward(x) element by element; dx += right, or one of the bad ones. x, y, dy, i, n are
 * there. */
#define ELEMENTWISE(name, formula, right, ...) \
    static void name##_forward(Call *c) \
    { \
        for (int64_t i = 0; i < c->n; i++) { \
            double x = c->x[0][i]; \
            (void)x; \
            set(c, i, formula); \
        } \
    } \
    static void name##_backward(Call *c) \
    { \
        for (int64_t i = 0, n = c->n; i < n; i++) { \
            double x = c->x[0][i], y = c->y[i], dy = c->dy[i], alpha = c->p.alpha; \
            (void)x, (void)y, (void)n, (void)dy, (void)alpha; \
            const double gradient[] = { right, __VA_ARGS__ }; \
            add(c, 0, i, gradient[c->p.bug]); \
        } \
    } \
    OPERATION(name, 1, NULL, { LK_IN0 | LK_OUT })

/* ---- elementwise ---------------------------------------------------------------------------- */

ELEMENTWISE(square, x *x + 1, 2 * x * dy, -2 * x * dy, x *dy, 4 * x * dy, 2 * x, 2 * dy * dy,
            2 * y * dy, 2 * dy, 2 * x * x * dy, 2 * x * (i < n - 1 ? dy : 0),
            2 * x * c->dy[i < n - 1 ? i + 1 : i], 2 * x * fabs(dy))
ELEMENTWISE(exponential, exp(x), y *dy, x *dy, dy, -y *dy, y *y *dy, y, i > 0 ? y * dy : 0)
ELEMENTWISE(softplus, x > 30 ? x : log1p(exp(x)), dy / (1 + exp(-x)), dy *exp(x) / (1 + exp(x)))
ELEMENTWISE(hyperbolic, tanh(x), (1 - y * y) * dy, (1 - x * x) * dy, (1 - y) * dy, dy, y *dy)
ELEMENTWISE(logistic, 1 / (1 + exp(-x)), y *(1 - y) * dy, y *dy, x *(1 - x) * dy, (1 - y) * dy)
ELEMENTWISE(rectified, x > 0 ? x : 0, x > 0 ? dy : 0, dy, x<0 ? dy : 0, x> 0 ? -dy : 0,
            x > 0 ? 1 : 0)
ELEMENTWISE(magnitude, fabs(x), x > 0 ? dy : -dy, dy, x > 0 ? dy : 0, x > 0 ? -dy : dy)
ELEMENTWISE(strengthened, 2.5 * x, alpha *dy, dy, alpha *alpha *dy, dy / alpha, -alpha *dy)
ELEMENTWISE(dropped, i % 3 ? 1.5 * x : 0, i % 3 ? 1.5 * dy : 0, 1.5 * dy, i % 3 ? dy : 0,
            i % 3 ? 0 : 1.5 * dy)

/* y = a b */
static void product_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][i] * c->x[1][i]);
}
static void product_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double a = c->x[0][i], b = c->x[1][i], dy = c->dy[i];
        const double da[] = { b * dy, a * dy, b * dy, b * dy, b, b * dy },
                     db[] = { a * dy, b * dy, -a * dy, 0, a, 2 * a * dy };
        add(c, 0, i, da[c->p.bug]);
        add(c, 1, i, db[c->p.bug]);
    }
}
OPERATION(product, 2, NULL, { LK_IN1, LK_IN0 })

/* y = a / b, so da += dy / b, db -= dy a / b² */
static void quotient_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][i] / c->x[1][i]);
}
static void quotient_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double a = c->x[0][i], b = c->x[1][i], dy = c->dy[i], right = -dy * a / (b * b);
        const double da[] = { dy / b, dy / b, dy / b, dy * b, dy },
                     db[] = { right, -right, -dy * a / b, right, right };
        add(c, 0, i, da[c->p.bug]);
        add(c, 1, i, db[c->p.bug]);
    }
}
OPERATION(quotient, 2, NULL, { LK_IN1, LK_IN0 | LK_IN1 })

/* ---- broadcast ------------------------------------------------------------------------------ */

/* y_ij = x_ij + b_j, so dx_ij += dy_ij, db_j += Σ_i dy_ij */
static void biased_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][i] + c->x[1][i % c->columns]);
}
static void biased_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        int64_t row = i / c->columns, rows = c->rows;
        double dy = c->dy[i];
        const double db[] = {
            dy, row == 0 ? dy : 0, row == rows - 1 ? dy : 0, dy / (double)rows, -dy, 0, 1
        };
        add(c, 0, i, dy);
        add(c, 1, i % c->columns, db[c->p.bug]);
    }
}
OPERATION(biased, 2, NULL, { 0 })

/* ---- reductions ----------------------------------------------------------------------------- */

static int shape_of_rows(Tensor *const *in, int64_t *shape)
{
    shape[0] = in[0]->shape[0];
    return 1;
}

/* y_i = Σ_j x_ij / columns, so dx_ij += dy_i / columns */
static void row_mean_forward(Call *c)
{
    for (int64_t i = 0; i < c->rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < c->columns; j++) sum += c->x[0][i * c->columns + j];
        set(c, i, sum / (double)c->columns);
    }
}
static void row_mean_backward(Call *c)
{
    double n = (double)c->columns, rows = (double)c->rows;
    for (int64_t k = 0; k < c->rows * c->columns; k++) {
        double dy = c->dy[k / c->columns];
        /* clang-format off */
        const double gradient[] = { dy / n,       dy / rows, dy,
                                    dy / (n * n), 1 / n,     k % c->columns ? 0 : dy / n,
                                    -dy / n,      dy / n + 0.01 * c->x[0][k] * dy };
        /* clang-format on */
        add(c, 0, k, gradient[c->p.bug]);
    }
}
OPERATION(row_mean, 1, shape_of_rows, { 0 })

static int shape_of_scalar(Tensor *const *in, int64_t *shape)
{
    (void)in, (void)shape;
    return 0;
}

/* y = Σ_k x_k³, so dx_k += 3 x_k² dy */
static void cubes_forward(Call *c)
{
    double sum = 0;
    for (int64_t k = 0; k < c->rows * c->columns; k++) sum += pow(c->x[0][k], 3);
    set(c, 0, sum);
}
static void cubes_backward(Call *c)
{
    for (int64_t k = 0; k < c->rows * c->columns; k++) {
        double x = c->x[0][k], dy = c->dy[0], right = 3 * x * x * dy;
        const double gradient[] = { right, 3 * x * x * fabs(dy), right + 0.01 * dy,
                                    right + 0.01 * x * dy };
        add(c, 0, k, gradient[c->p.bug]);
    }
}
OPERATION(cubes, 1, shape_of_scalar, { LK_IN0 })

static int64_t largest_of_row(const Call *c, int64_t row)
{
    int64_t best = row * c->columns;
    for (int64_t k = best; k < (row + 1) * c->columns; k++)
        if (c->x[0][k] > c->x[0][best]) best = k;
    return best;
}

/* y_i = max_j x_ij, so dx_ij += dy_i where x_ij is the largest */
static void row_max_forward(Call *c)
{
    for (int64_t i = 0; i < c->rows; i++) set(c, i, c->x[0][largest_of_row(c, i)]);
}
static void row_max_backward(Call *c)
{
    for (int64_t k = 0; k < c->rows * c->columns; k++) {
        double dy = c->dy[k / c->columns];
        bool is = k == largest_of_row(c, k / c->columns);
        const double gradient[] = { is ? dy : 0, dy, is ? -dy : 0, is ? 0 : dy, is ? 1 : 0 };
        add(c, 0, k, gradient[c->p.bug]);
    }
}
OPERATION(row_max, 1, shape_of_rows, { LK_IN0 })

/* ---- matrices ------------------------------------------------------------------------------- */

static int shape_of_product(Tensor *const *in, int64_t *shape)
{
    shape[0] = in[0]->shape[0];
    shape[1] = in[1]->shape[1];
    return 2;
}

/* Y = A B · alpha / rank, so dA += dY Bᵀ · alpha / rank, dB += Aᵀ dY · alpha / rank */
static void matrices_forward(Call *c)
{
    int64_t m = c->rows, k = c->columns, n = c->n / m;
    for (int64_t i = 0; i < m * n; i++) {
        double sum = 0;
        for (int64_t l = 0; l < k; l++) sum += c->x[0][i / n * k + l] * c->x[1][l * n + i % n];
        set(c, i, sum * c->p.alpha / c->p.rank);
    }
}
enum {
    A_UNTRANSPOSED = 1,
    A_TURNED,
    B_UNTRANSPOSED,
    B_TURNED,
    A_FOR_B,
    LAST_LOST,
    ALPHA_LOST,
    RANK_LOST,
    ALPHA_TWICE,
    B_ALONE,
    ONE_TERM
};
static void matrices_backward(Call *c)
{
    int bug = c->p.bug;
    int64_t m = c->rows, k = c->columns, n = c->n / m;
    const double *A = c->x[0], *B = c->x[1], *dY = c->dy;
    double scale = c->p.alpha / c->p.rank;
    if (bug == ALPHA_LOST) scale *= 1 / c->p.alpha;
    if (bug == RANK_LOST) scale *= c->p.rank;
    if (bug == ALPHA_TWICE) scale *= c->p.alpha;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) {
                double dy = dY[i * n + j] * scale;
                double b = bug == A_UNTRANSPOSED ? B[j * n + l] : B[l * n + j];
                double a = bug == B_UNTRANSPOSED ? A[l * k + i] : A[i * k + l];
                int64_t at_a = bug == A_TURNED ? l * m + i : i * k + l,
                        at_b = bug == B_TURNED ? j * k + l : l * n + j;
                if ((bug == LAST_LOST && l == k - 1) || (bug == ONE_TERM && j > 0)) continue;
                add(c, bug == A_FOR_B, at_a, dy * b);
                if (bug != B_ALONE) add(c, bug != A_FOR_B, at_b, dy * a);
            }
}
OPERATION(matrices, 2, shape_of_product, { LK_IN1, LK_IN0 })

static int shape_turned(Tensor *const *in, int64_t *shape)
{
    shape[0] = in[0]->shape[1];
    shape[1] = in[0]->shape[0];
    return 2;
}

/* y_ji = x_ij, so dx_ij += dy_ji */
static void turned_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++)
        set(c, i % c->columns * c->rows + i / c->columns, c->x[0][i]);
}
static void turned_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++)
        add(c, 0, i, c->dy[c->p.bug ? i : i % c->columns * c->rows + i / c->columns]);
}
OPERATION(turned, 1, shape_turned, { 0 })

/* ---- indexed -------------------------------------------------------------------------------- */

enum { TAKEN = 4 };
static const int taken[TAKEN] = { 2, 0, 2, 3 };

static int shape_of_taken(Tensor *const *in, int64_t *shape)
{
    shape[0] = TAKEN;
    shape[1] = in[0]->shape[1];
    return 2;
}

/* y_i = x_taken(i), rows, so dx_taken(i) += dy_i */
static void rows_taken_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++)
        set(c, i, c->x[0][taken[i / c->columns] * c->columns + i % c->columns]);
}
static void rows_taken_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        int64_t row = i / c->columns, column = i % c->columns;
        bool again = row == 0; /* row 2 of x comes once more */
        switch (c->p.bug) {
        case 1:
            if (!again) add(c, 0, taken[row] * c->columns + column, c->dy[i]);
            break; /* the last one wins */
        case 2:
            if (row != 2) add(c, 0, taken[row] * c->columns + column, c->dy[i]);
            break; /* the first one wins */
        case 3:
            add(c, 0, (taken[row] + 1) * c->columns + column, c->dy[i]);
            break;                             /* a row too far */
        case 4: add(c, 0, i, c->dy[i]); break; /* no index */
        default:
            add(c, 0, taken[row] * c->columns + column,
                (c->p.bug == 5 ? -1 : 1) * c->dy[i]); /* 5: sign */
        }
    }
}
OPERATION(rows_taken, 1, shape_of_taken, { 0 })

static int shape_joined(Tensor *const *in, int64_t *shape)
{
    shape[0] = in[0]->shape[0] + in[1]->shape[0];
    return 1;
}

/* y = (a, b) */
static void joined_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++)
        set(c, i, i < c->columns ? c->x[0][i] : c->x[1][i - c->columns]);
}
static void joined_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        int64_t k = i - c->columns;
        if (k < 0) add(c, 0, i, c->dy[i]);
        else if (c->p.bug != 2) add(c, 1, k, c->dy[c->p.bug == 1 ? k : i]);
    }
}
OPERATION(joined, 2, shape_joined, { 0 })

static int shape_shorter(Tensor *const *in, int64_t *shape)
{
    shape[0] = in[0]->shape[0] - 1;
    return 1;
}

/* y_i = x_i x_(i+1), so dx_i += dy_i x_(i+1), dx_(i+1) += dy_i x_i. The bug: both at i. */
static void neighbours_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][i] * c->x[0][i + 1]);
}
static void neighbours_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        add(c, 0, i, c->dy[i] * c->x[0][i + 1]);
        add(c, 0, i + !c->p.bug, c->dy[i] * c->x[0][i]);
    }
}
OPERATION(neighbours, 1, shape_shorter, { LK_IN0 })

/* ---- norms ---------------------------------------------------------------------------------- */

/* y = e^x / Σ e^x by rows, so dx_i += y_i (dy_i - Σ_j y_j dy_j). Bug 1: without the sum. */
static void row_softmax_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < c->columns; j++)
            sum += exp(c->x[0][i / c->columns * c->columns + j]);
        set(c, i, exp(c->x[0][i]) / sum);
    }
}
static void row_softmax_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double dot = 0, y = c->y[i];
        int64_t row = i / c->columns * c->columns;
        for (int64_t j = row; j < row + c->columns; j++) dot += c->y[j] * c->dy[j];
        const double gradient[] = { y * (c->dy[i] - dot), y * c->dy[i], -y * (c->dy[i] - dot),
                                    c->dy[i] - dot };
        add(c, 0, i, gradient[c->p.bug]);
    }
}
OPERATION(row_softmax, 1, NULL, { LK_OUT })

/* y = x̂ w with x̂ = x / r, r = √(Σ x² / n) by rows (RMSNorm), so dw += Σ_rows dy x̂ and, with
 * g = dy w, dx_i += (g_i - x̂_i Σ g x̂ / n) / r. Bugs: the second term lost; no / r; dw of the
 * first row only; dw += dy x; dx without w; the sum without / n. */
static void rms_norm_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double squares = 0;
        for (int64_t j = 0; j < c->columns; j++)
            squares += pow(c->x[0][i / c->columns * c->columns + j], 2);
        set(c, i, c->x[0][i] / sqrt(squares / (double)c->columns) * c->x[1][i % c->columns]);
    }
}
static void rms_norm_backward(Call *c)
{
    double n = (double)c->columns;
    int bug = c->p.bug;
    for (int64_t i = 0; i < c->n; i++) {
        const double *w = c->x[1], *x = c->x[0] + i / c->columns * c->columns,
                     *dy = c->dy + i / c->columns * c->columns;
        int64_t j = i % c->columns;
        double squares = 0, dot = 0;
        for (int64_t k = 0; k < c->columns; k++) squares += x[k] * x[k];
        double r = sqrt(squares / n);
        for (int64_t k = 0; k < c->columns; k++) dot += dy[k] * (bug == 5 ? 1 : w[k]) * x[k] / r;
        double g = dy[j] * (bug == 5 ? 1 : w[j]);
        double mean = dot / (bug == 6 ? 1 : n), along = bug == 1 ? 0 : x[j] / r * mean;
        add(c, 0, i, (g - along) / (bug == 2 ? 1 : r));
        if (bug != 3 || i < c->columns) add(c, 1, j, dy[j] * x[j] / (bug == 4 ? 1 : r));
    }
}
OPERATION(rms_norm, 2, NULL, { LK_IN0 | LK_IN1, LK_IN0 })

#endif
