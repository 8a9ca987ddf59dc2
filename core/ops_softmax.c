/* ops_softmax.c - softmax and its logarithm. Rows are shifted by their maximum, so that e^x never
 * overflows. */
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_softmax_real.h"
#include "core/real.h"

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
    int d = lk__check_dim(t, function, x->ndim, dim);
    if (d < 0) return NULL;
    Along a = lk__along(x, d);
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
