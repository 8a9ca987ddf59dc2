/* ops_dropout.c - dropout. core/kernels/dropout.h tells which elements it keeps. */
#include "core/kernels/dropout.h"
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_dropout_real.h"
#include "core/real.h"

/* y = x noise with noise 0 or 1 / (1 - p), so dx += dy noise, with the same mask. */
static void dropout_backward(Tape *t, Node *n)
{
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, n, 0, &fresh);
    if (dx) LK_REAL(dx->dtype, multiply, n->state, lk_numel(dx), n->grad->data, dx->data, !fresh);
}

static const Op DROPOUT = { "MulBackward0", dropout_backward, { 0 } };

Tensor *lk_dropout(Tape *t, Tensor *x, double p)
{
    DropoutMask mask;
    if (!lk_check_floating(t, "lk_dropout", 1, &x) || !lk__dropout_mask(t, "lk_dropout", p, &mask))
        return NULL;
    if (p == 0) return x;
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y) return NULL;
    LK_REAL(x->dtype, multiply, &mask, lk_numel(x), packed->data, y->data, false);
    return lk_record(t, &DROPOUT, y, LK_INPUTS(x), &mask, sizeof mask);
}
