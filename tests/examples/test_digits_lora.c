/* test_digits_lora.c - digit9 and weak_digits begin with PyTorch's numbers: losses of both
 * trainings, LoRA's gradients.
 *
 * On numbers drawn from the stream itself always; on MNIST, in the notebooks' order of draws,
 * where the real files lie beside the source tree or in $LORIKEET_DATA. The exact run:
 * tests/fixtures/make_digits_lora.py. The programs as their users see them:
 * test_digits_programs.c. */
#include <math.h>
#include <stdlib.h>

#include "core/ops.h"
#include "data/loader.h"
#include "data/mnist.h"
#include "examples/digits/net.h"
#include "nn/adapter.h"
#include "optim/optimizer.h"
#include "tests/check.h"
#include "tests/fixtures/digits_lora_losses.h"

enum { STEPS = 50, FEW_STEPS = 10, BATCH = 10, SUMMARY = 5 };
#define F64_TOLERANCE 1e-9
#define F32_TOLERANCE \
    2e-4 /* make_digits_lora.py says why it cannot be less, and why only 10 losses */

/* ---- what is run ---------------------------------------------------------------------------- */

typedef struct Notebook {
    Module *(*net_new)(Rng *rng, Error *err);
    int layers, digit_count;
    const int64_t *digits;
} Notebook;
static const Notebook rich_boy = { rich_boy_net_new, 3, 1, LK_I64S(9) };
static const Notebook neural = { neural_network_new, 4, 4, LK_I64S(3, 6, 8, 9) };

typedef struct Parity {
    const Notebook *notebook;
    DType dtype;
    int seed;
    Rng rng;
    Tape *t;
    Dataset *train_set, *test_set, *chosen_set; /* NULL: batches are drawn from the stream */
    DataLoader *train, *test, *chosen;
    Module *net;
} Parity;

/* One batch of inputs (BATCH, …) and labels. */
static void next_batch(Parity *p, DataLoader *loader, Tensor **x, Tensor **y)
{
    Batch b;
    if (loader) {
        check(lk_loader_next(loader, &b));
        *x = b.x;
        *y = b.y;
    } else {
        *x = lk_to(p->t, lk_rand(p->t, &p->rng, LK_F32, LK_SHAPE(BATCH, DIGITS_PIXELS)), p->dtype);
        *y = lk_randint(p->t, &p->rng, 0, DIGITS_CLASSES, LK_SHAPE(BATCH));
    }
}

/* Adam 1e-3 over what is trainable; each loss is compared. The gradients of the last batch
 * stay. */
static void check_training(Parity *p, DataLoader *loader, const char *what, int steps,
                           const double *expected, double tolerance)
{
    Error err = { 0 };
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(p->net, &err), 1e-3, &err);
    check_no_error(&err);
    if (loader) lk_loader_begin(loader);
    for (int i = 0; i < steps; i++) {
        Tensor *x, *y;
        next_batch(p, loader, &x, &y);
        Tensor *loss = lk_cross_entropy(p->t, lk_forward(p->t, p->net, x), y);
        lk_optimizer_zero_grad(opt);
        check(lk_backward(p->t, loss) && lk_step(opt, &err), "%s%s", lk_tape_error(p->t)->message,
              err.message);
        double got = lk_item(loss);
        check(fabs(got - expected[i]) <= tolerance,
              "%s, seed %d, batch %d: loss %.17g, PyTorch %.17g, difference %.2g", what, p->seed,
              i, got, expected[i], got - expected[i]);
        lk_tape_reset(p->t);
    }
    lk_optimizer_free(opt);
}

/* The seeded network as it is before any training. */
static void begin(Parity *p, int seed, DType dtype)
{
    Error err = { 0 };
    p->seed = seed;
    p->dtype = dtype;
    p->t = lk_tape_new(&err);
    lk_manual_seed(&p->rng, (uint64_t)seed);
    if (p->train_set) {
        p->train = lk_loader_as_new(p->train_set, BATCH, true, dtype, &p->rng, &err);
        p->test = lk_loader_as_new(p->test_set, BATCH, true, dtype, &p->rng, &err);
        p->chosen = lk_loader_as_new(p->chosen_set, BATCH, true, dtype, &p->rng, &err);
    }
    p->net = p->notebook->net_new(&p->rng, &err);
    check(p->net && lk_module_to(p->net, dtype, &err), "%s", err.message);
}

static void end(Parity *p)
{
    lk_free(p->net);
    lk_loader_free(p->chosen);
    lk_loader_free(p->test);
    lk_loader_free(p->train);
    lk_tape_free(p->t);
}

/* ---- comparisons ---------------------------------------------------------------------------- */

static void check_base(Parity *p, int seed, const double *f64, const double *f32)
{
    begin(p, seed, LK_F64);
    check_training(p, p->train, "float64", STEPS, f64, F64_TOLERANCE);
    end(p);
    begin(p, seed, LK_F32);
    check_training(p, p->train, "float32", FEW_STEPS, f32, F32_TOLERANCE);
    end(p);
}

/* 2-norm, a weighted sum, the first, the middle and the last element. */
static void check_gradient(Parity *p, const char *layer, const char *name, const Tensor *x,
                           const double *expected)
{
    const Tensor *grad = lk_grad(x);
    check(grad && grad->dtype == LK_F64, "%s of %s has no gradient in float64", name, layer);
    const double *g = grad->data;
    int64_t n = lk_numel(grad);
    double squares = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        squares += g[i] * g[i];
        sum += g[i] * (double)(i % 7 - 3);
    }
    double got[SUMMARY] = { sqrt(squares), sum, g[0], g[n / 2], g[n - 1] };
    for (int i = 0; i < SUMMARY; i++)
        check(fabs(got[i] - expected[i]) <= F64_TOLERANCE * (1.0 + fabs(expected[i])),
              "seed %d, gradient of %s of %s, figure %d: %.17g, PyTorch %.17g", p->seed, name,
              layer, i, got[i], expected[i]);
    check(expected[0] > 1e-6, "a gradient that is nearly 0 proves nothing");
}

/* A pass of which only the draws matter. */
static void draw_pass(DataLoader *loader)
{
    Batch b;
    if (!loader) return;
    lk_loader_begin(loader);
    check(lk_loader_next(loader, &b));
}

static void check_lora(Parity *p, int seed, const double *losses, const double *gradients,
                       const double *first_A)
{
    Error err = { 0 };
    Rng generator;
    begin(p, seed, LK_F32);
    draw_pass(p->train);
    draw_pass(p->test);
    check(lk_add_lora(p->net, &(LoRAConfig){ .rank = 1, .alpha = 1.0 }, &p->rng, &err) ==
              p->notebook->layers,
          "%s", err.message);
    int layer = 0;
    for (AdapterIter it = lk_adapters(p->net); lk_adapters_next(&it); layer++) {
        double got = lk_at(it.lora->lora_A, LK_INDEX(0, 0));
        check(fabs(got - first_A[layer]) <= 1e-6,
              "seed %d, %s: lora_A[0, 0] is %.9g, PyTorch's %.9g", seed, it.name, got,
              first_A[layer]);
    }
    check(lk_module_to(p->net, LK_F64, &err), "%s", err.message);
    lk_manual_seed(&generator, 1000 + (uint64_t)seed);
    for (AdapterIter it = lk_adapters(p->net); lk_adapters_next(&it);)
        check(lk_normal_(it.lora->lora_A, 0.0, 1.0, &generator));
    check(lk_train_only_lora(p->net, NULL, NULL) == p->notebook->layers);
    if (p->chosen) { /* the same generator, batches in float64 */
        lk_loader_free(p->chosen);
        p->chosen = lk_loader_as_new(p->chosen_set, BATCH, true, LK_F64, &p->rng, &err);
        check_no_error(&err);
    }
    p->dtype = LK_F64;
    check_training(p, p->chosen, "LoRA", STEPS, losses, F64_TOLERANCE);
    for (AdapterIter it = lk_adapters(p->net); lk_adapters_next(&it); gradients += 2 * SUMMARY) {
        check_gradient(p, it.name, "lora_A", it.lora->lora_A, gradients);
        check_gradient(p, it.name, "lora_B", it.lora->lora_B, gradients + SUMMARY);
    }
    end(p);
}

/* ---- without data --------------------------------------------------------------------------- */

Test(digits_lora, rich_boy_net_from_the_stream)
{
    Parity p = { .notebook = &rich_boy };
    check_base(&p, 0, stream_rich_boy_net_base_f64[0], stream_rich_boy_net_base_f32[0]);
    check_lora(&p, 0, stream_rich_boy_net_lora[0], stream_rich_boy_net_gradients[0],
               stream_rich_boy_net_first_A[0]);
}

Test(digits_lora, neural_network_from_the_stream)
{
    Parity p = { .notebook = &neural };
    check_base(&p, 0, stream_neural_network_base_f64[0], stream_neural_network_base_f32[0]);
    check_lora(&p, 0, stream_neural_network_lora[0], stream_neural_network_gradients[0],
               stream_neural_network_first_A[0]);
}

/* ---- on MNIST ------------------------------------------------------------------------------- */

/* Loads MNIST, if a folder has it: else the tests above, which need no files, are all. */
static bool load_mnist(Parity *p)
{
    const char *candidate[] = { getenv("LORIKEET_DATA"), check_source("../shared/data") };
    Error err = { 0 };
    for (int i = 0; i < 2; i++) {
        char folder[1200];
        if (!candidate[i]) continue;
        snprintf(folder, sizeof folder, "%s/mnist", candidate[i]);
        if (!lk_mnist_exists(folder)) continue;
        p->train_set = lk_mnist_new(folder, true, LK_MNIST_NORMALIZE, &err);
        p->test_set = lk_mnist_new(folder, false, LK_MNIST_NORMALIZE, &err);
        check_no_error(&err);
        p->chosen_set = lk_filter_classes_new(p->train_set, p->notebook->digit_count,
                                              p->notebook->digits, &err);
        check_no_error(&err);
        return true;
    }
    return false;
}

static void free_mnist(Parity *p)
{
    lk_dataset_free(p->chosen_set);
    lk_dataset_free(p->test_set);
    lk_dataset_free(p->train_set);
}

enum { SEEDS = 3 };

Test(digits_lora, rich_boy_net_on_mnist)
{
    Parity p = { .notebook = &rich_boy };
    if (!load_mnist(&p)) return;
    check(p.chosen_set->count == 5949);
    for (int s = 0; s < SEEDS; s++) {
        check_base(&p, s, mnist_rich_boy_net_base_f64[s], mnist_rich_boy_net_base_f32[s]);
        check_lora(&p, s, mnist_rich_boy_net_lora[s], mnist_rich_boy_net_gradients[s],
                   mnist_rich_boy_net_first_A[s]);
    }
    free_mnist(&p);
}

Test(digits_lora, neural_network_on_mnist)
{
    Parity p = { .notebook = &neural };
    if (!load_mnist(&p)) return;
    check(p.chosen_set->count == 23849);
    for (int s = 0; s < SEEDS; s++) {
        check_base(&p, s, mnist_neural_network_base_f64[s], mnist_neural_network_base_f32[s]);
        check_lora(&p, s, mnist_neural_network_lora[s], mnist_neural_network_gradients[s],
                   mnist_neural_network_first_A[s]);
    }
    free_mnist(&p);
}
