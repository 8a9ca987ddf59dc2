/* ops_binary.c - elementwise operations of two operands that broadcast to each other.
 * core/ops_binary_table.h lists them, each with its formula and its derivatives.
 * core/ops_binary_real.h has the loops. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_binary_real.h"
#include "core/real.h"

typedef struct Binary {
    Op op;
    const char *function;
    RowTable forward, backward[2]; /* backward: of each operand */
} Binary;

/* A broadcast operand gets its gradient in two steps. First every element of y contributes to a
 * temporary. Then the contributions to one place are summed. */
static void operand_backward(Tape *t, Node *n, int i)
{
    const Binary *op = (const Binary *)n->op;
    Tensor *d = lk_grad_in(t, n, i);
    if (!d) return;
    Tensor *y = n->out;
    RowFn *row = LK_ROW_OF(op->backward[i], y->dtype);
    if (lk_same_shape(d, y)) {
        lk_loop(row, NULL, 5, (const Tensor *const[]){ d, n->grad, n->in[0], n->in[1], y });
        return;
    }
    Tensor parts = *n->grad;
    parts.data = lk_tape_scratch(t, n->grad->storage->bytes);
    if (!parts.data) return;
    memset(parts.data, 0, n->grad->storage->bytes);
    lk_loop(row, NULL, 5, (const Tensor *const[]){ &parts, n->grad, n->in[0], n->in[1], y });
    Tensor spread = lk__spread(d, y->ndim, y->shape);
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
    lk_loop(LK_ROW_OF(op->forward, y->dtype), NULL, 3, (const Tensor *const[]){ y, a, b });
    return lk_record(t, &op->op, y, LK_INPUTS(a, b), NULL, 0);
}

#define BINARY(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b) \
    static const Binary name##_op = { { grad_fn, binary_backward, { needs_a, needs_b } }, \
                                      #name, \
                                      LK_ROWS(name##_row), \
                                      { LK_ROWS(name##_da_row), LK_ROWS(name##_db_row) } }; \
    Tensor *name(Tape *t, Tensor *a, Tensor *b) { return binary(t, &name##_op, a, b); }
#include "core/ops_binary_table.h"
