/* ops_reduce.c - sums, means, maxima and minima over dimensions.
 *
 * A reduction is a broadcast read backwards. The result is seen in the shape of x, with stride 0
 * along the dimensions that go (lk__spread). Every element of x is added to its place there, or
 * compared with it. */
#include "core/fold.h"
#include "core/internal.h"
#include "core/ops.h"
#include "core/reduce.h"

/* dx += c dy, or dx = c dy for a fresh dx */
typedef struct Spread {
    double c;
    bool fresh;
} Spread;

#define LK_REAL_SOURCE "core/ops_reduce_real.h"
#include "core/real.h"

static bool plan_of(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                    bool keepdim, ReducePlan *p)
{
    return lk_check_floating(t, function, 1, &x) &&
           lk__reduce_plan(t, function, x, ndims, dims, keepdim, p);
}

/* ---- sum and mean --------------------------------------------------------------------------- */

/* y = c Σ x, so every x gets dx += c dy. */
typedef struct Scaled {
    ReducePlan plan;
    bool is_mean;
    double c; /* 1, or 1 / n */
} Scaled;

static void sum_backward(Tape *t, Node *n)
{
    const Scaled *s = n->state;
    Spread arg = { .c = s->c };
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &arg.fresh);
    if (!dx) return;
    Tensor dy = lk__reduce_spread(n->grad, &s->plan, dx);
    lk__fold(LK_ROW(dx->dtype, spread_fold), &arg, 1, 2, (const Tensor *const[]){ &dy, dx });
}

static const char *sum_name(const Node *n)
{
    const Scaled *s = n->state;
    if (s->is_mean) return s->plan.all ? "MeanBackward0" : "MeanBackward1";
    return s->plan.all ? "SumBackward0" : "SumBackward1";
}

static const NamedOp SUM = { { NULL, sum_backward, { 0 } }, sum_name };

static Tensor *sum_of(Tape *t, Tensor *x, Scaled *s)
{
    /* a sum of nothing is 0 */
    Tensor *y = lk__elements(x) > 0 ? lk_empty(t, x->dtype, s->plan.out_ndim, s->plan.out)
                                    : lk_zeros(t, x->dtype, s->plan.out_ndim, s->plan.out);
    if (!y) return NULL;
    Tensor places = lk__reduce_spread(y, &s->plan, x);
    lk__sum_into(&places, x, s->is_mean ? (double)s->plan.together : 1, true);
    return lk_record(t, &SUM.op, y, LK_INPUTS(x), s, sizeof *s);
}

Tensor *lk_sum(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    Scaled s = { .c = 1 };
    return plan_of(t, "lk_sum", x, ndims, dims, keepdim, &s.plan) ? sum_of(t, x, &s) : NULL;
}

Tensor *lk_mean(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    Scaled s = { .is_mean = true };
    if (!plan_of(t, "lk_mean", x, ndims, dims, keepdim, &s.plan)) return NULL;
    if (!lk__reduce_something(t, "lk_mean", x, &s.plan)) return NULL;
    s.c = 1.0 / (double)s.plan.together;
    return sum_of(t, x, &s);
}

/* ---- maximum and minimum over any dimensions ------------------------------------------------ */

typedef struct Extreme {
    ReducePlan plan;
    double sign; /* 1: the maximum, -1: the minimum */
} Extreme;

/* y = max x; where k elements equal y, each gets dx += dy / k. */
static void extreme_backward(Tape *t, Node *n)
{
    const ReducePlan *p = &((const Extreme *)n->state)->plan;
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &fresh), *x = n->in[0];
    if (!dx) return;
    Tensor y = lk__reduce_spread(n->out, p, x), dy = lk__reduce_spread(n->grad, p, x);
    lk__fold(LK_ROW(x->dtype, share_fold), &fresh, 2, 4,
             (const Tensor *const[]){ &y, x, dx, &dy });
}

static const char *extreme_name(const Node *n)
{
    const Extreme *e = n->state;
    if (e->sign > 0) return e->plan.all ? "MaxBackward1" : "AmaxBackward0";
    return e->plan.all ? "MinBackward1" : "AminBackward0";
}

static const NamedOp EXTREME = { { NULL, extreme_backward, { LK_IN0 | LK_OUT } }, extreme_name };

static Tensor *extreme(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                       bool keepdim, double sign)
{
    Extreme e = { .sign = sign };
    if (!plan_of(t, function, x, ndims, dims, keepdim, &e.plan) ||
        !lk__reduce_something(t, function, x, &e.plan))
        return NULL;
    Tensor *y = lk_empty(t, x->dtype, e.plan.out_ndim, e.plan.out);
    if (!y) return NULL;
    Tensor places = lk__reduce_spread(y, &e.plan, x);
    lk__fold(LK_ROW(y->dtype, extreme_fold), &sign, 1, 2, (const Tensor *const[]){ &places, x });
    return lk_record(t, &EXTREME.op, y, LK_INPUTS(x), &e, sizeof e);
}

Tensor *lk_max(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return extreme(t, "lk_max", x, ndims, dims, keepdim, 1);
}

Tensor *lk_min(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return extreme(t, "lk_min", x, ndims, dims, keepdim, -1);
}

/* ---- maximum and minimum along one dimension, with the index -------------------------------- */

typedef struct ExtremeDim {
    Along along;
    double sign; /* 1: the maximum, -1: the minimum */
} ExtremeDim;

/* y is one element of x, the first extreme one: dx_index += dy. */
static void extreme_dim_backward(Tape *t, Node *n)
{
    const Along *a = &((const ExtremeDim *)n->state)->along;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (dx)
        LK_REAL(dx->dtype, add_at, a->outer, a->n, a->inner, n->in[1]->data, n->grad->data,
                dx->data);
}

static const char *extreme_dim_name(const Node *n)
{
    return ((const ExtremeDim *)n->state)->sign > 0 ? "MaxBackward0" : "MinBackward0";
}

static const NamedOp EXTREME_DIM = { { NULL, extreme_dim_backward, { LK_IN1 } },
                                     extreme_dim_name };

static Tensor *extreme_dim(Tape *t, const char *function, Tensor *x, int dim, bool keepdim,
                           double sign, Tensor **indices)
{
    ReducePlan p;
    if (indices) *indices = NULL;
    if (!plan_of(t, function, x, LK_DIMS(dim), keepdim, &p) ||
        !lk__reduce_something(t, function, x, &p))
        return NULL;
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, p.out_ndim, p.out);
    Tensor *index = lk_empty(t, LK_I64, p.out_ndim, p.out);
    if (!packed || !y || !index) return NULL;
    Along a = lk__along(x, lk__check_dim(t, function, x->ndim, dim));
    LK_REAL(x->dtype, find_extreme, a.outer, a.n, a.inner, sign, packed->data, y->data,
            index->data);
    if (indices) *indices = index;
    ExtremeDim e = { a, sign };
    return lk_record(t, &EXTREME_DIM.op, y, LK_INPUTS(x, index), &e, sizeof e);
}

Tensor *lk_max_dim(Tape *t, Tensor *x, int dim, bool keepdim, Tensor **indices)
{
    return extreme_dim(t, "lk_max_dim", x, dim, keepdim, 1, indices);
}

Tensor *lk_min_dim(Tape *t, Tensor *x, int dim, bool keepdim, Tensor **indices)
{
    return extreme_dim(t, "lk_min_dim", x, dim, keepdim, -1, indices);
}

Tensor *lk_argmax(Tape *t, Tensor *x, int dim, bool keepdim)
{
    Tensor *index;
    extreme_dim(t, "lk_argmax", lk_detach(t, x), dim, keepdim, 1, &index);
    return index;
}

Tensor *lk_argmin(Tape *t, Tensor *x, int dim, bool keepdim)
{
    Tensor *index;
    extreme_dim(t, "lk_argmin", lk_detach(t, x), dim, keepdim, -1, &index);
    return index;
}
