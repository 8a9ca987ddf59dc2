/* ops_where.c - a choice between two tensors, element by element. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_where_real.h"
#include "core/real.h"

/* y = cond ? a : b, so da += dy where cond is true, and db += dy where it is false. dy is summed
 * where an operand was broadcast. */
static void operand_backward(Tape *t, Node *n, int i, RowFn *add, RowFn *keep)
{
    Tensor *d = lk_grad_in(t, n, i);
    if (!d) return;
    if (lk_same_shape(d, n->grad)) {
        lk_loop(add, NULL, 3, (const Tensor *const[]){ d, n->grad, n->in[0] });
        return;
    }
    Tensor parts = *n->grad, spread = lk__spread(d, parts.ndim, parts.shape);
    parts.data = lk_tape_scratch(t, n->grad->storage->bytes);
    if (!parts.data) return;
    lk_loop(keep, NULL, 3, (const Tensor *const[]){ &parts, n->grad, n->in[0] });
    lk_accumulate(t, &spread, &parts);
}

static void where_backward(Tape *t, Node *n)
{
    const DType dtype = n->grad->dtype;
    operand_backward(t, n, 1, LK_ROW(dtype, add_true_row), LK_ROW(dtype, keep_true_row));
    operand_backward(t, n, 2, LK_ROW(dtype, add_false_row), LK_ROW(dtype, keep_false_row));
}

static const Op WHERE = { "WhereBackward0", where_backward, { 0, LK_IN0, LK_IN0 } };

/* y = cond ? a : b for elements of type T. */
#define WHERE_ROW(name, T) \
    static void name(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        T *y = p[0]; \
        const bool *cond = p[1]; \
        const T *a = p[2], *b = p[3]; \
        for (int64_t i = 0; i < n; i++) \
            y[i * step[0]] = cond[i * step[1]] ? a[i * step[2]] : b[i * step[3]]; \
    }
WHERE_ROW(where_1_row, uint8_t)
WHERE_ROW(where_2_row, uint16_t)
WHERE_ROW(where_4_row, uint32_t)
WHERE_ROW(where_8_row, uint64_t)

static RowFn *where_row(DType dtype)
{
    const size_t size = lk_dtype_size(dtype);
    if (size == 1) return where_1_row;
    if (size == 2) return where_2_row;
    return size == 4 ? where_4_row : where_8_row;
}

Tensor *lk_where(Tape *t, Tensor *cond, Tensor *a, Tensor *b)
{
    char sc[LK_SHAPE_TEXT], sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    Tensor values = { 0 }; /* the shape of a and b together */
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    if (!lk_check_operands(t, "lk_where", LK_INPUTS(cond, a, b))) return NULL;
    if (cond->dtype != LK_BOOL)
        return lk_fail(t, LK_EDTYPE, "lk_where: the condition must be bool, not %s",
                       lk_dtype_name(cond->dtype));
    if (a->dtype != b->dtype)
        return lk_fail(t, LK_EDTYPE, "lk_where: operands are %s and %s; lk_to makes them the same",
                       lk_dtype_name(a->dtype), lk_dtype_name(b->dtype));
    if (!lk_broadcast_shape(a, b, &values.ndim, values.shape) ||
        !lk_broadcast_shape(cond, &values, &ndim, shape))
        return lk_fail(t, LK_ESHAPE,
                       "lk_where: the condition %s, %s and %s do not broadcast: aligned at the "
                       "last dimension, sizes must be equal or 1",
                       lk_shape_text(cond, sc), lk_shape_text(a, sa), lk_shape_text(b, sb));
    Tensor *y = lk_empty(t, a->dtype, ndim, shape);
    if (!y) return NULL;
    lk_loop(where_row(y->dtype), NULL, 4, (const Tensor *const[]){ y, cond, a, b });
    return lk_record(t, &WHERE, y, LK_INPUTS(cond, a, b), NULL, 0);
}
