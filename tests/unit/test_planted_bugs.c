/* test_planted_bugs.c - operations with one bug in their backward, of the kinds that people make. lk_gradcheck must
 * catch each, at the right element, with the right values and hint, and pass the same operation without its bug. */
#include <math.h>
#include <string.h>

#include "core/gradcheck.h"
#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

/* Every operation below is told by a bool behind `user` whether to be wrong, and keeps it as the node's state. */
static bool is_wrong(const Node *n)
{
    return *(const bool *)n->state;
}

static Tensor *record(Tape *t, const Op *op, Tensor *y, int inputs, Tensor *const *x, const void *user)
{
    return lk_record(t, op, y, inputs, x, user, sizeof(bool));
}

static double *values(const Tensor *x)
{
    return x->data;
}

static Tensor *empty_like(Tape *t, const Tensor *x)
{
    return lk_empty(t, x->dtype, x->ndim, x->shape);
}

/* ---- elementwise ------------------------------------------------------------------------------------------------ */

/* name: y = forward(x), dx += right; the bug: dx += bad. x, y and dy are elements, i the index of n. */
#define ELEMENTWISE(name, NAME, forward, right, bad) \
    static void name##_backward(Tape *t, Node *node) \
    { \
        Tensor *dx = lk_grad_in(t, node, 0); \
        for (int64_t i = 0, n = dx ? lk_numel(dx) : 0; i < n; i++) { \
            double x = values(node->in[0])[i], y = values(node->out)[i], dy = values(node->grad)[i]; \
            (void)x, (void)y; \
            values(dx)[i] += is_wrong(node) ? (bad) : (right); \
        } \
    } \
    static const Op NAME = { #NAME, name##_backward, { LK_IN0 | LK_OUT } }; \
    static Tensor *name(Tape *t, Tensor *const *in, void *user) \
    { \
        Tensor *out = empty_like(t, in[0]); \
        for (int64_t i = 0; out && i < lk_numel(out); i++) { \
            double x = values(in[0])[i]; \
            values(out)[i] = forward; \
        } \
        return record(t, &NAME, out, 1, in, user); \
    }
ELEMENTWISE(wrong_sign, WRONG_SIGN, x * x, 2 * x * dy, -2 * x * dy)
ELEMENTWISE(lost_factor, LOST_FACTOR, x * x * x, 3 * x * x * dy, x * x * dy)
ELEMENTWISE(factor_twice, FACTOR_TWICE, 2.5 * x, 2.5 * dy, 2.5 * 2.5 * dy)
ELEMENTWISE(y_for_x, Y_FOR_X, x * x + 1, 2 * x * dy, 2 * y * dy)
ELEMENTWISE(no_mask, NO_MASK, x > 0 ? x : 0, x > 0 ? dy : 0, dy)
ELEMENTWISE(last_forgotten, LAST_FORGOTTEN, exp(x), y * dy, i < n - 1 ? y * dy : 0)
ELEMENTWISE(overflow, OVERFLOW, x > 30 ? x : log1p(exp(x)), dy / (1 + exp(-x)), dy * exp(x) / (1 + exp(x)))

/* ---- two operands ----------------------------------------------------------------------------------------------- */

typedef enum ProductBug { OVERWRITES, FORGETS_ONE, GIVES_UP_WHEN_FROZEN } ProductBug;

/* y = a b, so da += dy b, db += dy a. */
static void product_backward(Tape *t, Node *n, ProductBug bug)
{
    Tensor *da = lk_grad_in(t, n, 0);
    if (is_wrong(n) && bug == GIVES_UP_WHEN_FROZEN && !da) return;
    Tensor *db = is_wrong(n) && bug == FORGETS_ONE ? NULL : lk_grad_in(t, n, 1);
    bool overwrites = is_wrong(n) && bug == OVERWRITES;
    for (int64_t i = 0; i < lk_numel(n->out); i++) {
        double a = values(n->in[0])[i], b = values(n->in[1])[i], dy = values(n->grad)[i];
        if (da) values(da)[i] = (overwrites ? 0 : values(da)[i]) + dy * b;
        if (db) values(db)[i] = (overwrites ? 0 : values(db)[i]) + dy * a;
    }
}

static Tensor *product(Tape *t, const Op *op, Tensor *a, Tensor *b, const void *user)
{
    Tensor *y = empty_like(t, a);
    for (int64_t i = 0; y && i < lk_numel(y); i++) values(y)[i] = values(a)[i] * values(b)[i];
    return record(t, op, y, LK_INPUTS(a, b), user);
}

#define PRODUCT(name, NAME, bug, a, b) \
    static void name##_backward(Tape *t, Node *n) { product_backward(t, n, bug); } \
    static const Op NAME = { #NAME, name##_backward, { LK_IN1, LK_IN0 } }; \
    static Tensor *name(Tape *t, Tensor *const *x, void *user) { return product(t, &NAME, a, b, user); }
PRODUCT(overwritten, OVERWRITTEN, OVERWRITES, x[0], x[0])
PRODUCT(forgotten_input, FORGOTTEN_INPUT, FORGETS_ONE, x[0], x[1])
PRODUCT(gives_up, GIVES_UP, GIVES_UP_WHEN_FROZEN, x[0], x[1])

/* y = a / b, so da += dy / b, db -= dy a / b². The bug: db with a plus. */
static void quotient_backward(Tape *t, Node *n)
{
    Tensor *da = lk_grad_in(t, n, 0), *db = lk_grad_in(t, n, 1);
    double sign = is_wrong(n) ? 1 : -1;
    for (int64_t i = 0; i < lk_numel(n->out); i++) {
        double a = values(n->in[0])[i], b = values(n->in[1])[i], dy = values(n->grad)[i];
        if (da) values(da)[i] += dy / b;
        if (db) values(db)[i] += sign * dy * a / (b * b);
    }
}
static const Op QUOTIENT = { "QUOTIENT", quotient_backward, { LK_IN1, LK_IN0 | LK_IN1 } };
static Tensor *quotient(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = empty_like(t, x[0]);
    for (int64_t i = 0; y && i < lk_numel(y); i++) values(y)[i] = values(x[0])[i] / values(x[1])[i];
    return record(t, &QUOTIENT, y, 2, x, user);
}

/* y_ij = x_ij + b_j, so dx_ij += dy_ij, db_j += Σ_i dy_ij. The bug: only one of the rows. */
static void missing_sum_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *db = lk_grad_in(t, n, 1);
    int64_t rows = n->out->shape[0], columns = n->out->shape[1];
    for (int64_t i = 0; i < rows * columns; i++) {
        double dy = values(n->grad)[i];
        if (dx) values(dx)[i] += dy;
        if (db && (!is_wrong(n) || i < columns)) values(db)[i % columns] += dy;
    }
}
static const Op MISSING_SUM = { "MISSING_SUM", missing_sum_backward, { 0 } };
static Tensor *missing_sum(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = empty_like(t, x[0]);
    for (int64_t i = 0; y && i < lk_numel(y); i++) values(y)[i] = values(x[0])[i] + values(x[1])[i % y->shape[1]];
    return record(t, &MISSING_SUM, y, 2, x, user);
}

/* y = a b for square matrices, so da += dy bᵀ, db += aᵀ dy. The bug: da += dy b. */
static void untransposed_backward(Tape *t, Node *n)
{
    Tensor *da = lk_grad_in(t, n, 0), *db = lk_grad_in(t, n, 1);
    const double *a = values(n->in[0]), *b = values(n->in[1]), *dy = values(n->grad);
    int64_t m = n->out->shape[0];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t k = 0; k < m; k++) {
                if (da) values(da)[i * m + k] += dy[i * m + j] * (is_wrong(n) ? b[j * m + k] : b[k * m + j]);
                if (db) values(db)[k * m + j] += a[i * m + k] * dy[i * m + j];
            }
}
static const Op UNTRANSPOSED = { "UNTRANSPOSED", untransposed_backward, { LK_IN1, LK_IN0 } };
static Tensor *untransposed(Tape *t, Tensor *const *x, void *user)
{
    int64_t m = x[0]->shape[0];
    Tensor *y = lk_zeros(t, LK_F64, LK_SHAPE(m, m));
    for (int64_t i = 0; y && i < m * m * m; i++) { /* i = (row, inner, column) */
        int64_t row = i / (m * m), inner = i / m % m, column = i % m;
        values(y)[row * m + column] += values(x[0])[row * m + inner] * values(x[1])[inner * m + column];
    }
    return record(t, &UNTRANSPOSED, y, 2, x, user);
}

/* ---- shapes, strides, rows -------------------------------------------------------------------------------------- */

/* y_ji = x_ij, so dx_ij += dy_ji. The bug: dy in its own order. */
static void turned_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    int64_t rows = n->in[0]->shape[0], columns = n->in[0]->shape[1];
    for (int64_t i = 0; dx && i < rows * columns; i++)
        values(dx)[i] += values(n->grad)[is_wrong(n) ? i : i % columns * rows + i / columns];
}
static const Op TURNED = { "TURNED", turned_backward, { 0 } };
static Tensor *turned(Tape *t, Tensor *const *x, void *user)
{
    int64_t rows = x[0]->shape[0], columns = x[0]->shape[1];
    Tensor *y = lk_empty(t, LK_F64, LK_SHAPE(columns, rows));
    for (int64_t i = 0; y && i < rows * columns; i++) values(y)[i % columns * rows + i / columns] = values(x[0])[i];
    return record(t, &TURNED, y, 1, x, user);
}

/* y = x² of a strided x, so dx += 2 x dy. The bug: x read as if it were contiguous. */
static void strided_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0), *x = n->in[0];
    for (int64_t i = 0; dx && i < lk_numel(dx); i++) {
        int64_t index[] = { i / x->shape[1], i % x->shape[1] };
        values(dx)[i] += 2 * (is_wrong(n) ? values(x)[i] : lk_at(x, index)) * values(n->grad)[i];
    }
}
static const Op STRIDED = { "STRIDED", strided_backward, { LK_IN0 } };
static Tensor *square_of_any(Tape *t, Tensor *x, void *user)
{
    Tensor *y = empty_like(t, x);
    for (int64_t i = 0; y && i < lk_numel(y); i++) {
        double v = lk_at(x, LK_INDEX(i / x->shape[1], i % x->shape[1]));
        values(y)[i] = v * v;
    }
    return record(t, &STRIDED, y, 1, &x, user);
}
static Tensor *contiguous_square(Tape *t, Tensor *const *x, void *user)
{
    return square_of_any(t, x[0], user);
}
static Tensor *strided_square(Tape *t, Tensor *const *x, void *user)
{
    return square_of_any(t, lk_T(t, x[0]), user);
}

/* y_i = Σ_j x_ij / columns, so dx_ij += dy_i / columns. The bug: the number of rows. */
static void wrong_mean_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    int64_t rows = n->in[0]->shape[0], columns = n->in[0]->shape[1];
    for (int64_t i = 0; dx && i < rows * columns; i++)
        values(dx)[i] += values(n->grad)[i / columns] / (double)(is_wrong(n) ? rows : columns);
}
static const Op WRONG_MEAN = { "WRONG_MEAN", wrong_mean_backward, { 0 } };
static Tensor *wrong_mean(Tape *t, Tensor *const *x, void *user)
{
    int64_t rows = x[0]->shape[0], columns = x[0]->shape[1];
    Tensor *y = lk_zeros(t, LK_F64, LK_SHAPE(rows));
    for (int64_t i = 0; y && i < rows * columns; i++) values(y)[i / columns] += values(x[0])[i] / (double)columns;
    return record(t, &WRONG_MEAN, y, 1, x, user);
}

/* y_i = x_i x_(i+1), so dx_i += dy_i x_(i+1), dx_(i+1) += dy_i x_i. The bug: both at i. */
static void shifted_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    const double *x = values(n->in[0]);
    for (int64_t i = 0; dx && i < lk_numel(n->out); i++) {
        values(dx)[i] += values(n->grad)[i] * x[i + 1];
        values(dx)[i + (is_wrong(n) ? 0 : 1)] += values(n->grad)[i] * x[i];
    }
}
static const Op SHIFTED = { "SHIFTED", shifted_backward, { LK_IN0 } };
static Tensor *shifted(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = lk_empty(t, LK_F64, LK_SHAPE(lk_numel(x[0]) - 1));
    for (int64_t i = 0; y && i < lk_numel(y); i++) values(y)[i] = values(x[0])[i] * values(x[0])[i + 1];
    return record(t, &SHIFTED, y, 1, x, user);
}

/* y_i = x_rows(i), so dx_rows(i) += dy_i. The bug: the last one wins. */
static const int taken[] = { 2, 0, 2, 3 };
static void repeated_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    for (int i = 0; dx && i < 4; i++) {
        double *to = &values(dx)[taken[i]], dy = values(n->grad)[i];
        *to = is_wrong(n) ? dy : *to + dy;
    }
}
static const Op REPEATED = { "REPEATED", repeated_backward, { 0 } };
static Tensor *repeated(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = lk_empty(t, LK_F64, LK_SHAPE(4));
    for (int i = 0; y && i < 4; i++) values(y)[i] = values(x[0])[taken[i]];
    return record(t, &REPEATED, y, 1, x, user);
}

/* y = e^x / Σ e^x, so dx_i += y_i (dy_i - Σ_j y_j dy_j). The bug: without the sum. */
static void lost_term_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    double dot = 0;
    for (int64_t i = 0; i < lk_numel(n->out); i++) dot += values(n->out)[i] * values(n->grad)[i];
    for (int64_t i = 0; dx && i < lk_numel(dx); i++)
        values(dx)[i] += values(n->out)[i] * (values(n->grad)[i] - (is_wrong(n) ? 0 : dot));
}
static const Op LOST_TERM = { "LOST_TERM", lost_term_backward, { LK_OUT } };
static Tensor *lost_term(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = empty_like(t, x[0]);
    double sum = 0;
    for (int64_t i = 0; y && i < lk_numel(y); i++) sum += values(y)[i] = exp(values(x[0])[i]);
    for (int64_t i = 0; y && i < lk_numel(y); i++) values(y)[i] /= sum;
    return record(t, &LOST_TERM, y, 1, x, user);
}

/* y = sin x, with cos x saved for backward. The bug: it is saved in the scratch room, which the next call uses too. */
typedef struct Saved {
    bool wrong;
    double *cosine;
} Saved;
static void stale_backward(Tape *t, Node *n)
{
    const Saved *s = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    for (int64_t i = 0; dx && i < lk_numel(dx); i++) values(dx)[i] += s->cosine[i] * values(n->grad)[i];
}
static const Op STALE = { "STALE", stale_backward, { 0 } };
static Tensor *sine(Tape *t, Tensor *x, bool wrong)
{
    Tensor *y = empty_like(t, x);
    size_t bytes = (size_t)lk_numel(x) * sizeof(double);
    Saved s = { wrong, wrong ? lk_tape_scratch(t, bytes) : lk_tape_alloc(t, bytes) };
    for (int64_t i = 0; y && s.cosine && i < lk_numel(y); i++) {
        values(y)[i] = sin(values(x)[i]);
        s.cosine[i] = cos(values(x)[i]);
    }
    return lk_record(t, &STALE, y, LK_INPUTS(x), &s, sizeof s);
}
static Tensor *stale(Tape *t, Tensor *const *x, void *user)
{
    Tensor *first = sine(t, x[0], *(bool *)user), *second = sine(t, x[1], *(bool *)user);
    return lk_add(t, first, lk_scale(t, second, 3));
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

enum { MAX_INPUTS = 2 };

static const struct {
    const char *name;
    GradcheckFn *f;
    int64_t shape[MAX_INPUTS][2]; /* rows, 0 for one dimension; columns, 0 for no such input */
    int guilty;                   /* the input whose gradient is wrong */
    const char *hint;
    bool first_is_frozen;
    double scale; /* of the values; 0: 1 */
} bugs[] = {
    { "wrong sign", wrong_sign, { { 2, 3 } }, 0, "sign: ", false, 0 },
    { "sign of the divisor", quotient, { { 0, 4 }, { 0, 4 } }, 1, "sign: ", false, 0 },
    { "= for += with x used twice", overwritten, { { 0, 5 } }, 0, "factor: the analytic gradient is 0.5 times what it "
      "should be (an input used twice must get both: += instead of =)", false, 0 },
    { "a factor lost", lost_factor, { { 2, 2 } }, 0, "factor: the analytic gradient is 0.333333 times", false, 0 },
    { "a factor twice", factor_twice, { { 3, 2 } }, 0, "factor: the analytic gradient is 2.5 times", false, 0 },
    { "another dimension's divisor", wrong_mean, { { 2, 5 } }, 0, "factor: the analytic gradient is 2.5", false, 0 },
    { "no sum over a broadcast", missing_sum, { { 4, 3 }, { 0, 3 } }, 1, "missing sum over a broadcast", false, 0 },
    { "gradient not transposed", turned, { { 2, 3 } }, 0, "transpose: ", false, 0 },
    { "matrix not transposed", untransposed, { { 3, 3 }, { 3, 3 } }, 0, "all elements differ: look at", false, 0 },
    { "y for x", y_for_x, { { 2, 3 } }, 0, "all elements differ: look at the formula", false, 0 },
    { "a term of the formula lost", lost_term, { { 0, 6 } }, 0, "all elements differ: look at the formula", false, 0 },
    { "an input forgotten", forgotten_input, { { 0, 3 }, { 0, 3 } }, 1, "not connected: ", false, 0 },
    { "gives up when the first is frozen", gives_up, { { 0, 3 }, { 0, 3 } }, 1, "not connected: ", true, 0 },
    { "mask forgotten", no_mask, { { 3, 4 } }, 0, "some elements only: ", false, 0 },
    { "last element forgotten", last_forgotten, { { 2, 4 } }, 0, "some elements only: look at borders", false, 0 },
    { "off by one", shifted, { { 0, 6 } }, 0, "all elements differ", false, 0 },
    { "strides ignored", strided_square, { { 2, 3 } }, 0, "some elements only: look at borders, strides", false, 0 },
    { "repeated rows overwritten", repeated, { { 0, 4 } }, 0, "some elements only: ", false, 0 },
    { "stale saved value", stale, { { 0, 4 }, { 0, 4 } }, 0, "all elements differ", false, 0 },
    { "overflow", overflow, { { 0, 5 } }, 0, "NaN or infinity", false, 1000 },
};
enum { BUGS = sizeof bugs / sizeof *bugs };

static int make_inputs(size_t b, Tensor *x[MAX_INPUTS])
{
    Rng rng;
    lk_manual_seed(&rng, b);
    int count = 0;
    for (; count < MAX_INPUTS && bugs[b].shape[count][1]; count++) {
        const int64_t *shape = bugs[b].shape[count];
        x[count] = shape[0] ? lk_param_new(LK_F64, 2, shape, NULL) : lk_param_new(LK_F64, 1, shape + 1, NULL);
        lk_normal_(x[count], 0, bugs[b].scale > 0 ? bugs[b].scale : 1, &rng);
    }
    if (bugs[b].first_is_frozen) lk_set_requires_grad(x[0], false);
    return count;
}

/* Gradients by one backward with the cotangent that lk_gradcheck draws. */
static void gradients_of(size_t b, bool wrong, int count, Tensor **x, Tensor *gradient[MAX_INPUTS])
{
    Tape *t = lk_tape_new(NULL);
    Tensor *y = bugs[b].f(t, x, &wrong), *v = lk_zeros(t, LK_F64, y->ndim, y->shape);
    Rng rng;
    lk_manual_seed(&rng, 0);
    lk_normal_(v, 0, 1, &rng);
    check(lk_backward_with(t, y, v, false), "%s: %s", bugs[b].name, lk_tape_error(t)->message);
    for (int i = 0; i < count; i++) {
        Tensor *g = lk_grad(x[i]);
        gradient[i] = g ? lk_clone(g, NULL) : lk_tensor_new(LK_F64, x[i]->ndim, x[i]->shape, NULL);
        lk_zero_grad_(x[i]);
    }
    lk_tape_free(t);
}

/* The report names the element with the largest error, measured here against the correct backward. */
static void check_report(size_t b, const GradcheckOptions *o, const GradcheckReport *r)
{
    Tensor *x[MAX_INPUTS], *wrong[MAX_INPUTS], *right[MAX_INPUTS];
    int count = make_inputs(b, x);
    gradients_of(b, true, count, x, wrong);
    gradients_of(b, false, count, x, right);
    double worst = 0, reported = -1;
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "input %d", i);
        for (int64_t k = 0; k < lk_numel(x[i]) && x[i]->requires_grad; k++) {
            double a = values(wrong[i])[k], n = values(right[i])[k];
            double ratio = fabs(a - n) / (o->atol + o->rtol * fabs(n));
            if (isnan(ratio)) ratio = INFINITY;
            worst = fmax(worst, ratio);
            int64_t index = r->ndim == 2 ? r->index[0] * x[i]->shape[1] + r->index[1] : r->index[0];
            if (strcmp(name, r->name) != 0 || index != k) continue;
            reported = ratio;
            check(i == bugs[b].guilty && r->ndim == x[i]->ndim, "%s: %s", bugs[b].name, r->message);
            bool same = a == r->analytic || (isnan(a) && isnan(r->analytic));
            check(same, "%s: %.17g, not %s", bugs[b].name, a, r->message);
            check(fabs(n - r->numeric) <= 1e-6 + 1e-6 * fabs(n), "%s: %.17g, not %s", bugs[b].name, n, r->message);
        }
    }
    check(reported > 1 && (reported == worst || reported >= 0.999 * worst),
          "%s: the error there is %g of the tolerance, elsewhere %g: %s", bugs[b].name, reported, worst, r->message);
    check(r->worst == worst || fabs(r->worst - worst) < 0.01 * worst, "%s: %g, not %g", bugs[b].name, r->worst, worst);
    for (int i = 0; i < count; i++) lk_free(x[i]), lk_free(wrong[i]), lk_free(right[i]);
}

static bool gradcheck(size_t b, bool wrong, const GradcheckOptions *o, GradcheckReport *r)
{
    Tensor *x[MAX_INPUTS];
    int count = make_inputs(b, x);
    bool ok = lk_gradcheck(bugs[b].f, &wrong, count, x, NULL, o, r);
    for (int i = 0; i < count; i++) lk_free(x[i]);
    return ok;
}

Test(planted_bugs, correct_versions_pass)
{
    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    for (size_t b = 0; b < BUGS; b++) {
        GradcheckReport r;
        check(gradcheck(b, false, &strict, &r), "%s: %s", bugs[b].name, r.message);
    }
}

Test(planted_bugs, each_is_caught)
{
    const GradcheckOptions options[] = { { .atol = 1e-7, .rtol = 1e-5 }, { .atol = 1e-5, .rtol = 1e-3 } };
    for (size_t b = 0; b < BUGS; b++)
        for (int o = 0; o < 2; o++) {
            GradcheckReport r;
            check(!gradcheck(b, true, &options[o], &r) && !r.ok, "%s is not caught", bugs[b].name);
            check(strstr(r.hint, bugs[b].hint), "%s: expected the hint \"%s\", got: %s", bugs[b].name, bugs[b].hint,
                  r.message);
            check(strstr(r.message, r.hint), "%s: %s", bugs[b].name, r.message);
            check_report(b, &options[o], &r);
        }
}

/* Two of them hide in easier cases: what is checked must be strided, and frozen, too. */
Test(planted_bugs, easy_cases_hide_bugs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    bool wrong = true;
    GradcheckReport r;
    Tensor *x[] = { lk_param_new(LK_F64, LK_SHAPE(2, 3), NULL), lk_param_new(LK_F64, LK_SHAPE(2, 3), NULL) };
    for (int i = 0; i < 2; i++) lk_normal_(x[i], 0, 1, &rng);
    check(lk_gradcheck(contiguous_square, &wrong, 1, x, NULL, NULL, &r), "%s", r.message);
    check(!lk_gradcheck(strided_square, &wrong, 1, x, NULL, NULL, &r));
    check(lk_gradcheck(gives_up, &wrong, 2, x, NULL, NULL, &r), "%s", r.message);
    lk_set_requires_grad(x[0], false);
    check(!lk_gradcheck(gives_up, &wrong, 2, x, NULL, NULL, &r));
    lk_free(x[0]), lk_free(x[1]);
}
