/* custom_module - a module of one's own: a residual block, y = x + scale · up(relu(down(x))).
 *
 * A struct, a forward, a table and a constructor are all there is to write; the rest of this file
 * uses the result: names, counts, the printed tree, freezing, a deep copy, training, a gradient
 * check. The notebooks do the same with class …(nn.Module). More about it: nn/module.h. An
 * operation of one's own: examples/own/custom_op.c. */
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/gradcheck.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

/* ---- the module ----------------------------------------------------------------------------- */

typedef struct Residual {
    Module base;
    Tensor *scale;     /* (1), a parameter of its own */
    Module *down, *up; /* Linear: features → width → features */
    int64_t width;
} Residual;

static Tensor *residual_forward(Tape *t, Module *self, Tensor *x)
{
    Residual *r = (Residual *)self;
    Tensor *inner = lk_relu(t, lk_forward(t, r->down, x));
    return lk_add(t, x, lk_mul(t, lk_param(t, self, &r->scale), lk_forward(t, r->up, inner)));
}

static const ModuleType residual_type = {
    LK_CLASS(Residual),
    .forward = residual_forward,
    .repr = "width={width}",
    .fields = LK_FIELDS(LK_PARAM(Residual, scale), LK_CHILD(Residual, down),
                        LK_CHILD(Residual, up), LK_INT(Residual, width)),
};

static Module *residual_new(int64_t features, int64_t width, Rng *rng, Error *err)
{
    Residual *r = lk_module_with_params_new(&residual_type, LK_PARAM_SHAPES({ LK_SHAPE(1) }), err);
    if (!r) return NULL;
    lk_fill_(r->scale, 0.5);
    r->width = width;
    r->down = lk_linear_new(features, width, true, rng, err);
    r->up = lk_linear_new(width, features, true, rng, err);
    return lk_module_complete(&r->base, r->down && r->up);
}

/* ---- its use -------------------------------------------------------------------------------- */

static void print(Module *net)
{
    lk_print_module(stdout, net);
    putchar('\n');
    for (ParamIter it = lk_params(net); lk_params_next(&it);) {
        printf("%s ", it.name);
        lk_print_size(stdout, it.tensor);
        printf("%s\n", it.tensor->requires_grad ? "" : " frozen");
    }
    printf("%lld parameters, %lld trainable\n", (long long)lk_count_parameters(net),
           (long long)lk_count_trainable_parameters(net));
}

/* Trains on the sum of squares of four numbers, 64 samples, and looks whether the loss falls. */
static void train(bool *ok, Tape *t, Module *net, int64_t epochs, Rng *rng, Error *err)
{
    Tensor *x = lk_clone(lk_randn(t, rng, LK_F32, LK_SHAPE(64, 4)), err);
    Tensor *y = lk_clone(lk_sum(t, lk_mul(t, x, x), LK_DIMS(1), true), err);
    Optimizer *adam = lk_adam_new(lk_trainable_parameters(net, err), 0.01, err);
    double first = 0, last = 0;
    for (int64_t i = 0; i < epochs && adam; i++) {
        lk_tape_reset(t);
        lk_optimizer_zero_grad(adam);
        Tensor *loss = lk_mse_loss(t, lk_forward(t, net, x), y);
        if (!lk_backward(t, loss) || !lk_step(adam, err)) break;
        last = lk_item(loss);
        if (i == 0) first = last;
    }
    cli_verify(ok, last < first, "%lld epochs: the loss falls from %.4f to %.4f",
               (long long)epochs, first, last);
    lk_optimizer_free(adam);
    lk_free(y);
    lk_free(x);
}

typedef struct Options {
    int64_t seed, epochs;
} Options;
static const CliOption options[] = { CLI_SEED(Options), CLI_EPOCHS(Options), CLI_END };

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    Module *block = residual_new(4, 16, rng, err), *head = lk_linear_new(4, 1, true, rng, err);
    Module *net = lk_sequential_new(LK_MODULES(block, head), err), *copy = lk_deepcopy(net, err);
    lk_require_grad(net, "1.bias", false);
    bool ok = copy && lk_module_to(copy, LK_F64, err);
    if (ok) {
        print(net);
        cli_line();
        train(&ok, t, net, ((const Options *)chosen)->epochs, rng, err);
        GradcheckReport report;
        lk_gradcheck_module(copy, lk_randn(t, rng, LK_F64, LK_SHAPE(3, 4)),
                            &(GradcheckOptions){ .atol = 1e-7, .rtol = 1e-5 }, &report);
        cli_verify(&ok, report.ok, "gradcheck of the untrained copy: %s", report.message);
    }
    lk_free(copy);
    lk_free(net);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "custom_module",
                                 .about = "Defines a module, prints it, trains and checks it.",
                                 .options = options };
    return cli_main(&program, argc, argv, &(Options){ .epochs = 200 }, run);
}
