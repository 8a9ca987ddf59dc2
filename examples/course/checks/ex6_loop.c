/* ex6_loop.c - the checks of ex6's training loop.
 *
 * A loop is known by its losses: the same net is trained once as it should be and once with each
 * known mistake, and the learner's losses are compared with all of them. */
#include "examples/course/checks/ex6.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "nn/diagnose.h"

/* ---- one training --------------------------------------------------------------------------- */

static const char training[] = "train_epochs, 5 epochs of 3 batches,";

static bool run(Exam *e, Bench *b)
{
    return CALL(e, train_epochs, e->t, b->model, b->opt, b->loader, BENCH_EPOCHS, b->losses,
                &e->err);
}

/* ---- a loss that does not move -------------------------------------------------------------- */

/* The causes that lk_print_training finds, a line each. */
static const char *causes(Exam *e, Bench *b)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) return "";
    lk_print_training(out, b->model, b->opt);
    fclose(out);
    const char *first = text ? strstr(text, "\n! ") : NULL;
    const char *kept = exam_text(e, "%s", first ? first : "");
    free(text);
    return kept;
}

/* Whether a parameter of the model differs from its value at the start. */
static bool has_moved(const Bench *b)
{
    ParamIter before = lk_params(b->start), now = lk_params(b->model);
    while (lk_params_next(&before) && lk_params_next(&now))
        if (!lk_equal(before.tensor, now.tensor)) return true;
    return false;
}

/* Whether a parameter has a gradient; had: or had one that was cleared. */
static bool has_gradient(const Bench *b, bool had)
{
    for (ParamIter it = lk_params(b->model); lk_params_next(&it);)
        if (it.tensor->grad || (had && it.tensor->grad_room)) return true;
    return false;
}

static void name_the_standstill(Exam *e, Bench *b)
{
    exam_fail(e, VERDICT_VALUE, "the losses are %.6g, %.6g, …; no A and no B has moved%s",
              b->losses[0], b->losses[1], causes(e, b));
    bool empty = b->opt->last_step == LK_STEP_NO_GRADIENT;
    if (b->opt->last_step == LK_STEP_NONE)
        exam_looks_like(e, "step never called",
                        "lk_step(opt, err) comes after lk_backward, in every batch.");
    else if (empty && has_gradient(b, false))
        exam_looks_like(e, "step before backward",
                        "The step reads the gradients that backward has made: it comes after it.");
    else if (empty && has_gradient(b, true))
        exam_looks_like(e, "zero_grad after backward",
                        "The gradients are gone before the step reads them. Clear them before "
                        "backward, or after the step.");
    else if (empty)
        exam_looks_like(e, "backward never called",
                        "lk_backward(t, loss) computes the gradients that the step reads.");
}

/* Names the mistake behind a training that returned false. */
static void name_the_failure(Exam *e, bool ok)
{
    if (e->failed || ok) return;
    exam_true(e, training, ok);
    const char *reason = e->verdict.text;
    if (!lk_tape_grad(e->t))
        exam_looks_like(e, "no-grad mode left on",
                        "Nothing is recorded in this mode, so backward has no graph. Switch "
                        "gradients on: lk_tape_set_grad(t, true).");
    else if (strstr(reason, "lk_item") && strstr(reason, "lk_tape_reset"))
        exam_looks_like(e, "loss read after the reset",
                        "The tape owns the loss. Read it by lk_item, then reset the tape.");
    else if (strstr(reason, "does not require a gradient"))
        exam_looks_like(e, "loss cut from the graph",
                        "Hand the logits to the cross-entropy as they are: lk_detach and lk_clone "
                        "cut them off from A and B.");
    else if (strstr(reason, "gone through before"))
        exam_looks_like(e, "backward twice",
                        "One lk_backward for each loss: it uses the graph up.");
    else if (strstr(reason, "lk_cross_entropy: takes float"))
        exam_looks_like(e, "logits and labels exchanged",
                        "The order is lk_cross_entropy(t, logits, b.y).");
    else if (strstr(reason, "in place"))
        exam_looks_like(e, "step before backward",
                        "The step changes what backward still reads. It comes after backward.");
}

/* Names the mistake of a loop that has set only the first losses. */
static void name_the_epochs(Exam *e, const Bench *b, int set)
{
    if (b->opt->steps >= BENCH_EPOCHS * BENCH_BATCHES)
        exam_looks_like(e, "losses[0] for losses[epoch]", "Each epoch has its place of its own.");
    else if (set == 1)
        exam_looks_like(e, "one epoch only",
                        "The argument epochs says how many. The return that ends all of them "
                        "stands behind the loop.");
    else exam_looks_like(e, "number of epochs fixed", "The argument epochs says how many.");
}

void ex6_loss_moves(Exam *e)
{
    Bench b = bench_new(e, EX6_CLASSES - 1);
    int64_t before = lk_tape_mark(e->t).serial;
    bool ok = run(e, &b);
    name_the_failure(e, ok);
    bool computed = b.opt && (b.opt->steps || lk_tape_mark(e->t).serial != before);
    if (!e->failed && !computed) {
        exam_fail(e, VERDICT_VALUE, "train_epochs computed nothing: it got no batch");
        exam_looks_like(e, "loader never begun",
                        "lk_loader_begin(loader) comes before each pass over the batches.");
    }
    for (int i = 0; i < BENCH_EPOCHS && !e->failed; i++) {
        exam_expect(e, b.losses[i] != BENCH_UNWRITTEN, VERDICT_VALUE, "losses[%d] is not set", i);
        if (e->failed && i) name_the_epochs(e, &b, i);
        exam_expect(e, isfinite(b.losses[i]), VERDICT_VALUE, "losses[%d] is %g", i, b.losses[i]);
    }
    if (!e->failed && !has_moved(&b)) name_the_standstill(e, &b);
    bench_free(&b);
}

/* ---- what it moves, and how far ------------------------------------------------------------- */

/* Runs the learner's loop on the bench. Fails when it fails or moves nothing. */
static void train(Exam *e, Bench *b)
{
    exam_true(e, training, run(e, b));
    exam_expect(e, e->failed || has_moved(b), VERDICT_VALUE, "no A and no B has moved");
}

void ex6_frozen_weights_stay(Exam *e)
{
    Bench b = bench_new(e, EX6_CLASSES - 1);
    train(e, &b);
    for (int i = 0; i < 2 * EX6_LINEARS && !e->failed; i++) {
        const char *name = ex6_in_layer(e, i / 2, i % 2 ? "linear.bias" : "linear.weight");
        const Tensor *x = exam_param(e, b.model, name, 0, 0);
        exam_unmoved(e, name, x, matrix_of(e, lk_param_at(b.start, name, NULL)));
        if (e->failed || !lk_grad(x)) continue;
        exam_fail(e, VERDICT_GRADIENT, "%s is frozen and has a gradient", name);
        exam_looks_like(e, "gradient into frozen weights",
                        "Leave requires_grad as it is: A and B get their gradients without that.");
    }
    bench_free(&b);
}

void ex6_losses_are_right(Exam *e)
{
    Bench b = bench_new(e, EX6_CLASSES - 1);
    train(e, &b);
    if (!e->failed) {
        const char *every = "Each pass takes every batch once: lk_loader_begin before the pass, "
                            "lk_loader_next for each batch, b.x and b.y of that batch.";
        const char *divide = "Each loss is a mean already. Divide the sum once, by the number of "
                             "batches: lk_loader_len.";
        Matrix right = bench_losses(e, &b, RIGHT, NULL), got = matrix_zeros(e, 1, BENCH_EPOCHS);
        Matrix first = bench_losses(e, &b, FIRST_BATCH, NULL);
        Matrix one = bench_losses(e, &b, ONE_BATCH, NULL);
        Matrix uphill = bench_losses(e, &b, UPHILL, NULL),
               begun = matrix_zeros(e, 1, BENCH_EPOCHS), added = matrix_zeros(e, 1, BENCH_EPOCHS),
               none = matrix_zeros(e, 1, BENCH_EPOCHS);
        if (begun.v && right.v) begun.v[0] = right.v[0];
        for (int i = 0; added.v && right.v && i < BENCH_EPOCHS; i++)
            added.v[i] = right.v[i] + (i ? added.v[i - 1] : 0.0);
        const Mistake mistakes[] = {
            { "gradients not cleared between the batches",
              "Backward adds to the gradients. Clear them in every batch.",
              bench_losses(e, &b, KEEP_GRADIENTS, NULL) },
            { "zero_grad once in an epoch", "Clear the gradients in every batch.",
              bench_losses(e, &b, RARELY_ZERO, NULL) },
            { "batch ignored", every, first },
            { "batch ignored", every, one },
            { "batch ignored", every, matrix_scale(e, one, 1.0 / BENCH_BATCHES) },
            { "softmax before cross-entropy",
              "Cross-entropy takes the raw numbers and makes the softmax itself.",
              bench_losses(e, &b, SOFTMAX, NULL) },
            { "loss summed over the batch",
              "lk_cross_entropy gives the mean: then the step does not depend on the batch size.",
              bench_losses(e, &b, SUMMED, NULL) },
            { "sign of the loss", "The optimizer goes downhill by itself.", uphill },
            { "sign of the loss", "The optimizer goes downhill by itself.",
              matrix_scale(e, uphill, -1.0) },
            { "step once in an epoch", "The step belongs into the loop over the batches.",
              bench_losses(e, &b, ONE_STEP, NULL) },
            { "loss of the last batch", "Add the losses of all batches, then divide.",
              bench_losses(e, &b, LAST_LOSS, NULL) },
            { "losses not divided", "Divide the sum by the number of batches.",
              matrix_scale(e, right, BENCH_BATCHES) },
            { "losses divided by the samples", divide,
              matrix_scale(e, right, (double)BENCH_BATCHES / BENCH_SAMPLES) },
            { "losses divided by the batch size", divide,
              matrix_scale(e, right, (double)BENCH_BATCHES / BENCH_BATCH) },
            { "losses divided by the epochs", divide,
              matrix_scale(e, right, (double)BENCH_BATCHES / BENCH_EPOCHS) },
            { "losses divided twice", divide, matrix_scale(e, right, 1.0 / BENCH_BATCHES) },
            { "mean over the samples",
              "Each batch counts the same, also a small one: add up lk_item(loss) as it is.",
              bench_losses(e, &b, PER_SAMPLE, NULL) },
            { "losses never added up", "In every batch: sum += lk_item(loss).", none },
            { "sum not cleared", "Every epoch begins its sum at 0.", added },
            { "loss after the step",
              "The loss of a batch is that of its forward, before the step.",
              bench_losses(e, &b, LATE_LOSS, NULL) },
            { "two steps in a batch", "Call lk_step once in every batch.",
              bench_losses(e, &b, TWO_STEPS, NULL) },
            { "loader begun once", "Call lk_loader_begin before every pass.", begun },
        };
        for (int i = 0; got.v && i < BENCH_EPOCHS; i++) got.v[i] = b.losses[i];
        exam_equal(e, "losses", exam_leaf(e, got), right, MISTAKES(mistakes));
    }
    bench_free(&b);
}

void ex6_parameters_are_right(Exam *e)
{
    Bench b = bench_new(e, EX6_CLASSES - 1);
    Module *right = NULL, *late = NULL;
    train(e, &b);
    bench_losses(e, &b, RIGHT, &right);
    bench_losses(e, &b, OLD_GRADIENTS, &late);
    for (ParamIter it = lk_params(right); !e->failed && lk_params_next(&it);) {
        const Mistake mistakes[] = {
            { "step before backward", "The gradients of the last batch are never used.",
              matrix_of(e, lk_param_at(late, it.name, NULL)) },
        };
        exam_equal(e, exam_text(e, "after the training %s", it.name),
                   exam_param(e, b.model, it.name, 0, 0), matrix_of(e, it.tensor),
                   MISTAKES(mistakes));
    }
    if (e->failed && b.opt && b.opt->steps == (BENCH_EPOCHS + 1) * BENCH_BATCHES)
        exam_looks_like(e, "an epoch too many", "C counts from 0: epoch < epochs.");
    bench_free(&b);
}

void ex6_tape_is_reset(Exam *e)
{
    enum { BATCHES = BENCH_EPOCHS * BENCH_BATCHES };
    Bench b = bench_new(e, EX6_CLASSES - 1);
    uint64_t epoch = lk_tape_epoch(e->t);
    int64_t before = lk_tape_mark(e->t).serial;
    train(e, &b);
    int resets = (int)(lk_tape_epoch(e->t) - epoch);
    long long made = (long long)(lk_tape_mark(e->t).serial - before);
    if (!e->failed && made && resets < BATCHES - 1) {
        exam_fail(e, VERDICT_VALUE, "the tape was reset %d times in the %d batches", resets,
                  (int)BATCHES);
        exam_looks_like(e, resets ? "tape reset too rarely" : "tape never reset",
                        "lk_tape_reset(t) at the end of a batch gives its memory to the next "
                        "one. Without it the memory grows with every batch.");
    }
    bench_free(&b);
}

static const char hand_on[] = "When lk_backward or lk_step is false: lk_tape_ok(t, err); return "
                              "false;";

/* A label is too large: the loss fails, and backward with it. */
static void backward_reports_failure(Exam *e)
{
    Bench b = bench_new(e, EX6_CLASSES);
    bool ok = run(e, &b);
    if (!e->failed && ok) {
        exam_fail(e, VERDICT_VALUE,
                  "a label is 4, there are 4 classes, and train_epochs returned true");
        exam_looks_like(e, "failure not reported", hand_on);
    }
    if (!e->failed && e->err.code == LK_OK) {
        exam_fail(e, VERDICT_VALUE, "train_epochs returned false, and err has no reason");
        exam_looks_like(e, "reason left on the tape",
                        "lk_tape_ok(t, err) copies it into err, before return false.");
    }
    bench_free(&b);
}

/* The learning rate is negative: the first step fails. */
static void step_reports_failure(Exam *e)
{
    static const char failing[] = "lr is -1, lk_step fails";
    lk_tape_clear_error(e->t);
    e->err = (Error){ 0 };
    Bench b = bench_new(e, EX6_CLASSES - 1);
    if (b.opt) b.opt->lr = -1.0;
    bool ok = run(e, &b);
    if (!e->failed && ok) {
        exam_fail(e, VERDICT_VALUE, "%s, and train_epochs returned true", failing);
        exam_looks_like(e, "failed step not reported", hand_on);
    }
    if (!e->failed && (b.losses[0] != BENCH_UNWRITTEN || b.opt->steps > 1)) {
        exam_fail(e, VERDICT_VALUE, "%s, and train_epochs went on", failing);
        exam_looks_like(e, "failed step not reported", hand_on);
    }
    exam_expect(e, e->err.code != LK_OK, VERDICT_VALUE,
                "%s, train_epochs returned false, and err has no reason", failing);
    bench_free(&b);
}

void ex6_loop_reports_failure(Exam *e)
{
    backward_reports_failure(e);
    step_reports_failure(e);
}

/* The notebook's run: its net, its ten samples in one batch, three epochs. */
void ex6_show(Exam *e)
{
    enum { EPOCHS = 3 };
    Error *err = &e->err;
    Module *m = exam_own(e, mlp_new(4, 8, 6, 3, e->rng, err));
    lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4)); /* ex5's input: uses up its numbers */
    Optimizer *opt = CALL(e, lora_optimizer_new, m, 2, 1.0, 0.01, e->rng, err);
    Tensor *x = lk_clone(lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(BENCH_SAMPLES, 4)), err);
    Tensor *y = lk_clone(lk_randint(e->t, e->rng, 0, 3, LK_SHAPE(BENCH_SAMPLES)), err);
    Dataset *data = lk_dataset_new(x, y, LK_TO_TENSOR, err);
    DataLoader *loader = lk_loader_new(data, BENCH_SAMPLES, false, e->rng, err);
    double losses[EPOCHS] = { 0 };
    causes(e, &(Bench){ .model = m, .opt = opt }); /* remembers the values before the training */
    if (opt && loader && CALL(e, train_epochs, e->t, m, opt, loader, EPOCHS, losses, err)) {
        printf("%lld of %lld parameters are trained.\n",
               (long long)lk_count_trainable_parameters(m), (long long)lk_count_parameters(m));
        for (int i = 0; i < EPOCHS; i++) lk_printf("Epoch %d: Loss = %.4f\n", i + 1, losses[i]);
        lk_print_training(stdout, m, opt);
    }
    lk_loader_free(loader);
    lk_dataset_free(data);
    lk_optimizer_free(opt);
}
