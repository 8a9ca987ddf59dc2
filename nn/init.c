/* init.c - torch.nn.init. The streams of random numbers: core/rng.c. */
#include "nn/init.h"

#include <math.h>

#include "core/internal.h"
#include "core/kernels/gemm.h"

/* ---- checks --------------------------------------------------------------------------------- */

static bool can_fill(const char *function, const Tensor *x, Error *err)
{
    if (!lk__is_usable(function, x, err)) return false;
    return lk_is_floating(x->dtype) ||
           lk_error_set(err, LK_EDTYPE, "%s: x is %s, which is not floating", function,
                        lk_dtype_name(x->dtype));
}

static bool can_draw(const char *function, const Tensor *x, const Rng *rng, Error *err)
{
    if (!can_fill(function, x, err)) return false;
    return rng ||
           lk_error_set(err, LK_EVALUE,
                        "%s: the generator is NULL; lk_manual_seed(&rng, 0) begins one", function);
}

/* The same for a matrix, or more dimensions. */
static bool can_draw_matrix(const char *function, const Tensor *x, const Rng *rng, Error *err)
{
    char text[LK_SHAPE_TEXT];
    if (!can_draw(function, x, rng, err)) return false;
    return x->ndim >= 2 || lk_error_set(err, LK_ESHAPE, "%s: x %s needs at least 2 dimensions",
                                        function, lk_shape_text(x, text));
}

/* ---- by fans -------------------------------------------------------------------------------- */

double lk_init_gain(Nonlinearity after, double a)
{
    switch (after) {
    case LK_AFTER_LEAKY_RELU: return sqrt(2 / (1 + a * a));
    case LK_AFTER_RELU: return sqrt(2);
    case LK_AFTER_TANH: return 5.0 / 3;
    case LK_AFTER_SELU: return 3.0 / 4;
    case LK_AFTER_LINEAR: break;
    }
    return 1;
}

static double fan_of(const Tensor *x, FanMode mode)
{
    double fan = (double)x->shape[mode == LK_FAN_IN ? 1 : 0];
    for (int d = 2; d < x->ndim; d++) fan *= (double)x->shape[d];
    return fan;
}

static bool draw(Tensor *x, bool uniform, double std, Rng *rng)
{
    if (lk_numel(x) == 0) return true;
    if (!uniform) return lk_normal_(x, 0, std, rng);
    return lk_uniform_(x, -(sqrt(3) * std), sqrt(3) * std, rng);
}

bool lk_init_kaiming_uniform_(Tensor *x, double a, FanMode mode, Nonlinearity after, Rng *rng,
                              Error *err)
{
    return can_draw_matrix("lk_init_kaiming_uniform_", x, rng, err) &&
           draw(x, true, lk_init_gain(after, a) / sqrt(fan_of(x, mode)), rng);
}

bool lk_init_kaiming_normal_(Tensor *x, double a, FanMode mode, Nonlinearity after, Rng *rng,
                             Error *err)
{
    return can_draw_matrix("lk_init_kaiming_normal_", x, rng, err) &&
           draw(x, false, lk_init_gain(after, a) / sqrt(fan_of(x, mode)), rng);
}

static double xavier(const Tensor *x, double gain)
{
    return gain * sqrt(2 / (fan_of(x, LK_FAN_IN) + fan_of(x, LK_FAN_OUT)));
}

bool lk_init_xavier_uniform_(Tensor *x, double gain, Rng *rng, Error *err)
{
    return can_draw_matrix("lk_init_xavier_uniform_", x, rng, err) &&
           draw(x, true, xavier(x, gain), rng);
}

bool lk_init_xavier_normal_(Tensor *x, double gain, Rng *rng, Error *err)
{
    return can_draw_matrix("lk_init_xavier_normal_", x, rng, err) &&
           draw(x, false, xavier(x, gain), rng);
}

/* ---- orthogonal ----------------------------------------------------------------------------- */

enum { PANEL = 32 };

/* x -= (x · y) y, for a y of length 1. */
static void project_out(int64_t n, double *x, const double *y)
{
    double dot = 0;
    for (int64_t i = 0; i < n; i++) dot += x[i] * y[i];
    for (int64_t i = 0; i < n; i++) x[i] -= dot * y[i];
}

/* Makes the rows of v (count, n) orthonormal by Gram and Schmidt, which is Q of the QR
 * decomposition with a positive diagonal of R. The rows of a panel are first freed of all rows
 * before, as two products, and then of each other. Each is done twice, since the first time leaves
 * rounding errors behind. */
static void orthonormalize(int64_t count, int64_t n, double *v, double *share, void *workspace)
{
    for (int64_t first = 0; first < count; first += PANEL) {
        const int64_t size = count - first < PANEL ? count - first : PANEL;
        Mat before = lk__mat(LK_F64, first, n, v), own = lk__mat(LK_F64, size, n, v + first * n),
            shares = lk__mat(LK_F64, size, first, share);
        for (int time = 0; time < 2 && first > 0; time++) {
            lk__gemm(shares, own, lk__mat_T(before), false, workspace);
            for (int64_t i = 0; i < size * first; i++) share[i] = -share[i];
            lk__gemm(own, shares, before, true, workspace);
        }
        for (int64_t i = first; i < first + size; i++) {
            double square = 0, *row = v + i * n;
            for (int time = 0; time < 2; time++)
                for (int64_t j = first; j < i; j++) project_out(n, row, v + j * n);
            for (int64_t k = 0; k < n; k++) square += row[k] * row[k];
            for (int64_t k = 0; k < n; k++) row[k] /= square > 0 ? sqrt(square) : 1;
        }
    }
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

bool lk_init_orthogonal_(Tensor *x, double gain, Rng *rng, Error *err)
{
    if (!can_draw_matrix("lk_init_orthogonal_", x, rng, err)) return false;
    const int64_t all = lk_numel(x), rows = x->shape[0];
    if (all == 0) return true;
    const int64_t columns = all / rows;
    const bool wide = rows <= columns;
    const int64_t count = wide ? rows : columns, n = wide ? columns : rows;
    const size_t workspace = larger(lk__gemm_workspace(LK_F64, PANEL, count, n),
                                    lk__gemm_workspace(LK_F64, PANEL, n, count));
    Tensor *drawn = lk_tensor_new(x->dtype, x->ndim, x->shape, err);
    double *v = lk_mem_alloc((size_t)all * sizeof *v),
           *share = lk_mem_alloc((size_t)(PANEL * count) * sizeof *share);
    void *room = lk_mem_alloc(workspace + 64);
    bool ok = drawn && v && share && room;
    if (!ok) lk_error_set(err, LK_EMEMORY, "lk_init_orthogonal_: no memory");
    if (ok) {
        lk_normal_(drawn, 0, 1, rng);
        for (int64_t i = 0; i < all; i++) {
            const int64_t to = wide ? i : i % columns * n + i / columns;
            v[to] = x->dtype == LK_F64 ? ((double *)drawn->data)[i]
                                       : (double)((float *)drawn->data)[i];
        }
        orthonormalize(count, n, v, share, (void *)(((uintptr_t)room + 63) / 64 * 64));
        for (int64_t i = 0; i < all; i++) {
            const double q = v[wide ? i : i % columns * n + i / columns];
            if (x->dtype == LK_F64) ((double *)drawn->data)[i] = q * gain;
            else ((float *)drawn->data)[i] = (float)q * (float)gain;
        }
        lk__copy_fitting(x, drawn);
    }
    lk_tensor_free(drawn);
    lk_mem_free(v);
    lk_mem_free(share);
    lk_mem_free(room);
    return ok;
}

/* ---- truncated ------------------------------------------------------------------------------ */

/* clang-format off */
/* The inverse of erf as PyTorch has it: a quotient of polynomials and two steps of Newton's
 * method, all in the type of x. */
#define INVERSE_ERF(name, real, sqrt, log, erf, exp, copysign) \
    static real name(real y) \
    { \
        const real u = y < 0 ? -y : y; \
        real x; \
        if (u >= 1) return u > 1 ? (real)NAN : copysign((real)INFINITY, y); \
        if (u <= (real)0.7) { \
            const real z = y * y; \
            const real top = (((real)-0.140543331 * z + (real)0.914624893) * z + \
                              (real)-1.645349621) * z + (real)0.886226899; \
            const real bottom = ((((real)0.012229801 * z + (real)-0.329097515) * z + \
                                  (real)1.442710462) * z + (real)-2.118377725) * z + 1; \
            x = y * top / bottom; \
        } else { \
            const real z = sqrt(-log((1 - u) / 2)); \
            const real top = (((real)1.641345311 * z + (real)3.429567803) * z + \
                              (real)-1.624906493) * z + (real)-1.970840454; \
            const real bottom = ((real)1.637067800 * z + (real)3.543889200) * z + 1; \
            x = copysign(top, y) / bottom; \
        } \
        for (int step = 0; step < 2; step++) \
            x = x - (erf(x) - y) / ((real)1.12837916709551257390 * exp(-x * x)); \
        return x; \
    }
/* clang-format on */
INVERSE_ERF(inverse_erf_f64, double, sqrt, log, erf, exp, copysign)
INVERSE_ERF(inverse_erf_f32, float, sqrtf, logf, erff, expf, copysignf)

static double within(double x, double a, double b) { return fmin(fmax(x, a), b); }

bool lk_init_trunc_normal_(Tensor *x, double mean, double std, double a, double b, Rng *rng,
                           Error *err)
{
    if (!can_draw("lk_init_trunc_normal_", x, rng, err)) return false;
    if (!(std > 0) || !(a <= b))
        return lk_error_set(
            err, LK_EVALUE,
            "lk_init_trunc_normal_: std %g from %g to %g; std must be positive, and "
            "the first end not above the second",
            std, a, b);
    Tensor *drawn = lk_tensor_new(x->dtype, x->ndim, x->shape, err);
    if (!drawn) return false;
    const double low = (1 + erf((a - mean) / std / sqrt(2))) / 2,
                 high = (1 + erf((b - mean) / std / sqrt(2))) / 2, scale = std * sqrt(2);
    const int64_t n = lk_numel(x);
    lk_uniform_(drawn, 2 * low - 1, 2 * high - 1, rng);
    double *wide = drawn->data;
    float *narrow = drawn->data;
    if (x->dtype == LK_F64)
        for (int64_t i = 0; i < n; i++)
            wide[i] = within(inverse_erf_f64(wide[i]) * scale + mean, a, b);
    else
        for (int64_t i = 0; i < n; i++) {
            const float scaled = inverse_erf_f32(narrow[i]) * (float)scale;
            narrow[i] =
                (float)within((double)(scaled + (float)mean), (double)(float)a, (double)(float)b);
        }
    lk__copy_fitting(x, drawn);
    lk_tensor_free(drawn);
    return true;
}

/* ---- constants ------------------------------------------------------------------------------ */

bool lk_init_constant_(Tensor *x, double value, Error *err)
{
    return can_fill("lk_init_constant_", x, err) && lk_fill_(x, value);
}

bool lk_init_zeros_(Tensor *x, Error *err)
{
    return can_fill("lk_init_zeros_", x, err) && lk_fill_(x, 0);
}
