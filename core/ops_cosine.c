/* ops_cosine.c - cosine similarity along a dimension, of operands that broadcast to each other. */
#include "core/fold.h"
#include "core/internal.h"
#include "core/ops.h"
#include "core/reduce.h"

typedef struct Cosine {
    ReducePlan plan;
    int ndim; /* of the operands, broadcast to each other */
    int64_t shape[LK_MAX_DIMS];
    double eps;
} Cosine;

typedef struct CosineBackward {
    double eps;
    bool fresh; /* da is written, not added to */
} CosineBackward;

static inline double at_least(double x, double least) { return x < least ? least : x; }

#define LK_REAL_SOURCE "core/ops_cosine_real.h"
#include "core/real.h"

/* With |a| no smaller than eps, da += dy (b / |b| - y a / |a|) / |a|. Operand i takes the place of
 * a. One that was broadcast gets its gradient through a temporary. */
static void operand_backward(Tape *t, Node *n, int i)
{
    const Cosine *c = n->state;
    CosineBackward arg = { .eps = c->eps };
    Tensor *d = lk_grad_in_fresh(t, n, i, &arg.fresh);
    if (!d) return;
    Tensor whole = { .ndim = c->ndim, .dtype = d->dtype };
    memcpy(whole.shape, c->shape, sizeof whole.shape);
    Tensor dy = lk__reduce_spread(n->grad, &c->plan, &whole), *to = d;
    const bool broadcast = !lk_same_shape(d, &whole);
    if (broadcast) {
        if (arg.fresh) memset(d->data, 0, (size_t)lk__elements(d) * lk_dtype_size(d->dtype));
        arg.fresh = true;
        to = lk_empty(t, d->dtype, c->ndim, c->shape);
        if (!to) return;
    }
    lk__fold(LK_ROW(d->dtype, cosine_backward_fold), &arg, 2, 4,
             (const Tensor *const[]){ &dy, n->in[i], n->in[1 - i], to });
    if (!broadcast) return;
    Tensor places = lk__spread(d, c->ndim, c->shape);
    lk_accumulate(t, &places, to);
}

static void cosine_backward(Tape *t, Node *n)
{
    operand_backward(t, n, 0);
    operand_backward(t, n, 1);
}

static const Op COSINE = { "SumBackward1", cosine_backward, { LK_IN0 | LK_IN1, LK_IN0 | LK_IN1 } };

Tensor *lk_cosine_similarity(Tape *t, Tensor *a, Tensor *b, int dim, double eps)
{
    Cosine c = { .eps = eps };
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_cosine_similarity", LK_INPUTS(a, b))) return NULL;
    if (!lk_broadcast_shape(a, b, &c.ndim, c.shape))
        return lk_fail(t, LK_ESHAPE,
                       "lk_cosine_similarity: %s and %s do not broadcast: aligned at the last "
                       "dimension, sizes must be equal or 1",
                       lk_shape_text(a, sa), lk_shape_text(b, sb));
    Tensor whole = { .ndim = c.ndim };
    memcpy(whole.shape, c.shape, sizeof whole.shape);
    if (!lk__reduce_plan(t, "lk_cosine_similarity", &whole, LK_DIMS(dim), false, &c.plan))
        return NULL;
    Tensor *y = lk_zeros(t, a->dtype, c.plan.out_ndim, c.plan.out);
    if (!y) return NULL;
    Tensor places = lk__reduce_spread(y, &c.plan, &whole);
    lk__fold(LK_ROW(a->dtype, cosine_fold), &c.eps, 1, 3,
             (const Tensor *const[]){ &places, a, b });
    return lk_record(t, &COSINE, y, LK_INPUTS(a, b), &c, sizeof c);
}
