/* ops_group_norm.c - group normalization (Wu and He 2018, arXiv:1803.08494).
 *
 * A group of channels of one sample lies side by side. It is normalized as a row of layer
 * normalization is (core/ops_norm.c), but each channel has one weight and one bias.
 * core/ops_group_norm_real.h has the arithmetic. */
#include "core/internal.h"
#include "core/ops.h"

typedef struct Moments {
    double mean, scale; /* scale: 1 / std */
} Moments;

/* samples · groups groups, each of `width` channels of n elements. */
typedef struct GroupNorm {
    int64_t samples, groups, width, n;
    double eps;
    Moments *moments; /* of each group; NULL when backward will not ask for them */
} GroupNorm;

/* Forward or backward. A pointer is NULL when a tensor is not there or its gradient is not
 * wanted. */
typedef struct GroupCall {
    const GroupNorm *norm;
    const void *x, *weight, *bias, *dy;
    void *y, *dx;
    bool fresh;   /* dx is written, not added to */
    double *sums; /* of each sample and channel: Σ dy x', Σ dy */
} GroupCall;

#define LK_REAL_SOURCE "core/ops_group_norm_real.h"
#include "core/real.h"

enum { X, WEIGHT, BIAS, INPUTS };

/* With x' = (x - mean) / std, y = x' w + b: dw += Σ dy x' and db += Σ dy over samples and elements
 * of a channel. With g = dy w, dx += (g - mean(g) - x' mean(g x')) / std. */
static void group_norm_backward(Tape *t, Node *n)
{
    const GroupNorm *g = n->state;
    Tensor *x = lk_packed(t, n->in[X]), *w = lk_packed(t, n->in[WEIGHT]);
    if (!x || (n->in[WEIGHT] && !w)) return;
    GroupCall a = { .norm = g, .x = x->data, .weight = w ? w->data : NULL, .dy = n->grad->data };
    Tensor *dx = lk_grad_in_fresh(t, n, X, &a.fresh);
    Tensor *dweight = lk_grad_in(t, n, WEIGHT), *dbias = lk_grad_in(t, n, BIAS);
    if (lk_tape_error(t)->code != LK_OK || lk__elements(x) == 0) return;
    a.dx = dx ? dx->data : NULL;
    a.sums = lk_tape_scratch(t, (size_t)(g->samples * g->groups * g->width) * 2 * sizeof *a.sums);
    if (!a.sums) return;
#pragma omp parallel for schedule(static) if (lk__elements(x) > 1 << 15)
    for (int64_t row = 0; row < g->samples * g->groups; row++)
        LK_REAL(x->dtype, group_backward, &a, row, row % g->groups * g->width);
    LK_REAL(x->dtype, add_sums, g, a.sums, dweight ? dweight->data : NULL,
            dbias ? dbias->data : NULL);
}

static const Op GROUP_NORM = { "NativeGroupNormBackward0",
                               group_norm_backward,
                               { LK_IN0 | LK_IN1, LK_IN0, 0 } };

static bool fits(Tape *t, const char *name, const Tensor *w, const Tensor *x)
{
    char sw[LK_SHAPE_TEXT], sx[LK_SHAPE_TEXT];
    return !w || (w->ndim == 1 && w->shape[0] == x->shape[1]) ||
           lk_fail(t, LK_ESHAPE, "lk_group_norm: %s %s: x %s needs (%lld,)", name,
                   lk_shape_text(w, sw), lk_shape_text(x, sx), (long long)x->shape[1]);
}

Tensor *lk_group_norm(Tape *t, Tensor *x, int64_t groups, Tensor *weight, Tensor *bias, double eps)
{
    Tensor *const in[INPUTS] = { x, weight, bias };
    Tensor *given[INPUTS];
    char sx[LK_SHAPE_TEXT];
    int count = 0;
    for (int i = 0; i < INPUTS; i++)
        if (in[i] || i == X) given[count++] = in[i];
    if (!lk_check_floating(t, "lk_group_norm", count, given) ||
        !lk_check_optional(t, "lk_group_norm", "weight", weight) ||
        !lk_check_optional(t, "lk_group_norm", "bias", bias))
        return NULL;
    if (x->ndim < 2)
        return lk_fail(t, LK_ESHAPE, "lk_group_norm: x %s: it must be (N, C) or (N, C, d…)",
                       lk_shape_text(x, sx));
    if (groups < 1 || x->shape[1] % groups != 0)
        return lk_fail(t, LK_ESHAPE,
                       "lk_group_norm: %lld groups: they must divide the %lld channels of x %s",
                       (long long)groups, (long long)x->shape[1], lk_shape_text(x, sx));
    if (!fits(t, "weight", weight, x) || !fits(t, "bias", bias, x)) return NULL;
    GroupNorm g = {
        .samples = x->shape[0], .groups = groups, .width = x->shape[1] / groups, .n = 1, .eps = eps
    };
    for (int d = 2; d < x->ndim; d++) g.n *= x->shape[d];
    Tensor *packed = lk_packed(t, x), *w = lk_packed(t, weight), *b = lk_packed(t, bias),
           *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || (weight && !w) || (bias && !b) || !y) return NULL;
    if (lk_records(t, INPUTS, in)) {
        g.moments = lk_tape_alloc(t, (size_t)(g.samples * groups) * sizeof *g.moments);
        if (!g.moments) return NULL;
    }
    const GroupCall a = { .norm = &g,
                          .x = packed->data,
                          .weight = w ? w->data : NULL,
                          .bias = b ? b->data : NULL,
                          .y = y->data };
#pragma omp parallel for schedule(static) if (lk__elements(x) > 1 << 15)
    for (int64_t row = 0; row < (lk__elements(x) ? g.samples * groups : 0); row++)
        LK_REAL(x->dtype, group, &a, row, row % groups * g.width);
    return lk_record(t, &GROUP_NORM, y, INPUTS, in, &g, sizeof g);
}
