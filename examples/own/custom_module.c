/* custom_module - a module of one's own: a residual block, y = x + scale · up(relu(down(x))).
 *
 * A struct, a forward and a table are all there is to write; the rest of this file uses the
 * result: names, counts, the printed tree, freezing, a deep copy, training, a gradient check. The
 * notebooks do the same with class …(nn.Module). More about it: nn/module.h. An operation of one's
 * own: examples/own/custom_op.c. */
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/activation.h"
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
static const ModuleType residual_type = { .name = "Residual",
                                          .size = sizeof(Residual),
                                          .forward = residual_forward,
                                          .repr = "width={width}",
                                          .fields = LK_FIELDS(
                                              LK_PARAM(Residual, scale), LK_CHILD(Residual, down),
                                              LK_CHILD(Residual, up), LK_INT(Residual, width)) };

/* A constructor fills the slots; what is missing is freed with the rest. */
static Module *residual_new(int64_t features, int64_t width, Rng *rng, Error *err)
{
    Residual *r = lk_module_new(&residual_type, err);
    if (!r) return NULL;
    r->width = width;
    r->scale = lk_param_new(LK_F32, LK_SHAPE(1), err);
    r->down = r->scale ? lk_linear_new(features, width, true, rng, err) : NULL;
    r->up = r->down ? lk_linear_new(width, features, true, rng, err) : NULL;
    if (r->up && lk_fill_(r->scale, 0.5)) return &r->base;
    lk_free(&r->base);
    return NULL;
}

/* ---- its use -------------------------------------------------------------------------------- */

typedef struct Options {
    int64_t seed, epochs;
} Options;
static const CliOption options[] = { CLI_SEED(Options), CLI_EPOCHS(Options), CLI_END };
static const CliProgram program = { .name = "custom_module",
                                    .about = "Defines a module, prints it, trains and checks it.",
                                    .options = options };

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

/* The sum of squares of four numbers, learnt from 64 samples. */
static bool train(Tape *t, Module *net, int64_t epochs, Rng *rng, double *first, double *last,
                  Error *err)
{
    Tensor *x = lk_clone(lk_randn(t, rng, LK_F32, LK_SHAPE(64, 4)), err);
    Tensor *y = x ? lk_clone(lk_sum(t, lk_mul(t, x, x), LK_DIMS(1), true), err) : NULL;
    Optimizer *adam = lk_adam_new(lk_trainable_parameters(net, err), 0.01, err);
    for (int64_t i = 0; i < epochs && adam && y; i++) {
        lk_tape_reset(t);
        lk_optimizer_zero_grad(adam);
        Tensor *loss = lk_mse_loss(t, lk_forward(t, net, x), y);
        if (!lk_backward(t, loss) || !lk_step(adam, err)) break;
        *last = lk_item(loss);
        if (i == 0) *first = *last;
    }
    lk_tape_reset(t);
    lk_optimizer_free(adam);
    lk_free(y);
    lk_free(x);
    return lk_tape_ok(t, err);
}

static bool run(Tape *t, const Options *o, Rng *rng, Error *err)
{
    Module *block = residual_new(4, 16, rng, err), *head = lk_linear_new(4, 1, true, rng, err);
    Module *net = lk_sequential_new(LK_MODULES(block, head), err);
    Module *copy = lk_deepcopy(net, err);
    double first = 0.0, last = 0.0;
    lk_require_grad(net, "1.bias", false);
    bool ok = net && copy;
    if (ok) print(net);
    ok =
        ok && train(t, net, o->epochs, rng, &first, &last, err) && lk_module_to(copy, LK_F64, err);
    /* owned: another tape than ours will use it */
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(3, 4), err);
    if (ok && x) {
        GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
        GradcheckReport report;
        lk_normal_(x, 0.0, 1.0, rng);
        lk_gradcheck_module(copy, x, &strict, &report);
        cli_line();
        cli_verify(&ok, last < first, "%lld epochs: the loss falls from %.4f to %.4f",
                   (long long)o->epochs, first, last);
        cli_verify(&ok, report.ok, "gradcheck of the untrained copy: %s", report.message);
    }
    lk_free(x);
    lk_free(copy);
    lk_free(net);
    return lk_tape_ok(t, err) && ok;
}

int main(int argc, char **argv)
{
    Options o = { .seed = 0, .epochs = 200 };
    cli_parse(&program, argc, argv, &o);
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, (uint64_t)o.seed);
    Tape *t = lk_tape_new(&err);
    bool ok = false;
    if (t) {
        lk_tape_on_error(t, NULL, NULL); /* cli_exit prints the message, once */
        ok = run(t, &o, &rng, &err);
    }
    lk_tape_free(t);
    return cli_exit(&program, ok, &err);
}
