/* regression - a line through noisy points with outliers: a parametrization of one's own that
 * keeps the weights positive, Huber's loss, and a training that stops early.
 *
 * The points are y = x · w + b with w = 0.5, 1, 1.5, 0, b = 2 and noise; one in ten lies far above
 * the line. */
#include <math.h>

#include "core/decimal.h"
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/linear.h"
#include "nn/parametrize.h"
#include "optim/optimizer.h"

enum { FEATURES = 4, POINTS = 200, CHECKED = 100 };
static const float TRUE_WEIGHT[FEATURES] = { 0.5f, 1, 1.5f, 0 };
static const float TRUE_BIAS = 2;

typedef struct Options {
    int64_t seed, steps, patience;
    double lr, delta;
} Options;

static const CliOption options[] = {
    CLI_SEED(Options),
    CLI_INT("steps", Options, steps, "N", 1, 1e6, "at most so many steps"),
    CLI_INT("patience", Options, patience, "N", 1, 1e6,
            "stop after N steps without a better loss"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_DOUBLE("delta", Options, delta, "X", 1e-6, 1e6,
               "errors above it count linearly, those below squared"),
    CLI_END,
};

/* ---- the parametrization -------------------------------------------------------------------- */

typedef struct Positive {
    Module base; /* no parameters of its own */
} Positive;

/* X ↦ X² */
static Tensor *positive_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_mul(t, x, x);
}

/* For registration and lk_assign: √|value|, of which forward makes |value|. */
static Tensor *positive_right_inverse(Tape *t, Module *self, Tensor *value)
{
    (void)self;
    return lk_sqrt(t, lk_abs(t, value));
}

static const ModuleType positive_type = {
    LK_CLASS(Positive),
    .forward = positive_forward,
    .right_inverse = positive_right_inverse,
};

/* ---- the points ----------------------------------------------------------------------------- */

typedef struct Points {
    Tensor *x, *y; /* (n, 4), (n, 1) */
} Points;

static void points_free(Points *p)
{
    lk_free(p->x);
    lk_free(p->y);
}

static bool points_new(Points *p, int64_t n, bool outliers, Rng *rng, Error *err)
{
    p->x = lk_tensor_new(LK_F32, LK_SHAPE(n, FEATURES), err);
    p->y = lk_tensor_new(LK_F32, LK_SHAPE(n, 1), err);
    if (!p->x || !p->y || !lk_normal_(p->x, 0, 1, rng) || !lk_normal_(p->y, 0, 0.1, rng))
        return false;
    const float *x = p->x->data;
    float *y = p->y->data; /* the noise */
    for (int64_t i = 0; i < n; i++) {
        y[i] += TRUE_BIAS;
        for (int k = 0; k < FEATURES; k++) y[i] += TRUE_WEIGHT[k] * x[FEATURES * i + k];
        if (outliers && i % 10 == 0) y[i] += 20;
    }
    lk_touch(p->y);
    return true;
}

/* ---- training ------------------------------------------------------------------------------- */

/* The mean squared error on points without outliers. */
static double error_of(Tape *t, Module *net, const Points *p)
{
    bool before = lk_tape_set_grad(t, false);
    double error = lk_item(lk_mse_loss(t, lk_forward(t, net, p->x), p->y));
    lk_tape_set_grad(t, before);
    return error;
}

/* Trains until the error on `checked` has not improved for `patience` steps. */
static bool train(Tape *t, Module *net, Optimizer *opt, const Points *points,
                  const Points *checked, const Options *o, Error *err)
{
    double best = INFINITY;
    int64_t best_step = 0, step = 0;
    bool ok = true;
    for (; ok && step < o->steps && step - best_step < o->patience; step++) {
        Tensor *y = lk_forward(t, net, points->x);
        Tensor *loss = lk_huber_loss(t, y, points->y, o->delta, LK_MEAN);
        lk_optimizer_zero_grad(opt);
        ok = lk_backward(t, loss) && lk_step(opt, err);
        double error = ok ? error_of(t, net, checked) : 0;
        if (error < best) {
            best = error;
            best_step = step;
        }
        if (ok && step % 100 == 0)
            lk_printf("step %4lld  Huber loss %.3f  squared error of clean points %.4f\n",
                      (long long)step, lk_item(loss), error);
        lk_tape_reset(t);
    }
    if (ok)
        lk_printf("stopped at step %lld; best at step %lld: %.4f\n", (long long)step,
                  (long long)best_step, best);
    return ok;
}

static bool is_close(Tape *t, Tensor *x, const float *wanted)
{
    Tensor *y = lk_tensor(t, LK_F32, x->ndim, x->shape, wanted);
    return lk_count(lk_isclose(t, x, y, 0, 0.15)) == lk_numel(x);
}

/* Prints what was found, beside what the points were made of. */
static void report(Tape *t, Module *net, bool *ok, Error *err)
{
    Tensor *weight = lk_param_named(t, net, "weight");
    Tensor *bias = lk_param_at(net, "bias", err);
    if (!weight || !bias) {
        *ok = false;
        return;
    }
    const float *w = weight->data;
    lk_printf("          w0     w1     w2     w3      b\n");
    lk_printf("found %6.3f %6.3f %6.3f %6.3f %6.3f\n", w[0], w[1], w[2], w[3], lk_item(bias));
    lk_printf("true  %6.3f %6.3f %6.3f %6.3f %6.3f\n", TRUE_WEIGHT[0], TRUE_WEIGHT[1],
              TRUE_WEIGHT[2], TRUE_WEIGHT[3], TRUE_BIAS);
    cli_line();
    Tensor *negative = lk_lt(t, weight, lk_scalar(t, LK_F32, 0));
    cli_verify(ok, lk_count(negative) == 0, "no weight is negative");
    bool close = is_close(t, weight, TRUE_WEIGHT) && is_close(t, bias, &TRUE_BIAS);
    cli_verify(ok, close, "weights and bias are within 0.15 of the true ones");
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Options *o = chosen;
    Points points = { NULL, NULL }, checked = { NULL, NULL };
    Module *net = lk_linear_new(FEATURES, 1, true, rng, err);
    bool ok = points_new(&points, POINTS, true, rng, err) &&
              points_new(&checked, CHECKED, false, rng, err) &&
              lk_register_parametrization(net, "weight", lk_module_new(&positive_type, err), err);
    Optimizer *opt = ok ? lk_adam_new(lk_parameters(net, err), o->lr, err) : NULL;
    ok = opt && train(t, net, opt, &points, &checked, o, err);
    if (ok) report(t, net, &ok, err);
    lk_optimizer_free(opt);
    lk_free(net);
    points_free(&points);
    points_free(&checked);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "regression",
                                 .about = "Fits a line through points with outliers: a "
                                          "parametrization, Huber's loss, early stopping.",
                                 .options = options };
    Options o = { .steps = 2000, .patience = 50, .lr = 0.02, .delta = 0.5 };
    return cli_main(&program, argc, argv, &o, run);
}
