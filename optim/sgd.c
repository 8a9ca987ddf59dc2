/* sgd.c - stochastic gradient descent, with momentum and weight decay as torch.optim.SGD has
 * them. */
#ifndef real
#include "optim/optimizer.h"

#define LK_REAL_SOURCE "optim/sgd.c"
#include "core/real.h"

static void sgd_update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    (void)step;
    if (opt->momentum != 0.0) LK_REAL(x->dtype, sgd_momentum, opt, x->n, x->p, x->g, x->moment[0]);
    else LK_REAL(x->dtype, sgd, opt, x->n, x->p, x->g);
}

static int sgd_moments(const Optimizer *opt) { return opt->momentum != 0.0 ? 1 : 0; }

static const OptimizerType sgd_type = {
    "SGD", sgd_update, sgd_moments, { "momentum_buffer", NULL }
};

Optimizer *lk_sgd_new(TensorList params, double lr, Error *err)
{
    return lk_optimizer_new(&sgd_type, params, lr, err);
}

#else /* the arithmetic, for float and for double */

/* p -= lr (g + decay p) */
static void F(sgd)(const Optimizer *opt, int64_t n, real *restrict p, const real *restrict g)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay;
    for (int64_t i = 0; i < n; i++) p[i] -= lr * (g[i] + decay * p[i]);
}

/* v = momentum v + (g + decay p), p -= lr v. PyTorch's first v is the gradient itself; so is ours:
 * v starts at 0. */
static void F(sgd_momentum)(const Optimizer *opt, int64_t n, real *restrict p,
                            const real *restrict g, real *restrict v)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay, momentum = (real)opt->momentum;
    for (int64_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + (g[i] + decay * p[i]);
        p[i] -= lr * v[i];
    }
}

#endif
