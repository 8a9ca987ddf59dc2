/* ops_cumsum.c - running sums along a dimension. */
#include "core/internal.h"
#include "core/ops.h"

enum { STRIPE = 64 }; /* columns whose sums are kept at a time */

#define LK_REAL_SOURCE "core/ops_cumsum_real.h"
#include "core/real.h"

/* y_i = x_0 + … + x_i, so dx_i += dy_i + dy_(i+1) + … */
static void cumsum_backward(Tape *t, Node *n)
{
    const Along a = *(const Along *)n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    const int64_t stripes = (a.inner + STRIPE - 1) / STRIPE;
    if (!dx) return;
#pragma omp parallel for schedule(static) if (a.outer * a.n * a.inner > 1 << 15)
    for (int64_t i = 0; i < a.outer * stripes; i++)
        LK_REAL(dx->dtype, add_sums_to_end, &a, i / stripes, i % stripes * STRIPE, n->grad->data,
                dx->data);
}

static const Op CUMSUM = { "CumsumBackward0", cumsum_backward, { 0 } };

static void cumsum_int(const Along *a, const int64_t *x, int64_t *y)
{
    for (int64_t i = 0; i < a->outer * a->n * a->inner; i++) {
        bool first = i / a->inner % a->n == 0;
        uint64_t before = first ? 0 : (uint64_t)y[i - a->inner];
        y[i] = (int64_t)(before + (uint64_t)x[i]); /* unsigned: it may wrap around */
    }
}

Tensor *lk_cumsum(Tape *t, Tensor *x, int dim)
{
    if (!lk_check_operands(t, "lk_cumsum", 1, &x)) return NULL;
    if (!lk_is_floating(x->dtype) && x->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE,
                       "lk_cumsum: takes float32, float64 or int64, not %s; lk_to converts",
                       lk_dtype_name(x->dtype));
    int at = lk__check_dim(t, "lk_cumsum", x->ndim, dim);
    if (at < 0) return NULL;
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y) return NULL;
    const Along a = lk__along(x, at);
    if (x->dtype == LK_I64) {
        cumsum_int(&a, packed->data, y->data);
        return y;
    }
    const int64_t stripes = (a.inner + STRIPE - 1) / STRIPE;
#pragma omp parallel for schedule(static) if (a.outer * a.n * a.inner > 1 << 15)
    for (int64_t i = 0; i < a.outer * stripes; i++)
        LK_REAL(x->dtype, sums_from_start, &a, i / stripes, i % stripes * STRIPE, packed->data,
                y->data);
    return lk_record(t, &CUMSUM, y, LK_INPUTS(x), &a, sizeof a);
}
