/* symmetric - a parametrization of one's own: a Linear whose weight is symmetric, as in PyTorch's
 * tutorial of torch.nn.utils.parametrize.
 *
 * A parametrization is a module whose forward turns one tensor into another of the same shape. It
 * is registered for a parameter of any module. From then on the module reads its result, and the
 * parameter itself, the original, is trained through it. More about it: nn/parametrize.h. The
 * library's own: nn/symmetric.c, nn/adapter.c (LoRA). */
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/linear.h"
#include "nn/parametrize.h"
#include "optim/optimizer.h"

/* ---- the parametrization -------------------------------------------------------------------- */

typedef struct Symmetric {
    Module base; /* no parameters of its own */
} Symmetric;

/* X ↦ (X + Xᵀ) / 2 */
static Tensor *symmetric_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_scale(t, lk_add(t, x, lk_T(t, x)), 0.5);
}

/* For lk_assign: returns an original that forward turns into this value. A symmetric value is its
 * own original. */
static Tensor *symmetric_right_inverse(Tape *t, Module *self, Tensor *value)
{
    (void)t, (void)self;
    return value;
}

static const ModuleType symmetric_type = {
    LK_CLASS(Symmetric),
    .forward = symmetric_forward,
    .right_inverse = symmetric_right_inverse,
};

/* ---- its use -------------------------------------------------------------------------------- */

/* Whether the weight that forward reads is its own transpose. */
static bool is_symmetric(Tape *t, Module *linear)
{
    Tensor *w = lk_param_named(t, linear, "weight"), *difference = lk_sub(t, w, lk_T(t, w));
    return difference && lk_count(difference) == 0; /* no element differs from 0 */
}

static bool run(Tape *t, Rng *rng, const void *options, Error *err)
{
    (void)options;
    Module *linear = lk_linear_new(3, 3, false, rng, err);
    bool ok =
        lk_register_parametrization(linear, "weight", lk_module_new(&symmetric_type, err), err);
    lk_print_module(stdout, linear);
    printf("\n");
    lk_print(stdout, lk_param_named(t, linear, "weight"));
    printf("\n");

    /* A step moves the original. The weight that forward reads stays symmetric. */
    Optimizer *sgd = lk_sgd_new(lk_parameters(linear, err), 0.1, err);
    Tensor *y = lk_forward(t, linear, lk_randn(t, rng, LK_F32, LK_SHAPE(4, 3)));
    ok = ok && lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)) && lk_step(sgd, err);
    cli_line();
    cli_verify(&ok, is_symmetric(t, linear), "the weight is symmetric after a step of SGD");
    ok = ok && lk_remove_parametrizations(linear, "weight", true, err);
    cli_verify(&ok, is_symmetric(t, linear), "and stays so when the parametrization is removed");
    lk_optimizer_free(sgd);
    lk_free(linear);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "symmetric",
                                 .about = "Defines a parametrization: symmetric weights." };
    return cli_main(&program, argc, argv, NULL, run);
}
