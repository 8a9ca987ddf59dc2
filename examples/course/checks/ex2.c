/* ex2.c - the checks of ex2: LinearWithLoRA. */
#include "examples/course/checks/adapted.h"
#include "examples/course/given/lora_layer.h"
#include "nn/linear.h"

enum { BATCH = 3, IN = 5, OUT = 4, RANK = 3, SQUARE = 4 };
static const double ALPHA = 8.0;
static const char call[] = "linear_with_lora_new(linear, 3, 8.0)";
static const char forward[] = "linear_with_lora_forward";

/* Wraps the Linear, which keeps its two other owners. A wrong number of owners is left to the
 * check that looks for it. */
static Module *wrap(Exam *e, Module *linear)
{
    Module *m = CALL(e, linear_with_lora_new, lk_retain(linear), RANK, ALPHA, e->rng, &e->err);
    adapted_owners(linear, m ? 1 : 0);
    return exam_module(e, call, m);
}

static Module *wrapper(Exam *e, int64_t in, int64_t out)
{
    return wrap(e, adapted_linear_new(e, in, out, true));
}

static void has_children(Exam *e)
{
    Module *linear = adapted_linear_new(e, IN, OUT, true);
    Module *m = wrap(e, linear);
    Module *inside = exam_child(e, m, "linear");
    exam_child(e, m, "lora");
    if (e->failed || inside == linear) return;
    exam_fail(e, VERDICT_VALUE, "m.linear is a %s, but not the one that was given",
              inside->type->name);
    exam_looks_like(e, "a new Linear",
                    "Keep the Linear that the constructor is given: its "
                    "weights are the ones that were trained.");
}

static void lora_has_its_sizes(Exam *e)
{
    Module *m = wrapper(e, IN, OUT), *lora = exam_child(e, m, "lora");
    if (lora && !lk_param_at(lora, "A", NULL)) {
        exam_fail(e, VERDICT_STRUCTURE, "m.lora is a %s, expected a LoRALayer", lora->type->name);
        exam_looks_like(e, "", "lora_layer_new of ex1 makes it; the checks lend you one.");
    }
    Tensor *A = exam_param(e, m, "lora.A", 0, 0), *B = exam_param(e, m, "lora.B", 0, 0);
    if (e->failed) return;
    const struct {
        int64_t in, rank, out;
        const char *name, *next;
    } mistakes[] = {
        { OUT, RANK, IN, "in and out exchanged",
          "lora_layer_new takes in_features first, then out_features." },
        { IN, (int64_t)ALPHA, OUT, "rank and alpha exchanged",
          "lora_layer_new takes the rank, which is an integer, before alpha." },
    };
    for (int i = 0; i < 2; i++) {
        if (lk_size(A, 0) != mistakes[i].in || lk_size(A, 1) != mistakes[i].rank ||
            lk_size(B, 1) != mistakes[i].out)
            continue;
        exam_fail(e, VERDICT_SHAPE,
                  "lora.A has shape %s and lora.B %s, expected (5, 3) and (3, 4)",
                  exam_shape(e, A), exam_shape(e, B));
        exam_looks_like(e, mistakes[i].name, mistakes[i].next);
    }
    exam_param(e, m, "lora.A", IN, RANK);
    exam_param(e, m, "lora.B", RANK, OUT);
}

/* y = x Wᵀ + b + alpha (x A B), and its mistakes. */
static void compare_output(Exam *e, Module *m, Tensor *x, Matrix rows)
{
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Matrix linear = adapted_linear(e, &a, rows), xAB = adapted_xAB(e, &a, rows);
    Matrix lora = matrix_scale(e, xAB, ALPHA), right = matrix_sum(e, linear, lora);
    Matrix lora_of_linear = matrix_scale(e, adapted_xAB(e, &a, linear), ALPHA);
    static const char both[] = "Give the same x to both, and add what they return.";
    static const char bias[] = "linear(x) has the bias already: call the Linear by lk_forward.";
    const Mistake mistakes[] = {
        { "LoRA never called", "Add lk_forward(t, m->lora, x).", linear },
        { "the Linear missing", "Add lk_forward(t, m->linear, x).", lora },
        { "the Linear twice", "Call the Linear once.", matrix_sum(e, right, linear) },
        { "the Linear in the place of LoRA", "Add lk_forward(t, m->lora, x).",
          matrix_scale(e, linear, 2.0) },
        { "LoRA twice", "Call the LoRALayer once.", matrix_sum(e, right, lora) },
        { "bias missing", bias, matrix_sum(e, adapted_xWT(e, &a, rows), lora) },
        { "bias twice", bias, matrix_sum(e, right, a.b) },
        { "LoRA of the Linear's output", both, lora_of_linear },
        { "LoRA of the Linear's output", both, matrix_sum(e, linear, lora_of_linear) },
        { "the Linear of LoRA's output", both, adapted_linear(e, &a, lora) },
        { "LoRA subtracted", both, matrix_sum(e, linear, matrix_scale(e, lora, -1.0)) },
        { "multiplied instead of added", both, matrix_times(e, linear, lora) },
        { "alpha forgotten", "Hand alpha on to lora_layer_new.", matrix_sum(e, linear, xAB) },
        { "alpha twice", "The LoRALayer multiplies by alpha already.",
          matrix_sum(e, linear, matrix_scale(e, lora, ALPHA)) },
        { "alpha times the Linear too", "alpha belongs to LoRA alone, and LoRA has it already.",
          matrix_scale(e, right, ALPHA) },
    };
    exam_equal(e, forward, exam_forward(e, forward, m, x), right, MISTAKES(mistakes));
}

/* In a square every mistake gives a value instead of an error. */
static void output_is_right(Exam *e)
{
    Module *m = exam_to_double(e, wrapper(e, SQUARE, SQUARE));
    Tensor *x = exam_input(e, BATCH, SQUARE);
    compare_output(e, m, x, matrix_of(e, x));
}

static void sizes_may_differ(Exam *e)
{
    Module *m = exam_to_double(e, wrapper(e, IN, OUT));
    Matrix rows = matrix_random(e, 6, IN);
    Tensor *x = lk_view(e->t, exam_leaf(e, rows), LK_SHAPE(2, 3, IN));
    compare_output(e, m, x, rows);
}

static void starts_as_the_linear(Exam *e)
{
    Module *m = wrapper(e, IN, OUT);
    Module *linear = exam_child(e, m, "linear");
    if (e->failed) return;
    Tensor *x = lk_randn(e->t, &e->own_rng, LK_F32, LK_SHAPE(BATCH, IN));
    Tensor *y = exam_forward(e, forward, m, x);
    exam_equal(e, "linear_with_lora_forward with B = 0", y,
               matrix_of(e, lk_forward(e->t, linear, x)), NO_MISTAKES);
}

static void gradients_are_right(Exam *e)
{
    Module *m = exam_to_double(e, wrapper(e, IN, OUT));
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix v = matrix_random(e, BATCH, OUT);
    exam_backward(e, exam_forward(e, forward, m, x), v);
    adapted_gradients(e, m, "", &a, x, v);
}

/* ---- the constructor's contract ------------------------------------------------------------- */

/* Fails when the Linear has more or fewer owners than expected after a call. */
static void owners_are(Exam *e, const char *after, Module *linear, int expected, const char *next)
{
    int owners = adapted_owners(linear, expected);
    if (e->failed || owners == expected) return;
    exam_fail(e, owners > expected ? VERDICT_LEAK : VERDICT_MEMORY,
              "%s: the module that it was given is %s", after,
              owners > expected ? "never freed" : "freed twice");
    exam_looks_like(e, "", next);
}

static void owns_the_linear(Exam *e)
{
    Module *linear = adapted_linear_new(e, IN, OUT, true);
    Module *m = CALL(e, linear_with_lora_new, lk_retain(linear), RANK, ALPHA, e->rng, &e->err);
    owners_are(e, exam_text(e, "%s, and lk_free of its result", call), linear, m ? 1 : 0,
               "The constructor gets one reference, and m->linear holds it. It needs neither "
               "lk_retain nor lk_free: freeing m frees the Linear.");
    exam_module(e, call, m);
}

/* Has the members of a Linear, but is none. */
typedef Linear Bilinear;
static const ModuleType bilinear_type = {
    LK_CLASS(Bilinear),
    .fields = LK_FIELDS(LK_PARAM(Bilinear, weight), LK_PARAM(Bilinear, bias),
                        LK_INT(Bilinear, in_features), LK_INT(Bilinear, out_features)),
};

/* The constructor has to return NULL with a message, and to free what it was given. */
static void must_fail(Exam *e, const char *what, Module *given, int64_t rank, const char *mistake,
                      const char *next)
{
    Module *m = CALL(e, linear_with_lora_new, lk_retain(given), rank, ALPHA, e->rng, &e->err);
    if (m) {
        adapted_owners(given, 1);
        exam_own(e, m);
        exam_fail(e, VERDICT_VALUE, "%s returns a module, expected NULL", what);
        exam_looks_like(e, mistake, next);
    }
    owners_are(e, what, given, 0,
               "Put the linear into m before anything can fail. lk_module_complete then frees m "
               "and the linear together, and nothing else has to.");
    exam_expect(e, e->err.code != LK_OK, VERDICT_FAILED, "%s returns NULL, without a message",
                what);
}

static void refuses_other_classes(Exam *e)
{
    Bilinear *other = lk_module_new(&bilinear_type, &e->err);
    if (!other) return;
    other->in_features = IN;
    other->out_features = OUT;
    exam_own(e, &other->base);
    exam_own(e, lk_retain(&other->base));
    static const char mistake[] = "a module that is no Linear";
    static const char next[] = "lk_as_linear(m) is NULL when m is no Linear: make no LoRALayer "
                               "then, and lk_module_complete returns NULL.";
    must_fail(e, "linear_with_lora_new(a Bilinear, 3, 8.0)", &other->base, RANK, mistake, next);
    e->err = (Error){ 0 };
    must_fail(e, "linear_with_lora_new(NULL, 3, 8.0)", NULL, RANK, mistake, next);
}

static void failure_leaves_nothing(Exam *e)
{
    must_fail(e, "linear_with_lora_new(linear, -1, 8.0)", adapted_linear_new(e, IN, OUT, true), -1,
              "a failure that is not passed on",
              "lora_layer_new may return NULL. lk_module_complete(&m->base, m->lora) tests it.");
}

static void show(Exam *e)
{
    Module *linear = exam_own(e, lk_linear_new(4, 3, true, e->rng, &e->err));
    Module *m =
        exam_own(e, CALL(e, linear_with_lora_new, lk_retain(linear), 2, 1.0, e->rng, &e->err));
    Tensor *x = lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4));
    printf("LinearWithLoRA(4, 3, rank 2, alpha 1), seed %llu, as in the notebook:\nInput: ",
           (unsigned long long)e->seed);
    lk_print(stdout, x);
    printf("\nStandard Linear output: ");
    lk_print(stdout, lk_forward(e->t, linear, x));
    printf("\nLinearWithLoRA output: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    printf("\n");
    lk_print_module(stdout, m);
    printf("\n");
}

const Unit unit_ex2 = {
    .name = "ex2",
    .title = "LinearWithLoRA, y = linear(x) + lora(x)",
    .minutes = 15,
    .functions = { "linear_with_lora_new" },
    .checks = {
        { "linear and lora are children", has_children },
        { "lora has the Linear's sizes", lora_has_its_sizes },
        { "the output is linear(x) + lora(x)", output_is_right },
        { "in and out may differ, and x have three dimensions", sizes_may_differ },
        { "a new wrapper gives the Linear's output", starts_as_the_linear },
        { "weight, bias, A, B and x get their gradients", gradients_are_right },
        { "the wrapper owns the Linear", owns_the_linear },
        { "a module that is no Linear is refused", refuses_other_classes },
        { "a constructor that fails leaves nothing behind", failure_leaves_nothing },
    },
    .show = show,
};
