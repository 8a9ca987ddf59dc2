/* sgd.c - stochastic gradient descent, with momentum, Nesterov's too, and weight decay as
 * torch.optim.SGD has them. */
#include "optim/optimizer.h"

#define LK_REAL_SOURCE "optim/sgd_real.h"
#include "core/real.h"

static void sgd_update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    (void)step;
    if (opt->nesterov) LK_REAL(x->dtype, sgd_nesterov, opt, x->n, x->p, x->g, x->moment[0]);
    else if (opt->momentum != 0.0)
        LK_REAL(x->dtype, sgd_momentum, opt, x->n, x->p, x->g, x->moment[0]);
    else LK_REAL(x->dtype, sgd, opt, x->n, x->p, x->g);
}

static int sgd_moments(const Optimizer *opt) { return opt->momentum != 0.0 ? 1 : 0; }

static const OptimizerType sgd_type = { "SGD", sgd_update, sgd_moments, { "momentum_buffer" } };

Optimizer *lk_sgd_new(TensorList params, double lr, Error *err)
{
    return lk_optimizer_new(&sgd_type, params, lr, err);
}
