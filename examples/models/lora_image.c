/* lora_image - LoRA on a small convolutional net (Hu et al. 2021, as PEFT applies it to Conv2d).
 *
 * The net learns digits. Then all of it is frozen, and LoRA on its convolutions and its Linear
 * learns the digits turned by 90°. Without MNIST both tasks have rendered digits. */
#include "core/clock.h"
#include "core/decimal.h"
#include "core/ops.h"
#include "data/loader.h"
#include "examples/shared/cli.h"
#include "examples/shared/results.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/conv.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

typedef struct Options {
    const char *data, *json;
    int64_t seed, threads, epochs, batch, limit, rank;
    double lr;
} Options;

static const CliOption options[] = {
    CLI_DATA(Options),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_EPOCHS(Options),
    CLI_INT("batch", Options, batch, "N", 1, 10000, "images of a batch"),
    CLI_INT("limit", Options, limit, "N", 0, 1e9, "batches of each pass; 0: all"),
    CLI_INT("rank", Options, rank, "N", 1, 64, "rank of LoRA, whose alpha is the same"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_JSON(Options),
    CLI_END,
};

/* ---- model and tasks ------------------------------------------------------------------------ */

typedef enum Task { UPRIGHT, TURNED, TASKS } Task;

/* (N, 1, 28, 28) → (N, 10) */
static Module *net_new(Rng *rng, Error *err)
{
    const PoolOptions two = { .kernel = { 2 } };
    Module *conv1 = lk_conv2d_square_new(1, 16, 3, 1, 1, true, rng, err);
    Module *conv2 = lk_conv2d_square_new(16, 32, 3, 1, 1, true, rng, err);
    Module *head = lk_linear_new(32 * 7 * 7, 10, true, rng, err);
    return lk_sequential_new(LK_MODULES(conv1, lk_relu_new(err), lk_max_pool2d_new(two, err),
                                        conv2, lk_relu_new(err), lk_max_pool2d_new(two, err),
                                        lk_flatten_new(1, -1, err), head),
                             err);
}

static Tensor *logits_of(Tape *t, Module *net, const Batch *b, Task task)
{
    Tensor *x = lk_view(t, b->x, LK_SHAPE(-1, 1, 28, 28));
    if (task == TURNED) x = lk_flip(t, lk_transpose(t, x, 2, 3), LK_DIMS(3));
    return lk_forward(t, net, x);
}

/* ---- training and testing ------------------------------------------------------------------- */

typedef struct Run {
    Tape *tape;
    Module *net;
    DataLoader *training, *testing;
    const Options *options;
    Error *err;
} Run;

/* Trains all that is not frozen. */
static bool train(const Run *r, Task task)
{
    Tape *t = r->tape;
    const Options *o = r->options;
    const double start = lk_seconds();
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(r->net, r->err), o->lr, r->err);
    bool ok = opt;
    for (int64_t epoch = 0; ok && epoch < o->epochs; epoch++) {
        double loss = 0;
        int64_t batches = 0;
        lk_loader_begin(r->training);
        for (Batch b; ok && (!o->limit || batches < o->limit) && lk_loader_next(r->training, &b);
             batches++) {
            Tensor *l = lk_cross_entropy(t, logits_of(t, r->net, &b, task), b.y);
            lk_optimizer_zero_grad(opt);
            ok = lk_backward(t, l) && lk_step(opt, r->err);
            loss += ok ? lk_item(l) : 0;
            if (ok) lk_tape_reset(t);
        }
        if (ok)
            lk_printf("%s digits, epoch %lld  loss %.4f  %.1f s\n",
                      task == TURNED ? "turned" : "upright", (long long)epoch + 1,
                      loss / (double)batches, lk_seconds() - start);
    }
    lk_optimizer_free(opt);
    return ok && lk_tape_ok(t, r->err);
}

/* Finds the part of the test set that the net gets right in each task. */
static bool test(const Run *r, double accuracy[TASKS])
{
    Tape *t = r->tape;
    int64_t right[TASKS] = { 0 };
    lk_tape_set_grad(t, false);
    lk_loader_begin(r->testing);
    for (Batch b; lk_loader_next(r->testing, &b); lk_tape_reset(t))
        for (Task task = UPRIGHT; task < TASKS; task++) {
            Tensor *answers = lk_argmax(t, logits_of(t, r->net, &b, task), 1, false);
            right[task] += lk_count(lk_eq(t, answers, b.y));
        }
    lk_tape_set_grad(t, true);
    for (Task task = UPRIGHT; task < TASKS; task++)
        accuracy[task] = (double)right[task] / (double)r->testing->dataset->count;
    return lk_tape_ok(t, r->err);
}

/* The net's answers to the first test images, owned; NULL for an error. */
static Tensor *first_answers(const Run *r)
{
    Tensor *y = NULL;
    Batch b;
    lk_tape_set_grad(r->tape, false);
    lk_loader_begin(r->testing);
    if (lk_loader_next(r->testing, &b))
        y = lk_clone(logits_of(r->tape, r->net, &b, UPRIGHT), r->err);
    lk_tape_set_grad(r->tape, true);
    if (y) lk_tape_reset(r->tape);
    return y;
}

/* ---- the whole program ---------------------------------------------------------------------- */

static void print_accuracy(const char *name, const double accuracy[TASKS])
{
    lk_printf("%-10s  upright %6.2f %%  turned %6.2f %%\n", name, 100 * accuracy[UPRIGHT],
              100 * accuracy[TURNED]);
}

static bool adapt(const Run *r, Rng *rng)
{
    const double rank = (double)r->options->rank;
    const LoRAConfig config = { .rank = r->options->rank, .alpha = rank, .targets = "*" };
    if (lk_add_lora(r->net, &config, rng, r->err) < 0) return false;
    const int64_t all = lk_count_parameters(r->net);
    if (lk_train_only_lora(r->net, NULL, r->err) < 0) return false;
    cli_line();
    lk_print_adapters(stdout, r->net);
    printf("trained: %lld of %lld numbers\n\n", (long long)lk_count_trainable_parameters(r->net),
           (long long)all);
    return train(r, TURNED);
}

static bool write_results(const Options *o, const double *base, const double *adapted, Error *err)
{
    Results f;
    results_open(&f, o->json);
    results_int(&f, "seed", o->seed);
    results_numbers(&f, "base_accuracy", TASKS, base);
    results_numbers(&f, "lora_accuracy", TASKS, adapted);
    return results_close(&f, err);
}

/* Trains both, prints what each does on both tasks, and checks that LoRA can be switched off. */
static bool compare(const Run *r, Rng *rng)
{
    double base[TASKS], adapted[TASKS];
    Tensor *before = NULL, *off = NULL;
    bool ok = train(r, UPRIGHT) && test(r, base);
    if (ok) before = first_answers(r);
    ok = before && adapt(r, rng) && test(r, adapted) &&
         lk_enable_lora(r->net, NULL, false, r->err) > 0;
    if (ok) off = first_answers(r);
    ok = ok && off;
    if (ok) {
        printf("\n");
        print_accuracy("base", base);
        print_accuracy("with LoRA", adapted);
        cli_line();
        cli_verify(&ok, lk_equal(before, off), "without LoRA the answers have the base's bits");
        cli_verify(&ok, adapted[TURNED] > base[TURNED],
                   "LoRA gets more of the turned digits right");
    }
    if (ok && r->options->json) ok = write_results(r->options, base, adapted, r->err);
    lk_free(before), lk_free(off);
    return ok && lk_tape_ok(r->tape, r->err);
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Options *o = chosen;
    CliDigits digits;
    if (o->json && !results_writable(o->json, err)) return false;
    if (!cli_digits(o->data, LK_MNIST_NORMALIZE, &digits, err)) return false;
    Run r = { .tape = t, .options = o, .err = err };
    r.training = lk_loader_new(digits.train, o->batch, true, rng, err);
    r.testing = lk_loader_new(digits.test, 1000, false, rng, err);
    r.net = net_new(rng, err);
    bool ok = r.training && r.testing && r.net;
    if (ok) lk_print_module(stdout, r.net);
    printf("\n");
    ok = ok && compare(&r, rng);
    lk_free(r.net);
    lk_loader_free(r.training), lk_loader_free(r.testing);
    cli_digits_free(&digits);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "lora_image",
                                 .about = "Trains a small convolutional net on MNIST (or on "
                                          "rendered digits, if there is no MNIST), then LoRA on "
                                          "the same digits turned by 90°.",
                                 .options = options };
    Options o = { .epochs = 1, .batch = 64, .rank = 4, .lr = 2e-3 };
    return cli_main(&program, argc, argv, &o, run);
}
