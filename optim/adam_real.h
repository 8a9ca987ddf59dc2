/* adam_real.h - a step of Adam and AdamW, in `real` (core/real.h). */

static void LK_F(adam)(const AdamStep *s, int64_t n, real *restrict p, const real *restrict grad,
                       real *restrict m, real *restrict v)
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
