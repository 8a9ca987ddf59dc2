/* ex1.c - the checks of ex1: LoRALayer. Every size differs, alpha is not 1 and B not 0, so that no
 * mistake hides behind another. */
#include <math.h>

#include "core/strict.h"
#include "examples/course/checks/blocks.h"
#include "examples/course/checks/check.h"

enum { BATCH = 3, IN = 5, OUT = 4, RANK = 3 };
static const double ALPHA = 8.5;
static const char call[] = "lora_layer_new(5, 4, 3, 8.5)";

static Module *layer(Exam *e)
{
    return exam_module(e, call, CALL(e, lora_layer_new, IN, OUT, RANK, ALPHA, e->rng, &e->err));
}

/* Fails when x is not a float32 parameter that requires a gradient. */
static void is_trained(Exam *e, const char *name, const Tensor *x)
{
    if (e->failed) return;
    if (x->dtype != LK_F32) {
        exam_fail(e, VERDICT_VALUE, "%s is %s, expected float32", name, lk_dtype_name(x->dtype));
        exam_looks_like(e, "parameter of another dtype",
                        "lk_param_new(LK_F32, …): nets are float32, and the checks convert them.");
    } else if (!x->requires_grad && !x->is_parameter) {
        exam_fail(e, VERDICT_GRADIENT, "%s is a plain tensor, and no parameter", name);
        exam_looks_like(e, "tensor instead of parameter",
                        "lk_param_new makes a tensor that requires a gradient; lk_tensor_new one "
                        "that does not.");
    } else if (!x->requires_grad) {
        exam_fail(e, VERDICT_GRADIENT, "%s does not require a gradient", name);
        exam_looks_like(e, exam_text(e, "%s frozen", name),
                        "A and B are what LoRA trains. Freeze neither of them.");
    }
}

static void has_a_and_b(Exam *e)
{
    Module *m = layer(e);
    Tensor *A = exam_param(e, m, "A", 0, 0), *B = exam_param(e, m, "B", 0, 0);
    if (e->failed) return;
    if (A->ndim == 2 && A->shape[0] == RANK && A->shape[1] == IN) {
        exam_fail(e, VERDICT_SHAPE, "A has shape %s and B %s, expected (5, 3) and (3, 4)",
                  exam_shape(e, A), exam_shape(e, B));
        exam_looks_like(e, "A and B exchanged",
                        "x is a row here: x A needs A (in, rank), and the result times B needs "
                        "B (rank, out). The paper writes columns: B A x.");
    }
    exam_param(e, m, "A", IN, RANK);
    exam_param(e, m, "B", RANK, OUT);
    is_trained(e, "A", A);
    is_trained(e, "B", B);
}

static void b_is_zero(Exam *e)
{
    Module *m = layer(e);
    Tensor *B = exam_param(e, m, "B", RANK, OUT);
    if (e->failed || lk_count(B) == 0) return;
    exam_fail(e, VERDICT_VALUE, "%lld of %lld elements of B are not 0", (long long)lk_count(B),
              (long long)lk_numel(B));
    exam_looks_like(e, "B random",
                    "Leave B at zero: then the layer adds nothing at first, and the "
                    "trained net starts from where it was.");
}

static Matrix constant(Exam *e, int64_t rows, int64_t columns, double value)
{
    Matrix m = matrix_zeros(e, rows, columns);
    for (int64_t i = 0; m.v && i < rows * columns; i++) m.v[i] = value;
    return m;
}

/* The numbers that lk_normal_ with deviation 1 draws first. */
static Matrix first_normals(Exam *e, int64_t rows, int64_t columns)
{
    Rng rng;
    float values[64];
    lk_manual_seed(&rng, e->seed);
    lk_random_normals_f32(&rng, values, rows * columns, 0.0, 1.0);
    Matrix m = matrix_zeros(e, rows, columns);
    for (int64_t i = 0; m.v && i < rows * columns; i++) m.v[i] = (double)values[i];
    return m;
}

static void a_has_its_deviation(Exam *e)
{
    Module *m = layer(e);
    Tensor *A = exam_param(e, m, "A", IN, RANK);
    lk_manual_seed(e->rng, e->seed);
    Module *one = exam_module(e, "lora_layer_new(5, 4, 1, 8.5)",
                              CALL(e, lora_layer_new, IN, OUT, 1, ALPHA, e->rng, &e->err));
    Tensor *A1 = exam_param(e, one, "A", IN, 1);
    if (e->failed) return;
    Matrix n = first_normals(e, IN, RANK);
    /* Dividing integers gives 0 for rank 3, but 1 for rank 1. */
    bool divided = lk_count(A) == 0 && lk_count(A1) > 0;
    const Mistake mistakes[] = {
        { "deviation 1/rank", "The deviation is 1/√rank, so that x A has the size of x.",
          matrix_scale(e, n, 1.0 / RANK) },
        { "deviation 1", "The deviation is 1/√rank: 1.0 / sqrt((double)rank).", n },
        { "deviation 1/√in", "The root of the rank, not of the number of inputs.",
          matrix_scale(e, n, 1.0 / sqrt(IN)) },
        { "mean and deviation exchanged", "lk_normal_(x, mean, deviation, rng)",
          constant(e, IN, RANK, 1.0 / sqrt(RANK)) },
        { "deviation √rank", "Divide by the root instead of multiplying with it.",
          matrix_scale(e, n, sqrt(RANK)) },
        { divided ? "integer division" : "A zero",
          divided ? "1 / rank divides integers, and gives 0 for every rank above 1. Write 1.0 / …"
                  : "Draw A with lk_normal_. If A and B are both 0, neither gets a gradient.",
          matrix_zeros(e, IN, RANK) },
    };
    exam_equal(e, "A, drawn from N(0, 1/√rank),", A, matrix_scale(e, n, 1.0 / sqrt(RANK)),
               MISTAKES(mistakes));
}

static const char every_row[] = "Every row of x gives a row of y.";

static void starts_with_nothing(Exam *e)
{
    Module *m = exam_to_double(e, layer(e));
    Tensor *y = exam_forward(e, "lora_layer_forward", m, exam_input(e, BATCH, IN));
    const Mistake mistakes[] = { { "batch ignored", every_row, matrix_zeros(e, 1, OUT) } };
    exam_equal(e, "lora_layer_forward with B = 0", y, matrix_zeros(e, BATCH, OUT),
               MISTAKES(mistakes));
}

/* alpha (x A B) by loops, and its mistakes. */
static void compare_output(Exam *e, int64_t batch)
{
    Module *m = exam_to_double(e, layer(e));
    exam_param(e, m, "A", IN, RANK);
    exam_param(e, m, "B", RANK, OUT);
    Matrix A = exam_fill(e, m, "A"), B = exam_fill(e, m, "B");
    Tensor *x = exam_input(e, batch, IN);
    Tensor *y = exam_forward(e, "lora_layer_forward", m, x);
    Matrix xAB = matrix_product(e, matrix_product(e, matrix_of(e, x), A), B);
    Matrix right = matrix_scale(e, xAB, ALPHA);
    const Mistake mistakes[] = {
        { "alpha forgotten", "Multiply the product by l->alpha: lk_scale(t, …, l->alpha).", xAB },
        { "alpha cut to an integer", "alpha is a double, 8.5 here: keep it as one.",
          matrix_scale(e, xAB, floor(ALPHA)) },
        { "alpha never stored", "Keep it in the constructor: l->alpha = alpha;",
          matrix_zeros(e, batch, OUT) },
        { "alpha twice", "Multiply by alpha once, at the end.",
          matrix_scale(e, xAB, ALPHA * ALPHA) },
        { "alpha divided by the rank",
          "This class scales by alpha itself. alpha / rank belongs to the second notebook.",
          matrix_scale(e, xAB, ALPHA / RANK) },
        { "alpha divided by the root of the rank",
          "The root of the rank belongs to the deviation of A, not to the forward.",
          matrix_scale(e, xAB, ALPHA / sqrt(RANK)) },
        { "batch ignored", every_row, matrix_rows(e, right, 0, 1) },
    };
    exam_equal(e, "lora_layer_forward", y, right, MISTAKES(mistakes));
}

static void output_is_right(Exam *e) { compare_output(e, BATCH); }

static void gradients_are_right(Exam *e)
{
    Module *m = exam_to_double(e, layer(e));
    exam_param(e, m, "A", IN, RANK);
    exam_param(e, m, "B", RANK, OUT);
    Matrix A = exam_fill(e, m, "A"), B = exam_fill(e, m, "B"), v = matrix_random(e, BATCH, OUT);
    Tensor *input = exam_input(e, BATCH, IN);
    Matrix x = matrix_of(e, input);
    Tensor *y = exam_forward(e, "lora_layer_forward", m, input);
    exam_backward(e, y, v);
    Matrix vB = matrix_scale(e, matrix_product(e, v, matrix_T(e, B)), ALPHA);
    Matrix xA = matrix_scale(e, matrix_product(e, x, A), ALPHA);
    exam_has_gradient(e, m, "A");
    exam_has_gradient(e, m, "B");
    exam_gradient(e, "A", exam_param(e, m, "A", 0, 0), matrix_product(e, matrix_T(e, x), vB),
                  NO_MISTAKES);
    exam_gradient(e, "B", exam_param(e, m, "B", 0, 0), matrix_product(e, matrix_T(e, xA), v),
                  NO_MISTAKES);
    exam_gradient(e, "x", input, matrix_product(e, vB, matrix_T(e, A)), NO_MISTAKES);
}

static void takes_three_dimensions(Exam *e)
{
    Module *m = exam_to_double(e, layer(e));
    Matrix A = exam_fill(e, m, "A"), B = exam_fill(e, m, "B"), x = matrix_random(e, 6, IN);
    Tensor *leaf = exam_leaf(e, x);
    Tensor *y = exam_forward(e, "lora_layer_forward", m, lk_view(e->t, leaf, LK_SHAPE(2, 3, IN)));
    Matrix right = matrix_scale(e, matrix_product(e, matrix_product(e, x, A), B), ALPHA);
    exam_equal(e, "lora_layer_forward", y, right, NO_MISTAKES);
    exam_expect(e, e->failed || y->ndim == 3, VERDICT_SHAPE,
                "x (2, 3, 5) gives %s, expected (2, 3, 4)", exam_shape(e, y));
}

/* The constructor has to return NULL with a message, and to leave nothing behind. */
static void must_fail(Exam *e, int64_t in, int64_t out, int64_t rank)
{
    const char *what =
        exam_text(e, "lora_layer_new(%d, %d, %d, 8.5)", (int)in, (int)out, (int)rank);
    if (e->failed) return;
    e->err = (Error){ 0 };
    blocks_begin();
    Module *m = CALL(e, lora_layer_new, in, out, rank, ALPHA, e->rng, &e->err);
    Blocks b = blocks_end();
    if (m) {
        exam_fail(e, VERDICT_VALUE, "%s returns a module, expected NULL", what);
        exam_looks_like(e, "a failure that is not passed on",
                        "lk_param_new may return NULL. lk_module_complete(&l->base, l->A && l->B) "
                        "tests both, and frees l if one is missing.");
        exam_own(e, m);
    }
    exam_expect(e, e->err.code != LK_OK, VERDICT_FAILED, "%s returns NULL, without a message",
                what);
    if (e->failed || b.left == 0 || lk_strict()) return; /* strict mode keeps what was freed */
    exam_fail(e, VERDICT_LEAK, "%s returns NULL, and leaves %d object%s behind", what, b.left,
              b.left == 1 ? "" : "s");
    e->verdict.at = b.at;
    exam_looks_like(e, "",
                    "Let every path end with lk_module_complete(&l->base, l->A && l->B): it frees "
                    "l, A and B.");
}

static void failure_leaves_nothing(Exam *e)
{
    must_fail(e, IN, OUT, -1);
    must_fail(e, -1, OUT, RANK); /* no A, but a B */
    must_fail(e, IN, -1, RANK);
}

static void show(Exam *e)
{
    Module *m = exam_own(e, CALL(e, lora_layer_new, 4, 3, 2, 1.0, e->rng, &e->err));
    Tensor *x = lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(1, 4));
    printf("LoRALayer(4, 3, rank 2, alpha 1), seed %llu, as in the notebook:\nInput: ",
           (unsigned long long)e->seed);
    lk_print(stdout, x);
    printf("\nOutput: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    bool ok = lk_copy_(lk_param_at(m, "B", NULL), lk_randn(e->t, e->rng, LK_F32, LK_SHAPE(2, 3)),
                       &e->err);
    if (!ok) return;
    printf("\nOutput after modifying B: ");
    lk_print(stdout, lk_forward(e->t, m, x));
    printf("\n");
}

const Unit unit_ex1 = {
    .name = "ex1",
    .title = "LoRALayer, y = alpha (x A B)",
    .minutes = 20,
    .functions = { "lora_layer_new" },
    .checks = {
        { "A (in, rank) and B (rank, out) are parameters", has_a_and_b },
        { "B starts at zero", b_is_zero },
        { "A is drawn with deviation 1/√rank", a_has_its_deviation },
        { "a new layer adds nothing", starts_with_nothing },
        { "the output is alpha (x A B)", output_is_right },
        { "A, B and x get their gradients", gradients_are_right },
        { "x may have three dimensions", takes_three_dimensions },
        { "a constructor that fails leaves nothing behind", failure_leaves_nothing },
    },
    .show = show,
};
