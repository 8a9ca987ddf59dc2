/* ops_cross_entropy.c - losses over classes: cross-entropy and the negative log-likelihood. Losses
 * by elements: core/ops_loss.c. */
#include "core/internal.h"
#include "core/ops.h"

/* A loss over classes: the constants, which a node keeps, and what its rows read. */
typedef struct ClassRows {
    const char *name; /* PyTorch's */
    Along a;          /* around the dimension of the classes */
    int64_t ignore_index;
    double smoothing;
    double scale; /* of the sum: 1, or 1 / n for a mean */
    bool each;    /* a loss for each row; otherwise one for all */
    /* from here on of one walk, packed: logits; weights or NULL; labels or probabilities */
    const void *x, *weight;
    const int64_t *label;
    const void *target;
} ClassRows;

#define LK_REAL_SOURCE "core/ops_cross_entropy_real.h"
#include "core/real.h"

static const char *class_loss_name(const Node *n) { return ((const ClassRows *)n->state)->name; }

/* Fills in what the rows read; false without memory. */
static bool read_rows(Tape *t, Tensor *x, Tensor *labels, Tensor *weight, ClassRows *c)
{
    x = lk_packed(t, x);
    labels = lk_packed(t, labels);
    if (weight) weight = lk_packed(t, weight);
    if (lk_tape_error(t)->code) return false;
    c->x = x->data;
    c->weight = weight ? weight->data : NULL;
    c->label = labels->dtype == LK_I64 ? labels->data : NULL;
    c->target = labels->data;
    return true;
}

/* ---- backward ------------------------------------------------------------------------------- */

static bool read_node(Tape *t, Node *n, ClassRows *c)
{
    *c = *(const ClassRows *)n->state;
    return read_rows(t, n->in[0], n->in[1], n->in[2], c);
}

/* loss = scale Σ_i (ln Σ_j e^x_ij - x_i,label), so dx_ij += scale dloss (softmax(x_i)_j - [j =
 * label]). A row of probabilities has q_j for [j = label]. */
static void cross_entropy_backward(Tape *t, Node *n)
{
    ClassRows c;
    if (!read_node(t, n, &c)) return;
    Tensor *dx = lk_grad_in(t, n, 0), *dq = lk_grad_in(t, n, 1);
    const void *dloss = n->grad->data;
    if (dx && c.label) LK_REAL(dx->dtype, cross_entropy_gradient, &c, dloss, dx->data);
    if (dx && !c.label) LK_REAL(dx->dtype, soft_gradient, &c, dloss, dx->data);
    if (dq) LK_REAL(dq->dtype, soft_target_gradient, &c, dloss, dq->data);
}

static void nll_backward(Tape *t, Node *n)
{
    ClassRows c;
    if (!read_node(t, n, &c)) return;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (dx) LK_REAL(dx->dtype, nll_gradient, &c, n->grad->data, dx->data);
}

static const NamedOp CROSS_ENTROPY = {
    { NULL, cross_entropy_backward, { LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN2 } },
    class_loss_name
};
static const NamedOp NLL = { { NULL, nll_backward, { LK_IN1 | LK_IN2 } }, class_loss_name };

/* ---- checks --------------------------------------------------------------------------------- */

/* Whether labels have the shape of the logits without the dimension of the classes. */
static bool labels_fit(const Tensor *logits, const Tensor *labels, int classes)
{
    if (logits->ndim == 0 || labels->ndim != logits->ndim - 1) return false;
    for (int d = 0; d < labels->ndim; d++)
        if (labels->shape[d] != logits->shape[d < classes ? d : d + 1]) return false;
    return true;
}

static bool check_labels(Tape *t, const char *function, const Tensor *logits, const Tensor *labels,
                         int classes)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    const bool last = logits->ndim == 3 && labels_fit(logits, labels, 2);
    if (labels->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "%s: labels must be int64, not %s; lk_to converts", function,
                       lk_dtype_name(labels->dtype));
    if (!labels_fit(logits, labels, classes))
        return lk_fail(t, LK_ESHAPE,
                       "%s: logits %s and labels %s: they must be (N, C) and (N), or (N, C, d…) "
                       "and (N, d…)%s",
                       function, lk_shape_text(logits, sx), lk_shape_text(labels, sy),
                       last ? "; classes come second: lk_transpose(t, logits, 1, 2)" : "");
    return true;
}

/* Checks labels that are probabilities. */
static bool check_soft(Tape *t, const char *function, Tensor *logits, Tensor *labels,
                       int64_t ignore_index)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (logits->ndim == 0 || !lk_same_shape(logits, labels))
        return lk_fail(t, LK_EDTYPE,
                       "%s: labels must be int64, not %s; or probabilities of the shape of the "
                       "logits: %s, not %s",
                       function, lk_dtype_name(labels->dtype), lk_shape_text(logits, sx),
                       lk_shape_text(labels, sy));
    if (ignore_index >= 0)
        return lk_fail(t, LK_EVALUE,
                       "%s: ignore_index %lld is for int64 labels; probabilities take -100",
                       function, (long long)ignore_index);
    return lk_check_floating(t, function, LK_INPUTS(logits, labels));
}

/* Checks the values of the labels, and returns by what a mean divides: the number
 * of rows that count, or the sum of their weights. Returns -1 for a bad label. */
static double count_rows(Tape *t, const char *function, const Tensor *logits, const ClassRows *c,
                         Reduction reduction)
{
    char sx[LK_SHAPE_TEXT];
    const int64_t rows = c->a.outer * c->a.inner;
    int64_t counted = 0;
    double weights = 0;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t label = c->label[i];
        if (label == c->ignore_index) continue;
        if (label < 0 || label >= c->a.n) {
            lk_fail(t, LK_EVALUE,
                    "%s: Target %lld is out of bounds: row %lld of %s has %lld classes", function,
                    (long long)label, (long long)i, lk_shape_text(logits, sx), (long long)c->a.n);
            return -1;
        }
        counted++;
        if (c->weight && logits->dtype == LK_F64) weights += ((const double *)c->weight)[label];
        else if (c->weight) weights += (double)((const float *)c->weight)[label];
    }
    if (reduction == LK_MEAN && counted == 0) {
        lk_fail(t, LK_ESHAPE,
                "%s: the mean over no row: none of the %lld labels counts, %lld is ignored",
                function, (long long)rows, (long long)c->ignore_index);
        return -1;
    }
    return c->weight ? weights : (double)counted;
}

/* ---- forward -------------------------------------------------------------------------------- */

typedef struct ClassLoss {
    const char *function;
    const NamedOp *op;
    bool soft; /* labels are probabilities */
    CrossEntropyOptions options;
    int64_t ignore_index;
} ClassLoss;

/* PyTorch's name of the operation that gives the result. */
static const char *pytorchs_name(const ClassLoss *l, const Tensor *logits)
{
    if (l->soft) return l->options.reduction == LK_MEAN ? "DivBackward1" : "NegBackward0";
    if (l->options.label_smoothing > 0) return "AddBackward0";
    return logits->ndim > 2 ? "NllLoss2DBackward0" : "NllLossBackward0";
}

static void run_rows(const ClassLoss *l, DType dtype, const ClassRows *c, double *losses)
{
    if (l->op == &NLL) LK_REAL(dtype, nll_rows, c, losses);
    else if (l->soft) LK_REAL(dtype, soft_rows, c, losses);
    else LK_REAL(dtype, cross_entropy_rows, c, losses);
}

/* labels and the weight are checked, but for the values of the labels and the weight's shape. */
static Tensor *class_loss(Tape *t, const ClassLoss *l, Tensor *logits, Tensor *labels, int classes)
{
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT];
    const CrossEntropyOptions *o = &l->options;
    ClassRows c = { .name = pytorchs_name(l, logits),
                    .a = lk__along(logits, classes),
                    .ignore_index = l->ignore_index,
                    .smoothing = o->label_smoothing,
                    .scale = 1,
                    .each = o->reduction == LK_NONE };
    const int64_t rows = c.a.outer * c.a.inner;
    if (!lk__check_reduction(t, l->function, o->reduction)) return NULL;
    if (o->weight && (o->weight->ndim != 1 || o->weight->shape[0] != c.a.n))
        return lk_fail(t, LK_ESHAPE, "%s: weight %s must be (%lld,), a number for each class",
                       l->function, lk_shape_text(o->weight, sw), (long long)c.a.n);
    if (!read_rows(t, logits, labels, o->weight, &c)) return NULL;
    double count = (double)rows;
    if (!l->soft) count = count_rows(t, l->function, logits, &c, o->reduction);
    if (count < 0 && lk_tape_error(t)->code) return NULL;
    if (l->soft && o->reduction == LK_MEAN && rows == 0)
        return lk_fail(t, LK_ESHAPE, "%s: the mean over no row: the logits are %s", l->function,
                       lk_shape_text(logits, sx));
    if (o->reduction == LK_MEAN) c.scale = 1.0 / count;

    Tensor all = { 0 }; /* the shape of the losses of all rows */
    for (int d = 0; d < logits->ndim; d++)
        if (d != classes) all.shape[all.ndim++] = logits->shape[d];
    Tensor *loss = lk_empty(t, logits->dtype, c.each ? all.ndim : 0, all.shape);
    double *losses = lk_tape_scratch(t, (size_t)rows * sizeof *losses), sum = 0;
    if (!losses || !loss) return NULL;
    run_rows(l, logits->dtype, &c, losses);
    if (c.each) {
        lk__store_row(loss->dtype, loss->data, 1, rows, losses);
    } else {
        /* always in one order, whichever thread computed them */
        for (int64_t i = 0; i < rows; i++) sum += losses[i];
        lk_fill_(loss, o->reduction == LK_MEAN ? sum / count : sum);
    }
    return lk_record(t, &l->op->op, loss, LK_INPUTS(logits, labels, o->weight), &c, sizeof c);
}

Tensor *lk_cross_entropy_with(Tape *t, Tensor *logits, Tensor *labels, int64_t ignore_index,
                              CrossEntropyOptions options)
{
    static const char function[] = "lk_cross_entropy";
    if (!lk_check_operands(t, function, LK_INPUTS(logits, labels))) return NULL;
    if (!lk_check_floating(t, function, 1, &logits)) return NULL;
    if (!lk__check_weight(t, function, "weight", options.weight, logits)) return NULL;
    const int classes = logits->ndim < 2 ? 0 : 1;
    const bool soft = lk_is_floating(labels->dtype);
    if (soft && !check_soft(t, function, logits, labels, ignore_index)) return NULL;
    if (!soft && !check_labels(t, function, logits, labels, classes)) return NULL;
    if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
        return lk_fail(t, LK_EVALUE, "%s: label_smoothing must be between 0 and 1, not %g",
                       function, options.label_smoothing);
    const ClassLoss l = { function, &CROSS_ENTROPY, soft, options, ignore_index };
    return class_loss(t, &l, logits, labels, classes);
}

Tensor *lk_cross_entropy(Tape *t, Tensor *logits, Tensor *labels)
{
    return lk_cross_entropy_with(t, logits, labels, -100, (CrossEntropyOptions){ .weight = NULL });
}

Tensor *lk_nll_loss(Tape *t, Tensor *log_p, Tensor *labels, Tensor *weight, int64_t ignore_index,
                    Reduction reduction)
{
    static const char function[] = "lk_nll_loss";
    if (!lk_check_operands(t, function, LK_INPUTS(log_p, labels))) return NULL;
    if (!lk_check_floating(t, function, 1, &log_p)) return NULL;
    if (!lk__check_weight(t, function, "weight", weight, log_p)) return NULL;
    const int classes = log_p->ndim < 2 ? 0 : 1;
    if (!check_labels(t, function, log_p, labels, classes)) return NULL;
    const CrossEntropyOptions options = { .weight = weight, .reduction = reduction };
    const ClassLoss l = { function, &NLL, false, options, ignore_index };
    return class_loss(t, &l, log_p, labels, classes);
}
