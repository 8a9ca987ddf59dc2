/* ops_unary.c - elementwise operations of one operand. core/ops_unary_table.h lists them, each
 * with its formula and its derivative. core/ops_unary_real.h has the loops. */
#include "core/internal.h"
#include "core/ops.h"

/* The constants of the operation: the argument of the rows of forward, and a node's state. */
typedef struct UnaryConstants {
    double c, d;
} UnaryConstants;

/* The argument of the rows of backward. */
typedef struct UnaryBackward {
    UnaryConstants k;
    bool fresh; /* dx = instead of dx += */
} UnaryBackward;

#define LK_REAL_SOURCE "core/ops_unary_real.h"
#include "core/real.h"

typedef struct Unary {
    Op op; /* must be first: a node's op is cast to Unary */
    const char *function;
    RowTable forward, backward;
} Unary;

static void unary_backward(Tape *t, Node *n)
{
    const Unary *u = (const Unary *)n->op;
    UnaryBackward b = { .k = *(const UnaryConstants *)n->state };
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &b.fresh);
    if (!dx) return;
    const Tensor *operands[] = { dx, n->grad, n->in[0], n->out };
    lk_loop(LK_ROW_OF(u->backward, dx->dtype), &b, 4, operands);
}

static Tensor *unary(Tape *t, const Unary *u, Tensor *x, UnaryConstants k)
{
    if (!lk_check_floating(t, u->function, 1, &x)) return NULL;
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!y) return NULL;
    lk_loop(LK_ROW_OF(u->forward, x->dtype), &k, 2, (const Tensor *const[]){ y, x });
    return lk_record(t, &u->op, y, LK_INPUTS(x), &k, sizeof k);
}

#define UNARY_OP(name, grad_fn, needs) \
    static const Unary name##_op = { { grad_fn, unary_backward, { needs } }, \
                                     #name, \
                                     LK_ROWS(name##_row), \
                                     LK_ROWS(name##_backward_row) };
#define UNARY(name, grad_fn, needs, formula, gradient) \
    UNARY_OP(name, grad_fn, needs) \
    Tensor *name(Tape *t, Tensor *x) { return unary(t, &name##_op, x, (UnaryConstants){ 0, 0 }); }
#define UNARY_C(name, grad_fn, needs, formula, gradient) \
    UNARY_OP(name, grad_fn, needs) \
    Tensor *name(Tape *t, Tensor *x, double c) \
    { \
        return unary(t, &name##_op, x, (UnaryConstants){ c, 0 }); \
    }
#define UNARY_CD(name, grad_fn, needs, formula, gradient) \
    UNARY_OP(name, grad_fn, needs) \
    Tensor *name(Tape *t, Tensor *x, double c, double d) \
    { \
        return unary(t, &name##_op, x, (UnaryConstants){ c, d }); \
    }
#include "core/ops_unary_table.h"
