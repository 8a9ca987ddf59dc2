/* rmsprop.c - RMSprop (Hinton, lecture 6e of "Neural Networks for Machine Learning", 2012), as
 * torch.optim.RMSprop has it.
 *
 *     v = α v + (1 - α) g²
 *     centered: a = α a + (1 - α) g, and v - a² stands for v below
 *     b = momentum b + g / (√v + ε)
 *     p -= lr b
 *
 * in the order of operations of PyTorch's _single_tensor_rmsprop. The moments are v, b, a in this
 * order, so centered without momentum leaves the memory of b unused; that combination is rare. */
#include "optim/optimizer.h"

#define LK_REAL_SOURCE "optim/rmsprop_real.h"
#include "core/real.h"

static void update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    (void)step;
    void *const *m = x->moment;
    LK_REAL(x->dtype, rmsprop, opt, x->n, x->p, x->g, m[0], m[1], m[2]);
}

static int moments(const Optimizer *opt)
{
    if (opt->centered) return 3;
    return opt->momentum != 0.0 ? 2 : 1;
}

static const OptimizerType rmsprop_type = {
    "RMSprop", update, moments, { "square_avg", "momentum_buffer", "grad_avg" }
};

Optimizer *lk_rmsprop_new(TensorList params, double lr, Error *err)
{
    return lk_optimizer_new(&rmsprop_type, params, lr, err);
}
