/* rmsprop_real.h - a step of RMSprop, in `real` (core/real.h). */

/* Takes g into v and, unless a is NULL, into a. Returns what g is divided by. */
static LK_ALWAYS_INLINE real LK_F(rmsprop_root)(const Optimizer *opt, real g, real *v, real *a)
{
    const real alpha = (real)opt->alpha, rest = (real)(1.0 - opt->alpha);
    *v = *v * alpha + rest * g * g;
    real square = *v;
    if (a) {
        *a = *a * alpha + rest * g;
        square -= *a * *a;
    }
    return sqrt(square) + (real)opt->eps;
}

/* b is used with momentum, a when centered. */
static void LK_F(rmsprop)(const Optimizer *opt, int64_t n, real *restrict p,
                          const real *restrict grad, real *restrict v, real *restrict b,
                          real *restrict a)
{
    const real lr = (real)opt->lr, decay = (real)opt->weight_decay, momentum = (real)opt->momentum;
    const bool centered = opt->centered, has_momentum = opt->momentum != 0.0;
    for (int64_t i = 0; i < n; i++) {
        real g = grad[i] + decay * p[i];
        real root = LK_F(rmsprop_root)(opt, g, v + i, centered ? a + i : NULL);
        if (has_momentum) {
            b[i] = b[i] * momentum + g / root;
            p[i] -= lr * b[i];
        } else {
            p[i] -= lr * g / root;
        }
    }
}
