/* adam.c - Adam (Kingma and Ba 2015, arXiv:1412.6980) and AdamW (Loshchilov and Hutter 2019,
 * arXiv:1711.05101).
 *
 *     m = β₁ m + (1 - β₁) g
 *     v = β₂ v + (1 - β₂) g²
 *     p -= lr/(1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
 *
 * in the order of operations of PyTorch's _single_tensor_adam, so that float32 differs from it
 * only where PyTorch's kernels round a multiply-add once. */
#include "optim/optimizer.h"

typedef struct AdamStep { /* the scalars of one step, in double as in PyTorch */
    double beta1, beta2, eps;
    double shrink;          /* AdamW: the part of p after decoupled decay; Adam: 1 */
    double decay;           /* Adam: weight decay in the gradient; AdamW: 0 */
    double step_size;       /* lr / (1 - β₁ᵗ) */
    double root_correction; /* √(1 - β₂ᵗ) */
} AdamStep;

#define LK_REAL_SOURCE "optim/adam_real.h"
#include "core/real.h"

static void update(const Optimizer *opt, int64_t step, const OptimizerPiece *x, double shrink,
                   double decay)
{
    const AdamStep s = {
        .beta1 = opt->beta1,
        .beta2 = opt->beta2,
        .eps = opt->eps,
        .shrink = shrink,
        .decay = decay,
        .step_size = opt->lr / (1.0 - pow(opt->beta1, (double)step)),
        .root_correction = sqrt(1.0 - pow(opt->beta2, (double)step)),
    };
    LK_REAL(x->dtype, adam, &s, x->n, x->p, x->g, x->moment[0], x->moment[1]);
}

static void adam_update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    update(opt, step, x, 1.0, opt->weight_decay);
}

static void adamw_update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    update(opt, step, x, 1.0 - opt->lr * opt->weight_decay, 0.0);
}

static int adam_moments(const Optimizer *opt)
{
    (void)opt;
    return 2;
}

static const OptimizerType adam_type = {
    "Adam", adam_update, adam_moments, { "exp_avg", "exp_avg_sq" }
};
static const OptimizerType adamw_type = {
    "AdamW", adamw_update, adam_moments, { "exp_avg", "exp_avg_sq" }
};

Optimizer *lk_adam_new(TensorList params, double lr, Error *err)
{
    return lk_optimizer_new(&adam_type, params, lr, err);
}

Optimizer *lk_adamw_new(TensorList params, double lr, Error *err)
{
    Optimizer *opt = lk_optimizer_new(&adamw_type, params, lr, err);
    if (opt) opt->weight_decay = 0.01;
    return opt;
}
