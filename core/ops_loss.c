/* ops_loss.c - losses that compare two tensors element by element. core/ops_loss_table.h lists
 * them, each with its formula and its derivatives; core/ops_loss_real.h has the loops. Losses over
 * classes: core/ops_cross_entropy.c. */
#include "core/internal.h"
#include "core/ops.h"

/* The argument of the rows. */
typedef struct LossRow {
    double c, count; /* the loss's constant; a gradient is divided by count */
    double *sum;     /* to which the losses are added */
} LossRow;

#define LK_REAL_SOURCE "core/ops_loss_real.h"
#include "core/real.h"

typedef struct Loss {
    NamedOp base; /* must be first: a node's op is cast to Loss */
    const char *names[LK_BATCH_MEAN + 1];
    RowTable sum, each, gradient[2];
} Loss;

typedef struct LossState {
    double c, count;
    Reduction reduction;
} LossState;

/* ---- checks that losses over classes need too ----------------------------------------------- */

bool lk__check_reduction(Tape *t, const char *function, Reduction reduction)
{
    if (reduction == LK_MEAN || reduction == LK_SUM || reduction == LK_NONE) return true;
    return lk_fail(t, LK_EVALUE, "%s: the reduction is LK_MEAN, LK_SUM or LK_NONE, not %d",
                   function, (int)reduction);
}

bool lk__check_weight(Tape *t, const char *function, const char *name, const Tensor *weight,
                      const Tensor *x)
{
    if (!lk_check_optional(t, function, name, weight)) return false;
    if (weight && weight->dtype != x->dtype)
        return lk_fail(t, LK_EDTYPE, "%s: %s is %s, and the operand %s; lk_to makes them the same",
                       function, name, lk_dtype_name(weight->dtype), lk_dtype_name(x->dtype));
    if (weight && weight->requires_grad)
        return lk_fail(t, LK_EVALUE, "%s: %s gets no gradient; give it as lk_detach makes it",
                       function, name);
    return true;
}

/* ---- forward and backward ------------------------------------------------------------------- */

/* A tensor without dimensions that is 1: the weight when there is none. */
typedef struct One {
    Tensor x;
    float f32;
    double f64;
} One;

static const Tensor *weight_or_one(const Tensor *weight, DType dtype, One *one)
{
    *one = (One){ .x.dtype = dtype, .f32 = 1, .f64 = 1 };
    one->x.data = dtype == LK_F64 ? (void *)&one->f64 : &one->f32;
    return weight ? weight : &one->x;
}

static void loss_backward(Tape *t, Node *n)
{
    const Loss *loss = (const Loss *)n->op;
    const LossState *s = n->state;
    One one;
    const Tensor *weight = weight_or_one(n->in[2], n->out->dtype, &one);
    for (int i = 0; i < 2; i++) {
        Tensor *d = lk_grad_in(t, n, i);
        if (!d) continue;
        LossRow row = { .c = s->c, .count = s->count };
        const Tensor *operands[] = { d, n->grad, n->in[0], n->in[1], weight };
        lk_loop(LK_ROW_OF(loss->gradient[i], d->dtype), &row, 5, operands);
    }
}

static const char *loss_name(const Node *n)
{
    return ((const Loss *)n->op)->names[((const LossState *)n->state)->reduction];
}

#define LOSS(name, none, mean, sum, needs_x, needs_y, formula, dx, dy) \
    static const Loss name##_op = { \
        { { NULL, loss_backward, { needs_x, needs_y } }, loss_name }, \
        { [LK_NONE] = none, [LK_MEAN] = mean, [LK_SUM] = sum, [LK_BATCH_MEAN] = "DivBackward0" }, \
        LK_ROWS(name##_loss_row), \
        LK_ROWS(name##_each_row), \
        { LK_ROWS(name##_dx_row), LK_ROWS(name##_dy_row) } \
    };
#include "core/ops_loss_table.h"

/* weight is NULL, or broadcasts to x. */
static Tensor *loss_of(Tape *t, const char *function, const Loss *loss, Tensor *x, Tensor *y,
                       Tensor *weight, double c, Reduction reduction)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, function, LK_INPUTS(x, y))) return NULL;
    if (!lk_same_shape(x, y))
        return lk_fail(t, LK_ESHAPE, "%s: %s and %s must be the same shape", function,
                       lk_shape_text(x, sx), lk_shape_text(y, sy));
    LossState s = { .c = c, .count = 1, .reduction = reduction };
    if (reduction == LK_MEAN) s.count = (double)lk_numel(x);
    if (reduction == LK_BATCH_MEAN && x->ndim > 0) s.count = (double)x->shape[0];
    if (s.count == 0)
        return lk_fail(t, LK_ESHAPE, "%s: the mean over nothing: the shape is %s", function,
                       lk_shape_text(x, sx));
    const bool each = reduction == LK_NONE;
    One one;
    const Tensor *w = weight_or_one(weight, x->dtype, &one);
    Tensor *result = lk_empty(t, x->dtype, each ? x->ndim : 0, x->shape);
    if (!result) return NULL;
    double sum = 0;
    LossRow row = { .c = c, .sum = &sum };
    if (each) {
        const Tensor *operands[] = { result, x, y, w };
        lk_loop(LK_ROW_OF(loss->each, x->dtype), &row, 4, operands);
    } else {
        lk_loop_serial(LK_ROW_OF(loss->sum, x->dtype), &row, 3,
                       (const Tensor *const[]){ x, y, w });
        lk_fill_(result, sum / s.count);
    }
    return lk_record(t, &loss->base.op, result, LK_INPUTS(x, y, weight), &s, sizeof s);
}

/* ---- the losses ----------------------------------------------------------------------------- */

Tensor *lk_mse_loss_with(Tape *t, Tensor *x, Tensor *y, Reduction reduction)
{
    if (!lk__check_reduction(t, "lk_mse_loss", reduction)) return NULL;
    return loss_of(t, "lk_mse_loss", &mse_op, x, y, NULL, 0, reduction);
}

Tensor *lk_mse_loss(Tape *t, Tensor *x, Tensor *y) { return lk_mse_loss_with(t, x, y, LK_MEAN); }

Tensor *lk_l1_loss(Tape *t, Tensor *x, Tensor *y, Reduction reduction)
{
    if (!lk__check_reduction(t, "lk_l1_loss", reduction)) return NULL;
    return loss_of(t, "lk_l1_loss", &l1_op, x, y, NULL, 0, reduction);
}

Tensor *lk_smooth_l1_loss(Tape *t, Tensor *x, Tensor *y, double beta, Reduction reduction)
{
    if (!lk__check_reduction(t, "lk_smooth_l1_loss", reduction)) return NULL;
    if (!(beta >= 0))
        return lk_fail(t, LK_EVALUE, "lk_smooth_l1_loss: beta %g must not be negative", beta);
    return loss_of(t, "lk_smooth_l1_loss", &smooth_l1_op, x, y, NULL, beta, reduction);
}

Tensor *lk_huber_loss(Tape *t, Tensor *x, Tensor *y, double delta, Reduction reduction)
{
    if (!lk__check_reduction(t, "lk_huber_loss", reduction)) return NULL;
    if (!(delta > 0))
        return lk_fail(t, LK_EVALUE, "lk_huber_loss: delta %g must be positive", delta);
    return loss_of(t, "lk_huber_loss", &huber_op, x, y, NULL, delta, reduction);
}

Tensor *lk_kl_div(Tape *t, Tensor *input, Tensor *target, bool log_target, Reduction reduction)
{
    if (reduction != LK_BATCH_MEAN && !lk__check_reduction(t, "lk_kl_div", reduction)) return NULL;
    return loss_of(t, "lk_kl_div", log_target ? &kl_div_log_op : &kl_div_op, input, target, NULL,
                   0, reduction);
}

Tensor *lk_bce_with_logits(Tape *t, Tensor *x, Tensor *target, Tensor *pos_weight,
                           Reduction reduction)
{
    static const char function[] = "lk_bce_with_logits";
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT];
    if (!lk__check_reduction(t, function, reduction)) return NULL;
    if (!lk_check_floating(t, function, LK_INPUTS(x, target))) return NULL;
    if (!lk__check_weight(t, function, "pos_weight", pos_weight, x)) return NULL;
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    bool fits = !pos_weight || lk_broadcast_shape(x, pos_weight, &ndim, shape);
    for (int d = 0; pos_weight && fits && d < ndim; d++)
        fits = ndim == x->ndim && shape[d] == x->shape[d];
    if (!fits)
        return lk_fail(t, LK_ESHAPE, "%s: pos_weight %s cannot be broadcast to the logits %s",
                       function, lk_shape_text(pos_weight, sw), lk_shape_text(x, sx));
    return loss_of(t, function, &bce_op, x, target, pos_weight, 0, reduction);
}
