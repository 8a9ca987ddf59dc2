/* ops_stats.c - variances, norms, log-sum-exps and products over dimensions.
 *
 * Each is one row below: the tiles (core/fold.h) of its forward and of its backward, which go
 * through the elements of a few results once or several times. core/ops_stats_real.h has their
 * arithmetic. */
#include <string.h>

#include "core/fold.h"
#include "core/internal.h"
#include "core/ops.h"
#include "core/reduce.h"

/* One call. */
typedef struct Stats {
    ReducePlan plan;
    double c;  /* var, std: the correction; norm: p */
    bool root; /* std */
} Stats;

typedef struct StatsBackward {
    const Stats *stats;
    bool fresh; /* dx is written, not added to */
} StatsBackward;

#define LK_REAL_SOURCE "core/ops_stats_real.h"
#include "core/real.h"

typedef FoldFn *FoldTable[LK_KERNEL_SETS][2];

typedef struct StatsOp {
    NamedOp named;
    const char *function;
    FoldTable forward, backward;
    int passes, backward_passes;
} StatsOp;

/* Every backward sees y, x, dx and dy. */
static void stats_backward(Tape *t, Node *n)
{
    const StatsOp *op = (const StatsOp *)n->op;
    StatsBackward b = { .stats = n->state };
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &b.fresh), *x = n->in[0];
    if (!dx) return;
    Tensor y = lk__reduce_spread(n->out, &b.stats->plan, x),
           dy = lk__reduce_spread(n->grad, &b.stats->plan, x);
    lk__fold(LK_ROW_OF(op->backward, x->dtype), &b, op->backward_passes, 4,
             (const Tensor *const[]){ &y, x, dx, &dy });
}

static const char *prod_name(const Node *n)
{
    return ((const Stats *)n->state)->plan.all ? "ProdBackward0" : "ProdBackward1";
}

static const StatsOp VAR = { { { "VarBackward0", stats_backward, { LK_IN0 } }, NULL },
                             "lk_var",
                             LK_ROWS(var_fold),
                             LK_ROWS(var_backward_fold),
                             2,
                             2 };
static const StatsOp STD = { { { "StdBackward0", stats_backward, { LK_IN0 | LK_OUT } }, NULL },
                             "lk_std",
                             LK_ROWS(var_fold),
                             LK_ROWS(var_backward_fold),
                             2,
                             2 };
static const StatsOp NORM = { { { "NormBackward1", stats_backward, { LK_IN0 | LK_OUT } }, NULL },
                              "lk_norm",
                              LK_ROWS(norm_fold),
                              LK_ROWS(norm_backward_fold),
                              1,
                              2 };
static const StatsOp LOGSUMEXP = { { { "LogsumexpBackward0", stats_backward, { LK_IN0 | LK_OUT } },
                                     NULL },
                                   "lk_logsumexp",
                                   LK_ROWS(logsumexp_fold),
                                   LK_ROWS(logsumexp_backward_fold),
                                   2,
                                   1 };
static const StatsOp PROD = { { { NULL, stats_backward, { LK_IN0 } }, prod_name },
                              "lk_prod",
                              LK_ROWS(prod_fold),
                              LK_ROWS(prod_backward_fold),
                              1,
                              3 };

/* nothing: the result over no element; NAN refuses it. */
static Tensor *stats_of(Tape *t, const StatsOp *op, Tensor *x, Stats s, int ndims,
                        const int64_t *dims, bool keepdim, double nothing)
{
    if (!lk_check_floating(t, op->function, 1, &x) ||
        !lk__reduce_plan(t, op->function, x, ndims, dims, keepdim, &s.plan))
        return NULL;
    if (isnan(nothing) && !lk__reduce_something(t, op->function, x, &s.plan)) return NULL;
    Tensor *y = s.plan.together > 0 ? lk_empty(t, x->dtype, s.plan.out_ndim, s.plan.out)
                                    : lk_full(t, x->dtype, s.plan.out_ndim, s.plan.out, nothing);
    if (!y) return NULL;
    Tensor places = lk__reduce_spread(y, &s.plan, x);
    lk__fold(LK_ROW_OF(op->forward, x->dtype), &s, op->passes, 2,
             (const Tensor *const[]){ &places, x });
    return lk_record(t, &op->named.op, y, LK_INPUTS(x), &s, sizeof s);
}

static bool is_correction(Tape *t, const char *function, double correction)
{
    return correction >= 0 ||
           lk_fail(t, LK_EVALUE, "%s: correction %g: it must be 0 or more", function, correction);
}

Tensor *lk_var(Tape *t, Tensor *x, double correction, int ndims, const int64_t *dims, bool keepdim)
{
    if (!is_correction(t, "lk_var", correction)) return NULL;
    return stats_of(t, &VAR, x, (Stats){ .c = correction }, ndims, dims, keepdim, NAN);
}

Tensor *lk_std(Tape *t, Tensor *x, double correction, int ndims, const int64_t *dims, bool keepdim)
{
    if (!is_correction(t, "lk_std", correction)) return NULL;
    return stats_of(t, &STD, x, (Stats){ .c = correction, .root = true }, ndims, dims, keepdim,
                    NAN);
}

Tensor *lk_norm(Tape *t, Tensor *x, double p, int ndims, const int64_t *dims, bool keepdim)
{
    if (!(p >= 0))
        return lk_fail(t, LK_EVALUE, "lk_norm: p is %g: it must be 0 or more, or INFINITY", p);
    return stats_of(t, &NORM, x, (Stats){ .c = p }, ndims, dims, keepdim, isinf(p) ? NAN : 0);
}

Tensor *lk_logsumexp(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return stats_of(t, &LOGSUMEXP, x, (Stats){ 0 }, ndims, dims, keepdim, -INFINITY);
}

Tensor *lk_prod(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return stats_of(t, &PROD, x, (Stats){ 0 }, ndims, dims, keepdim, 1);
}
