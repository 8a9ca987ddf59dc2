/* ex4.c - the checks of ex4: LinearWithLoRAMerged. The other form has the same A and B, so that
 * the two must agree while B is not 0. */
#include <math.h>
#include <string.h>

#include "examples/course/checks/adapted.h"
#include "nn/linear.h"

enum { BATCH = 2, IN = 5, OUT = 4, RANK = 3, SQUARE = 4 };
static const double ALPHA = 8.0;
static const char call[] = "linear_with_lora_merged_new(linear, 3, 8.0)";
static const char forward[] = "linear_with_lora_merged_forward";

static Module *merged(Exam *e, int64_t in, int64_t out, bool bias)
{
    Module *linear = adapted_linear_new(e, in, out, bias);
    return exam_module(
        e, call,
        CALL(e, linear_with_lora_merged_new, lk_retain(linear), RANK, ALPHA, e->rng, &e->err));
}

/* Names the mistake after shapes that did not fit: sizes 5 and 4, rank 3, two rows of x. */
static void name_by_shapes(Exam *e)
{
    static const struct {
        const char *operation, *one, *other, *name, *next;
    } mistakes[] = {
        { "lk_add", "(4, 5)", "(5, 4)", "A B not transposed",
          "W is (out, in) and A B is (in, out): add lk_T(t, …) of the product." },
        { "lk_matmul", "(2, 5)", "(4, 5)", "W not transposed",
          "x W needs W transposed. lk_linear(t, x, W, b) does this, and adds the bias." },
        { "lk_linear", "(2, 5)", "(5, 4)", "W transposed for lk_linear",
          "lk_linear takes W as it is, (out, in), and transposes it itself." },
        { "lk_matmul", "(3, 4)", "(5, 3)", "A and B exchanged",
          "The paper's B A is for columns. With rows it is A B." },
    };
    const char *text = e->verdict.text;
    if (!e->failed || e->verdict.kind != VERDICT_FAILED) return;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        if (strstr(text, mistakes[i].operation) && strstr(text, mistakes[i].one) &&
            strstr(text, mistakes[i].other))
            exam_looks_like(e, mistakes[i].name, mistakes[i].next);
}

static Tensor *output(Exam *e, Module *m, Tensor *x)
{
    Tensor *y = exam_forward(e, forward, m, x);
    if (!y) name_by_shapes(e);
    return y;
}

static const char bias[] = "lk_linear adds the bias: hand it linear->bias, and add no other.";
static const char one_product[] = "The Linear's weight is in the sum already: one lk_linear is "
                                  "all.";
static const char alpha_alone[] = "alpha belongs to A B alone: W + alpha (A B)ᵀ.";
static const char weight[] = "Add linear->weight to alpha (A B)ᵀ.";
static const char each_call[] =
    "Form W + alpha (A B)ᵀ in forward, at every call: training changes "
    "A and B.";

/* Whether forward multiplies W and alpha (A B)ᵀ element by element; B = 0 cannot tell this. */
static bool multiplies(Exam *e, Module *m, Tensor *x)
{
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Matrix update = matrix_scale(e, matrix_T(e, matrix_product(e, a.A, a.B)), ALPHA);
    a.W = matrix_times(e, a.W, update);
    return !e->failed && matrix_near(matrix_of(e, output(e, m, x)),
                                     adapted_linear(e, &a, matrix_of(e, x)), 1e-9);
}

static void starts_as_the_linear(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, true));
    Adapted a = { .W = matrix_of(e, exam_param(e, m, "linear.weight", OUT, IN)),
                  .b = matrix_of(e, exam_param(e, m, "linear.bias", 0, OUT)) };
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix rows = matrix_of(e, x), right = adapted_linear(e, &a, rows);
    Matrix xWT = adapted_xWT(e, &a, rows);
    Tensor *y = output(e, m, x);
    bool product = multiplies(e, m, x);
    const Mistake mistakes[] = {
        { "bias missing", bias, xWT },
        { "bias twice", bias, matrix_sum(e, right, a.b) },
        { "the Linear twice", one_product, matrix_scale(e, right, 2.0) },
        { product ? "lk_mul for lk_add" : "W missing", weight,
          matrix_sum(e, matrix_zeros(e, BATCH, OUT), a.b) },
        { "alpha times W too", alpha_alone, matrix_sum(e, matrix_scale(e, xWT, ALPHA), a.b) },
        { "alpha times the output", alpha_alone, matrix_scale(e, right, ALPHA) },
    };
    exam_equal(e, "linear_with_lora_merged_forward with B = 0", y, right, MISTAKES(mistakes));
}

/* The output for a parameter with new values. */
static Matrix output_after(Exam *e, Module *m, const char *parameter, Tensor *x)
{
    exam_fill(e, m, parameter);
    return matrix_of(e, output(e, m, x));
}

/* Whether the two are values, and the same. */
static bool same(Exam *e, Matrix a, Matrix b) { return !e->failed && matrix_near(a, b, 0.0); }

/* Whether forward works for a module of other sizes. An update in a static variable does not fit
 * there. */
static bool works_elsewhere(Exam *e)
{
    Module *m = merged(e, OUT + 2, IN + 2, true);
    return lk_forward(e->t, m, lk_ones(e->t, LK_F32, LK_SHAPE(BATCH, OUT + 2)));
}

/* Names what does not follow B: the whole sum, or the update alone. plain: without LoRA. */
static void name_the_kept(Exam *e, bool sum, Matrix got, Matrix plain)
{
    bool is_plain = matrix_near(got, plain, 1e-9);
    const char *name = "kept from the first call", *next = each_call;
    if (sum) name = is_plain ? "merged once in the constructor" : "merged at the first call";
    else if (is_plain && works_elsewhere(e)) {
        name = "LoRA never used";
        next = "Add alpha (A B)ᵀ to the weight.";
    }
    exam_fail(e, VERDICT_VALUE, "%s gives the same values for another B", forward);
    exam_looks_like(e, name, next);
}

static void follows_its_parameters(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, true)), *linear = exam_child(e, m, "linear");
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix first = output_after(e, m, "lora.B", x), second = output_after(e, m, "lora.B", x);
    if (e->failed) return;
    Matrix plain = matrix_of(e, lk_forward(e->t, linear, x));
    Matrix third = output_after(e, m, "linear.weight", x);
    if (same(e, first, second)) name_the_kept(e, same(e, second, third), first, plain);
    if (!same(e, second, third)) return;
    exam_fail(e, VERDICT_VALUE, "%s gives the same values for another linear.weight", forward);
    exam_looks_like(e, "W missing", weight);
}

static void output_is_right(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, true));
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix rows = matrix_of(e, x), linear = adapted_linear(e, &a, rows);
    Matrix xAB = adapted_xAB(e, &a, rows), lora = matrix_scale(e, xAB, ALPHA);
    Matrix right = matrix_sum(e, linear, lora);
    Matrix reshaped = matrix_reshape(e, matrix_product(e, a.A, a.B), OUT, IN);
    Matrix x_reshaped = matrix_product(e, rows, matrix_T(e, reshaped));
    const Mistake mistakes[] = {
        { "alpha forgotten", "Multiply A B by lora->alpha: lk_scale(t, …, lora->alpha).",
          matrix_sum(e, linear, xAB) },
        { "alpha twice", "Multiply by alpha once.",
          matrix_sum(e, linear, matrix_scale(e, lora, ALPHA)) },
        { "alpha divided by the rank",
          "This class scales by alpha itself. alpha / rank belongs to the second notebook.",
          matrix_sum(e, linear, matrix_scale(e, lora, 1.0 / RANK)) },
        { "alpha divided by the root of the rank",
          "The root of the rank belongs to the deviation of A, not to the forward.",
          matrix_sum(e, linear, matrix_scale(e, lora, 1.0 / sqrt(RANK))) },
        { "alpha times W too", alpha_alone,
          matrix_sum(e, matrix_scale(e, matrix_sum(e, adapted_xWT(e, &a, rows), xAB), ALPHA),
                     a.b) },
        { "reshape for transpose",
          "lk_reshape keeps the order of the numbers and only cuts the rows elsewhere. lk_T "
          "exchanges rows and columns.",
          matrix_sum(e, linear, matrix_scale(e, x_reshaped, ALPHA)) },
        { "reshape for transpose", "lk_T exchanges rows and columns; lk_reshape does not.",
          matrix_sum(e, linear, x_reshaped) },
        { "LoRA never used", "Add alpha (A B)ᵀ to the weight.", linear },
        { "LoRA twice", "A and B are in the weight already: one lk_linear is all.",
          matrix_sum(e, right, lora) },
        { "alpha times the output", alpha_alone,
          matrix_scale(e, matrix_sum(e, linear, xAB), ALPHA) },
        { "LoRA subtracted", "Add alpha (A B)ᵀ to the weight.",
          matrix_sum(e, linear, matrix_scale(e, lora, -1.0)) },
        { "W missing", weight, matrix_sum(e, lora, a.b) },
        { "the Linear twice", one_product, matrix_sum(e, right, linear) },
        { "bias missing", bias, matrix_sum(e, adapted_xWT(e, &a, rows), lora) },
        { "bias twice", bias, matrix_sum(e, right, a.b) },
    };
    exam_equal(e, forward, output(e, m, x), right, MISTAKES(mistakes));
}

static void weight_stays(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, true));
    Adapted a = adapted_fill(e, m, "", ALPHA);
    output(e, m, exam_input(e, BATCH, IN));
    if (e->failed) return;
    const char *names[] = { "linear.weight", "linear.bias", "lora.A", "lora.B" };
    const Matrix before[] = { a.W, a.b, a.A, a.B };
    for (int i = 0; i < 4; i++)
        exam_unmoved(e, exam_text(e, "%s after forward", names[i]),
                     exam_param(e, m, names[i], 0, 0), before[i]);
    exam_looks_like(e, "merged into W itself",
                    "lk_add makes a new tensor on the tape. Use it, and leave linear->weight as "
                    "it is: the next call would add alpha (A B)ᵀ once more.");
}

/* LinearWithLoRA of ex2 around m's own children. */
static Module *unmerged(Exam *e, Module *m)
{
    Module *linear = exam_child(e, m, "linear"), *lora = exam_child(e, m, "lora");
    if (e->failed) return NULL;
    Module *other =
        exam_own(e, linear_with_lora_new(lk_retain(linear), RANK, ALPHA, &e->own_rng, &e->err));
    if (other && lk_module_set(lk_slot_at(other, "lora", NULL), lk_retain(lora), &e->err))
        return other;
    exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    return NULL;
}

/* The gradient that the other form left. */
static Matrix taken_gradient(Exam *e, Tensor *x)
{
    Matrix g = matrix_of(e, x ? lk_grad(x) : NULL);
    if (x) lk_zero_grad_(x);
    return g;
}

static void both_forms_agree(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, SQUARE, SQUARE, true)), *other = unmerged(e, m);
    adapted_fill(e, m, "", ALPHA);
    Tensor *x = exam_input(e, BATCH, SQUARE);
    Matrix v = matrix_random(e, BATCH, SQUARE);
    Tensor *y = exam_forward(e, "linear_with_lora_forward", other, x);
    if (!exam_backward(e, y, v)) return;
    static const char *const names[] = { "linear.weight", "linear.bias", "lora.A", "lora.B" };
    Matrix gradients[4];
    for (int i = 0; i < 4; i++) gradients[i] = taken_gradient(e, exam_param(e, m, names[i], 0, 0));
    Matrix dx = taken_gradient(e, x);
    Tensor *y_merged = output(e, m, x);
    exam_equal(e, "linear_with_lora_merged_forward, A and B as in LinearWithLoRA,", y_merged,
               matrix_of(e, y), NO_MISTAKES);
    exam_backward(e, y_merged, v);
    for (int i = 0; i < 4 && exam_has_gradient(e, m, names[i]); i++)
        exam_gradient(e, names[i], exam_param(e, m, names[i], 0, 0), gradients[i], NO_MISTAKES);
    exam_gradient(e, "x", x, dx, NO_MISTAKES);
}

static void gradients_are_right(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, true));
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Tensor *x = exam_input(e, BATCH, IN);
    Matrix v = matrix_random(e, BATCH, OUT);
    Tensor *y = output(e, m, x);
    if (y && !lk_tape_grad(e->t)) {
        exam_fail(e, VERDICT_GRADIENT, "after %s the tape records nothing", forward);
        exam_looks_like(e, "no-grad mode left on",
                        "Leave lk_tape_set_grad alone: A and B are trained through the sum.");
    }
    if (!exam_backward(e, y, v)) return;
    if (!lk_grad(lk_param_at(m, "linear.weight", NULL)) &&
        !lk_grad(lk_param_at(m, "lora.A", NULL))) {
        exam_fail(e, VERDICT_GRADIENT, "linear.weight, A and B have no gradient after backward");
        exam_looks_like(e, "the merge cut from the graph",
                        "Merge with operations on a tape that records, without "
                        "lk_tape_set_grad(t, false) and lk_detach: A and B are trained through "
                        "the sum.");
    }
    adapted_gradients(e, m, "", &a, x, v);
}

/* The operation behind the output tells: without a bias, only the sum of two outputs ends with an
 * addition. */
static void one_product_is_all(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, false));
    adapted_fill(e, m, "", ALPHA);
    Tensor *y = output(e, m, exam_input(e, BATCH, IN));
    if (e->failed || strcmp(lk_grad_fn(y), "AddBackward0") != 0) return;
    exam_fail(e, VERDICT_VALUE,
              "%s adds last (AddBackward0), though the Linear has no bias: two outputs are added",
              forward);
    exam_looks_like(e, "two products instead of one",
                    "linear(x) + lora(x) is ex2. Add the weights first, then multiply x once.");
}

static void bias_may_be_missing(Exam *e)
{
    Module *m = exam_to_double(e, merged(e, IN, OUT, false));
    Adapted a = adapted_fill(e, m, "", ALPHA);
    Matrix rows = matrix_random(e, 6, IN);
    Tensor *x = exam_leaf(e, rows);
    if (e->failed) return;
    Tensor *y = exam_forward(e, "linear_with_lora_merged_forward without a bias", m, x);
    if (!y)
        exam_looks_like(e, "a Linear without bias forgotten",
                        "linear->bias is NULL when the Linear has none. lk_linear takes NULL; "
                        "lk_add does not.");
    Matrix right = adapted_output(e, &a, rows);
    exam_equal(e, forward, y, right, NO_MISTAKES);
    y = output(e, m, lk_view(e->t, x, LK_SHAPE(2, 3, IN)));
    exam_equal(e, forward, y, right, NO_MISTAKES);
    exam_expect(e, !y || y->ndim == 3, VERDICT_SHAPE, "x (2, 3, 5) gives %s, expected (2, 3, 4)",
                exam_shape(e, y));
}

static void show(Exam *e)
{
    Module *linear = exam_own(e, lk_linear_new(4, 3, true, e->rng, &e->err));
    Module *lora = exam_own(e, linear_with_lora_new(lk_retain(linear), 2, 1.0, e->rng, &e->err));
    Module *m = exam_own(
        e, CALL(e, linear_with_lora_merged_new, lk_retain(linear), 2, 1.0, e->rng, &e->err));
    Tensor *x = lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4));
    printf("One Linear(4, 3) in both forms, seed %llu, as in the notebook:\nInput: ",
           (unsigned long long)e->seed);
    lk_print(stdout, x);
    printf("\nLinearWithLoRA output: ");
    lk_print(stdout, lk_forward(e->t, lora, x));
    printf("\nLinearWithLoRAMerged output: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    lk_normal_(lk_param_at(m, "lora.B", NULL), 0.0, 1.0, e->rng);
    Module *other = exam_child(e, m, "lora");
    if (!other || !lk_module_set(lk_slot_at(lora, "lora", NULL), lk_retain(other), &e->err))
        return;
    printf("\nWith the same A and B, and B not 0:\nLinearWithLoRA output: ");
    lk_print(stdout, lk_forward(e->t, lora, x));
    printf("\nLinearWithLoRAMerged output: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    printf("\n");
}

const Unit unit_ex4 = {
    .name = "ex4",
    .title = "LinearWithLoRAMerged, one product",
    .minutes = 20,
    .functions = { "linear_with_lora_merged_new" },
    .checks = {
        { "with B = 0 it gives the Linear's output", starts_as_the_linear },
        { "the output follows B and W when they change", follows_its_parameters },
        { "the output is x (W + alpha (A B)ᵀ)ᵀ + b", output_is_right },
        { "forward leaves W as it is", weight_stays },
        { "weight, bias, A, B and x get their gradients", gradients_are_right },
        { "both forms agree, given the same A and B", both_forms_agree },
        { "the Linear may have no bias, and x three dimensions", bias_may_be_missing },
        { "x is multiplied once", one_product_is_all },
    },
    .show = show,
};
