/* ex3.c - the checks of ex3: a net of one Linear, which LinearWithLoRA replaces. */
#include <string.h>

#include "examples/course/checks/adapted.h"
#include "nn/linear.h"

enum { BATCH = 3, IN = 5, OUT = 4, RANK = 3 };
static const double ALPHA = 8.0;
static const char forward[] = "simple_net_forward";
static const char add[] = "simple_net_add_lora(net, 3, 8.0)";

static Module *net_new(Exam *e)
{
    return exam_module(e, "simple_net_new(5, 4)",
                       CALL(e, simple_net_new, IN, OUT, e->rng, &e->err));
}

/* A net after simple_net_add_lora. *linear is the one that it had before; a wrong number of its
 * owners is left to the check that looks for it. */
static Module *net_with_lora(Exam *e, Module **linear)
{
    Module *net = net_new(e);
    *linear = exam_child(e, net, "linear");
    adapted_keep(e, *linear);
    if (e->failed) return NULL;
    bool ok = CALL(e, simple_net_add_lora, net, RANK, ALPHA, e->rng, &e->err);
    if (!exam_true(e, add, ok) && lk_module_at(net, "linear.lora", NULL)) {
        if (e->err.code == LK_OK)
            exam_looks_like(e, "false returned although it was replaced",
                            "lk_module_set is true when it has replaced: return its result.");
        else if (strstr(e->err.message, "no Linear"))
            exam_looks_like(e, "wrapped twice",
                            "Call linear_with_lora_new once. The net.linear that "
                            "it leaves is no Linear any more.");
    }
    adapted_owners(*linear, 1);
    return exam_sound(e, add, net) ? net : NULL;
}

static void has_a_linear(Exam *e)
{
    Module *net = net_new(e);
    Module *child = exam_child(e, net, "linear");
    Linear *l = lk_as_linear(child);
    if (e->failed) return;
    exam_expect(e, l, VERDICT_VALUE, "net.linear is a %s, expected a Linear", child->type->name);
    if (l && l->in_features == OUT && l->out_features == IN) {
        exam_fail(e, VERDICT_SHAPE, "net.linear.weight has shape %s, expected (4, 5)",
                  exam_shape(e, l->weight));
        exam_looks_like(e, "in and out exchanged", "lk_linear_new takes in before out.");
    }
    exam_param(e, net, "linear.weight", OUT, IN);
    if (e->failed || l->bias) return;
    exam_fail(e, VERDICT_VALUE, "net.linear has no bias");
    exam_looks_like(e, "bias missing",
                    "The third argument of lk_linear_new is true: with a bias, "
                    "as nn.Linear has it by default.");
}

static double relu(double x) { return x > 0.0 ? x : 0.0; }

static void calls_its_linear(Exam *e)
{
    Module *net = exam_to_double(e, net_new(e));
    Adapted a = { .W = exam_fill(e, net, "linear.weight"), .b = exam_fill(e, net, "linear.bias") };
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix right = adapted_linear(e, &a, matrix_of(e, x));
    static const char only[] = "The net does nothing else: return lk_forward(t, net->linear, x).";
    const Mistake mistakes[] = {
        { "a ReLU behind the Linear", only, matrix_map(e, right, relu) },
        { "the Linear twice", only, matrix_scale(e, right, 2.0) },
        { "bias missing", only, adapted_xWT(e, &a, matrix_of(e, x)) },
        { "bias twice", only, matrix_sum(e, right, a.b) },
    };
    exam_equal(e, forward, exam_forward(e, forward, net, x), right, MISTAKES(mistakes));
}

static void wraps_its_linear(Exam *e)
{
    Module *linear, *net = net_with_lora(e, &linear);
    if (e->failed) return;
    Module *now = exam_child(e, net, "linear");
    Module *inside = now ? lk_module_at(now, "linear", NULL) : NULL;
    static const char in_place[] = "Put the wrapper into the net's own slot: "
                                   "lk_module_set(&net->linear, wrapper, err).";
    if (now == linear) {
        exam_fail(e, VERDICT_VALUE, "%s: net.linear is a Linear as before", add);
        exam_looks_like(e, "nothing replaced", in_place);
    } else if (inside && inside != linear) {
        exam_fail(e, VERDICT_VALUE, "%s: net.linear.linear is not the Linear of the net", add);
        exam_looks_like(e, "a new Linear",
                        "Wrap the net's own Linear: its weights are the ones "
                        "that were trained.");
    }
    exam_child(e, net, "linear.linear");
    exam_child(e, net, "linear.lora");
    Tensor *A = exam_param(e, net, "linear.lora.A", 0, 0);
    if (A && lk_size(A, 1) == (int64_t)ALPHA) {
        exam_fail(e, VERDICT_SHAPE, "net.linear.lora.A has shape %s, expected (5, 3)",
                  exam_shape(e, A));
        exam_looks_like(e, "rank and alpha exchanged",
                        "linear_with_lora_new takes the rank before alpha.");
    }
    exam_param(e, net, "linear.lora.A", IN, RANK);
}

static void output_stays(Exam *e)
{
    Module *linear, *net = net_with_lora(e, &linear);
    if (e->failed) return;
    Tensor *x = lk_randn(e->t, &e->own_rng, LK_F32, LK_SHAPE(BATCH, IN));
    Matrix before = matrix_of(e, lk_forward(e->t, linear, x));
    exam_equal(e, exam_text(e, "%s after %s", forward, add), exam_forward(e, forward, net, x),
               before, NO_MISTAKES);
}

static void lora_takes_part(Exam *e)
{
    Module *linear, *net = exam_to_double(e, net_with_lora(e, &linear));
    Adapted a = adapted_fill(e, net, "linear.", ALPHA);
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix rows = matrix_of(e, x), plain = adapted_linear(e, &a, rows);
    const Mistake mistakes[] = {
        { "LoRA never called", "Let forward call net->linear, the slot that was changed.", plain },
        { "alpha forgotten", "Hand alpha on to linear_with_lora_new.",
          matrix_sum(e, plain, adapted_xAB(e, &a, rows)) },
    };
    exam_equal(e, exam_text(e, "%s, B not 0,", forward), exam_forward(e, forward, net, x),
               adapted_output(e, &a, rows), MISTAKES(mistakes));
}

static void gradients_are_right(Exam *e)
{
    Module *linear, *net = exam_to_double(e, net_with_lora(e, &linear));
    Adapted a = adapted_fill(e, net, "linear.", ALPHA);
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix v = matrix_random(e, BATCH, OUT);
    exam_backward(e, exam_forward(e, forward, net, x), v);
    adapted_gradients(e, net, "linear.", &a, x, v);
}

/* Fails when the Linear has not exactly one owner, the wrapper or the net. */
static void one_owner(Exam *e, const char *after, Module *linear, const char *too_few,
                      const char *next)
{
    int owners = adapted_owners(linear, 1);
    if (e->failed || owners == 1) return;
    if (owners > 1) {
        exam_fail(e, VERDICT_LEAK, "%s: the net's Linear is never freed", after);
        exam_looks_like(
            e, "",
            "lk_retain it once, for the wrapper. lk_module_set gives back the "
            "reference that the slot held; an assignment to the slot would forget it.");
        return;
    }
    exam_fail(e, VERDICT_MEMORY, "%s: the net's Linear is freed, and still in use", after);
    exam_looks_like(e, too_few, next);
}

static void wrapper_owns_the_linear(Exam *e)
{
    Module *net = net_new(e), *linear = exam_child(e, net, "linear");
    adapted_keep(e, linear);
    if (e->failed) return;
    CALL(e, simple_net_add_lora, net, RANK, ALPHA, e->rng, &e->err);
    one_owner(e, add, linear, "an owner too few",
              "The wrapper needs a reference of its own: linear_with_lora_new(lk_retain("
              "net->linear), …). Do not free the old one: lk_module_set gives back the slot's.");
}

static void failure_changes_nothing(Exam *e)
{
    static const char failing[] = "simple_net_add_lora(net, -1, 8.0)";
    Module *net = net_new(e), *linear = exam_child(e, net, "linear");
    adapted_keep(e, linear);
    if (e->failed) return;
    bool ok = CALL(e, simple_net_add_lora, net, -1, ALPHA, e->rng, &e->err);
    Module *now = lk_module_at(net, "linear", NULL);
    if (now == linear)
        one_owner(e, failing, linear, "freed again after a failed constructor",
                  "linear_with_lora_new consumes its reference also when it fails. Do not free it "
                  "again.");
    exam_expect(e, !ok, VERDICT_VALUE, "%s returned true, expected false", failing);
    exam_looks_like(e, "a failure that is not passed on", "Return what lk_module_set returns.");
    if (!e->failed && now != linear) {
        exam_fail(e, VERDICT_VALUE, "%s failed, and net.linear is %s now", failing,
                  now ? now->type->name : "NULL");
        exam_looks_like(e, "the net lost its Linear",
                        "Leave the slot alone until the wrapper is made. lk_module_set does: it "
                        "replaces nothing when it is given NULL.");
    }
    exam_expect(e, e->err.code != LK_OK, VERDICT_FAILED, "%s gives no message", failing);
    exam_looks_like(e, "err not handed on",
                    "Give err to linear_with_lora_new: it writes the reason there.");
    e->err = (Error){ 0 };
    Module *none = CALL(e, simple_net_new, 0, OUT, e->rng, &e->err);
    if (!none) return;
    exam_own(e, none);
    exam_fail(e, VERDICT_VALUE, "simple_net_new(0, 4) returns a module, expected NULL");
    exam_looks_like(e, "a failure that is not passed on",
                    "lk_linear_new may return NULL. lk_module_complete(&net->base, net->linear) "
                    "tests it.");
}

static void show(Exam *e)
{
    Module *net = exam_own(e, CALL(e, simple_net_new, 4, 3, e->rng, &e->err));
    Tensor *x = lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4));
    printf("SimpleNet(4, 3), seed %llu, as in the notebook:\nInput: ",
           (unsigned long long)e->seed);
    lk_print(stdout, x);
    printf("\nOriginal network output: ");
    lk_print(stdout, lk_forward(e->t, net, x));
    if (!CALL(e, simple_net_add_lora, net, 2, 1.0, e->rng, &e->err)) return;
    printf("\nNetwork with LoRA output: ");
    lk_print(stdout, lk_forward(e->t, net, x));
    printf("\n");
    lk_print_module(stdout, net);
    printf("\n");
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        printf("%s %s\n", it.name, exam_shape(e, it.tensor));
}

const Unit unit_ex3 = {
    .name = "ex3",
    .title = "a net whose Linear is replaced",
    .minutes = 10,
    .functions = { "simple_net_new", "simple_net_add_lora" },
    .checks = {
        { "the net has a Linear", has_a_linear },
        { "the net's output is its Linear's", calls_its_linear },
        { "net.linear becomes a LinearWithLoRA around it", wraps_its_linear },
        { "the output stays as it was", output_stays },
        { "with another B the output moves by lora(x)", lora_takes_part },
        { "weight, bias, A, B and x get their gradients", gradients_are_right },
        { "the wrapper owns the Linear, and the net the wrapper", wrapper_owns_the_linear },
        { "a call that fails changes nothing", failure_changes_nothing },
    },
    .show = show,
};
