/* ops_reduce.c - sums, means, maxima and minima over dimensions.
 *
 * A reduction is a broadcast read backwards. The result is seen in the shape of x, with stride 0
 * along the dimensions that go (lk__spread). Every element of x is added to its place there, or
 * compared with it. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_reduce_real.h"
#include "core/real.h"

/* A reduction: the result's shape with and without the dimensions that go, and how many elements
 * fall together. */
typedef struct Plan {
    int ndim; /* of x, and of the shape with size 1 where a dimension goes */
    int64_t whole[LK_MAX_DIMS];
    int out_ndim;
    int64_t out[LK_MAX_DIMS];
    int64_t together;
    bool all; /* LK_ALL: PyTorch names that differently */
} Plan;

static bool make_plan(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                      bool keepdim, Plan *p)
{
    bool goes[LK_MAX_DIMS];
    if (!lk_check_floating(t, function, 1, &x)) return false;
    if (ndims > 0 && !dims)
        return lk_fail(t, LK_EVALUE, "%s: the list of dimensions is NULL", function);
    if (ndims < 0)
        return lk_fail(t, LK_ESHAPE, "%s: %d dimensions: name those to reduce, or LK_ALL",
                       function, ndims);
    for (int d = 0; d < LK_MAX_DIMS; d++) goes[d] = ndims == 0;
    for (int i = 0; i < ndims; i++) {
        int d = lk__check_dim(t, function, x->ndim, dims[i]);
        if (d < 0) return false;
        if (goes[d]) return lk_fail(t, LK_ESHAPE, "%s: dimension %d is named twice", function, d);
        goes[d] = true;
    }
    *p = (Plan){ .ndim = x->ndim, .together = 1, .all = ndims == 0 };
    for (int d = 0; d < x->ndim; d++) {
        p->whole[d] = goes[d] ? 1 : x->shape[d];
        if (goes[d]) p->together *= x->shape[d];
        if (!goes[d] || keepdim) p->out[p->out_ndim++] = p->whole[d];
    }
    return true;
}

/* Returns y, the result or its gradient, seen in the shape of x. */
static Tensor spread(const Tensor *y, const Plan *p, const Tensor *x)
{
    Tensor whole = { .data = y->data, .storage = y->storage, .dtype = y->dtype, .ndim = p->ndim };
    int64_t stride = 1;
    for (int d = p->ndim - 1; d >= 0; d--) {
        whole.shape[d] = p->whole[d];
        whole.stride[d] = stride;
        stride *= p->whole[d];
    }
    return lk__spread(&whole, x->ndim, x->shape);
}

static bool refuse_nothing(Tape *t, const char *function, const Tensor *x, const Plan *p)
{
    char text[LK_SHAPE_TEXT];
    if (p->together > 0) return true;
    return lk_fail(t, LK_ESHAPE, "%s: nothing to reduce in %s: a reduced dimension has size 0",
                   function, lk_shape_text(x, text));
}

/* ---- sum and mean --------------------------------------------------------------------------- */

/* y = c Σ x, so every x gets dx += c dy. */
typedef struct Scaled {
    Plan plan;
    bool is_mean;
    double c; /* 1, or 1 / n */
} Scaled;

static void sum_backward(Tape *t, Node *n)
{
    const Scaled *s = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor dy = spread(n->grad, &s->plan, dx);
    lk_loop(LK_ROW(dx->dtype, add_scaled_row), &s->c, 2, (const Tensor *const[]){ dx, &dy });
}

static const char *sum_name(const Node *n)
{
    const Scaled *s = n->state;
    if (s->is_mean) return s->plan.all ? "MeanBackward0" : "MeanBackward1";
    return s->plan.all ? "SumBackward0" : "SumBackward1";
}

static const NamedOp SUM = { { NULL, sum_backward, { 0 } }, sum_name };

Tensor *lk_sum(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    Scaled s = { .c = 1 };
    if (!make_plan(t, "lk_sum", x, ndims, dims, keepdim, &s.plan)) return NULL;
    Tensor *y = lk_full(t, x->dtype, s.plan.out_ndim, s.plan.out, 0);
    if (!y) return NULL;
    Tensor places = spread(y, &s.plan, x);
    if (!lk_accumulate(t, &places, x)) return NULL;
    return lk_record(t, &SUM.op, y, LK_INPUTS(x), &s, sizeof s);
}

Tensor *lk_mean(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    Scaled s = { .is_mean = true };
    if (!make_plan(t, "lk_mean", x, ndims, dims, keepdim, &s.plan)) return NULL;
    if (!refuse_nothing(t, "lk_mean", x, &s.plan)) return NULL;
    s.c = 1.0 / (double)s.plan.together;
    Tensor *y = lk_full(t, x->dtype, s.plan.out_ndim, s.plan.out, 0);
    if (!y) return NULL;
    Tensor places = spread(y, &s.plan, x);
    if (!lk_accumulate(t, &places, x)) return NULL;
    double n = (double)s.plan.together;
    lk_loop(LK_ROW(y->dtype, divide_row), &n, 1, (const Tensor *const[]){ y });
    return lk_record(t, &SUM.op, y, LK_INPUTS(x), &s, sizeof s);
}

/* ---- maximum and minimum over any dimensions ------------------------------------------------ */

typedef struct Extreme {
    Plan plan;
    double sign; /* 1: the maximum, -1: the minimum */
} Extreme;

/* y = max x; where k elements equal y, each gets dx += dy / k. */
static void extreme_backward(Tape *t, Node *n)
{
    const Plan *p = &((const Extreme *)n->state)->plan;
    Tensor *dx = lk_grad_in(t, n, 0), *x = n->in[0], *y = n->out;
    if (!dx) return;
    /* Count in double for both dtypes: a float stays at 2^24 when 1 is added. */
    const size_t bytes = (size_t)lk_numel(y) * sizeof(double);
    Storage scratch = { .data = lk_tape_scratch(t, bytes) };
    if (!scratch.data) return;
    memset(scratch.data, 0, bytes);
    Tensor counts = { .data = scratch.data, .storage = &scratch, .dtype = LK_F64 };
    Tensor count = spread(&counts, p, x), value = spread(y, p, x), dy = spread(n->grad, p, x);
    lk_loop_serial(LK_ROW(x->dtype, count_row), NULL, 3,
                   (const Tensor *const[]){ &count, x, &value });
    lk_loop(LK_ROW(x->dtype, share_row), NULL, 5,
            (const Tensor *const[]){ dx, x, &value, &dy, &count });
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
    if (!make_plan(t, function, x, ndims, dims, keepdim, &e.plan) ||
        !refuse_nothing(t, function, x, &e.plan))
        return NULL;
    Tensor *y = lk_full(t, x->dtype, e.plan.out_ndim, e.plan.out, -sign * INFINITY);
    if (!y) return NULL;
    Tensor places = spread(y, &e.plan, x);
    lk_loop_serial(LK_ROW(y->dtype, extreme_row), &sign, 2, (const Tensor *const[]){ &places, x });
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
    Plan p;
    if (indices) *indices = NULL;
    if (!make_plan(t, function, x, LK_DIMS(dim), keepdim, &p) ||
        !refuse_nothing(t, function, x, &p))
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
