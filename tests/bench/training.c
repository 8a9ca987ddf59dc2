/* training.c - steps and evaluations written as a user would write them: W1, W2, W3, W5, W6, and
 * the cost of an operation.
 *
 * The images are MNIST's 10,000 test images (--data, or the usual places), else as many rendered
 * digits. Speed does not depend on which, except that Adam's moments of units that died fade into
 * denormal numbers, slow on some processors, after some 700 steps: the steps of a measurement are
 * few enough to stay clear of that, as the peer's are. */
#include <stdlib.h>

#include "core/ops.h"
#include "data/digits.h"
#include "data/loader.h"
#include "examples/shared/cli.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

#include "tests/bench/bench.h"

enum { PIXELS = 28 * 28, LAYERS_MAX = 4, IMAGES = 10000, FEW_IMAGES = 200, CHAIN = 100 };

typedef enum Kind { FULL, LORA_MERGED, LORA_PARAMETRIZED, EVALUATE, EVALUATE_LORA } Kind;

/* The state of one call. */
typedef struct Task {
    Rng rng;
    Tape *t;
    Dataset *images;
    DataLoader *loader;
    Module *net;
    Optimizer *opt;
    Tensor *x;       /* of the chain of operations */
    int64_t correct; /* answers of an evaluation */
    Error err;
} Task;

static bool task_begin(Task *k, Error *err)
{
    *k = (Task){ .t = lk_tape_quiet_new(err) }; /* the program prints the message */
    lk_manual_seed(&k->rng, 0);
    return k->t;
}

/* Frees what there is and says whether all went well. */
static bool task_end(Task *k, Error *err)
{
    bool ok = lk_tape_ok(k->t, &k->err) || lk_error_set(err, k->err.code, "%s", k->err.message);
    lk_optimizer_free(k->opt);
    lk_free(k->net);
    lk_free(k->x);
    lk_loader_free(k->loader);
    lk_dataset_free(k->images);
    lk_tape_free(k->t);
    return ok && err->code == LK_OK;
}

/* ---- networks ------------------------------------------------------------------------------- */

/* Linear, ReLU, Linear, …, Linear; size[0] is the batch, then come the widths of the layers behind
 * the input. */
static Module *net_new(const Workload *w, Rng *rng, Error *err)
{
    Module *modules[2 * LAYERS_MAX];
    int count = 0;
    int64_t in = PIXELS;
    for (int i = 1; i <= LAYERS_MAX && w->size[i] > 0; i++) {
        if (i > 1) modules[count++] = lk_relu_new(err);
        modules[count] = lk_linear_new(in, w->size[i], true, rng, err);
        if (w->kind == LORA_MERGED)
            modules[count] = lk_linear_with_lora_merged_new(modules[count], 4, 8.0, rng, err);
        count++;
        in = w->size[i];
    }
    Module *net = lk_sequential_new(count, modules, err);
    if (!net) return NULL;
    if (w->kind == LORA_MERGED) lk_freeze_linears(net);
    if (w->kind == LORA_PARAMETRIZED || w->kind == EVALUATE_LORA) {
        if (lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 1.0 }, rng, err) < 0) {
            lk_free(net);
            return NULL;
        }
        lk_train_only_lora(net, NULL, NULL);
    }
    return net;
}

static bool load_images(const Bench *b, Task *k, int64_t batch, bool shuffle, Error *err)
{
    char folder[LK_PATH_MAX];
    if (!b->once && cli_find(b->data, "mnist", lk_mnist_exists, folder, err))
        k->images = lk_mnist_new(folder, false, LK_MNIST_NORMALIZE, err);
    else if (err->code == LK_OK)
        k->images =
            lk_rendered_digits_new(b->once ? FEW_IMAGES : IMAGES, 1, LK_MNIST_NORMALIZE, err);
    k->loader = k->images ? lk_loader_new(k->images, batch, shuffle, &k->rng, err) : NULL;
    if (k->loader) lk_loader_begin(k->loader);
    return k->loader;
}

/* ---- a training step ------------------------------------------------------------------------ */

static Tensor *logits_of(Task *k, const Batch *b)
{
    return lk_forward(k->t, k->net, lk_view(k->t, b->x, LK_SHAPE(-1, PIXELS)));
}

static void train_step(void *state)
{
    Task *k = state;
    Batch b;
    while (!lk_loader_next(k->loader, &b)) lk_loader_begin(k->loader);
    Tensor *loss = lk_cross_entropy(k->t, logits_of(k, &b), b.y);
    lk_optimizer_zero_grad(k->opt);
    if (!lk_backward(k->t, loss) || !lk_step(k->opt, &k->err)) return;
    lk_tape_reset(k->t);
}

/* The least work of a step. Each weight is used once in forward, for dx (not in the first
 * layer) and for dW (not when it is frozen), and must be read for the first two; Adam reads and
 * writes it and two moments, while its gradient need not be stored. */
static void step_limits(const Workload *w, Result *r)
{
    double batch = (double)w->size[0], in = PIXELS;
    for (int i = 1; i <= LAYERS_MAX && w->size[i] > 0; i++) {
        double weights = in * (double)w->size[i], uses = (i > 1 ? 2.0 : 1.0),
               trained = w->kind == FULL ? 1.0 : 0.0;
        r->flops += 2.0 * batch * weights * (uses + trained);
        r->bytes += 4.0 * weights * (uses + 6.0 * trained);
        r->working_set += 4.0 * weights * (1.0 + 2.0 * trained);
        in = (double)w->size[i];
    }
}

static bool run_step(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Task k;
    if (task_begin(&k, err) && load_images(b, &k, w->size[0], true, err)) {
        k.net = net_new(w, &k.rng, err);
        k.opt = k.net ? lk_adam_new(lk_trainable_parameters(k.net, err), 1e-3, err) : NULL;
        step_limits(w, r);
        if (k.opt) bench_time(b, train_step, &k, r);
    }
    return task_end(&k, err);
}

/* ---- an evaluation -------------------------------------------------------------------------- */

static void evaluate(void *state)
{
    Task *k = state;
    Batch b;
    lk_loader_begin(k->loader);
    while (lk_loader_next(k->loader, &b)) {
        k->correct += lk_count(lk_eq(k->t, lk_argmax(k->t, logits_of(k, &b), 1, false), b.y));
        lk_tape_reset(k->t);
    }
}

static bool run_evaluation(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Task k;
    if (task_begin(&k, err) && load_images(b, &k, w->size[0], false, err)) {
        k.net = net_new(w, &k.rng, err);
        double weights =
            (double)(PIXELS * w->size[1] + w->size[1] * w->size[2] + w->size[2] * w->size[3]);
        r->flops = 2.0 * weights * (double)k.images->count;
        r->bytes = 4.0 * weights * (double)lk_loader_len(k.loader);
        r->working_set = 4.0 * weights;
        lk_tape_set_grad(k.t, false);
        if (k.net) {
            lk_eval(k.net);
            bench_time(b, evaluate, &k, r);
        }
    }
    return task_end(&k, err);
}

/* ---- Adam, and one operation ---------------------------------------------------------------- */

static void adam_step(void *state)
{
    Task *k = state;
    if (!lk_step(k->opt, &k->err)) return; /* task_end says why */
}

/* The parameters of W2 with a gradient that stays as it is. */
static bool run_adam(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Task k;
    if (task_begin(&k, err)) {
        k.net = net_new(w, &k.rng, err);
        Tensor *sum = k.net ? lk_scalar(k.t, LK_F32, 0.0) : NULL;
        if (k.net)
            for (ParamIter it = lk_params(k.net); lk_params_next(&it);)
                sum = lk_add(k.t, sum,
                             lk_sum(k.t, lk_mul(k.t, it.tensor, it.tensor), LK_ALL, false));
        double count = k.net ? (double)lk_count_parameters(k.net) : 0.0;
        r->bytes = 28.0 * count; /* p, m, v read and written, g read */
        r->working_set = 16.0 * count;
        if (lk_backward(k.t, sum)) k.opt = lk_adam_new(lk_parameters(k.net, err), 1e-3, err);
        if (k.opt) bench_time(b, adam_step, &k, r);
    }
    return task_end(&k, err);
}

/* 100 multiplications of one element, recorded, and their backward. */
static void chain(void *state)
{
    Task *k = state;
    Tensor *y = k->x;
    for (int i = 0; i < CHAIN; i++) y = lk_scale(k->t, y, 1.001);
    if (!lk_backward(k->t, y)) return;
    lk_zero_grad_(k->x);
    lk_tape_reset(k->t);
}

static bool run_chain(const Bench *b, const Workload *w, Result *r, Error *err)
{
    (void)w;
    Task k;
    if (task_begin(&k, err)) {
        k.x = lk_param_new(LK_F32, LK_SHAPE(1), err);
        if (k.x) bench_time(b, chain, &k, r);
        r->median /= CHAIN;
        r->min /= CHAIN;
        r->max /= CHAIN;
    }
    return task_end(&k, err);
}

const Workload bench_training[] = {
    { "W1_full",
      "784-128-64-10, batch 64: step of all parameters",
      run_step,
      NO_LIMIT,
      { 64, 128, 64, 10 },
      FULL },
    { "W1_lora",
      "the same net, LoRA in merged form, rank 4",
      run_step,
      NO_LIMIT,
      { 64, 128, 64, 10 },
      LORA_MERGED },
    { "W2_full",
      "784-1000-2000-10, batch 10: step of all parameters",
      run_step,
      NO_LIMIT,
      { 10, 1000, 2000, 10 },
      FULL },
    { "W2_lora",
      "the same net, parametrized LoRA, rank 1",
      run_step,
      NO_LIMIT,
      { 10, 1000, 2000, 10 },
      LORA_PARAMETRIZED },
    { "W3_full",
      "784-1000-1500-1300-10, batch 10: step of all parameters",
      run_step,
      NO_LIMIT,
      { 10, 1000, 1500, 1300, 10 },
      FULL },
    { "W3_lora",
      "the same net, parametrized LoRA, rank 1",
      run_step,
      NO_LIMIT,
      { 10, 1000, 1500, 1300, 10 },
      LORA_PARAMETRIZED },
    { "W5_base",
      "W2's net on 10,000 images, batch 10",
      run_evaluation,
      NO_LIMIT,
      { 10, 1000, 2000, 10 },
      EVALUATE },
    { "W5_lora",
      "the same with LoRA on",
      run_evaluation,
      NO_LIMIT,
      { 10, 1000, 2000, 10 },
      EVALUATE_LORA },
    { "W6_adam",
      "Adam alone on the 2.8 million parameters of W2",
      run_adam,
      NO_LIMIT,
      { 10, 1000, 2000, 10 },
      FULL },
    { "op",
      "one recorded operation on one element, forward and backward",
      run_chain,
      NO_LIMIT,
      { 0 },
      0 },
    { .name = NULL },
};
