/* ex5.c - the checks of ex5: the MLP, and LoRA in its three Linears. All sizes differ. */
#include <math.h>
#include <string.h>

#include "examples/course/checks/adapted.h"
#include "nn/activation.h"
#include "nn/linear.h"

enum { BATCH = 3, LINEARS = 3, RANK = 3, BEFORE = 118, AFTER = 223 };
/* features, hidden_1, hidden_2, classes */
static const int64_t size[LINEARS + 1] = { 5, 7, 6, 4 };
static const double ALPHA = 8.0;
static const char call[] = "mlp_new(5, 7, 6, 4)", adding[] = "mlp_add_lora(mlp, 3, 8.0)";

static Module *mlp(Exam *e)
{
    return exam_module(e, call, CALL(e, mlp_new, 5, 7, 6, 4, e->rng, &e->err));
}

/* The name of something in Linear number i: "layers.4.weight". */
static const char *in_layer(Exam *e, int i, const char *name)
{
    return exam_text(e, "layers.%d%s%s", 2 * i, name[0] ? "." : "", name);
}

static Module *layer(Exam *e, Module *m, int i)
{
    return e->failed ? NULL : lk_module_at(m, in_layer(e, i, ""), NULL);
}

static bool is_wrapped(Exam *e, Module *m, int i)
{
    return lk_module_at(layer(e, m, i), "lora", NULL);
}

static Module *mlp_with_lora(Exam *e)
{
    Module *m = mlp(e);
    exam_true(e, adding, CALL(e, mlp_add_lora, m, RANK, ALPHA, e->rng, &e->err));
    return exam_sound(e, adding, m) ? m : NULL;
}

/* ---- the MLP -------------------------------------------------------------------------------- */

static void has_linears(Exam *e)
{
    Module *m = mlp(e);
    exam_child(e, m, "layers");
    if (m && !lk_as_linear(lk_module_at(m, "layers.0", NULL)) &&
        lk_as_linear(lk_module_at(m, "layers.1", NULL))) {
        exam_fail(e, VERDICT_STRUCTURE, "layers.0 is not a Linear, and layers.1 is");
        exam_looks_like(e, "a layer in front of the first Linear",
                        "The first Linear takes x as it is.");
    }
    for (int i = 1; i < 4 && !e->failed; i += 2) {
        Module *between = lk_module_at(m, exam_text(e, "layers.%d", i), NULL);
        if (!lk_as_linear(between)) continue;
        exam_fail(e, VERDICT_STRUCTURE, "layers.%d is a Linear, expected a ReLU", i);
        exam_looks_like(e, "ReLU missing",
                        "Put a ReLU between two Linears: without it they are one Linear in all.");
    }
    for (int i = 0; i < LINEARS && !e->failed; i++) {
        Module *linear = exam_child(e, m, in_layer(e, i, ""));
        const Linear *l = lk_as_linear(linear);
        if (!l) {
            if (linear) exam_fail(e, VERDICT_STRUCTURE, "layers.%d is not a Linear", 2 * i);
            return;
        }
        int64_t in = size[i], out = size[i + 1];
        if (!l->bias) {
            exam_fail(e, VERDICT_STRUCTURE, "layers.%d has no bias", 2 * i);
            exam_looks_like(e, "bias missing", "lk_linear_new(in, out, true, …) has a bias.");
        }
        bool turned = l->in_features == out && l->out_features == in;
        bool hidden = !i && l->in_features == in && l->out_features == size[2];
        exam_param(e, m, in_layer(e, i, "weight"), out, in);
        if (turned)
            exam_looks_like(e, "in and out exchanged",
                            "lk_linear_new(in, out, …): the weight then is (out, in).");
        else if (hidden)
            exam_looks_like(e, "hidden_1 and hidden_2 exchanged",
                            "hidden_1 is the width behind the first Linear.");
    }
    bool more = !e->failed && (lk_as_linear(lk_module_at(m, "layers.5", NULL)) ||
                               lk_as_linear(lk_module_at(m, "layers.6", NULL)));
    exam_expect(e, !more, VERDICT_STRUCTURE, "a Linear follows layers.4: the net has three");
}

/* The three Linears as lk_linear_new draws them, one after the other; the exam owns them. */
static void draw(Exam *e, const int order[LINEARS], Module *linears[LINEARS])
{
    Rng rng;
    lk_manual_seed(&rng, e->seed);
    for (int k = 0; k < LINEARS; k++) {
        int i = order[k];
        linears[i] = exam_own(e, lk_linear_new(size[i], size[i + 1], true, &rng, &e->err));
    }
}

static void is_drawn_in_order(Exam *e)
{
    Module *m = mlp(e), *right[LINEARS], *wrong[LINEARS];
    if (e->failed) return;
    draw(e, (const int[]){ 0, 1, 2 }, right);
    draw(e, (const int[]){ 2, 1, 0 }, wrong);
    for (int i = 0; i < LINEARS; i++) {
        const char *name = in_layer(e, i, "weight");
        const Mistake mistakes[] = {
            { "drawn from the last to the first",
              "Make the first Linear first, each in a statement of its own.",
              matrix_of(e, lk_param_at(wrong[i], "weight", NULL)) },
        };
        exam_equal(e, name, exam_param(e, m, name, 0, 0),
                   matrix_of(e, lk_param_at(right[i], "weight", NULL)), MISTAKES(mistakes));
    }
}

static double relu(double x) { return x > 0.0 ? x : 0.0; }
static double gelu(double x) { return 0.5 * x * (1.0 + erf(x / sqrt(2.0))); }
static double identity(double x) { return x; }

/* The weights of an MLP, and those of its LoRA. */
typedef struct Weights {
    Matrix W[LINEARS], b[LINEARS], A[LINEARS], B[LINEARS];
} Weights;

/* The plain loops: act between the layers, last after them. alpha 0: without LoRA. */
static Matrix expected(Exam *e, const Weights *w, double alpha, Matrix x, double (*act)(double),
                       double (*last)(double))
{
    for (int i = 0; i < LINEARS; i++) {
        Matrix y = matrix_sum(e, matrix_product(e, x, matrix_T(e, w->W[i])), w->b[i]);
        if (alpha != 0.0) {
            Matrix xAB = matrix_product(e, matrix_product(e, x, w->A[i]), w->B[i]);
            y = matrix_sum(e, y, matrix_scale(e, xAB, alpha));
        }
        x = matrix_map(e, y, i + 1 < LINEARS ? act : last);
    }
    return x;
}

static Matrix softmax(Exam *e, Matrix x)
{
    Matrix y = matrix_map(e, x, exp);
    for (int64_t i = 0; y.v && i < y.rows; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < y.columns; j++) sum += y.v[i * y.columns + j];
        for (int64_t j = 0; j < y.columns; j++) y.v[i * y.columns + j] /= sum;
    }
    return y;
}

/* Fills weights and biases of the Linears, which have these names in their layer. */
static void fill_linears(Exam *e, Module *m, const char *weight, const char *bias, Weights *w)
{
    for (int i = 0; i < LINEARS; i++) {
        w->W[i] = exam_fill(e, m, in_layer(e, i, weight));
        w->b[i] = exam_fill(e, m, in_layer(e, i, bias));
    }
}

static void output_is_right(Exam *e)
{
    Module *m = exam_to_double(e, mlp(e));
    Weights w = { 0 };
    fill_linears(e, m, "weight", "bias", &w);
    Tensor *input = exam_input(e, BATCH, size[0]);
    Tensor *y = exam_forward(e, "mlp_forward", m, input);
    Matrix x = matrix_of(e, input), right = expected(e, &w, 0.0, x, relu, identity);
    const Mistake mistakes[] = {
        { "ReLU missing", "Between two Linears stands a ReLU.",
          expected(e, &w, 0.0, x, identity, identity) },
        { "ReLU after the last layer",
          "Nothing follows the last Linear: its negative numbers mean something.",
          expected(e, &w, 0.0, x, relu, relu) },
        { "GELU for ReLU", "lk_relu_new makes a ReLU.", expected(e, &w, 0.0, x, gelu, identity) },
        { "softmax at the end",
          "Return the raw numbers: the cross-entropy makes the softmax itself.",
          softmax(e, right) },
    };
    exam_equal(e, "mlp_forward", y, right, MISTAKES(mistakes));
}

/* ---- LoRA in it ----------------------------------------------------------------------------- */

/* Keeps the three Linears of a new mlp, so that a call that frees them crashes nothing. */
static Module *kept_mlp(Exam *e, Module *linears[LINEARS])
{
    Module *m = mlp(e);
    for (int i = 0; i < LINEARS; i++) {
        linears[i] = exam_child(e, m, in_layer(e, i, ""));
        adapted_keep(e, linears[i]);
    }
    return e->failed ? NULL : m;
}

/* Fails when one of the Linears has not exactly one owner, the slot or its wrapper. */
static void one_owner(Exam *e, const char *after, Module *const linears[LINEARS])
{
    for (int i = 0; i < LINEARS; i++) {
        int owners = adapted_owners(linears[i], 1);
        if (e->failed || owners == 1) continue;
        if (owners > 1) {
            exam_fail(e, VERDICT_LEAK, "%s: the Linear of layers.%d is never freed", after, 2 * i);
            exam_looks_like(e, "a reference too many",
                            "One lk_retain for the wrapper is all. lk_sequential_set gives back "
                            "the reference of the slot; an assignment to the slot does not.");
            continue;
        }
        exam_fail(e, VERDICT_MEMORY, "%s: the Linear of layers.%d is freed, and still in use",
                  after, 2 * i);
        exam_looks_like(e, "freed once too often",
                        "lk_sequential_set frees what was in the slot, and a wrapper consumes its "
                        "Linear, also when it fails. Nothing is left to be freed.");
    }
}

/* Names the mistake behind an mlp_add_lora that returned false. */
static void name_the_failure(Exam *e, bool first, bool third)
{
    const char *reason = e->err.message;
    exam_true(e, adding, false);
    if (strstr(reason, "lk_retain"))
        exam_looks_like(e, "lk_retain forgotten",
                        "The slot keeps its reference until it gets the wrapper. Give the wrapper "
                        "one of its own: lk_retain(lk_sequential_at(layers, i, err)).");
    else if (strstr(reason, "not a Sequential"))
        exam_looks_like(e, "mlp for its layers",
                        "The Sequential is mlp->layers. The mlp only holds it.");
    else if ((first && !third) || strstr(reason, "this is no Linear") ||
             strstr(reason, "out of range"))
        exam_looks_like(e, "wrong indices",
                        "layers.1 and layers.3 are ReLUs. The Linears are 0, 2 and 4.");
}

/* Names the mistake by the layers that were wrapped. */
static void name_the_unwrapped(Exam *e, Module *m, bool ok)
{
    bool first = is_wrapped(e, m, 0), second = is_wrapped(e, m, 1), third = is_wrapped(e, m, 2);
    if (first && second && third) return;
    if (!ok) {
        name_the_failure(e, first, third);
        return;
    }
    bool none = !first && !second && !third, copied = none && exam_calls(e, "lk_deepcopy");
    const char *wrapped =
        exam_text(e, "%s%s%s", first ? " 0" : "", second ? " 2" : "", third ? " 4" : "");
    exam_fail(e, VERDICT_VALUE, "%s returned true, and replaced these layers of 0, 2, 4:%s",
              adding, none ? " none" : wrapped);
    if (copied)
        exam_looks_like(e, "replaced in a copy",
                        "Change mlp->layers itself. A copy is the business of the caller.");
    else if (none)
        exam_looks_like(e, "nothing replaced",
                        "Put the wrapper into its slot of mlp->layers: "
                        "lk_sequential_set(layers, i, wrapper, err).");
    else if (first && !second && !third)
        exam_looks_like(e, "only the first Linear replaced", "Replace layers 0, 2 and 4.");
    else if (!first && !second)
        exam_looks_like(e, "only the last Linear replaced", "Replace layers 0, 2 and 4.");
    else exam_looks_like(e, "a Linear forgotten", "Replace layers 0, 2 and 4.");
}

static void replaces_all(Exam *e)
{
    /* Without any lk_retain lk_sequential_set refuses the wrapper. More owners would hide this. */
    Module *linears[LINEARS] = { NULL };
    Module *m = exam_calls(e, "lk_module_retain") ? kept_mlp(e, linears) : mlp(e);
    bool ok = CALL(e, mlp_add_lora, m, RANK, ALPHA, e->rng, &e->err);
    for (int i = 0; i < LINEARS; i++) adapted_owners(linears[i], 1);
    if (e->failed) return;
    name_the_unwrapped(e, m, ok);
    exam_true(e, adding, ok);
    exam_sound(e, adding, m);
    if (!e->failed && layer(e, m, 0) == layer(e, m, 1)) {
        exam_fail(e, VERDICT_VALUE, "layers.0 and layers.2 are the same module");
        exam_looks_like(e, "one wrapper for all layers",
                        "Each Linear gets a wrapper of its own, with its own A and B.");
    }
    for (int i = 0; i < LINEARS; i++) exam_child(e, m, in_layer(e, i, "linear"));
}

static void keeps_the_linears(Exam *e)
{
    Module *linears[LINEARS], *m = kept_mlp(e, linears);
    Matrix W[LINEARS], b[LINEARS];
    for (int i = 0; i < LINEARS; i++) {
        W[i] = exam_fill(e, m, in_layer(e, i, "weight"));
        b[i] = exam_fill(e, m, in_layer(e, i, "bias"));
    }
    exam_true(e, adding, CALL(e, mlp_add_lora, m, RANK, ALPHA, e->rng, &e->err));
    for (int i = 0; i < LINEARS && !e->failed; i++) {
        const char *weight = in_layer(e, i, "linear.weight"),
                   *bias = in_layer(e, i, "linear.bias");
        Tensor *x = exam_param(e, m, weight, size[i + 1], size[i]);
        exam_equal(e, exam_text(e, "after mlp_add_lora %s", weight), x, W[i], NO_MISTAKES);
        exam_equal(e, exam_text(e, "after mlp_add_lora %s", bias),
                   exam_param(e, m, bias, 0, size[i + 1]), b[i], NO_MISTAKES);
        if (e->failed && x)
            exam_looks_like(e, "fresh Linear instead of the old one",
                            "Wrap the Linear that is in the slot: what it learned stays in it.");
        if (e->failed || lk_module_at(m, in_layer(e, i, "linear"), NULL) == linears[i]) continue;
        exam_fail(e, VERDICT_STRUCTURE, "layers.%d.linear is a copy of the old Linear", 2 * i);
        exam_looks_like(e, "a copy of the Linear",
                        "Wrap the Linear itself: lk_retain makes a reference, lk_deepcopy another "
                        "Linear.");
    }
    one_owner(e, adding, linears);
}

static void has_its_rank(Exam *e)
{
    Module *m = mlp_with_lora(e);
    for (int i = 0; i < LINEARS && !e->failed; i++) {
        const char *name = in_layer(e, i, "lora.A");
        Tensor *A = exam_param(e, m, name, 0, 0);
        if (!A || lk_size(A, 1) == RANK) {
            exam_param(e, m, name, size[i], RANK);
            exam_param(e, m, in_layer(e, i, "lora.B"), RANK, size[i + 1]);
            continue;
        }
        exam_fail(e, VERDICT_SHAPE, "%s has shape %s, expected (%lld, 3)", name, exam_shape(e, A),
                  (long long)size[i]);
        if (lk_size(A, 1) == (int64_t)ALPHA)
            exam_looks_like(e, "rank and alpha exchanged",
                            "C converts one into the other without a word. The order is linear, "
                            "rank, alpha, rng, err.");
        else exam_looks_like(e, "rank fixed", "Hand the argument rank to the wrapper.");
    }
}

static void counts_its_parameters(Exam *e)
{
    Module *m = mlp(e);
    int64_t before = e->failed ? 0 : lk_count_parameters(m);
    exam_true(e, adding, CALL(e, mlp_add_lora, m, RANK, ALPHA, e->rng, &e->err));
    int64_t after = e->failed ? 0 : lk_count_parameters(m);
    exam_expect(e, before == BEFORE && after == AFTER, VERDICT_VALUE,
                "%lld parameters before mlp_add_lora and %lld after, expected %d and %d",
                (long long)before, (long long)after, BEFORE, AFTER);
}

static void starts_where_it_was(Exam *e)
{
    Module *m = mlp(e);
    exam_true(e, adding, CALL(e, mlp_add_lora, m, RANK, ALPHA, e->rng, &e->err));
    for (int i = 0; i < LINEARS && !e->failed; i++) {
        Tensor *B = exam_param(e, m, in_layer(e, i, "lora.B"), RANK, size[i + 1]);
        if (!B || !lk_count(B)) continue;
        exam_fail(e, VERDICT_VALUE, "%s is not 0", in_layer(e, i, "lora.B"));
        exam_looks_like(e, "B filled",
                        "Leave B at 0: the net with LoRA then gives what the net gave before.");
    }
    if (e->failed) return;
    Weights w = { 0 };
    exam_to_double(e, m);
    fill_linears(e, m, "linear.weight", "linear.bias", &w);
    Tensor *x = exam_input(e, BATCH, size[0]);
    exam_equal(e, "mlp_forward with LoRA and B = 0", exam_forward(e, "mlp_forward", m, x),
               expected(e, &w, 0.0, matrix_of(e, x), relu, identity), NO_MISTAKES);
}

static void has_its_alpha(Exam *e)
{
    Module *m = exam_to_double(e, mlp_with_lora(e));
    Weights w = { 0 };
    for (int i = 0; i < LINEARS; i++) {
        w.W[i] = exam_fill(e, m, in_layer(e, i, "linear.weight"));
        w.b[i] = exam_fill(e, m, in_layer(e, i, "linear.bias"));
        w.A[i] = exam_fill(e, m, in_layer(e, i, "lora.A"));
        w.B[i] = exam_fill(e, m, in_layer(e, i, "lora.B"));
    }
    Tensor *input = exam_input(e, BATCH, size[0]);
    Tensor *y = exam_forward(e, "mlp_forward", m, input);
    Matrix x = matrix_of(e, input);
    const Mistake mistakes[] = {
        { "alpha fixed at 1", "Hand the argument alpha to the wrapper.",
          expected(e, &w, 1.0, x, relu, identity) },
        { "alpha divided by the rank", "Hand alpha to the wrapper as it is.",
          expected(e, &w, ALPHA / RANK, x, relu, identity) },
    };
    exam_equal(e, "mlp_forward with LoRA", y, expected(e, &w, ALPHA, x, relu, identity),
               MISTAKES(mistakes));
}

static void reports_failure(Exam *e)
{
    static const char failing[] = "mlp_add_lora(mlp, -1, 8.0)";
    Module *linears[LINEARS], *m = kept_mlp(e, linears);
    bool ok = CALL(e, mlp_add_lora, m, -1, ALPHA, e->rng, &e->err);
    if (!e->failed && ok) {
        exam_fail(e, VERDICT_VALUE, "%s returned true; a rank of -1 cannot be", failing);
        exam_looks_like(e, "failure not reported",
                        "Return false when lk_sequential_set returns false.");
    }
    one_owner(e, failing, linears);
    if (e->failed || e->err.code != LK_OK) return;
    exam_fail(e, VERDICT_FAILED, "%s returned false, and err has no reason", failing);
    exam_looks_like(e, "no reason in err", "Hand err on to each call that takes one.");
}

static void show(Exam *e)
{
    Module *m = exam_own(e, CALL(e, mlp_new, 4, 8, 6, 3, e->rng, &e->err));
    Tensor *x = lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4));
    Module *with_lora = exam_own(e, lk_deepcopy(m, &e->err));
    printf("MLP(4, 8, 6, 3), seed %llu.\nInput: ", (unsigned long long)e->seed);
    lk_print(stdout, x);
    printf("\nStandard MLP output: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    if (!CALL(e, mlp_add_lora, with_lora, 2, 1.0, e->rng, &e->err)) return;
    printf("\nMLP with LoRA output: ");
    lk_print(stdout, lk_forward(e->t, with_lora, x));
    printf("\n%lld parameters, %lld with LoRA:\n", (long long)lk_count_parameters(m),
           (long long)lk_count_parameters(with_lora));
    lk_print_module(stdout, with_lora);
    printf("\n");
}

const Unit unit_ex5 = {
    .name = "ex5",
    .title = "the MLP, and LoRA in all of its Linears",
    .minutes = 20,
    .functions = { "mlp_new", "mlp_add_lora" },
    .checks = {
        { "layers 0, 2 and 4 are Linears of the right sizes", has_linears },
        { "the weights are drawn from the first to the last", is_drawn_in_order },
        { "the output has two ReLUs inside and none at the end", output_is_right },
        { "mlp_add_lora replaces all three Linears", replaces_all },
        { "the wrappers hold the old Linears", keeps_the_linears },
        { "every A and B has the rank", has_its_rank },
        { "118 parameters become 223", counts_its_parameters },
        { "the output does not change at first", starts_where_it_was },
        { "every layer adds alpha (x A B)", has_its_alpha },
        { "a failure is reported", reports_failure },
    },
    .show = show,
};
