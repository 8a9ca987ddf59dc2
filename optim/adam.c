/* adam.c - Adam (Kingma and Ba 2015, arXiv:1412.6980) and AdamW (Loshchilov and Hutter 2019,
 * arXiv:1711.05101).
 *
 *     m = β₁ m + (1 - β₁) g
 *     v = β₂ v + (1 - β₂) g²
 *     p -= lr/(1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
 *
 * in the order of operations of PyTorch's _single_tensor_adam, so that float32 differs from it
 * only where PyTorch's kernels round a multiply-add once. */
#ifndef real
#include "optim/optimizer.h"

typedef struct AdamStep { /* the scalars of one step, in double as in PyTorch */
    double beta1, beta2, eps;
    double shrink;          /* AdamW: the part of p after decoupled decay; Adam: 1 */
    double decay;           /* Adam: weight decay in the gradient; AdamW: 0 */
    double step_size;       /* lr / (1 - β₁ᵗ) */
    double root_correction; /* √(1 - β₂ᵗ) */
} AdamStep;

#define LK_REAL_SOURCE "optim/adam.c"
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
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        LK_REAL(x->dtype, adam_avx2, &s, x->n, x->p, x->g, x->moment[0], x->moment[1]);
        return;
    }
#endif
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

#else /* the arithmetic, for float and for double */

static inline void F(adam)(const AdamStep *s, int64_t n, real *restrict p,
                           const real *restrict grad, real *restrict m, real *restrict v)
{
    const real beta1 = (real)s->beta1, rest1 = (real)(1.0 - s->beta1);
    const real beta2 = (real)s->beta2, rest2 = (real)(1.0 - s->beta2);
    const real shrink = (real)s->shrink, decay = (real)s->decay, eps = (real)s->eps;
    const real step_size = (real)s->step_size, root_correction = (real)s->root_correction;
    for (int64_t i = 0; i < n; i++) {
        real x = p[i] * shrink, g = grad[i] + decay * x;
        m[i] = m[i] * beta1 + rest1 * g;
        v[i] = v[i] * beta2 + rest2 * g * g;
        p[i] = x - step_size * m[i] / (sqrt(v[i]) / root_correction + eps);
    }
}

#ifdef __x86_64__
/* The same with vectors of 32 bytes; each operation rounds alike, so these are the same bits. */
__attribute__((target("avx2"), flatten)) static void
F(adam_avx2)(const AdamStep *s, int64_t n, real *p, const real *grad, real *m, real *v)
{
    F(adam)(s, n, p, grad, m, v);
}
#endif

#endif
