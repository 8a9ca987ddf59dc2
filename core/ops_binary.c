/* ops_binary.c - elementwise operations of two operands that broadcast to each other. */
#ifndef real
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

/* clang-format off */
/*      name  grad_fn         da, db are made of         y =        da +=                               db += */
#define BINARY_OPS(_) \
    _(add, "AddBackward0", 0, 0,                          a + b,     dy,                                 dy) \
    _(sub, "SubBackward0", 0, 0,                          a - b,     dy,                                 -dy) \
    _(mul, "MulBackward0", LK_IN1, LK_IN0,                a * b,     dy * b,                             dy * a) \
    _(div, "DivBackward0", LK_IN1, LK_IN0 | LK_IN1,       a / b,     dy / b,                             -dy * (a / b / b)) \
    _(pow, "PowBackward1", LK_IN0 | LK_IN1, LK_IN0 | LK_IN1 | LK_OUT, \
      pow(a, b), b == 0 ? 0 : dy * (b * pow(a, b - 1)), a == 0 && b >= 0 ? 0 : dy * (y * log(a)))
/* clang-format on */

#define LK_REAL_SOURCE "core/ops_binary.c"
#include "core/real.h"

typedef struct Binary {
    Op op;
    const char *function;
    RowFn *forward[2], *backward[2][2]; /* [float64], [operand][float64] */
} Binary;

/* A broadcast operand gets its gradient in two steps: every element of y contributes to a
 * temporary, then the contributions to one place are summed. */
static void operand_backward(Tape *t, Node *n, int i)
{
    const Binary *op = (const Binary *)n->op;
    Tensor *d = lk_grad_in(t, n, i);
    if (!d) return;
    Tensor *y = n->out;
    RowFn *row = op->backward[i][y->dtype == LK_F64];
    if (lk_same_shape(d, y)) {
        lk_loop(row, NULL, 5, (const Tensor *const[]){ d, n->grad, n->in[0], n->in[1], y });
        return;
    }
    Tensor parts = *n->grad;
    parts.data = lk_tape_scratch(t, n->grad->storage->bytes);
    if (!parts.data) return;
    memset(parts.data, 0, n->grad->storage->bytes);
    lk_loop(row, NULL, 5, (const Tensor *const[]){ &parts, n->grad, n->in[0], n->in[1], y });
    Tensor spread = lk_spread(d, y->ndim, y->shape);
    lk_accumulate(t, &spread, &parts);
}

static void binary_backward(Tape *t, Node *n)
{
    operand_backward(t, n, 0);
    operand_backward(t, n, 1);
}

static Tensor *binary(Tape *t, const Binary *op, Tensor *a, Tensor *b)
{
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, op->function, LK_INPUTS(a, b))) return NULL;
    if (!lk_broadcast_shape(a, b, &ndim, shape))
        return lk_fail(
            t, LK_ESHAPE,
            "%s: %s and %s do not broadcast: aligned at the last dimension, sizes must be equal "
            "or 1",
            op->function, lk_shape_text(a, sa), lk_shape_text(b, sb));
    Tensor *y = lk_empty(t, a->dtype, ndim, shape);
    if (!y) return NULL;
    lk_loop(op->forward[y->dtype == LK_F64], NULL, 3, (const Tensor *const[]){ y, a, b });
    return lk_record(t, &op->op, y, LK_INPUTS(a, b), NULL, 0);
}

#define DEFINE_BINARY(name, grad_fn, needs_a, needs_b, y, da, db) \
    static const Binary name##_op = { { grad_fn, binary_backward, { needs_a, needs_b } }, \
                                      "lk_" #name, \
                                      { name##_row_f32, name##_row_f64 }, \
                                      { { name##_da_row_f32, name##_da_row_f64 }, \
                                        { name##_db_row_f32, name##_db_row_f64 } } };
BINARY_OPS(DEFINE_BINARY)

Tensor *lk_add(Tape *t, Tensor *a, Tensor *b) { return binary(t, &add_op, a, b); }
Tensor *lk_sub(Tape *t, Tensor *a, Tensor *b) { return binary(t, &sub_op, a, b); }
Tensor *lk_mul(Tape *t, Tensor *a, Tensor *b) { return binary(t, &mul_op, a, b); }
Tensor *lk_div(Tape *t, Tensor *a, Tensor *b) { return binary(t, &div_op, a, b); }
Tensor *lk_pow(Tape *t, Tensor *a, Tensor *b) { return binary(t, &pow_op, a, b); }

#else /* ---- rows in real: float, then double ------------------------------------------------- */

#define BINARY_ROW(name, formula) \
    static void F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        real *ys = p[0]; \
        const real *as = p[1], *bs = p[2]; \
        (void)arg; \
        if (step[0] == 1 && step[1] == 1 && step[2] == 1) \
            for (int64_t i = 0; i < n; i++) { \
                const real a = as[i], b = bs[i]; \
                ys[i] = formula; \
            } \
        else \
            for (int64_t i = 0; i < n; i++) { \
                const real a = as[i * step[1]], b = bs[i * step[2]]; \
                ys[i * step[0]] = formula; \
            } \
    }
#define BINARY_BACKWARD_ROW(name, gradient) \
    static void F(name##_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        real *ds = p[0]; \
        const real *dys = p[1], *as = p[2], *bs = p[3], *ys = p[4]; \
        (void)arg; \
        for (int64_t i = 0; i < n; i++) { \
            const real dy = dys[i * step[1]], a = as[i * step[2]], b = bs[i * step[3]], \
                       y = ys[i * step[4]]; \
            (void)a, (void)b, (void)y; \
            ds[i * step[0]] += gradient; \
        } \
    }
#define BINARY_ROWS(name, grad_fn, needs_a, needs_b, formula, da, db) \
    BINARY_ROW(name, formula) \
    BINARY_BACKWARD_ROW(name##_da, da) \
    BINARY_BACKWARD_ROW(name##_db, db)
BINARY_OPS(BINARY_ROWS)
#undef BINARY_ROW
#undef BINARY_BACKWARD_ROW
#undef BINARY_ROWS
#endif
