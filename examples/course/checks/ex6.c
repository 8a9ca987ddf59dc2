/* ex6.c - the checks of ex6: freezing, the optimizer, the training loop.
 *
 * A loop is known by its losses: the same net is trained once as it should be and once with each
 * known mistake, and the learner's losses are compared with all of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/course/checks/training.h"
#include "nn/diagnose.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/sequential.h"

enum { LINEARS = 3, ADAPTERS = 6, CLASSES = 4 };

/* The name of something in Linear number i: "layers.4.linear.weight". */
static const char *in_layer(Exam *e, int i, const char *name)
{
    return exam_text(e, "layers.%d.%s", 2 * i, name);
}

/* ---- freezing ------------------------------------------------------------------------------- */

/* How many of the parameters in m whose name ends in one of the two are frozen. */
static int frozen(Module *m, const char *one, const char *other)
{
    int count = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        const char *dot = strrchr(it.name, '.'), *name = dot ? dot + 1 : it.name;
        count += (!strcmp(name, one) || !strcmp(name, other)) && !it.tensor->requires_grad;
    }
    return count;
}

/* Whether a Linear is frozen when it is a child of the net itself. */
static bool freezes_a_child(Exam *e)
{
    Module *net = exam_own(
        e, lk_sequential_new(LK_MODULES(lk_linear_new(2, 3, true, e->rng, &e->err)), &e->err));
    CALL(e, freeze_linear_layers, net);
    return frozen(net, "weight", "bias") > 0;
}

static void freezes_linears(Exam *e)
{
    Module *m = bench_mlp_with_lora(e);
    CALL(e, freeze_linear_layers, m);
    if (e->failed) return;
    int weights = frozen(m, "weight", "weight"), biases = frozen(m, "bias", "bias");
    if (weights + biases == 2 * LINEARS) return;
    bool child = !weights && !biases && freezes_a_child(e);
    exam_fail(e, VERDICT_FROZEN, "%d of 3 weights and %d of 3 biases are frozen", weights, biases);
    if (child)
        exam_looks_like(e, "children of children forgotten",
                        "lk_children sees the children of m only. lk_modules goes all the way "
                        "down.");
    else if (weights == LINEARS && !biases)
        exam_looks_like(e, "biases not frozen", "Freeze l->bias too, where there is one.");
}

static void freezes_nothing_else(Exam *e)
{
    if (exam_calls(e, "lk_freeze_linears")) {
        exam_fail(e, VERDICT_LIBRARY, "freeze_linear_layers calls lk_freeze_linears");
        exam_looks_like(e, "the library's function",
                        "It does what this function is to do. Write the loop yourself.");
    }
    Error *err = &e->err;
    Module *plain = lk_linear_new(5, 6, false, e->rng, err);
    Module *norm = lk_layer_norm_new(LK_SHAPE(6), 1e-5, err);
    Module *wrapped = lk_linear_new(6, 4, true, e->rng, err);
    wrapped = linear_with_lora_merged_new(wrapped, BENCH_RANK, BENCH_ALPHA, e->rng, err);
    Module *last = lk_linear_new(4, 3, true, e->rng, err);
    Module *inner = lk_sequential_new(LK_MODULES(last), err);
    Module *net = exam_own(e, lk_sequential_new(LK_MODULES(plain, norm, wrapped, inner), err));
    static const char call[] = "freeze_linear_layers(Sequential(Linear without bias, LayerNorm, "
                               "LinearWithLoRAMerged, Sequential(Linear)))";
    int count = CALL(e, freeze_linear_layers, net);
    if (e->failed) return;
    for (ParamIter it = lk_params(net); lk_params_next(&it);) {
        bool of_linear = lk_as_linear(it.modules.module), is_frozen = !it.tensor->requires_grad;
        if (of_linear == is_frozen) continue;
        exam_fail(e, VERDICT_FROZEN, "%s:\n%s is %s", call, it.name,
                  is_frozen ? "frozen, and belongs to no Linear" : "not frozen");
        if (!is_frozen && frozen(net, "weight", "bias"))
            exam_looks_like(e, "frozen by name",
                            "A Linear may have any name. Ask for its class: lk_as_linear.");
        else if (frozen(net, "A", "B"))
            exam_looks_like(e, "A and B frozen too",
                            "Freeze l->weight and l->bias of the Linears, nothing else.");
        else if (is_frozen)
            exam_looks_like(e, "other classes frozen too",
                            "A LayerNorm has a weight too. Look only at modules for which "
                            "lk_as_linear gives a Linear.");
    }
    exam_expect(e, count == 3, VERDICT_VALUE, "%s\nreturned %d, expected 3, the number of Linears",
                call, count);
}

/* ---- the optimizer -------------------------------------------------------------------------- */

static const char making[] = "lora_optimizer_new(mlp, 2, 0.5, 0.02)";

static bool holds(Optimizer *opt, const Tensor *x)
{
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        if (it.param == x) return true;
    return false;
}

/* The learner's optimizer for the net m; the caller frees it. */
static Optimizer *optimizer(Exam *e, Module *m)
{
    Optimizer *opt =
        CALL(e, lora_optimizer_new, m, BENCH_RANK, BENCH_ALPHA, BENCH_RATE, e->rng, &e->err);
    if (e->failed || opt) return opt;
    exam_true(e, making, false);
    if (strstr(e->err.message, "lr of Adam is -"))
        exam_looks_like(e, "learning rate negative",
                        "The optimizer goes downhill by itself: hand lr over as it is.");
    return NULL;
}

static void optimizer_holds_lora(Exam *e)
{
    Module *m = bench_mlp(e);
    Optimizer *opt = optimizer(e, m);
    int there = 0, held = 0;
    if (exam_sound(e, making, m))
        for (ParamIter it = lk_params(m); lk_params_next(&it);) {
            if (lk_as_linear(it.modules.module)) continue;
            there++;
            held += holds(opt, it.tensor);
        }
    exam_param(e, m, "layers.0.lora.A", there ? 5 : 0, there ? BENCH_RANK : 0);
    exam_expect(e, there == ADAPTERS, VERDICT_VALUE, "the mlp has %d of 6 matrices A and B",
                there);
    if (!e->failed && held < ADAPTERS) {
        exam_fail(e, VERDICT_VALUE,
                  "the optimizer holds %d of 6 matrices A and B: the others are never trained",
                  held);
        if (!held)
            exam_looks_like(e, "optimizer made too early",
                            "Put LoRA in first. The optimizer keeps the list that it was given, "
                            "and does not see what is added later.");
    }
    if (!e->failed && strcmp(opt->type->name, "Adam") != 0) {
        exam_fail(e, VERDICT_VALUE, "the optimizer is %s, expected Adam", opt->type->name);
        if (!strcmp(opt->type->name, "SGD"))
            exam_looks_like(e, "SGD instead of Adam", "lk_adam_new makes an Adam.");
    }
    if (!e->failed && opt->lr != BENCH_RATE) {
        exam_fail(e, VERDICT_VALUE, "lr is %g, expected 0.02", opt->lr);
        exam_looks_like(e, "learning rate fixed", "Hand the argument lr to the optimizer.");
    }
    lk_optimizer_free(opt);
}

static void optimizer_holds_nothing_frozen(Exam *e)
{
    Module *m = bench_mlp(e);
    Optimizer *opt = optimizer(e, m);
    int can_move = 0, held = 0;
    if (exam_sound(e, making, m))
        for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
            if (lk_as_linear(it.module))
                for (ParamIter of = lk_params(it.module); lk_params_next(&of);) {
                    can_move += of.tensor->requires_grad;
                    held += holds(opt, of.tensor);
                }
    if (!e->failed && can_move) {
        exam_fail(e, VERDICT_FROZEN,
                  "after lora_optimizer_new %d of 6 parameters of the Linears are not frozen",
                  can_move);
        if (can_move == 2 * LINEARS)
            exam_looks_like(e, "freezing forgotten",
                            "Call freeze_linear_layers(mlp) before the optimizer is made.");
    }
    if (!e->failed && held) {
        exam_fail(e, VERDICT_VALUE, "the optimizer holds %d frozen parameters", held);
        exam_looks_like(e, "frozen parameters in the optimizer",
                        "Freeze first, then take the list of lk_trainable_parameters.");
    }
    lk_optimizer_free(opt);
}

/* ---- one training --------------------------------------------------------------------------- */

static const char training[] = "train_epochs, 4 epochs of 3 batches,";

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
    else if (strstr(reason, "in place"))
        exam_looks_like(e, "step before backward",
                        "The step changes what backward still reads. It comes after backward.");
}

static void loss_moves(Exam *e)
{
    Bench b = bench_new(e, CLASSES - 1);
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
        if (e->failed && i)
            exam_looks_like(e, "number of epochs fixed", "The argument epochs says how many.");
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

static void frozen_weights_stay(Exam *e)
{
    Bench b = bench_new(e, CLASSES - 1);
    train(e, &b);
    for (int i = 0; i < 2 * LINEARS && !e->failed; i++) {
        const char *name = in_layer(e, i / 2, i % 2 ? "linear.bias" : "linear.weight");
        const Tensor *x = exam_param(e, b.model, name, 0, 0);
        exam_unmoved(e, name, x, matrix_of(e, lk_param_at(b.start, name, NULL)));
        if (e->failed || !lk_grad(x)) continue;
        exam_fail(e, VERDICT_GRADIENT, "%s is frozen and has a gradient", name);
        exam_looks_like(e, "gradient into frozen weights",
                        "Leave requires_grad as it is: A and B get their gradients without that.");
    }
    bench_free(&b);
}

static void losses_are_right(Exam *e)
{
    Bench b = bench_new(e, CLASSES - 1);
    train(e, &b);
    if (!e->failed) {
        const char *every = "Each pass takes every batch once: lk_loader_begin before the pass, "
                            "lk_loader_next for each batch, b.x and b.y of that batch.";
        Matrix right = bench_losses(e, &b, RIGHT, NULL), got = matrix_zeros(e, 1, BENCH_EPOCHS);
        Matrix first = bench_losses(e, &b, FIRST_BATCH, NULL);
        Matrix one = bench_losses(e, &b, ONE_BATCH, NULL);
        Matrix uphill = bench_losses(e, &b, UPHILL, NULL),
               begun = matrix_zeros(e, 1, BENCH_EPOCHS);
        if (begun.v && right.v) begun.v[0] = right.v[0];
        const Mistake mistakes[] = {
            { "zero_grad never called",
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
            { "losses divided by the samples",
              "Each loss is a mean already. Divide by the number of batches: lk_loader_len.",
              matrix_scale(e, right, (double)BENCH_BATCHES / BENCH_SAMPLES) },
            { "loader begun once", "Call lk_loader_begin before every pass.", begun },
        };
        for (int i = 0; got.v && i < BENCH_EPOCHS; i++) got.v[i] = b.losses[i];
        exam_equal(e, "losses", exam_leaf(e, got), right, MISTAKES(mistakes));
    }
    bench_free(&b);
}

static void parameters_are_right(Exam *e)
{
    Bench b = bench_new(e, CLASSES - 1);
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

static void tape_is_reset(Exam *e)
{
    Bench b = bench_new(e, CLASSES - 1);
    uint64_t epoch = lk_tape_epoch(e->t);
    int64_t before = lk_tape_mark(e->t).serial;
    train(e, &b);
    long long made = (long long)(lk_tape_mark(e->t).serial - before);
    if (!e->failed && made && lk_tape_epoch(e->t) == epoch) {
        exam_fail(e, VERDICT_VALUE, "the tape holds all %lld tensors of the 12 batches", made);
        exam_looks_like(e, "tape never reset",
                        "lk_tape_reset(t) at the end of a batch gives its memory to the next "
                        "one. Without it the memory grows with every batch.");
    }
    bench_free(&b);
}

static void failure_is_reported(Exam *e)
{
    Bench b = bench_new(e, CLASSES);
    bool ok = run(e, &b);
    if (!e->failed && ok) {
        exam_fail(e, VERDICT_VALUE,
                  "a label is 4, there are 4 classes, and train_epochs returned "
                  "true");
        exam_looks_like(e, "failure not reported",
                        "When lk_backward or lk_step is false: return lk_tape_ok(t, err).");
    }
    exam_expect(e, e->err.code != LK_OK, VERDICT_VALUE,
                "train_epochs returned false, and err has no reason");
    bench_free(&b);
}

/* The notebook's run: its net, its ten samples in one batch, three epochs. */
static void show(Exam *e)
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

const Unit unit_ex6 = {
    .name = "ex6",
    .title = "freezing, the optimizer, the training loop",
    .minutes = 25,
    .functions = { "freeze_linear_layers", "lora_optimizer_new", "train_epochs" },
    .checks = {
        { "weight and bias of every Linear are frozen", freezes_linears },
        { "everything else stays trainable", freezes_nothing_else },
        { "the optimizer is an Adam that holds every A and B", optimizer_holds_lora },
        { "it holds nothing else, and the Linears are frozen", optimizer_holds_nothing_frozen },
        { "training moves A and B", loss_moves },
        { "frozen weights stay, and get no gradient", frozen_weights_stay },
        { "the losses are those of the loop", losses_are_right },
        { "A and B are what the loop makes of them", parameters_are_right },
        { "the tape is reset", tape_is_reset },
        { "a failure is reported", failure_is_reported },
    },
    .show = show,
};
