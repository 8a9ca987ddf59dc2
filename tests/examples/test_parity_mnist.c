/* test_parity_mnist.c - the same seed gives PyTorch's losses: 50 of the MLP, 50 of LoRA alone, for
 * five seeds.
 *
 * On numbers drawn from the stream itself always, in float32 and float64; on MNIST, with the
 * notebook's whole order of draws, where the real files lie beside the source tree or in
 * $LORIKEET_DATA. The expected losses, what exactly was run and how far PyTorch agrees with
 * itself: tests/fixtures/make_mnist_lora.py. */
#include <math.h>

#include "core/ops.h"
#include "data/loader.h"
#include "data/mnist.h"
#include "optim/optimizer.h"
#include "tests/fixtures/mnist_lora_losses.h"
#include "tests/shared/nets.h"

enum { SEEDS = 5, STEPS = 50, BATCH = 64, PIXELS = 28 * 28, CLASSES = 10 };

typedef struct Parity {
    Rng rng;
    Tape *t;
    DType dtype;
    DataLoader *train, *test; /* NULL: batches are drawn from the stream */
    Module *net, *lora;
} Parity;

/* One batch of inputs (BATCH, PIXELS) and labels. */
static void next_batch(Parity *p, Tensor **x, Tensor **y)
{
    Batch b;
    if (p->train) {
        check(lk_loader_next(p->train, &b));
        *x = lk_view(p->t, b.x, LK_SHAPE(-1, PIXELS));
        *y = b.y;
    } else {
        *x = lk_to(p->t, lk_rand(p->t, &p->rng, LK_F32, LK_SHAPE(BATCH, PIXELS)), p->dtype);
        *y = lk_randint(p->t, &p->rng, 0, CLASSES, LK_SHAPE(BATCH));
    }
}

/* Adam 1e-3 over what is trainable; each loss is compared with the expected one. */
static void check_training(Parity *p, Module *net, const char *what, int seed,
                           const double *expected, double tolerance)
{
    Error err = { 0 };
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(net, &err), 1e-3, &err);
    check_no_error(&err);
    if (p->train) lk_loader_begin(p->train);
    for (int i = 0; i < STEPS; i++) {
        Tensor *x, *y;
        next_batch(p, &x, &y);
        Tensor *loss = lk_cross_entropy(p->t, lk_forward(p->t, net, x), y);
        lk_optimizer_zero_grad(opt);
        check(lk_backward(p->t, loss) && lk_step(opt, &err), "%s%s", lk_tape_error(p->t)->message,
              err.message);
        double got = lk_item(loss);
        check(fabs(got - expected[i]) <= tolerance,
              "%s, seed %d, batch %d: loss %.17g, PyTorch %.17g, difference %.2g", what, seed, i,
              got, expected[i], got - expected[i]);
        lk_tape_reset(p->t);
    }
    lk_optimizer_free(opt);
}

/* A pass of which only the draws matter. */
static void draw_pass(DataLoader *loader)
{
    Batch b;
    lk_loader_begin(loader);
    check(lk_loader_next(loader, &b));
}

static void check_parity(Parity *p, const double base[SEEDS][STEPS],
                         const double lora[SEEDS][STEPS], double tolerance)
{
    Error err = { 0 };
    p->t = lk_tape_new(&err);
    for (int seed = 0; seed < SEEDS; seed++) {
        lk_manual_seed(&p->rng, (uint64_t)seed);
        p->net = net_new(PIXELS, 128, 64, CLASSES, &p->rng, &err);
        check(p->net && lk_module_to(p->net, p->dtype, &err), "%s", err.message);
        check_training(p, p->net, "MLP", seed, base[seed], tolerance);

        if (p->train) { /* accuracy on the training set, on the test set */
            draw_pass(p->train);
            draw_pass(p->test);
        }
        p->lora = lk_deepcopy(p->net, &err);
        check(p->lora && net_add_lora(p->lora, 4, 8.0, &p->rng, &err), "%s", err.message);
        if (p->test) draw_pass(p->test); /* accuracy of the copy */
        lk_freeze_linears(p->lora);
        /* A anew in float64: see the fixture's script */
        for (int i = 0; p->dtype == LK_F64 && i < 5; i += 2) {
            char name[32];
            snprintf(name, sizeof name, "layers.%d.lora.A", i);
            check(lk_normal_(lk_param_at(p->lora, name, &err), 0.0, 0.5, &p->rng));
        }
        check_training(p, p->lora, "LoRA", seed, lora[seed], tolerance);
        lk_free(p->lora);
        lk_free(p->net);
    }
    lk_tape_free(p->t);
    check_no_error(&err);
}

Test(parity, stream_float32)
{
    Parity p = { .dtype = LK_F32 };
    check_parity(&p, stream_f32_base_losses, stream_f32_lora_losses, 1e-5);
}

Test(parity, stream_float64)
{
    Parity p = { .dtype = LK_F64 };
    check_parity(&p, stream_f64_base_losses, stream_f64_lora_losses, 1e-12);
}

/* DIR/mnist, where a DIR has it; NULL if none. */
static const char *mnist_folder(void)
{
    static char folder[1200];
    const char *candidate[] = { getenv("LORIKEET_DATA"), check_source("../shared/data") };
    for (int i = 0; i < 2; i++) {
        if (!candidate[i]) continue;
        snprintf(folder, sizeof folder, "%s/mnist", candidate[i]);
        if (lk_mnist_exists(folder)) return folder;
    }
    return NULL;
}

Test(parity, mnist)
{
    const char *folder = mnist_folder();
    if (!folder) return; /* the stream tests above need no files */
    Error err = { 0 };
    Parity p = { .dtype = LK_F32 };
    Dataset *train = lk_mnist_new(folder, true, LK_TO_TENSOR, &err);
    Dataset *test = lk_mnist_new(folder, false, LK_TO_TENSOR, &err);
    check_no_error(&err);
    p.train = lk_loader_new(train, BATCH, true, &p.rng, &err);
    p.test = lk_loader_new(test, BATCH, false, &p.rng, &err);
    check_no_error(&err);
    check_parity(&p, mnist_base_losses, mnist_lora_losses, 1e-5);
    lk_loader_free(p.test);
    lk_loader_free(p.train);
    lk_dataset_free(test);
    lk_dataset_free(train);
}
