/* ops_unary.c - elementwise operations of one operand: tables of formulas, and the loops that run
 * them. */
#ifndef real
#include "core/internal.h"
#include "core/ops.h"
#include "core/kernels/vmath.h"

/* clang-format off */
/* x, y and dy are elements of the operand, the result and its gradient; c is the operation's
 * constant.
 *      name         grad_fn             dx is made of  y =                        dx += */
#define UNARY_OPS(_) \
    _(neg,        "NegBackward0",     0,      -x,                       -dy) \
    _(scale,      "MulBackward0",     0,      c * x,                    c * dy) \
    _(add_scalar, "AddBackward0",     0,      x + c,                    dy) \
    _(pow_scalar, "PowBackward0",     LK_IN0, F(power)(x, c),           c == 0 ? 0 : dy * (c * F(power)(x, c - 1))) \
    _(log,        "LogBackward0",     LK_IN0, log(x),                   dy / x) \
    _(sqrt,       "SqrtBackward0",    LK_OUT, sqrt(x),                  dy / (2 * y)) \
    _(relu,       "ReluBackward0",    LK_OUT, x < 0 ? 0 : x,            y <= 0 ? 0 : dy) \
    _(abs,        "AbsBackward0",     LK_IN0, fabs(x),                  x > 0 ? dy : x < 0 ? -dy : 0)

/* Those that core/kernels/vmath.h computes, many elements at a time. */
#define VMATH_OPS(_) \
    _(exp,        "ExpBackward0",     LK_OUT, F(lk_vexp),               dy * y) \
    _(sigmoid,    "SigmoidBackward0", LK_OUT, F(lk_vsigmoid),           dy * (1 - y) * y) \
    _(tanh,       "TanhBackward0",    LK_OUT, F(lk_vtanh),              dy * (1 - y * y))
/* clang-format on */

/* What the rows of backward are told. */
typedef struct UnaryBackward {
    double c;
    bool fresh; /* dx = instead of dx += */
} UnaryBackward;

#define LK_REAL_SOURCE "core/ops_unary.c"
#include "core/real.h"

typedef struct Unary {
    Op op; /* first: a node's op leads back to the row functions */
    const char *function;
    RowFn *forward[2], *backward[2]; /* for float32 and float64 */
} Unary;

static void unary_backward(Tape *t, Node *n)
{
    const Unary *u = (const Unary *)n->op;
    UnaryBackward b = { .c = *(const double *)n->state };
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &b.fresh);
    if (!dx) return;
    const Tensor *operands[] = { dx, n->grad, n->in[0], n->out };
    lk_loop(u->backward[dx->dtype == LK_F64], &b, 4, operands);
}

static Tensor *unary(Tape *t, const Unary *u, Tensor *x, double c)
{
    if (!lk_check_floating(t, u->function, 1, &x)) return NULL;
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!y) return NULL;
    lk_loop(u->forward[x->dtype == LK_F64], &c, 2, (const Tensor *const[]){ y, x });
    return lk_record(t, &u->op, y, LK_INPUTS(x), &c, sizeof c);
}

#define DEFINE_UNARY(name, grad_fn, needs, y, dx) \
    static const Unary name##_op = { { grad_fn, unary_backward, { needs } }, \
                                     "lk_" #name, \
                                     { name##_row_f32, name##_row_f64 }, \
                                     { name##_backward_row_f32, name##_backward_row_f64 } };
UNARY_OPS(DEFINE_UNARY)
VMATH_OPS(DEFINE_UNARY)
DEFINE_UNARY(gelu, "GeluBackward0", LK_IN0, , ) /* y = x Φ(x), so dx += dy (Φ(x) + x φ(x)) */

Tensor *lk_neg(Tape *t, Tensor *x) { return unary(t, &neg_op, x, 0); }
Tensor *lk_scale(Tape *t, Tensor *x, double c) { return unary(t, &scale_op, x, c); }
Tensor *lk_add_scalar(Tape *t, Tensor *x, double c) { return unary(t, &add_scalar_op, x, c); }
Tensor *lk_pow_scalar(Tape *t, Tensor *x, double p) { return unary(t, &pow_scalar_op, x, p); }
Tensor *lk_exp(Tape *t, Tensor *x) { return unary(t, &exp_op, x, 0); }
Tensor *lk_log(Tape *t, Tensor *x) { return unary(t, &log_op, x, 0); }
Tensor *lk_sqrt(Tape *t, Tensor *x) { return unary(t, &sqrt_op, x, 0); }
Tensor *lk_sigmoid(Tape *t, Tensor *x) { return unary(t, &sigmoid_op, x, 0); }
Tensor *lk_tanh(Tape *t, Tensor *x) { return unary(t, &tanh_op, x, 0); }
Tensor *lk_gelu(Tape *t, Tensor *x) { return unary(t, &gelu_op, x, 0); }
Tensor *lk_relu(Tape *t, Tensor *x) { return unary(t, &relu_op, x, 0); }
Tensor *lk_abs(Tape *t, Tensor *x) { return unary(t, &abs_op, x, 0); }

#else /* ---- rows in real: float, then double ------------------------------------------------- */

/* x^c as PyTorch has it: C's pow takes -0 and -infinity for 0 and infinity when c is ±1/2. */
static inline real F(power)(real x, real c)
{
    return c == 2 ? x * x : c == (real)0.5 ? sqrt(x) : c == (real)-0.5 ? 1 / sqrt(x) : pow(x, c);
}

/* Unit steps get loops of their own, which the compiler turns into vector instructions. */
#define UNIT(j) i
#define STEP(j) i *step[j]
#define BACKWARD_LOOP(assign, gradient, at) \
    for (int64_t i = 0; i < n; i++) { \
        const real dy = dys[at(1)], x = xs[at(2)], y = ys[at(3)]; \
        (void)x, (void)y; \
        dxs[at(0)] assign gradient; \
    }
#define BACKWARD_ROW(name, gradient) \
    static void F(name##_backward_row)(int64_t n, void *const *p, const int64_t *step, \
                                       const void *arg) \
    { \
        const UnaryBackward *b = arg; \
        const real c = (real)b->c; \
        const bool unit = step[0] == 1 && step[1] == 1 && step[2] == 1 && step[3] == 1; \
        real *dxs = p[0]; \
        const real *dys = p[1], *xs = p[2], *ys = p[3]; \
        (void)c; \
        if (b->fresh && unit) BACKWARD_LOOP(=, gradient, UNIT) \
        else if (b->fresh) BACKWARD_LOOP(=, gradient, STEP) \
        else if (unit) BACKWARD_LOOP(+=, gradient, UNIT) \
        else BACKWARD_LOOP(+=, gradient, STEP) \
    }

#define UNARY_ROWS(name, grad_fn, needs, formula, gradient) \
    static void F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        const real c = (real) * (const double *)arg; \
        real *ys = p[0]; \
        const real *xs = p[1]; \
        (void)c; \
        if (step[0] == 1 && step[1] == 1) \
            for (int64_t i = 0; i < n; i++) { \
                const real x = xs[i]; \
                ys[i] = formula; \
            } \
        else \
            for (int64_t i = 0; i < n; i++) { \
                const real x = xs[i * step[1]]; \
                ys[i * step[0]] = formula; \
            } \
    } \
    BACKWARD_ROW(name, gradient)
UNARY_OPS(UNARY_ROWS)

/* Rows of core/kernels/vmath.h have unit steps: others are copied there and back in pieces. */
enum { F(PIECE) = 256 };

static void F(vmath_row)(int64_t n, void *const *p, const int64_t *step,
                         void (*f)(int64_t, const real *, real *))
{
    real *y = p[0], piece[F(PIECE)];
    const real *x = p[1];
    if (step[0] == 1 && step[1] == 1) {
        f(n, x, y);
        return;
    }
    for (int64_t first = 0; first < n; first += F(PIECE)) {
        int64_t count = n - first < F(PIECE) ? n - first : F(PIECE);
        for (int64_t i = 0; i < count; i++) piece[i] = x[(first + i) * step[1]];
        f(count, piece, piece);
        for (int64_t i = 0; i < count; i++) y[(first + i) * step[0]] = piece[i];
    }
}

#define VMATH_ROWS(name, grad_fn, needs, f, gradient) \
    static void F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        F(vmath_row)(n, p, step, f); \
    } \
    BACKWARD_ROW(name, gradient)
VMATH_OPS(VMATH_ROWS)
#undef VMATH_ROWS
#undef UNARY_ROWS
#undef BACKWARD_ROW
#undef BACKWARD_LOOP
#undef STEP
#undef UNIT

static void F(gelu_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    F(vmath_row)(n, p, step, F(lk_vgelu));
}

static void F(gelu_backward_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const bool fresh = ((const UnaryBackward *)arg)->fresh;
    real *dx = p[0], piece[F(PIECE)], slope[F(PIECE)];
    const real *dy = p[1], *x = p[2];
    if (step[0] == 1 && step[1] == 1 && step[2] == 1) {
        F(lk_vgelu_gradient)(n, x, dy, dx, fresh);
        return;
    }
    for (int64_t first = 0; first < n; first += F(PIECE)) {
        int64_t count = n - first < F(PIECE) ? n - first : F(PIECE);
        for (int64_t i = 0; i < count; i++)
            piece[i] = x[(first + i) * step[2]], slope[i] = dy[(first + i) * step[1]];
        F(lk_vgelu_gradient)(count, piece, slope, slope, true);
        for (int64_t i = 0; i < count; i++) {
            real *to = &dx[(first + i) * step[0]];
            *to = fresh ? slope[i] : *to + slope[i];
        }
    }
}
#endif
