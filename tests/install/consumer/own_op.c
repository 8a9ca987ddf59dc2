/* own_op.c - a user's own operation, y = x², from installed headers: checked by lk_gradcheck. */
#include <stdio.h>

#include "core/gradcheck.h"
#include "core/op.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "own_op_real.h"
#include "core/real.h"

static void square_backward(Tape *t, Node *n)
{
    Tensor *x = lk_packed(t, n->in[0]), *dx = lk_grad_in(t, n, 0);
    if (x && dx) LK_REAL(x->dtype, square_gradient, lk_numel(x), x->data, n->grad->data, dx->data);
}
static const Op SQUARE = { "SquareBackward", square_backward, { LK_IN0 } };

static Tensor *square(Tape *t, Tensor *const *in, void *user)
{
    (void)user;
    Tensor *x = lk_packed(t, in[0]), *y = x ? lk_empty(t, x->dtype, x->ndim, x->shape) : NULL;
    if (!y) return NULL;
    LK_REAL(x->dtype, square, lk_numel(x), x->data, y->data);
    return lk_record(t, &SQUARE, y, LK_INPUTS(in[0]), NULL, 0);
}

int main(void)
{
    GradcheckReport report;
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(2, 3), NULL);
    lk_fill_(x, 3);
    lk_gradcheck(square, NULL, 1, &x, NULL, NULL, &report);
    if (!report.ok) fprintf(stderr, "own_op: %s\n", report.message);
    lk_tensor_free(x);
    return report.ok ? 0 : 1;
}
