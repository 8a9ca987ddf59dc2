/* sgd_real.h - a step of SGD, in `real` (core/real.h). */

/* p -= lr (g + decay p) */
static void LK_F(sgd)(const Optimizer *opt, int64_t n, real *restrict p, const real *restrict g)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay;
    for (int64_t i = 0; i < n; i++) p[i] -= lr * (g[i] + decay * p[i]);
}

/* v = momentum v + (g + decay p), p -= lr v. v starts at 0, so the first v is the gradient itself,
 * as in PyTorch. */
static void LK_F(sgd_momentum)(const Optimizer *opt, int64_t n, real *restrict p,
                               const real *restrict g, real *restrict v)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay, momentum = (real)opt->momentum;
    for (int64_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + (g[i] + decay * p[i]);
        p[i] -= lr * v[i];
    }
}

/* v as above, p -= lr (g + decay p + momentum v): looks ahead along the next step. */
static void LK_F(sgd_nesterov)(const Optimizer *opt, int64_t n, real *restrict p,
                               const real *restrict g, real *restrict v)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay, momentum = (real)opt->momentum;
    for (int64_t i = 0; i < n; i++) {
        real d = g[i] + decay * p[i];
        v[i] = momentum * v[i] + d;
        p[i] -= lr * (d + momentum * v[i]);
    }
}
