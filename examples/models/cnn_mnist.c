/* cnn_mnist - LeNet-5 on MNIST: two convolutions, three Linears (LeCun et al. 1998, with ReLU and
 * max pooling). Model and training take 60 lines.
 *
 * Without MNIST it learns rendered digits. */
#include "core/clock.h"
#include "core/decimal.h"
#include "core/ops.h"
#include "data/loader.h"
#include "examples/shared/cli.h"
#include "examples/shared/results.h"
#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

typedef struct Options {
    const char *data, *json;
    int64_t seed, threads, epochs, batch, limit;
    double lr;
} Options;

static const CliOption options[] = {
    CLI_DATA(Options),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_EPOCHS(Options),
    CLI_INT("batch", Options, batch, "N", 1, 10000, "images of a batch"),
    CLI_INT("limit", Options, limit, "N", 0, 1e9, "batches of each pass; 0: all"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1,
               "Adam's learning rate, which falls from epoch to epoch"),
    CLI_JSON(Options),
    CLI_END,
};

/* ---- model and training --------------------------------------------------------------------- */

/* (N, 1, 28, 28) → (N, 10) */
static Module *lenet_new(Rng *rng, Error *err)
{
    const PoolOptions two = { .kernel = { 2 } };
    Module *conv1 = lk_conv2d_square_new(1, 6, 5, 1, 2, true, rng, err);
    Module *conv2 = lk_conv2d_square_new(6, 16, 5, 1, 0, true, rng, err);
    Module *fc1 = lk_linear_new(16 * 5 * 5, 120, true, rng, err);
    Module *fc2 = lk_linear_new(120, 84, true, rng, err);
    Module *fc3 = lk_linear_new(84, 10, true, rng, err);
    return lk_sequential_new(LK_MODULES(conv1, lk_relu_new(err), lk_max_pool2d_new(two, err),
                                        conv2, lk_relu_new(err), lk_max_pool2d_new(two, err),
                                        lk_flatten_new(1, -1, err), fc1, lk_relu_new(err), fc2,
                                        lk_relu_new(err), fc3),
                             err);
}

static Tensor *logits_of(Tape *t, Module *net, const Batch *b)
{
    return lk_forward(t, net, lk_view(t, b->x, LK_SHAPE(-1, 1, 28, 28)));
}

/* One pass over the training set; *loss is the mean of its batches. */
static bool train(Tape *t, Module *net, DataLoader *loader, int64_t limit, Optimizer *opt,
                  double *loss, Error *err)
{
    int64_t batches = 0;
    *loss = 0;
    lk_loader_begin(loader);
    for (Batch b; batches < limit && lk_loader_next(loader, &b); batches++) {
        Tensor *l = lk_cross_entropy(t, logits_of(t, net, &b), b.y);
        lk_optimizer_zero_grad(opt);
        if (!lk_backward(t, l) || !lk_step(opt, err)) return false;
        *loss += lk_item(l);
        lk_tape_reset(t);
    }
    *loss /= (double)batches;
    return true;
}

/* The part of the test set that the net gets right. */
static bool test(Tape *t, Module *net, DataLoader *loader, double *accuracy, Error *err)
{
    int64_t right = 0;
    lk_tape_set_grad(t, false);
    lk_loader_begin(loader);
    for (Batch b; lk_loader_next(loader, &b);) {
        Tensor *answers = lk_argmax(t, logits_of(t, net, &b), 1, false);
        right += lk_count(lk_eq(t, answers, b.y));
        lk_tape_reset(t);
    }
    lk_tape_set_grad(t, true);
    *accuracy = (double)right / (double)loader->dataset->count;
    return lk_tape_ok(t, err);
}

/* ---- the whole program ---------------------------------------------------------------------- */

static bool write_results(const Options *o, bool rendered, const double *losses,
                          const double *accuracies, Error *err)
{
    Results f;
    results_open(&f, o->json);
    results_text(&f, "data", rendered ? "rendered" : "mnist");
    results_int(&f, "seed", o->seed);
    results_numbers(&f, "losses", o->epochs, losses);
    results_numbers(&f, "test_accuracy", o->epochs, accuracies);
    return results_close(&f, err);
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Options *o = chosen;
    CliDigits digits;
    double losses[1000], accuracies[1000]; /* of each epoch, of which CLI_EPOCHS allows so many */
    if (o->json && !results_writable(o->json, err)) return false;
    if (!cli_digits(o->data, LK_MNIST_NORMALIZE, &digits, err)) return false;
    DataLoader *training = lk_loader_new(digits.train, o->batch, true, rng, err);
    DataLoader *testing = lk_loader_new(digits.test, 1000, false, rng, err);
    Module *net = lenet_new(rng, err);
    Optimizer *opt = lk_adam_new(lk_parameters(net, err), o->lr, err);
    bool ok = training && testing && opt;
    if (ok) lk_print_module(stdout, net);
    printf("\n");
    for (int64_t epoch = 0; ok && epoch < o->epochs; epoch++) {
        double start = lk_seconds();
        opt->lr = o->lr * lk_polynomial_lr(epoch, o->epochs, 2);
        ok = train(t, net, training, o->limit ? o->limit : INT64_MAX, opt, &losses[epoch], err) &&
             test(t, net, testing, &accuracies[epoch], err);
        if (ok)
            lk_printf("epoch %lld  loss %.4f  test accuracy %.2f %%  %.1f s\n",
                      (long long)epoch + 1, losses[epoch], 100 * accuracies[epoch],
                      lk_seconds() - start);
    }
    ok = ok && (!o->json || write_results(o, digits.rendered, losses, accuracies, err));
    lk_optimizer_free(opt);
    lk_free(net);
    lk_loader_free(training);
    lk_loader_free(testing);
    cli_digits_free(&digits);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "cnn_mnist",
                                 .about = "Trains LeNet-5 on MNIST (or on rendered digits, if "
                                          "there is no MNIST).",
                                 .options = options };
    Options o = { .epochs = 3, .batch = 64, .lr = 2e-3 };
    return cli_main(&program, argc, argv, &o, run);
}
