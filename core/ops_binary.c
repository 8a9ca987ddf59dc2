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
    RowFn *integer;                /* forward for int64; NULL: only floats */
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

/* Checks that a and b are of one floating dtype, or int64 where there is a formula for it. */
static bool check_dtypes(Tape *t, const Binary *op, Tensor *a, Tensor *b)
{
    if (!op->integer) return lk_check_floating(t, op->function, LK_INPUTS(a, b));
    if (!lk_check_operands(t, op->function, LK_INPUTS(a, b))) return false;
    if (a->dtype > LK_I64 || b->dtype > LK_I64)
        return lk_fail(t, LK_EDTYPE, "%s: takes float32, float64 or int64, not %s; lk_to converts",
                       op->function, lk_dtype_name(a->dtype > LK_I64 ? a->dtype : b->dtype));
    if (a->dtype != b->dtype)
        return lk_fail(t, LK_EDTYPE, "%s: operands are %s and %s; lk_to makes them the same",
                       op->function, lk_dtype_name(a->dtype), lk_dtype_name(b->dtype));
    return true;
}

static Tensor *binary(Tape *t, const Binary *op, Tensor *a, Tensor *b)
{
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!check_dtypes(t, op, a, b)) return NULL;
    if (!lk_broadcast_shape(a, b, &ndim, shape))
        return lk_fail(
            t, LK_ESHAPE,
            "%s: %s and %s do not broadcast: aligned at the last dimension, sizes must be equal "
            "or 1",
            op->function, lk_shape_text(a, sa), lk_shape_text(b, sb));
    Tensor *y = lk_empty(t, a->dtype, ndim, shape);
    if (!y) return NULL;
    RowFn *row = y->dtype == LK_I64 ? op->integer : LK_ROW_OF(op->forward, y->dtype);
    lk_loop(row, NULL, 3, (const Tensor *const[]){ y, a, b });
    return lk_record(t, &op->op, y, LK_INPUTS(a, b), NULL, 0);
}

#define BINARY_OP(name, grad_fn, needs_a, needs_b, integer_row) \
    static const Binary name##_op = { { grad_fn, binary_backward, { needs_a, needs_b } }, \
                                      #name, \
                                      LK_ROWS(name##_row), \
                                      { LK_ROWS(name##_da_row), LK_ROWS(name##_db_row) }, \
                                      integer_row }; \
    Tensor *name(Tape *t, Tensor *a, Tensor *b) { return binary(t, &name##_op, a, b); }
#define BINARY(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b) \
    BINARY_OP(name, grad_fn, needs_a, needs_b, NULL)
#define WRAP(a, op, b) ((int64_t)((uint64_t)(a)op(uint64_t)(b)))
#define BINARY_INT(name, grad_fn, needs_a, needs_b, formula, gradient_a, gradient_b, integer) \
    static void name##_integer_row(int64_t n, void *const *p, const int64_t *step, \
                                   const void *arg) \
    { \
        (void)arg; \
        for (int64_t i = 0; i < n; i++) { \
            const int64_t a = ((const int64_t *)p[1])[i * step[1]], \
                          b = ((const int64_t *)p[2])[i * step[2]]; \
            ((int64_t *)p[0])[i * step[0]] = integer; \
        } \
    } \
    BINARY_OP(name, grad_fn, needs_a, needs_b, name##_integer_row)
#include "core/ops_binary_table.h"
