/* custom_op - an operation of one's own: softplus, y = ln(1 + e^x), with its backward, checked.
 *
 * More about it: core/op.h. A module of one's own: examples/own/custom_module.c. */
#include "core/gradcheck.h"
#include "core/op.h"
#include "core/ops.h"
#include "examples/shared/cli.h"

#define LK_REAL_SOURCE "examples/own/custom_op_real.h" /* the formula, for float and double */
#include "core/real.h"

/* ---- the operation -------------------------------------------------------------------------- */

/* y = ln(1 + e^x), so dx += dy / (1 + e^-x) */
static void softplus_backward(Tape *t, Node *n)
{
    /* dx is NULL when x is frozen */
    Tensor *x = lk_packed(t, n->in[0]), *dx = lk_grad_in(t, n, 0);
    if (x && dx)
        LK_REAL(x->dtype, softplus_gradient, lk_numel(x), x->data, n->grad->data, dx->data);
}
/* dx is made from input 0 */
static const Op SOFTPLUS = { "SoftplusBackward", softplus_backward, { LK_IN0 } };

static Tensor *softplus(Tape *t, Tensor *x)
{
    /* NULL, stale, or integers: the reason is on the tape */
    if (!lk_check_floating(t, "softplus", 1, &x)) return NULL;
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y) return NULL;
    LK_REAL(x->dtype, softplus, lk_numel(x), packed->data, y->data);
    return lk_record(t, &SOFTPLUS, y, LK_INPUTS(x), NULL, 0);
}

/* ---- its use -------------------------------------------------------------------------------- */

/* Calls softplus through a view, so that an input with other strides is checked too. */
static Tensor *call(Tape *t, Tensor *const *in, void *user)
{
    (void)user;
    return softplus(t, lk_T(t, in[0]));
}

static bool run(Tape *t, Rng *rng, const void *options, Error *err)
{
    (void)options, (void)err;
    Tensor *y = softplus(t, lk_tensor(t, LK_F32, LK_SHAPE(3), (float[]){ -1, 0, 1 }));
    Tensor *x = lk_randn(t, rng, LK_F64, LK_SHAPE(2, 3));
    if (!y || !lk_set_requires_grad(x, true)) return false;
    GradcheckReport report;
    lk_gradcheck(call, NULL, 1, &x, NULL, NULL, &report);
    lk_print(stdout, y);
    printf("\ngradcheck: %s\n", report.message);
    return report.ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "custom_op",
                                 .about = "Defines an operation and checks its gradient." };
    return cli_main(&program, argc, argv, NULL, run);
}
