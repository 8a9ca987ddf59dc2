/* ex6.c - the checks of ex6: freezing and the optimizer. Those of the loop are in ex6_loop.c. */
#include "examples/course/checks/ex6.h"

#include <string.h>

#include "examples/course/given/lora_layer.h"
#include "nn/activation.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/sequential.h"

enum { ADAPTERS = 6 };

const char *ex6_in_layer(Exam *e, int i, const char *name)
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
    if (exam_calls(e, "lk_freeze_linears")) {
        exam_fail(e, VERDICT_LIBRARY_CALL, "freeze_linear_layers calls lk_freeze_linears");
        exam_looks_like(e, "", "It does what this function is to do. Write the loop yourself.");
    }
    Module *m = bench_mlp_with_lora(e);
    CALL(e, freeze_linear_layers, m);
    if (e->failed) return;
    int weights = frozen(m, "weight", "weight"), biases = frozen(m, "bias", "bias");
    if (weights + biases == 2 * EX6_LINEARS) return;
    bool child = !weights && !biases && freezes_a_child(e);
    exam_fail(e, VERDICT_NOT_FROZEN, "%d of 3 weights and %d of 3 biases are frozen", weights,
              biases);
    if (child)
        exam_looks_like(e, "children of children forgotten",
                        "lk_children sees the children of m only. lk_modules goes all the way "
                        "down.");
    else if (weights == EX6_LINEARS && !biases)
        exam_looks_like(e, "biases not frozen", "Freeze l->bias too, where there is one.");
}

/* Names the mistake of a net in which something is frozen that belongs to no Linear. */
static void name_the_frozen(Exam *e, Module *net)
{
    bool lora = frozen(net, "A", "B"), norm = !lk_param_at(net, "1.weight", NULL)->requires_grad;
    if (lora && norm)
        exam_looks_like(e, "more than the Linears frozen",
                        "Freeze l->weight and l->bias of the Linears, nothing else.");
    else if (lora)
        exam_looks_like(e, "A and B frozen too",
                        "Freeze l->weight and l->bias of the Linears, nothing else.");
    else
        exam_looks_like(e, "other classes frozen too",
                        "A LayerNorm has a weight too. Look only at modules for which "
                        "lk_as_linear gives a Linear.");
}

static void freezes_nothing_else(Exam *e)
{
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
        exam_fail(e, is_frozen ? VERDICT_VALUE : VERDICT_NOT_FROZEN, "%s:\n%s is %s", call,
                  it.name, is_frozen ? "frozen, and belongs to no Linear" : "not frozen");
        if (is_frozen) name_the_frozen(e, net);
        else if (!lk_param_at(net, "3.0.weight", NULL)->requires_grad)
            exam_looks_like(e, "a Linear without bias skipped",
                            "Freeze the weight in any case, the bias if there is one.");
        else
            exam_looks_like(e, "frozen by name",
                            "A Linear may have any name. Ask for its class: lk_as_linear.");
    }
    int64_t tensors = frozen(net, "weight", "bias"), modules = 0;
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) modules++;
    if (e->failed || count == 3) return;
    exam_fail(e, VERDICT_VALUE, "%s\nreturned %d, expected 3, the number of Linears", call, count);
    if (!count) exam_looks_like(e, "Linears not counted", "Count each Linear: linears++.");
    else if (count == tensors)
        exam_looks_like(e, "tensors counted for Linears", "A Linear counts once, with its bias.");
    else if (count == modules)
        exam_looks_like(e, "all modules counted", "Count behind the test for a Linear.");
}

/* ---- the optimizer -------------------------------------------------------------------------- */

static const char making[] = "lora_optimizer_new(mlp, 2, 0.5, 0.02)";

static bool holds(Optimizer *opt, const Tensor *x)
{
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        if (it.param == x) return true;
    return false;
}

static const char no_lora[] = "mlp_add_lora forgotten";

/* The learner's optimizer for the net m; the caller frees it. */
static Optimizer *optimizer(Exam *e, Module *m)
{
    Optimizer *opt =
        CALL(e, lora_optimizer_new, m, BENCH_RANK, BENCH_ALPHA, BENCH_RATE, e->rng, &e->err);
    if (e->failed || opt) return opt;
    exam_true(e, making, false);
    if (!lk_module_at(m, "layers.0.lora", NULL))
        exam_looks_like(e, no_lora, "Begin with mlp_add_lora(mlp, rank, alpha, rng, err).");
    if (strstr(e->err.message, "lr of Adam is -"))
        exam_looks_like(e, "learning rate negative",
                        "The optimizer goes downhill by itself: hand lr over as it is.");
    return NULL;
}

/* Fails when an adapter is missing, or is not of the rank and alpha that were asked for. */
static void lora_is_in(Exam *e, Module *m, int matrices)
{
    if (!e->failed && !matrices) {
        exam_fail(e, VERDICT_STRUCTURE, "after lora_optimizer_new there is no LoRA in the mlp");
        exam_looks_like(e, no_lora, "Begin with mlp_add_lora(mlp, rank, alpha, rng, err).");
    }
    exam_expect(e, matrices == ADAPTERS, VERDICT_STRUCTURE, "the mlp has %d of 6 matrices A and B",
                matrices);
    const Tensor *A = exam_param(e, m, "layers.0.lora.A", 0, 0);
    int64_t rank = A ? lk_size(A, 1) : BENCH_RANK;
    exam_param(e, m, "layers.0.lora.A", 5, BENCH_RANK);
    if (rank == (int64_t)BENCH_ALPHA)
        exam_looks_like(e, "rank and alpha exchanged",
                        "C converts one into the other without a word. The order is mlp, rank, "
                        "alpha, rng, err.");
    else if (rank != BENCH_RANK)
        exam_looks_like(e, "rank fixed", "Hand the argument rank to mlp_add_lora.");
    const Module *lora = exam_child(e, m, "layers.0.lora");
    double alpha = lora && !strcmp(lora->type->name, "LoRALayer")
                       ? ((const LoRALayer *)lora)->alpha
                       : BENCH_ALPHA;
    if (e->failed || alpha == BENCH_ALPHA) return;
    exam_fail(e, VERDICT_VALUE, "alpha of layers.0.lora is %g, expected 0.5", alpha);
    exam_looks_like(e, "alpha fixed", "Hand the argument alpha to mlp_add_lora.");
}

/* Names the mistake of an optimizer that holds not all of A and B. */
static void name_the_missing(Exam *e, Module *m, int held)
{
    int lost = frozen(m, "A", "B");
    exam_fail(e, VERDICT_VALUE,
              "the optimizer holds %d of 6 matrices A and B: the others are never trained%s", held,
              lost ? exam_text(e, "\n%d of 6 are frozen", lost) : "");
    if (lost)
        exam_looks_like(e, lost == ADAPTERS ? "A and B frozen" : "A or B frozen",
                        "A and B are what is trained. Freeze the Linears: "
                        "freeze_linear_layers(mlp).");
    else if (!held)
        exam_looks_like(e, "optimizer made too early",
                        "Put LoRA in first. The optimizer keeps the list that it was given, and "
                        "does not see what is added later.");
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
    lora_is_in(e, m, there);
    if (!e->failed && held < ADAPTERS) name_the_missing(e, m, held);
    if (!e->failed && strcmp(opt->type->name, "Adam") != 0) {
        exam_fail(e, VERDICT_VALUE, "the optimizer is %s, expected Adam", opt->type->name);
        exam_looks_like(e, exam_text(e, "%s instead of Adam", opt->type->name),
                        "lk_adam_new makes an Adam.");
    }
    if (!e->failed && opt->lr != BENCH_RATE) {
        exam_fail(e, VERDICT_VALUE, "lr is %g, expected 0.02", opt->lr);
        exam_looks_like(e, opt->lr == BENCH_ALPHA ? "alpha for lr" : "learning rate fixed",
                        "Hand the argument lr to the optimizer.");
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
        exam_fail(e, VERDICT_NOT_FROZEN,
                  "after lora_optimizer_new %d of 6 parameters of the Linears are not frozen",
                  can_move);
        if (can_move == 2 * EX6_LINEARS)
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

/* ---- failure -------------------------------------------------------------------------------- */

/* An mlp whose last layer is a ReLU: mlp_add_lora fails after it has changed two layers. */
static void optimizer_reports_failure(Exam *e)
{
    Module *m = bench_mlp(e);
    Module *layers = exam_child(e, m, "layers");
    if (e->failed || !lk_sequential_set(layers, 4, lk_relu_new(&e->err), &e->err)) return;
    Optimizer *opt =
        CALL(e, lora_optimizer_new, m, BENCH_RANK, BENCH_ALPHA, BENCH_RATE, e->rng, &e->err);
    exam_expect(e, opt || e->err.code != LK_OK, VERDICT_FAILED,
                "lora_optimizer_new(an mlp whose layers.4 is a ReLU, …) returned NULL, without a "
                "message");
    if (!e->failed && opt) {
        exam_fail(e, VERDICT_VALUE,
                  "layers.4 is a ReLU, mlp_add_lora fails, and lora_optimizer_new returned an "
                  "optimizer");
        exam_looks_like(e, "failure of mlp_add_lora ignored",
                        "Return NULL when mlp_add_lora returns false.");
    }
    lk_optimizer_free(opt);
    e->err = (Error){ 0 };
}

static void failure_is_reported(Exam *e)
{
    optimizer_reports_failure(e);
    ex6_loop_reports_failure(e);
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
        { "training moves A and B", ex6_loss_moves },
        { "frozen weights stay, and get no gradient", ex6_frozen_weights_stay },
        { "the losses are those of the loop", ex6_losses_are_right },
        { "A and B are what the loop makes of them", ex6_parameters_are_right },
        { "the tape is reset", ex6_tape_is_reset },
        { "a failure is reported", failure_is_reported },
    },
    .show = ex6_show,
};
