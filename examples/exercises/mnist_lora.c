/* mnist_lora - notebook 1's pipeline: train an MLP on MNIST, wrap a copy of it in LoRA, fine-tune
 * A and B alone.
 *
 * Classes of the notebook: LoRALayer and LinearWithLoRAMerged (nn/lora.c), MultilayerPerceptron
 * (examples/exercises/mlp.c). The order of statements is the notebook's too, because all of them
 * draw from one generator: the weights, the order of every pass over the shuffled training set
 * (accuracy passes among them), the base seed of every test pass, the A of each layer. So the same
 * seed gives PyTorch's losses. In the end the program checks that the original is untouched. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/ops.h"
#include "core/decimal.h"
#include "data/loader.h"
#include "examples/shared/cli.h"
#include "examples/exercises/mlp.h"
#include "examples/shared/results.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

enum {
    PIXELS = 28 * 28,
    HIDDEN_1 = 128,
    HIDDEN_2 = 64,
    CLASSES = 10,
    BATCH = 64,
    KEPT_LOSSES = 50,
    MAX_EPOCHS = 1000
};

typedef struct Options {
    const char *data, *json;
    int64_t seed, threads, epochs, limit, rank;
    double alpha, lr;
} Options;

static const CliOption options[] = {
    CLI_DATA(Options),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_INT("epochs", Options, epochs, "N", 1, MAX_EPOCHS, "epochs of the MLP, and again of LoRA"),
    CLI_INT("limit", Options, limit, "N", 0, 1e9,
            "batches of each epoch, of both trainings; 0: all"),
    CLI_INT("rank", Options, rank, "N", 1, 64, "rank of A and B"),
    CLI_DOUBLE("alpha", Options, alpha, "X", 0, 1000, "LoRA's alpha; not divided by the rank"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_JSON(Options),
    CLI_END,
};
static const CliProgram program = {
    .name = "mnist_lora",
    .about = "Trains an MLP on MNIST (or on rendered digits, if there is no MNIST), then "
             "fine-tunes it with LoRA.",
    .options = options,
};

/* The state of a run. */
typedef struct Run {
    Options o;
    Rng rng;
    Tape *t;
    DataLoader *train, *test;
    Module *model, *model_lora;
} Run;

/* The results of a training. */
typedef struct History {
    double accuracy[MAX_EPOCHS]; /* on the training set, after each epoch */
    double losses[KEPT_LOSSES];  /* of the first batches */
    int64_t loss_count;
    double seconds;
} History;

/* The right answers of a pass over the test set, and every single answer, so that two passes can
 * be compared image by image. */
typedef struct Score {
    int64_t correct, count;
    uint8_t *predicted; /* NULL: not kept */
} Score;

static double accuracy(const Score *s) { return (double)s->correct / (double)s->count; }

/* ---- evaluation and training ---------------------------------------------------------------- */

/* Batches of a pass over the training set. */
static int64_t epoch_length(const Run *r)
{
    int64_t all = lk_loader_len(r->train);
    return r->o.limit > 0 && r->o.limit < all ? r->o.limit : all;
}

/* model(features.view(-1, 28 * 28)) */
static Tensor *logits_of(Run *r, Module *model, const Batch *b)
{
    return lk_forward(r->t, model, lk_view(r->t, b->x, LK_SHAPE(-1, PIXELS)));
}

/* compute_accuracy: no graph, no gradients. The pass draws all its numbers even if --limit
 * shortens it. */
static bool evaluate(Run *r, Module *model, DataLoader *loader, Score *s, Error *err)
{
    Batch b;
    int64_t batches = loader == r->train ? epoch_length(r) : lk_loader_len(loader);
    lk_eval(model);
    bool before = lk_tape_set_grad(r->t, false);
    lk_loader_begin(loader);
    for (int64_t i = 0; i < batches && lk_loader_next(loader, &b); i++) {
        Tensor *predicted = lk_argmax(r->t, logits_of(r, model, &b), 1, false);
        Tensor *right = lk_eq(r->t, predicted, b.y);
        if (!right) break;
        int64_t n = lk_numel(right);
        for (int64_t k = 0; s->predicted && k < n; k++)
            s->predicted[s->count + k] = (uint8_t)lk_at(predicted, LK_INDEX(k));
        s->correct += lk_count(right);
        s->count += n;
        lk_tape_reset(r->t);
    }
    lk_tape_set_grad(r->t, before);
    return lk_tape_ok(r->t, err);
}

static bool train_step(Run *r, Module *model, Optimizer *opt, const Batch *b, double *loss,
                       Error *err)
{
    Tensor *l = lk_cross_entropy(r->t, logits_of(r, model, b), b->y);
    lk_optimizer_zero_grad(opt);
    if (!lk_backward(r->t, l) || !lk_step(opt, err)) return lk_tape_ok(r->t, err);
    *loss = lk_item(l);
    lk_tape_reset(r->t); /* the graph is used up; its memory serves the next step */
    return true;
}

static bool train_epoch(Run *r, Module *model, Optimizer *opt, int64_t epoch, History *h,
                        Error *err)
{
    Batch b;
    int64_t batches = epoch_length(r);
    lk_train(model, true);
    lk_loader_begin(r->train);
    for (int64_t i = 0; i < batches && lk_loader_next(r->train, &b); i++) {
        double loss = 0.0;
        if (!train_step(r, model, opt, &b, &loss, err)) return false;
        if (h->loss_count < KEPT_LOSSES) h->losses[h->loss_count++] = loss;
        if (i % 400 == 0)
            lk_printf("Epoch %lld/%lld | Batch %lld/%lld | Loss: %.4f\n", (long long)epoch,
                      (long long)r->o.epochs, (long long)i, (long long)batches, loss);
    }
    Score s = { 0 };
    if (!evaluate(r, model, r->train, &s, err)) return false;
    h->accuracy[epoch - 1] = accuracy(&s);
    lk_printf("Epoch %lld/%lld Training Accuracy: %.2f%%\n", (long long)epoch,
              (long long)r->o.epochs, 100.0 * h->accuracy[epoch - 1]);
    return true;
}

/* Trains the trainable parameters of the model. */
static bool train(Run *r, Module *model, History *h, Error *err)
{
    double start = lk_seconds();
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(model, err), r->o.lr, err);
    bool ok = opt;
    for (int64_t epoch = 1; ok && epoch <= r->o.epochs; epoch++)
        ok = train_epoch(r, model, opt, epoch, h, err);
    lk_optimizer_free(opt);
    h->seconds = lk_seconds() - start;
    if (ok) lk_printf("Total Training Time: %.2f min\n", h->seconds / 60.0);
    return ok;
}

/* ---- what LoRA promises --------------------------------------------------------------------- */

static bool same_answers(const Score *a, const Score *b)
{
    return a->correct == b->correct && a->count == b->count &&
           !memcmp(a->predicted, b->predicted, (size_t)a->count);
}

/* Counts how many of the copy's six frozen tensors still equal the original's, bit by bit. */
static int count_equal(Run *r, Error *err)
{
    int equal = 0;
    for (int layer = 0; layer <= 4; layer += 2) {
        char at[LK_NAME_MAX], inside[LK_NAME_MAX];
        snprintf(at, sizeof at, "layers.%d", layer);
        snprintf(inside, sizeof inside, "layers.%d.linear", layer);
        Linear *original = lk_as_linear(lk_module_at(r->model, at, err));
        Linear *copy = lk_as_linear(lk_module_at(r->model_lora, inside, err));
        if (!original || !copy) continue;
        equal += lk_equal(original->weight, copy->weight) + lk_equal(original->bias, copy->bias);
    }
    return equal;
}

static bool verify(Run *r, const Score *base, const Score *wrapped, const Score *after, Error *err)
{
    cli_line();
    bool ok = true;
    cli_verify(&ok, same_answers(base, wrapped),
               "wrapping in LoRA changes none of the %lld test answers", (long long)base->count);
    cli_verify(&ok, same_answers(base, after),
               "fine-tuning the copy changes none of the original's answers");
    cli_verify(&ok, count_equal(r, err) == 6,
               "the frozen weights and biases equal the original's, bit by bit");
    return ok;
}

/* ---- the notebook, statement by statement --------------------------------------------------- */

typedef struct Outcome {
    bool rendered;
    int64_t base_parameters, lora_parameters;
    History base, lora;
    /* on the test set: the MLP, its copy with LoRA, that copy after fine-tuning, the MLP again */
    Score before, wrapped, tuned, after;
} Outcome;

static bool notebook(Run *r, Outcome *out, Error *err)
{
    r->model = mlp_new(PIXELS, HIDDEN_1, HIDDEN_2, CLASSES, &r->rng, err);
    if (!r->model) return false;
    out->base_parameters = lk_count_parameters(r->model);
    printf("Training standard MLP...\n");
    if (!train(r, r->model, &out->base, err) || !evaluate(r, r->model, r->test, &out->before, err))
        return false;
    lk_printf("Test Accuracy (Standard MLP): %.2f%%\n", 100.0 * accuracy(&out->before));

    r->model_lora = lk_deepcopy(r->model, err);
    if (!mlp_add_lora(r->model_lora, r->o.rank, r->o.alpha, &r->rng, err)) return false;
    printf("Test Accuracy (LoRA MLP before fine-tuning):\n");
    if (!evaluate(r, r->model_lora, r->test, &out->wrapped, err)) return false;
    lk_printf("%.2f%%\n", 100.0 * accuracy(&out->wrapped));

    lk_freeze_linears(r->model_lora);
    out->lora_parameters = lk_count_trainable_parameters(r->model_lora);
    printf("Trainable parameters after freezing:\n");
    for (ParamIter it = lk_params(r->model_lora); lk_params_next(&it);)
        printf("%s: %s\n", it.name, it.tensor->requires_grad ? "True" : "False");

    printf("Fine-tuning LoRA MLP...\n");
    if (!train(r, r->model_lora, &out->lora, err)) return false;
    if (!evaluate(r, r->model_lora, r->test, &out->tuned, err)) return false;
    lk_printf("Test Accuracy (LoRA Fine-tuned): %.2f%%\n", 100.0 * accuracy(&out->tuned));
    if (!evaluate(r, r->model, r->test, &out->after, err)) return false;
    lk_printf("Test Accuracy (Original MLP): %.2f%%\n", 100.0 * accuracy(&out->after));
    return true;
}

static bool write_results(const Options *o, const Outcome *out, Error *err)
{
    Results f;
    results_open(&f, o->json);
    results_text(&f, "data", out->rendered ? "rendered" : "mnist");
    results_int(&f, "seed", o->seed);
    results_int(&f, "base_parameters", out->base_parameters);
    results_int(&f, "lora_parameters", out->lora_parameters);
    results_numbers(&f, "train_accuracy", o->epochs, out->base.accuracy);
    results_numbers(&f, "lora_train_accuracy", o->epochs, out->lora.accuracy);
    results_number(&f, "base_test_accuracy", accuracy(&out->before));
    results_number(&f, "lora_before_test_accuracy", accuracy(&out->wrapped));
    results_number(&f, "lora_test_accuracy", accuracy(&out->tuned));
    results_number(&f, "base_after_test_accuracy", accuracy(&out->after));
    results_numbers(&f, "losses", out->base.loss_count, out->base.losses);
    results_number(&f, "seconds_base", out->base.seconds);
    results_number(&f, "seconds_lora", out->lora.seconds);
    return results_close(&f, err);
}

static bool run(Run *r, const CliDigits *digits, Outcome *out, Error *err)
{
    int64_t tests = digits->test->count;
    uint8_t *answers = calloc((size_t)tests, 3);
    if (!answers)
        return lk_error_set(err, LK_EMEMORY, "no memory for the answers to %lld images",
                            (long long)tests);
    out->before.predicted = answers;
    out->wrapped.predicted = answers + tests;
    out->after.predicted = answers + 2 * tests;
    out->rendered = digits->rendered;

    r->t = lk_tape_quiet_new(err); /* main prints the message, once */
    r->train = lk_loader_new(digits->train, BATCH, true, &r->rng, err);
    r->test = lk_loader_new(digits->test, BATCH, false, &r->rng, err);
    bool ok = r->t && r->train && r->test;
    if (ok) {
        lk_manual_seed(&r->rng, (uint64_t)r->o.seed);
        ok = notebook(r, out, err) && (!r->o.json || write_results(&r->o, out, err)) &&
             verify(r, &out->before, &out->wrapped, &out->after, err);
    }
    lk_free(r->model_lora);
    lk_free(r->model);
    lk_loader_free(r->test);
    lk_loader_free(r->train);
    lk_tape_free(r->t);
    free(answers);
    return ok;
}

int main(int argc, char **argv)
{
    Run r = { .o = { .epochs = 2, .rank = 4, .alpha = 8.0, .lr = 1e-3 } };
    cli_parse(&program, argc, argv, &r.o);
    setvbuf(stdout, NULL, _IOLBF, 0); /* every line appears when it is written, in a file too */
    cli_set_threads(r.o.threads);
    Error err = { 0 };
    Outcome out = { 0 };
    CliDigits digits;
    if (r.o.json && !results_writable(r.o.json, &err)) return cli_exit(&program, false, &err);
    if (!cli_digits(r.o.data, LK_TO_TENSOR, &digits, &err)) return cli_exit(&program, false, &err);
    bool ok = run(&r, &digits, &out, &err);
    cli_digits_free(&digits);
    return cli_exit(&program, ok, &err);
}
