/* rng_real.h - the Gaussian blocks of torch.randn, in `real` (core/real.h). */

/* Turns sixteen uniforms into sixteen normals. Here the first eight are v and the last eight u,
 * while lk_random_normal draws u first. PyTorch's kernel rounds to `real` after every step and
 * adds the mean with a fused multiply-add. log, sin and cos are computed in double, because no
 * portable code has the bits of PyTorch's vectorised functions. So double is equal, and float is
 * off by 5e-7 at most (by 1.9e-6 when θ is not rounded to float). */
static void LK_F(normal_block)(real *x, real mean, real std)
{
    for (int j = 0; j < 8; j++) {
        real v = x[j], u = x[j + 8];
        real r = sqrt(-2 * (real)log((double)(1 - v)));
        real theta = (real)(2 * M_PI) * u;
        x[j] = fma(r * (real)cos((double)theta), std, mean);
        x[j + 8] = fma(r * (real)sin((double)theta), std, mean);
    }
}

static real LK_F(uniform)(Rng *rng)
{
    return LK_REAL_IS_FLOAT ? (real)lk_random_f32(rng) : (real)lk_random_f64(rng);
}

static void LK_F(normals)(Rng *rng, real *x, int64_t n, double mean, double std)
{
    if (n < 16) { /* no block at all: PyTorch draws these one by one */
        for (int64_t i = 0; i < n; i++) x[i] = (real)fma(lk_random_normal(rng), std, mean);
        return;
    }
    for (int64_t i = 0; i < n; i++) x[i] = LK_F(uniform)(rng);
    for (int64_t i = 0; i + 16 <= n; i += 16) LK_F(normal_block)(x + i, (real)mean, (real)std);
    if (n % 16 == 0) return;
    /* The tail does not fill a block. The last sixteen are drawn again, finished ones too. */
    for (int64_t i = n - 16; i < n; i++) x[i] = LK_F(uniform)(rng);
    LK_F(normal_block)(x + n - 16, (real)mean, (real)std);
}
