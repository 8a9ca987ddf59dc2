/* ops_softmax.c - softmax, its logarithm, and the losses. Rows are shifted by their maximum, so
 * that e^x never overflows. */
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_softmax_real.h"
#include "core/real.h"

/* ---- softmax along a dimension -------------------------------------------------------------- */

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

/* ---- cross-entropy -------------------------------------------------------------------------- */

typedef struct CrossEntropy {
    int64_t ignore_index;
    double scale; /* 1, or 1 / number of rows that count */
} CrossEntropy;

/* loss = scale Σ_i (ln Σ_j e^x_ij - x_i,label), so dx_ij += scale dloss (softmax(x_i)_j - [j =
 * label]). */
static void cross_entropy_backward(Tape *t, Node *n)
{
    const CrossEntropy *c = n->state;
    Tensor *dx = lk_grad_in(t, n, 0), *x = lk_packed(t, n->in[0]),
           *labels = lk_packed(t, n->in[1]);
    if (dx && x && labels)
        LK_REAL(x->dtype, cross_entropy_gradient, x->shape[0], x->shape[1], x->data, labels->data,
                c->ignore_index, c->scale, n->grad->data, dx->data);
}

static const Op CROSS_ENTROPY = { "NllLossBackward0",
                                  cross_entropy_backward,
                                  { LK_IN0 | LK_IN1 } };

Tensor *lk_cross_entropy_with(Tape *t, Tensor *logits, Tensor *labels, int64_t ignore_index,
                              Reduction reduction)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_cross_entropy", LK_INPUTS(logits, labels))) return NULL;
    if (!lk_check_floating(t, "lk_cross_entropy", 1, &logits)) return NULL;
    if (labels->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE,
                       "lk_cross_entropy: labels must be int64, not %s; lk_to converts",
                       lk_dtype_name(labels->dtype));
    if (logits->ndim != 2 || labels->ndim != 1 || logits->shape[0] != labels->shape[0])
        return lk_fail(t, LK_ESHAPE,
                       "lk_cross_entropy: logits %s and labels %s: they must be (N, C) and (N)",
                       lk_shape_text(logits, sx), lk_shape_text(labels, sy));
    Tensor *x = lk_packed(t, logits), *y = lk_packed(t, labels);
    Tensor *loss = lk_empty(t, logits->dtype, LK_SCALAR);
    if (!x || !y || !loss) return NULL;
    const int64_t *label = y->data;
    int64_t counted = 0;
    for (int64_t i = 0; i < x->shape[0]; i++) {
        if (label[i] == ignore_index) continue;
        if (label[i] < 0 || label[i] >= x->shape[1])
            return lk_fail(
                t, LK_EVALUE,
                "lk_cross_entropy: Target %lld is out of bounds: row %lld of %s has %lld "
                "classes",
                (long long)label[i], (long long)i, lk_shape_text(logits, sx),
                (long long)x->shape[1]);
        counted++;
    }
    if (reduction == LK_MEAN && counted == 0)
        return lk_fail(
            t, LK_ESHAPE,
            "lk_cross_entropy: the mean over no row: none of the %lld labels counts, %lld is "
            "ignored",
            (long long)x->shape[0], (long long)ignore_index);
    CrossEntropy c = { ignore_index, reduction == LK_MEAN ? 1.0 / (double)counted : 1.0 };
    double *losses = lk_tape_scratch(t, (size_t)x->shape[0] * sizeof *losses), sum = 0;
    if (!losses) return NULL;
    LK_REAL(x->dtype, cross_entropy_rows, x->shape[0], x->shape[1], x->data, label, ignore_index,
            losses);
    /* always in one order, whichever thread computed them */
    for (int64_t i = 0; i < x->shape[0]; i++) sum += losses[i];
    lk_fill_(loss, reduction == LK_MEAN ? sum / (double)counted : sum);
    return lk_record(t, &CROSS_ENTROPY, loss, LK_INPUTS(logits, labels), &c, sizeof c);
}

Tensor *lk_cross_entropy(Tape *t, Tensor *logits, Tensor *labels)
{
    return lk_cross_entropy_with(t, logits, labels, -100, LK_MEAN);
}

/* ---- mean squared error --------------------------------------------------------------------- */

/* loss = Σ (x - y)² / n, so dx += 2 (x - y) dloss / n. The gradient of y is the negative. */
static void mse_backward(Tape *t, Node *n)
{
    double scale = 2.0 * lk_item(n->grad) / (double)lk_numel(n->in[0]);
    for (int i = 0; i < 2; i++, scale = -scale) {
        Tensor *d = lk_grad_in(t, n, i);
        if (!d) continue;
        const Tensor *operands[] = { d, n->in[0], n->in[1] };
        lk_loop(LK_ROW(d->dtype, add_difference_row), &scale, 3, operands);
    }
}

static const Op MSE = { "MseLossBackward0", mse_backward, { LK_IN0 | LK_IN1, LK_IN0 | LK_IN1 } };

Tensor *lk_mse_loss(Tape *t, Tensor *x, Tensor *y)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_mse_loss", LK_INPUTS(x, y))) return NULL;
    if (!lk_same_shape(x, y))
        return lk_fail(t, LK_ESHAPE, "lk_mse_loss: %s and %s must be the same shape",
                       lk_shape_text(x, sx), lk_shape_text(y, sy));
    if (lk_numel(x) == 0)
        return lk_fail(t, LK_ESHAPE, "lk_mse_loss: the mean over nothing: the shape is %s",
                       lk_shape_text(x, sx));
    Tensor *px = lk_packed(t, x), *py = lk_packed(t, y), *loss = lk_empty(t, x->dtype, LK_SCALAR);
    if (!px || !py || !loss) return NULL;
    double sum = LK_REAL(x->dtype, square_sum, lk_numel(x), px->data, py->data);
    lk_fill_(loss, sum / (double)lk_numel(x));
    return lk_record(t, &MSE, loss, LK_INPUTS(x, y), NULL, 0);
}
