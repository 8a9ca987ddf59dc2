/* ops_batch_norm.c - batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167).
 *
 * The elements of a channel are a reduction over all dimensions but 1. core/fold.h brings tiles of
 * a few channels, whose elements are read for the mean, for the variance, and for y. The moments
 * of each channel are kept for backward. core/ops_batch_norm_real.h has the arithmetic. */
#include <string.h>

#include "core/fold.h"
#include "core/internal.h"
#include "core/ops.h"

/* Of a channel. scale: 1 / √(variance + eps) */
typedef struct Moments {
    double mean, variance, scale;
} Moments;

typedef struct BatchNorm {
    int64_t channels, n; /* n: elements of a channel */
    double eps;
    bool training;    /* the moments move with x */
    Moments *moments; /* of each channel */
} BatchNorm;

/* Forward or backward. A pointer is NULL when a tensor is not there or its gradient is not
 * wanted. */
typedef struct BatchNormCall {
    const BatchNorm *norm;
    int passes;
    const void *weight, *bias;
    void *dweight, *dbias;
    bool fresh; /* dx is written, not added to */
} BatchNormCall;

#define LK_REAL_SOURCE "core/ops_batch_norm_real.h"
#include "core/real.h"

enum { X, WEIGHT, BIAS, INPUTS };

/* Returns the moments as a tensor in the shape of x, with stride 0 along all dimensions but 1. Its
 * elements are the first numbers of Moments. */
static Tensor moments_like(const Tensor *x, const BatchNorm *norm)
{
    Tensor m = { .data = norm->moments, .dtype = LK_F64, .ndim = x->ndim };
    memcpy(m.shape, x->shape, sizeof m.shape);
    m.stride[1] = sizeof(Moments) / sizeof(double);
    return m;
}

/* With x' = (x - mean) scale, y = x' w + b: dw += Σ dy x' and db += Σ dy over the elements of a
 * channel. In training mean and scale move with x: dx += w scale (dy - mean(dy) - x' mean(dy x')).
 * In evaluation dx += w scale dy. */
static void batch_norm_backward(Tape *t, Node *n)
{
    const BatchNorm *norm = n->state;
    Tensor *x = n->in[X], *w = lk_packed(t, n->in[WEIGHT]);
    if (n->in[WEIGHT] && !w) return;
    BatchNormCall a = { .norm = norm, .weight = w ? w->data : NULL };
    Tensor *dx = lk_grad_in_fresh(t, n, X, &a.fresh);
    Tensor *dweight = lk_grad_in(t, n, WEIGHT), *dbias = lk_grad_in(t, n, BIAS);
    if (lk_tape_error(t)->code != LK_OK) return;
    a.dweight = dweight ? dweight->data : NULL;
    a.dbias = dbias ? dbias->data : NULL;
    Tensor moments = moments_like(x, norm);
    lk__fold(LK_ROW(x->dtype, batch_norm_backward_fold), &a, dx ? 2 : 1, dx ? 4 : 3,
             (const Tensor *const[]){ &moments, x, n->grad, dx });
}

static const Op BATCH_NORM = { "NativeBatchNormBackward0",
                               batch_norm_backward,
                               { LK_IN0 | LK_IN1, LK_IN0, 0 } };

/* Whether a tensor, if it is there, has one element for each channel. */
static bool fits(Tape *t, const char *name, const Tensor *w, const Tensor *x)
{
    char sw[LK_SHAPE_TEXT], sx[LK_SHAPE_TEXT];
    return !w || (w->ndim == 1 && w->shape[0] == x->shape[1]) ||
           lk_fail(t, LK_ESHAPE, "lk_batch_norm: %s %s: x %s needs (%lld,)", name,
                   lk_shape_text(w, sw), lk_shape_text(x, sx), (long long)x->shape[1]);
}

static bool check(Tape *t, Tensor *const in[INPUTS], Tensor *mean, Tensor *var, bool training)
{
    static const char *const names[] = { "x", "weight", "bias", "running_mean", "running_var" };
    Tensor *const all[] = { in[X], in[WEIGHT], in[BIAS], mean, var }, *given[5];
    char sx[LK_SHAPE_TEXT];
    int count = 0;
    for (int i = 0; i < 5; i++)
        if (all[i] || i == X) given[count++] = all[i];
    if (!lk_check_floating(t, "lk_batch_norm", count, given)) return false;
    for (int i = 1; i < 5; i++)
        if (!lk_check_optional(t, "lk_batch_norm", names[i], all[i])) return false;
    if (in[X]->ndim < 2)
        return lk_fail(t, LK_ESHAPE, "lk_batch_norm: x %s: it must be (N, C) or (N, C, d…)",
                       lk_shape_text(in[X], sx));
    for (int i = 1; i < 5; i++)
        if (!fits(t, names[i], all[i], in[X])) return false;
    if (!mean != !var)
        return lk_fail(t, LK_EVALUE, "lk_batch_norm: %s is NULL, but %s is not",
                       names[mean ? 4 : 3], names[mean ? 3 : 4]);
    if (!training && !mean)
        return lk_fail(t, LK_EVALUE,
                       "lk_batch_norm: evaluation needs running_mean and running_var");
    return true;
}

/* running = (1 - momentum) running + momentum value, with the unbiased variance. */
static void update(const BatchNorm *norm, double momentum, Tensor *running, bool is_variance)
{
    const double n = (double)norm->n;
    for (int64_t c = 0; c < norm->channels; c++) {
        double value = norm->moments[c].mean, old;
        if (is_variance) value = norm->moments[c].variance * n / (n - 1);
        char *at = (char *)running->data +
                   c * running->stride[0] * (int64_t)lk_dtype_size(running->dtype);
        lk__load_row(running, at, 1, 1, &old);
        lk__store_row(running->dtype, at, 1, 1,
                      &(double){ (1 - momentum) * old + momentum * value });
    }
    lk_touch(running);
}

static void take_running(const BatchNorm *norm, const Tensor *mean, const Tensor *var)
{
    for (int64_t c = 0; c < norm->channels; c++) {
        const size_t size = lk_dtype_size(mean->dtype);
        lk__load_row(mean, (char *)mean->data + (size_t)(c * mean->stride[0]) * size, 1, 1,
                     &norm->moments[c].mean);
        lk__load_row(var, (char *)var->data + (size_t)(c * var->stride[0]) * size, 1, 1,
                     &norm->moments[c].variance);
    }
}

Tensor *lk_batch_norm(Tape *t, Tensor *x, Tensor *running_mean, Tensor *running_var,
                      Tensor *weight, Tensor *bias, bool training, double momentum, double eps)
{
    Tensor *const in[INPUTS] = { x, weight, bias };
    char sx[LK_SHAPE_TEXT];
    if (!check(t, in, running_mean, running_var, training)) return NULL;
    BatchNorm norm = { .channels = x->shape[1], .n = 1, .eps = eps, .training = training };
    for (int d = 0; d < x->ndim; d++)
        if (d != 1) norm.n *= x->shape[d];
    if (training && norm.n == 1)
        return lk_fail(t, LK_ESHAPE,
                       "lk_batch_norm: expected more than 1 value per channel when training, but "
                       "x is %s; lk_eval(net) comes before evaluation",
                       lk_shape_text(x, sx));
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape), *w = lk_packed(t, weight),
           *b = lk_packed(t, bias);
    norm.moments = lk_tape_alloc(t, (size_t)norm.channels * sizeof *norm.moments);
    if (!y || (weight && !w) || (bias && !b) || !norm.moments) return NULL;
    if (!training) take_running(&norm, running_mean, running_var);
    const BatchNormCall a = { .norm = &norm,
                              .passes = training ? 3 : 1,
                              .weight = w ? w->data : NULL,
                              .bias = b ? b->data : NULL };
    Tensor moments = moments_like(x, &norm);
    lk__fold(LK_ROW(x->dtype, batch_norm_fold), &a, a.passes, 3,
             (const Tensor *const[]){ &moments, x, y });
    if (training && running_mean && norm.n > 0) {
        update(&norm, momentum, running_mean, false);
        update(&norm, momentum, running_var, true);
    }
    return lk_record(t, &BATCH_NORM, y, INPUTS, in, &norm, sizeof norm);
}
