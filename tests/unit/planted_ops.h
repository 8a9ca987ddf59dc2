/* planted_ops.h - operations with bugs, for test_planted_bugs.c. Each has a right backward and several wrong ones, by
 * number, and each can have every fault of the kinds that all operations share. */
#ifndef PLANTED_OPS_H
#define PLANTED_OPS_H

#include <math.h>
#include <string.h>

#include "core/gradcheck_parts.h" /* lk_gradcheck_cotangent */
#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

typedef enum Fault {
    NONE,
    ASSIGNS,         /* backward: = for += */
    WRITES_INPUT,    /* forward */
    WRITES_BACK,     /* backward writes to its input 0 */
    RAW_FORWARD,     /* strides ignored */
    RAW_BACKWARD,
    UNWRITTEN,       /* forward adds to lk_empty */
    UNWRITTEN_BACK,  /* backward adds what scratch holds */
    KEPT_IN_SCRATCH, /* forward leaves in scratch what backward needs */
    FEW_NEEDS,
    UNRECORDED,
    DETACHED,        /* input 0 is recorded behind lk_detach */
    FIRST_USE,       /* backward: an input that is input 0 too gets nothing */
    GIVES_UP,        /* backward: nothing at all when input 0 is frozen */
    DRAWS,           /* forward: an Rng that nothing sets back */
    RESEEDS,         /* forward: another seed for the tape in each call */
    DRAWS_BACK,      /* backward: a count that goes on */
} Fault;

enum { OPERANDS = 3 };
typedef struct Planted {
    int bug; /* 0: the right backward */
    Fault fault;
    double alpha, rank;
} Planted;

/* A call, forward or backward: all operands packed. */
typedef struct Call {
    Planted p;
    int inputs;
    const double *x[OPERANDS];
    const double *dy;
    double *y, *dx[OPERANDS]; /* dx: NULL for a frozen one */
    int64_t n, rows, columns; /* elements of the result; the shape of input 0, one row for one dimension */
} Call;

typedef struct Spec {
    const Op *op, *few; /* few: without needs */
    int inputs;
    int (*shape)(Tensor *const *in, int64_t *shape); /* of the result; NULL: that of input 0 */
    void (*forward)(Call *c);
    void (*backward)(Call *c);
} Spec;

typedef struct State {
    const Spec *spec;
    Planted p;
    double *kept;
} State;

static void set(const Call *c, int64_t at, double value)
{
    if (c->p.fault == UNWRITTEN) c->y[at] += value;
    else c->y[at] = value;
}

static void add(const Call *c, int input, int64_t at, double value)
{
    if (!c->dx[input]) return;
    if (c->p.fault == ASSIGNS) c->dx[input][at] = value;
    else c->dx[input][at] += value;
}

static void fill_sizes(Call *c, const Tensor *x, const Tensor *y)
{
    c->n = lk_numel(y);
    c->columns = x->ndim > 0 ? x->shape[x->ndim - 1] : 1;
    c->rows = c->columns ? lk_numel(x) / c->columns : 0;
}

static void run_backward(Tape *t, Node *n)
{
    static int drawn; /* for DRAWS_BACK */
    const State *s = n->state;
    Call c = { .p = s->p, .inputs = n->inputs, .y = n->out->data, .dy = n->grad->data };
    fill_sizes(&c, n->in[0], n->out);
    for (int i = 0; i < n->inputs; i++) {
        Tensor *x = s->p.fault == RAW_BACKWARD ? n->in[i] : lk_packed(t, n->in[i]);
        Tensor *dx = lk_grad_in(t, n, i);
        c.x[i] = x ? x->data : NULL;
        c.dx[i] = dx && !(s->p.fault == FIRST_USE && i > 0 && n->in[i] == n->in[0]) ? dx->data : NULL;
    }
    if (s->p.fault == KEPT_IN_SCRATCH) c.x[0] = s->kept;
    if (s->p.fault == GIVES_UP && !c.dx[0]) return;
    s->spec->backward(&c);
    int64_t size = lk_numel(n->in[0]);
    double *room = lk_tape_scratch(t, (size_t)(size + 1) * sizeof *room);
    for (int64_t i = 0; room && c.dx[0] && i < size; i++) {
        if (s->p.fault == UNWRITTEN_BACK) c.dx[0][i] += room[i];
        if (s->p.fault == DRAWS_BACK) c.dx[0][i] += ++drawn * 1e-3;
        if (s->p.fault == WRITES_BACK) ((double *)n->in[0]->data)[i] = 7;
    }
}

/* Room in scratch, filled with x, as an operation does that means to save a copy. */
static double *keep_in_scratch(Tape *t, const Tensor *x)
{
    size_t bytes = (size_t)lk_numel(x) * sizeof(double);
    double *kept = lk_tape_scratch(t, bytes);
    return kept ? memcpy(kept, x->data, bytes) : NULL;
}

static Tensor *run_op(Tape *t, const Spec *spec, Tensor *const *in, const Planted *p)
{
    static Rng rng; /* for DRAWS */
    static uint64_t calls;
    int64_t shape[LK_MAX_DIMS];
    int ndim = in[0]->ndim;
    if (spec->shape) ndim = spec->shape(in, shape);
    else memcpy(shape, in[0]->shape, sizeof shape);
    Tensor *y = lk_empty(t, LK_F64, ndim, shape), *recorded[OPERANDS] = { NULL };
    if (!y) return NULL;
    if (calls++ == 0) lk_manual_seed(&rng, 0);
    if (p->fault == RESEEDS) lk_tape_seed(t, calls);
    if (p->fault == WRITES_INPUT) ((double *)in[0]->data)[0] *= 2;
    State s = { spec, *p, NULL };
    Call c = { .p = *p, .inputs = spec->inputs, .y = y->data };
    fill_sizes(&c, in[0], y);
    for (int i = 0; i < spec->inputs; i++) {
        const Tensor *x = p->fault == RAW_FORWARD ? in[i] : lk_packed(t, in[i]);
        if (!x) return NULL;
        c.x[i] = x->data;
        recorded[i] = in[i];
    }
    spec->forward(&c);
    if (p->fault == DRAWS) c.y[0] += 1e-3 * lk_random_f64(&rng);
    if (p->fault == RESEEDS) return lk_dropout(t, lk_record(t, spec->op, y, spec->inputs, recorded, &s, sizeof s), 0.5);
    if (p->fault == UNRECORDED) return y;
    if (p->fault == DETACHED) recorded[0] = lk_detach(t, in[0]);
    if (p->fault == KEPT_IN_SCRATCH) s.kept = keep_in_scratch(t, lk_packed(t, in[0]));
    return lk_record(t, p->fault == FEW_NEEDS ? spec->few : spec->op, y, spec->inputs, recorded, &s, sizeof s);
}

/* Defines the GradcheckFn `name` from name_forward and name_backward. needs: a brace list. */
#define OPERATION(name, inputs, shape, ...) \
    static const Op name##_op = { #name "Backward", run_backward, __VA_ARGS__ }; \
    static const Op name##_few = { #name "Backward", run_backward, { 0 } }; \
    static const Spec name##_spec = { &name##_op, &name##_few, inputs, shape, name##_forward, name##_backward }; \
    static Tensor *name(Tape *t, Tensor *const *in, void *user) { return run_op(t, &name##_spec, in, user); }

/* y = forward(x) element by element; dx += right, or one of the bad ones. x, y, dy, i, n are there. */
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

/* ---- elementwise ------------------------------------------------------------------------------------------------ */

ELEMENTWISE(square, x * x + 1, 2 * x * dy, -2 * x * dy, x * dy, 4 * x * dy, 2 * x, 2 * dy * dy, 2 * y * dy, 2 * dy,
            2 * x * x * dy, 2 * x * (i < n - 1 ? dy : 0), 2 * x * c->dy[i < n - 1 ? i + 1 : i])
ELEMENTWISE(exponential, exp(x), y * dy, x * dy, dy, -y * dy, y * y * dy, y, i > 0 ? y * dy : 0)
ELEMENTWISE(softplus, x > 30 ? x : log1p(exp(x)), dy / (1 + exp(-x)), dy * exp(x) / (1 + exp(x)))
ELEMENTWISE(hyperbolic, tanh(x), (1 - y * y) * dy, (1 - x * x) * dy, (1 - y) * dy, dy, y * dy)
ELEMENTWISE(logistic, 1 / (1 + exp(-x)), y * (1 - y) * dy, y * dy, x * (1 - x) * dy, (1 - y) * dy)
ELEMENTWISE(rectified, x > 0 ? x : 0, x > 0 ? dy : 0, dy, x < 0 ? dy : 0, x > 0 ? -dy : 0, x > 0 ? 1 : 0)
ELEMENTWISE(magnitude, fabs(x), x > 0 ? dy : -dy, dy, x > 0 ? dy : 0, x > 0 ? -dy : dy)
ELEMENTWISE(strengthened, 2.5 * x, alpha * dy, dy, alpha * alpha * dy, dy / alpha, -alpha * dy)
ELEMENTWISE(dropped, i % 3 ? 1.5 * x : 0, i % 3 ? 1.5 * dy : 0, 1.5 * dy, i % 3 ? dy : 0, i % 3 ? 0 : 1.5 * dy)

/* y = a b */
static void product_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][i] * c->x[1][i]);
}
static void product_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double a = c->x[0][i], b = c->x[1][i], dy = c->dy[i];
        const double da[] = { b * dy, a * dy, b * dy, b * dy, b, b * dy }, db[] = { a * dy, b * dy, -a * dy, 0, a, 2 * a * dy };
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
        const double da[] = { dy / b, dy / b, dy / b, dy * b, dy }, db[] = { right, -right, -dy * a / b, right, right };
        add(c, 0, i, da[c->p.bug]);
        add(c, 1, i, db[c->p.bug]);
    }
}
OPERATION(quotient, 2, NULL, { LK_IN1, LK_IN0 | LK_IN1 })

/* ---- broadcast -------------------------------------------------------------------------------------------------- */

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
        const double db[] = { dy, row == 0 ? dy : 0, row == rows - 1 ? dy : 0, dy / (double)rows, -dy, 0, 1 };
        add(c, 0, i, dy);
        add(c, 1, i % c->columns, db[c->p.bug]);
    }
}
OPERATION(biased, 2, NULL, { 0 })

/* ---- reductions ------------------------------------------------------------------------------------------------- */

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
        const double gradient[] = { dy / n, dy / rows, dy, dy / (n * n), 1 / n, k % c->columns ? 0 : dy / n, -dy / n };
        add(c, 0, k, gradient[c->p.bug]);
    }
}
OPERATION(row_mean, 1, shape_of_rows, { 0 })

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

/* ---- matrices --------------------------------------------------------------------------------------------------- */

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
enum { A_UNTRANSPOSED = 1, A_TURNED, B_UNTRANSPOSED, B_TURNED, A_FOR_B, LAST_LOST, ALPHA_LOST, RANK_LOST, ALPHA_TWICE,
       B_ALONE, ONE_TERM };
static void matrices_backward(Call *c)
{
    int bug = c->p.bug;
    int64_t m = c->rows, k = c->columns, n = c->n / m;
    const double *A = c->x[0], *B = c->x[1], *dY = c->dy;
    double scale = c->p.alpha / c->p.rank * (bug == ALPHA_LOST ? 1 / c->p.alpha : bug == RANK_LOST ? c->p.rank
                 : bug == ALPHA_TWICE ? c->p.alpha : 1);
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) {
                double dy = dY[i * n + j] * scale;
                double b = bug == A_UNTRANSPOSED ? B[j * n + l] : B[l * n + j];
                double a = bug == B_UNTRANSPOSED ? A[l * k + i] : A[i * k + l];
                int64_t at_a = bug == A_TURNED ? l * m + i : i * k + l, at_b = bug == B_TURNED ? j * k + l : l * n + j;
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
    for (int64_t i = 0; i < c->n; i++) set(c, i % c->columns * c->rows + i / c->columns, c->x[0][i]);
}
static void turned_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) add(c, 0, i, c->dy[c->p.bug ? i : i % c->columns * c->rows + i / c->columns]);
}
OPERATION(turned, 1, shape_turned, { 0 })

/* ---- indexed ---------------------------------------------------------------------------------------------------- */

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
    for (int64_t i = 0; i < c->n; i++) set(c, i, c->x[0][taken[i / c->columns] * c->columns + i % c->columns]);
}
static void rows_taken_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        int64_t row = i / c->columns, column = i % c->columns;
        bool again = row == 0; /* row 2 of x comes once more */
        switch (c->p.bug) {
        case 1: if (!again) add(c, 0, taken[row] * c->columns + column, c->dy[i]); break;          /* the last one wins */
        case 2: if (row != 2) add(c, 0, taken[row] * c->columns + column, c->dy[i]); break;        /* the first one wins */
        case 3: add(c, 0, (taken[row] + 1) * c->columns + column, c->dy[i]); break;                /* a row too far */
        case 4: add(c, 0, i, c->dy[i]); break;                                                     /* no index */
        default: add(c, 0, taken[row] * c->columns + column, (c->p.bug == 5 ? -1 : 1) * c->dy[i]); /* 5: sign */
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
    for (int64_t i = 0; i < c->n; i++) set(c, i, i < c->columns ? c->x[0][i] : c->x[1][i - c->columns]);
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

/* ---- norms ------------------------------------------------------------------------------------------------------ */

/* y = e^x / Σ e^x by rows, so dx_i += y_i (dy_i - Σ_j y_j dy_j). Bug 1: without the sum. */
static void row_softmax_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < c->columns; j++) sum += exp(c->x[0][i / c->columns * c->columns + j]);
        set(c, i, exp(c->x[0][i]) / sum);
    }
}
static void row_softmax_backward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double dot = 0, y = c->y[i];
        int64_t row = i / c->columns * c->columns;
        for (int64_t j = row; j < row + c->columns; j++) dot += c->y[j] * c->dy[j];
        const double gradient[] = { y * (c->dy[i] - dot), y * c->dy[i], -y * (c->dy[i] - dot), c->dy[i] - dot };
        add(c, 0, i, gradient[c->p.bug]);
    }
}
OPERATION(row_softmax, 1, NULL, { LK_OUT })

/* y = x̂ w with x̂ = x / r, r = √(Σ x² / n) by rows (RMSNorm), so dw += Σ_rows dy x̂ and, with g = dy w,
 * dx_i += (g_i - x̂_i Σ g x̂ / n) / r. Bugs: the second term lost; no / r; dw of the first row only; dw += dy x;
 * dx without w; the sum without / n. */
static void rms_norm_forward(Call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double squares = 0;
        for (int64_t j = 0; j < c->columns; j++) squares += pow(c->x[0][i / c->columns * c->columns + j], 2);
        set(c, i, c->x[0][i] / sqrt(squares / (double)c->columns) * c->x[1][i % c->columns]);
    }
}
static void rms_norm_backward(Call *c)
{
    double n = (double)c->columns;
    int bug = c->p.bug;
    for (int64_t i = 0; i < c->n; i++) {
        const double *w = c->x[1], *x = c->x[0] + i / c->columns * c->columns, *dy = c->dy + i / c->columns * c->columns;
        int64_t j = i % c->columns;
        double squares = 0, dot = 0;
        for (int64_t k = 0; k < c->columns; k++) squares += x[k] * x[k];
        double r = sqrt(squares / n);
        for (int64_t k = 0; k < c->columns; k++) dot += dy[k] * (bug == 5 ? 1 : w[k]) * x[k] / r;
        double g = dy[j] * (bug == 5 ? 1 : w[j]);
        add(c, 0, i, (g - (bug == 1 ? 0 : x[j] / r * dot / (bug == 6 ? 1 : n))) / (bug == 2 ? 1 : r));
        if (bug != 3 || i < c->columns) add(c, 1, j, dy[j] * x[j] / (bug == 4 ? 1 : r));
    }
}
OPERATION(rms_norm, 2, NULL, { LK_IN0 | LK_IN1, LK_IN0 })

#endif
