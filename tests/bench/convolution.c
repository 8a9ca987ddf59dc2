/* convolution.c - convolutions and pooling by themselves, and training steps of LeNet. */
#include "core/ops.h"
#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

#include "tests/bench/bench.h"

typedef enum Kind { CONV_FORWARD, CONV_GRAD_X, CONV_GRAD_W, POOL } Kind;

/* The state of one call. */
typedef struct Task {
    Tape *t;
    Tensor *x, *w, *dy, *y, *labels;
    int64_t padding, kernel;
    Module *net; /* the convolutions, and the Linears */
    Optimizer *opt;
    Error err;
} Task;

static bool task_begin(Task *k, Error *err)
{
    *k = (Task){ .t = lk_tape_quiet_new(err) }; /* the program prints the message */
    return k->t;
}

/* Frees what there is and says whether all went well. */
static bool task_end(Task *k, Error *err)
{
    bool ok = lk_tape_ok(k->t, &k->err) || lk_error_set(err, k->err.code, "%s", k->err.message);
    lk_optimizer_free(k->opt);
    lk_free(k->net);
    lk_free(k->x);
    lk_free(k->w);
    lk_free(k->dy);
    lk_free(k->labels);
    lk_tape_free(k->t);
    return ok && err->code == LK_OK;
}

static Tensor *random_new(int ndim, const int64_t *shape, Rng *rng, Error *err)
{
    Tensor *x = lk_tensor_new(LK_F32, ndim, shape, err);
    if (x) lk_uniform_(x, -1, 1, rng);
    return x;
}

/* ---- single operations ---------------------------------------------------------------------- */

static Tensor *convolve(Task *k)
{
    const ConvOptions options = { .padding = { k->padding, k->padding } };
    return lk_conv2d(k->t, k->x, k->w, NULL, options);
}

static void forward(void *state)
{
    Task *k = state;
    if (k->w) convolve(k);
    else lk_max_pool2d(k->t, k->x, (PoolOptions){ .kernel = { k->kernel, k->kernel } });
    lk_tape_reset(k->t);
}

/* The gradient of the one operand that wants one, from a graph that stays. */
static void backward(void *state)
{
    Task *k = state;
    if (!lk_backward_with(k->t, k->y, k->dy, true)) return; /* task_end says why */
    lk_zero_grad_(k->x);
    lk_zero_grad_(k->w);
}

/* size: images, channels, channels of the result, height and width, kernel; the result of a
 * convolution is as large as x. */
static bool run_operation(const Bench *b, const Workload *w, Result *r, Error *err)
{
    const int64_t *s = w->size;
    const double in = (double)(s[0] * s[1] * s[3] * s[3]),
                 out = (double)(s[0] * s[2] * s[3] * s[3]),
                 weights = (double)(s[2] * s[1] * s[4] * s[4]);
    Task k;
    Rng rng;
    lk_manual_seed(&rng, 0);
    if (task_begin(&k, err)) {
        k.kernel = s[4];
        k.padding = s[4] / 2;
        k.x = random_new(LK_SHAPE(s[0], s[1], s[3], s[3]), &rng, err);
        if (w->kind == POOL) {
            r->bytes = r->working_set = 4.0 * in * (1.0 + 1.0 / (double)(s[4] * s[4]));
        } else {
            k.w = random_new(LK_SHAPE(s[2], s[1], s[4], s[4]), &rng, err);
            k.dy = random_new(LK_SHAPE(s[0], s[2], s[3], s[3]), &rng, err);
            r->flops = 2.0 * weights * (double)(s[0] * s[3] * s[3]);
            r->bytes = r->working_set = 4.0 * (in + out + weights);
        }
        if (w->kind == CONV_GRAD_X) lk_set_requires_grad(k.x, true);
        if (w->kind == CONV_GRAD_W) lk_set_requires_grad(k.w, true);
        const bool gradient = w->kind == CONV_GRAD_X || w->kind == CONV_GRAD_W;
        if (err->code == LK_OK && gradient) k.y = convolve(&k);
        if (err->code == LK_OK) bench_time(b, gradient ? backward : forward, &k, r);
    }
    return task_end(&k, err);
}

/* ---- LeNet ---------------------------------------------------------------------------------- */

static Module *features_new(Rng *rng, Error *err)
{
    const ConvOptions same = { .padding = { 2, 2 } }, none = { 0 };
    const PoolOptions half = { .kernel = { 2 } };
    Module *first = lk_conv2d_new(1, 6, 5, 5, same, true, rng, err),
           *second = lk_conv2d_new(6, 16, 5, 5, none, true, rng, err);
    return lk_sequential_new(LK_MODULES(first, lk_relu_new(err), lk_max_pool2d_new(half, err),
                                        second, lk_relu_new(err), lk_max_pool2d_new(half, err)),
                             err);
}

static Module *classifier_new(Rng *rng, Error *err)
{
    Module *a = lk_linear_new(400, 120, true, rng, err),
           *b = lk_linear_new(120, 84, true, rng, err), *c = lk_linear_new(84, 10, true, rng, err);
    return lk_sequential_new(LK_MODULES(a, lk_relu_new(err), b, lk_relu_new(err), c), err);
}

static void train_step(void *state)
{
    Task *k = state;
    Module *first = lk_sequential_at(k->net, 0, NULL), *last = lk_sequential_at(k->net, 1, NULL);
    Tensor *h = lk_view(k->t, lk_forward(k->t, first, k->x), LK_SHAPE(-1, 400));
    Tensor *loss = lk_cross_entropy(k->t, lk_forward(k->t, last, h), k->labels);
    lk_optimizer_zero_grad(k->opt);
    if (!lk_backward(k->t, loss) || !lk_step(k->opt, &k->err)) return;
    lk_tape_reset(k->t);
}

/* size: the batch. The images are random numbers. */
static bool run_lenet(const Bench *b, const Workload *w, Result *r, Error *err)
{
    const double conv1 = 28.0 * 28.0 * 6.0 * 25.0, conv2 = 100.0 * 16.0 * 150.0,
                 linear = 400.0 * 120.0 + 120.0 * 84.0 + 84.0 * 10.0;
    Task k;
    Rng rng;
    lk_manual_seed(&rng, 0);
    if (task_begin(&k, err)) {
        Module *first = features_new(&rng, err), *last = classifier_new(&rng, err);
        k.net = lk_sequential_new(LK_MODULES(first, last), err);
        k.opt = k.net ? lk_adam_new(lk_parameters(k.net, err), 1e-3, err) : NULL;
        k.x = random_new(LK_SHAPE(w->size[0], 1, 28, 28), &rng, err);
        k.labels = lk_clone(lk_randint(k.t, &rng, 0, 10, LK_SHAPE(w->size[0])), err);
        r->flops = 2.0 * (double)w->size[0] * (2.0 * conv1 + 3.0 * conv2 + 3.0 * linear);
        r->working_set = r->bytes =
            4.0 * (double)w->size[0] * (28.0 * 28.0 * 7.0 + 14.0 * 14.0 * 6.0);
        if (k.opt && k.labels && k.x) bench_time(b, train_step, &k, r);
    }
    return task_end(&k, err);
}

#define CONV(hw, kind, name, text) \
    { \
        "conv_64x" #hw "_" name, text ", 3x3, 64 to 64 channels, 16 images " #hw "x" #hw, \
            run_operation, NO_LIMIT, { 16, 64, 64, hw, 3 }, kind \
    }
#define CONVS(hw) \
    CONV(hw, CONV_FORWARD, "forward", "convolution"), CONV(hw, CONV_GRAD_X, "dX", "its dx"), \
        CONV(hw, CONV_GRAD_W, "dW", "its dW")

const Workload bench_convolution[] = {
    CONVS(28),
    CONVS(14),
    { "pool_6x28",
      "maximum of 2x2, 64 images of 6 channels 28x28",
      run_operation,
      NO_LIMIT,
      { 64, 6, 6, 28, 2 },
      POOL },
    { "pool_64x56",
      "maximum of 2x2, 16 images of 64 channels 56x56",
      run_operation,
      NO_LIMIT,
      { 16, 64, 64, 56, 2 },
      POOL },
    { "LeNet",
      "two convolutions, three Linears, batch 64: a step",
      run_lenet,
      NO_LIMIT,
      { 64 },
      0 },
    { .name = NULL },
};
