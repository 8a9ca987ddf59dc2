/* ex0.c - the checks of ex0: ReLU and matmul with their backward. Rows, inner size and columns
 * fall, m > k > n, so that a wrong index stays inside of the arrays and gives a known value. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for dladdr */
#endif
#include <dlfcn.h>
#include <math.h>
#include <string.h>

#include "core/gradcheck.h"
#include "core/op.h"
#include "core/tape_print.h"
#include "examples/course/checks/check.h"

enum { M = 5, K = 4, N = 3 };

/* ---- gradcheck ------------------------------------------------------------------------------ */

/* The next step for a mistake that lk_gradcheck names. */
/* clang-format off */
static const struct { const char *mistake, *looks_like, *next; } reports[] = {
    { "overwritten", "gradient set for added", "Write += : the tensor may hold the gradient that "
      "came from another use already." },
    { "first use", "only the first use of an input", "Add for every input, also when both are the "
      "same tensor." },
    { "strided", "strides ignored", "Read inputs through lk_packed(t, n->in[i]): a view, such as "
      "lk_T, has other strides." },
    { "needs", "needs incomplete", "List the inputs that backward reads: { for the gradient of "
      "input 0, of input 1 }. Then a change in place before backward is noticed." },
    { "frozen", "gradient depends on what is frozen", "Treat each input by itself: if (dA) …; "
      "if (dB) …" },
    { "unwritten", "result not cleared", "Set the element first: lk_empty does not clear." },
    { "input written", "input written", "Write to the result only; the inputs belong to others." },
    { "not connected", "not recorded", "End with return lk_record(…), and add to every tensor "
      "that lk_grad_in gives." },
};
/* clang-format on */

/* Runs lk_gradcheck with strict limits, and turns its report into a verdict. */
static void gradcheck(Exam *e, const char *call, GradcheckFn *f, int count, Tensor *const *in,
                      const char *const *names)
{
    if (e->failed) return;
    GradcheckReport r;
    const GradcheckOptions options = { .atol = 1e-7, .rtol = 1e-5, .seed = e->seed };
    if (lk_gradcheck(f, e, count, in, names, &options, &r) || e->failed) return;
    exam_fail(e, VERDICT_GRADIENT, "lk_gradcheck of %s: %.1000s", call, r.message);
    for (size_t i = 0; r.mistake && i < sizeof reports / sizeof *reports; i++)
        if (!strcmp(r.mistake, reports[i].mistake))
            exam_looks_like(e, reports[i].looks_like, reports[i].next);
    exam_looks_like(e, "", "Compare the loops of backward with the formula on the page.");
}

static Tensor *call_relu(Tape *t, Tensor *const *in, void *e)
{
    return CALL((Exam *)e, my_relu, t, in[0]);
}

static Tensor *call_matmul(Tape *t, Tensor *const *in, void *e)
{
    return CALL((Exam *)e, my_matmul, t, in[0], in[1]);
}

static Tensor *call_square(Tape *t, Tensor *const *in, void *e)
{
    return CALL((Exam *)e, my_matmul, t, in[0], in[0]);
}

/* ---- memory that was used before ------------------------------------------------------------ */

/* Leaves its values in the memory that the next tensors of the tape get. */
static const double RUBBISH = 7.0;
static Matrix rubbish(Exam *e, int64_t rows, int64_t columns)
{
    Matrix m = matrix_zeros(e, rows, columns);
    for (int64_t i = 0; m.v && i < rows * columns; i++) m.v[i] = RUBBISH;
    return m;
}

static void dirty(Exam *e)
{
    if (!e->failed) lk_full(e->t, LK_F64, LK_SHAPE(1000), RUBBISH);
    lk_tape_reset(e->t);
}

/* As exam_gradient, with a next step for a result that no mistake explains. */
static void gradient(Exam *e, const char *name, const Tensor *x, Matrix expected,
                     const Mistake *mistakes, int count)
{
    if (e->failed || exam_gradient(e, name, x, expected, mistakes, count)) return;
    exam_looks_like(e, "", "Compare each index in the loops of backward with the formula.");
}

/* ---- results -------------------------------------------------------------------------------- */

/* The operation that y is recorded with; NULL: none. */
static const Op *op_of(const Tensor *y) { return y && y->node ? y->node->op : NULL; }

/* A result of the learner's function: float64, and not made by an operation of the library. */
static Tensor *result(Exam *e, const char *call, const void *function, Tensor *y)
{
    if (!exam_result(e, call, y)) return NULL;
    Dl_info op, learners;
    if (op_of(y) && dladdr(op_of(y), &op) && dladdr(function, &learners) &&
        op.dli_fbase != learners.dli_fbase) {
        exam_fail(e, VERDICT_LIBRARY_CALL, "%s is recorded as %s, an operation of the library",
                  call, lk_grad_fn(y));
        exam_looks_like(e, "",
                        "Write the loops yourself, and record the result with your own Op.");
    }
    if (!e->failed && y->dtype != LK_F64) {
        exam_fail(e, VERDICT_VALUE, "%s is %s, expected float64", call, lk_dtype_name(y->dtype));
        exam_looks_like(e, "result of another dtype",
                        "Make the result by lk_empty(t, LK_F64, …): your loops write doubles.");
    }
    return e->failed ? NULL : y;
}

static Tensor *relu(Exam *e, Tensor *x)
{
    Tensor *y = CALL(e, my_relu, e->t, x);
    return result(e, "my_relu(t, x)", exam_function(e, "my_relu"), y);
}

static Tensor *matmul(Exam *e, Tensor *a, Tensor *b)
{
    Tensor *y = CALL(e, my_matmul, e->t, a, b);
    return result(e, "my_matmul(t, a, b)", exam_function(e, "my_matmul"), y);
}

/* Fails when y has no record on the tape. */
static void expect_record(Exam *e, const char *call, const Tensor *y)
{
    if (e->failed || op_of(y)) return;
    exam_fail(e, VERDICT_GRADIENT, "%s is not on the tape, although an input requires a gradient",
              call);
    exam_looks_like(e, "not recorded",
                    "End with return lk_record(t, &OP, y, LK_INPUTS(…), NULL, 0).");
}

/* Fails when my_matmul(t, a, b) is not recorded with its own Op, or not with (a, b). */
static void expect_matmul_record(Exam *e, const Tensor *a, const Tensor *b, const Tensor *y)
{
    expect_record(e, "my_matmul(t, a, b)", y);
    Tensor *other = e->failed ? NULL : relu(e, exam_input(e, 1, 1));
    if (e->failed) return;
    const Node *n = y->node;
    if (n->op == op_of(other)) {
        exam_fail(e, VERDICT_GRADIENT, "my_matmul is recorded with the Op of my_relu");
        exam_looks_like(e, "the Op of ReLU", "lk_record(t, &MY_MATMUL, …)");
    } else if (n->inputs != 2) {
        exam_fail(e, VERDICT_GRADIENT, "my_matmul is recorded with %d input%s, expected 2",
                  n->inputs, n->inputs == 1 ? "" : "s");
        exam_looks_like(e, "an input not recorded", "lk_record(…, LK_INPUTS(a, b), NULL, 0)");
    } else if (n->in[0] == b && n->in[1] == a) {
        exam_fail(e, VERDICT_GRADIENT, "my_matmul(t, a, b) is recorded with the inputs (b, a)");
        exam_looks_like(e, "inputs recorded in another order",
                        "LK_INPUTS(a, b): node->in[0] is a, and lk_grad_in(t, node, 0) dA.");
    }
}

/* ---- ReLU ----------------------------------------------------------------------------------- */

static double positive(double x) { return x > 0 ? 1.0 : 0.0; }
static double not_negative(double x) { return x >= 0 ? 1.0 : 0.0; }
static double leak(double x) { return x > 0 ? x : 0.01 * x; }
static double away_from_0(double x) { return x > 0 ? x + 0.2 : x - 0.2; }

/* Values of both signs, none of them near 0. */
static Matrix both_signs(Exam *e, int64_t rows, int64_t columns)
{
    Matrix m = matrix_map(e, matrix_random(e, rows, columns), away_from_0);
    for (int64_t i = 0; m.v && i < rows * columns; i++)
        if ((m.v[i] > 0) != (i % 2 == 0)) m.v[i] = -m.v[i];
    return m;
}

/* The values where the mask of `by` is 1, and 0 elsewhere. */
static Matrix masked(Exam *e, Matrix values, Matrix by, double (*mask)(double))
{
    Matrix r = matrix_times(e, values, matrix_map(e, by, mask));
    for (int64_t i = 0; r.v && i < r.rows * r.columns; i++) r.v[i] += 0.0; /* -0 becomes 0 */
    return r;
}

/* The first elements, and 0 for the others. */
static Matrix first_of(Exam *e, Matrix values, int64_t count)
{
    Matrix r = matrix_zeros(e, values.rows, values.columns);
    for (int64_t i = 0; r.v && values.v && i < count; i++) r.v[i] = values.v[i];
    return r;
}

/* max(x, 0) of the first elements, and of doubles that are read and written as float. */
static Matrix relu_of_few(Exam *e, Matrix x, int64_t count)
{
    Matrix r = rubbish(e, x.rows, x.columns);
    for (int64_t i = 0; r.v && x.v && i < count; i++) r.v[i] = x.v[i] > 0 ? x.v[i] : 0.0;
    return r;
}

static Matrix relu_of_floats(Exam *e, Matrix x)
{
    Matrix r = rubbish(e, x.rows, x.columns);
    for (int64_t i = 0; r.v && x.v && i < x.rows * x.columns; i++) {
        float f;
        memcpy(&f, (const char *)x.v + (size_t)i * sizeof f, sizeof f);
        if (!(f > 0)) f = 0;
        memcpy((char *)r.v + (size_t)i * sizeof f, &f, sizeof f);
    }
    return r;
}

static void relu_is_right(Exam *e)
{
    dirty(e);
    Matrix x = both_signs(e, M, K), right = masked(e, x, x, positive);
    Tensor *leaf = exam_leaf(e, x), *y = relu(e, leaf);
    const Mistake mistakes[] = {
        { "absolute value", "A negative x gives 0.", matrix_map(e, x, fabs) },
        { "leaky ReLU", "A negative x gives 0.", matrix_map(e, x, leak) },
        { "negative part", "max(x, 0) keeps what is positive.",
          masked(e, x, matrix_scale(e, x, -1.0), positive) },
        { "x itself", "A negative x gives 0.", x },
        { "slope instead of value", "A positive x gives x.", matrix_map(e, x, positive) },
        { "loop too short", "Loop over all lk_numel(x) elements.", relu_of_few(e, x, M) },
        { "float for double", "The elements are float64: const double *in = packed->data;",
          relu_of_floats(e, x) },
    };
    exam_equal(e, "my_relu(t, x)", y, right, MISTAKES(mistakes));
    if (e->failed || matrix_near(matrix_of(e, leaf), x, 0.0)) return;
    exam_fail(e, VERDICT_VALUE, "my_relu changes the elements of x");
    exam_looks_like(e, "input written", "Write to the result only; x belongs to the caller.");
}

static void relu_gradient_is_right(Exam *e)
{
    Matrix x = both_signs(e, M, K), v = both_signs(e, M, K);
    for (int64_t i = 0; v.v && i < M * K; i += 3) v.v[i] = -v.v[i]; /* not the signs of x */
    Tensor *leaf = exam_leaf(e, x), *y = relu(e, leaf);
    expect_record(e, "my_relu(t, x)", y);
    exam_crash_means(e, NULL,
                     "In a backward dy is n->grad; n->out->grad is NULL there. Look at "
                     "the bounds of the loop too: lk_numel(x) elements.");
    exam_backward(e, y, v);
    Matrix right = masked(e, v, x, positive);
    const Mistake mistakes[] = {
        { "dy times x", "The slope of max(x, 0) is 1, not x.",
          masked(e, matrix_times(e, v, x), x, positive) },
        { "dy times x", "The slope of max(x, 0) is 1, not x.", matrix_times(e, v, x) },
        { "mask forgotten", "Add dy only where x > 0.", v },
        { "mask of dy instead of x", "The sign of x decides, not that of dy.",
          masked(e, v, v, positive) },
        { "dy forgotten", "Add dy[i], the gradient that arrives, instead of 1.",
          matrix_map(e, x, positive) },
        { "sign", "Add dy; the slope is 1.", masked(e, matrix_scale(e, v, -1.0), x, positive) },
        { "mask inverted", "Add dy where x > 0.",
          masked(e, v, matrix_scale(e, x, -1.0), positive) },
        { "loop too short", "Loop over all lk_numel(x) elements.", first_of(e, right, M) },
    };
    gradient(e, "x", leaf, right, MISTAKES(mistakes));
}

static void relu_at_zero(Exam *e)
{
    Matrix x = both_signs(e, M, K), v = both_signs(e, M, K);
    for (int64_t i = 0; x.v && i < M * K; i += 3) x.v[i] = 0.0;
    Tensor *leaf = exam_leaf(e, x);
    exam_backward(e, relu(e, leaf), v);
    const Mistake mistakes[] = {
        { "x >= 0 for x > 0", "At x = 0 any slope from 0 to 1 would do; PyTorch takes 0.",
          masked(e, v, x, not_negative) },
    };
    gradient(e, "x", leaf, masked(e, v, x, positive), MISTAKES(mistakes));
}

static void relu_passes(Exam *e)
{
    Tensor *x = exam_leaf(e, both_signs(e, M, K));
    gradcheck(e, "my_relu(t, x)", call_relu, 1, &x, (const char *[]){ "x" });
}

/* ---- matmul --------------------------------------------------------------------------------- */

/* The column or row j of both factors alone: one product of the sum. */
static Matrix one_product(Exam *e, Matrix a, Matrix b, int64_t j)
{
    return matrix_product(e, matrix_T(e, matrix_rows(e, matrix_T(e, a), j, 1)),
                          matrix_rows(e, b, j, 1));
}

/* The matrix that code sees which takes values[i * step + j] for its element [i][j]. */
static Matrix read_as(Exam *e, Matrix values, int64_t rows, int64_t columns, int64_t step)
{
    Matrix r = matrix_zeros(e, rows, columns);
    for (int64_t i = 0; r.v && values.v && i < rows; i++)
        for (int64_t j = 0; j < columns; j++) r.v[i * columns + j] = values.v[i * step + j];
    return r;
}

static void matmul_is_right(Exam *e)
{
    enum { INNER = 3, COLUMNS = 4 }; /* rows of B that are read too short stay inside of it */
    dirty(e);
    Matrix a = matrix_random(e, M, INNER), b = matrix_random(e, INNER, COLUMNS);
    Matrix right = matrix_product(e, a, b), last = one_product(e, a, b, INNER - 1);
    Tensor *y = matmul(e, exam_leaf(e, a), exam_leaf(e, b));
    const Mistake mistakes[] = {
        { "result not cleared", "lk_empty does not clear: begin each sum at 0.",
          matrix_sum(e, right, rubbish(e, M, COLUMNS)) },
        { "only the last product", "Add the products of the inner loop: += instead of =.", last },
        { "inner loop one short", "The inner loop runs from 0 to k, k left out: l < k.",
          matrix_sum(e, right, matrix_scale(e, last, -1.0)) },
        { "B read by columns", "B has n columns: element [l][j] is at l * n + j.",
          matrix_product(e, a, matrix_T(e, matrix_reshape(e, b, COLUMNS, INNER))) },
        { "rows of B too short", "B has n columns: element [l][j] is at l * n + j.",
          matrix_product(e, a, read_as(e, b, INNER, COLUMNS, INNER)) },
        { "inner loop one short", "The inner loop begins at 0.",
          matrix_sum(e, right, matrix_scale(e, one_product(e, a, b, 0), -1.0)) },
    };
    exam_equal(e, "my_matmul(t, a, b)", y, right, MISTAKES(mistakes));
}

/* Square factors, whose gradients have the same shape. */
static void expect_not_exchanged(Exam *e)
{
    Matrix a = matrix_random(e, N, N), b = matrix_random(e, N, N), v = matrix_random(e, N, N);
    Tensor *A = exam_leaf(e, a), *B = exam_leaf(e, b), *y = matmul(e, A, B);
    expect_matmul_record(e, A, B, y);
    if (!exam_backward(e, y, v) || !lk_grad(A) || !lk_grad(B)) return;
    Matrix da = matrix_product(e, v, matrix_T(e, b)), db = matrix_product(e, matrix_T(e, a), v);
    bool exchanged = matrix_near(matrix_of(e, lk_grad(A)), db, 1e-9) &&
                     matrix_near(matrix_of(e, lk_grad(B)), da, 1e-9);
    if (!exchanged) return;
    exam_fail(e, VERDICT_GRADIENT, "a (3, 3) gets the gradient of b, and b that of a");
    exam_looks_like(e, "dA and dB exchanged",
                    "lk_grad_in(t, node, 0) belongs to input 0, which "
                    "is a.");
}

/* Whether nothing was added to the gradient of x. */
static bool got_nothing(const Tensor *x) { return !lk_grad(x) || lk_count(lk_grad(x)) == 0; }

/* Fails when one of the inputs has no gradient. */
static void expect_both(Exam *e, const Tensor *a, const Tensor *b)
{
    if (e->failed || got_nothing(a) == got_nothing(b)) return;
    exam_fail(e, VERDICT_GRADIENT, "nothing is added to the gradient of %s",
              got_nothing(a) ? "a" : "b");
    exam_looks_like(e, "only one of the two gradients",
                    "Ask lk_grad_in for 0 and for 1, and add to each that is not NULL; no else.");
}

static void matmul_gradients_are_right(Exam *e)
{
    expect_not_exchanged(e);
    Matrix a = matrix_random(e, M, K), b = matrix_random(e, K, N), v = matrix_random(e, M, N);
    Tensor *A = exam_leaf(e, a), *B = exam_leaf(e, b);
    exam_backward(e, matmul(e, A, B), v);
    expect_both(e, A, B);
    Matrix aT = matrix_T(e, a), bT = matrix_T(e, b);
    const char *add = "Add the products of the inner loop: += instead of =.";
    const char *of_B = "B has k rows and n columns: element [l][j] is b[l * n + j].";
    const Mistake in_a[] = {
        { "B not transposed", of_B, matrix_product(e, v, read_as(e, b, N, K, N)) },
        { "reshape for transpose", of_B, matrix_product(e, v, matrix_reshape(e, b, N, K)) },
        { "only the last product", add, one_product(e, v, bT, N - 1) },
    };
    const char *of_A = "A has m rows and k columns: element [i][l] is a[i * k + l].";
    const Mistake in_b[] = {
        { "A not transposed", of_A, matrix_product(e, read_as(e, a, K, M, K), v) },
        { "reshape for transpose", of_A, matrix_product(e, matrix_reshape(e, a, K, M), v) },
        { "only the last product", add, one_product(e, aT, v, M - 1) },
    };
    gradient(e, "a", A, matrix_product(e, v, bT), MISTAKES(in_a));
    gradient(e, "b", B, matrix_product(e, aT, v), MISTAKES(in_b));
}

static void frozen_inputs_get_nothing(Exam *e)
{
    exam_crash_means(e, "gradient into a frozen input",
                     "lk_grad_in gives NULL for a frozen input: if (dA) add_da(…);");
    for (int frozen = 0; frozen < 2; frozen++) {
        Tensor *in[] = { exam_input(e, M, K), exam_input(e, K, N) };
        if (e->failed) return;
        lk_set_requires_grad(in[frozen], false);
        exam_backward(e, matmul(e, in[0], in[1]), matrix_random(e, M, N));
        if (e->failed) return;
        exam_expect(e, !lk_grad(in[frozen]), VERDICT_FROZEN, "%s is frozen, yet has a gradient",
                    frozen ? "b" : "a");
        if (!got_nothing(in[!frozen])) continue;
        exam_fail(e, VERDICT_GRADIENT, "nothing is added to the gradient of %s when %s is frozen",
                  frozen ? "a" : "b", frozen ? "b" : "a");
        exam_looks_like(e, "no gradient when the other is frozen",
                        "Treat each input by itself: if (dA) …; if (dB) …");
    }
}

static void takes_views(Exam *e)
{
    Matrix aT = matrix_random(e, K, M), bT = matrix_random(e, N, K), v = matrix_random(e, M, N);
    Matrix a = matrix_T(e, aT), b = matrix_T(e, bT);
    Matrix raw_a = matrix_reshape(e, aT, M, K), raw_b = matrix_reshape(e, bT, K, N);
    Tensor *A = exam_leaf(e, aT), *B = exam_leaf(e, bT);
    Tensor *y = e->failed ? NULL : matmul(e, lk_T(e->t, A), lk_T(e->t, B));
    const char *name = "strides ignored", *next = "Read an input through lk_packed: x->data of a "
                                                  "view lies in another order.";
    const Mistake of_y[] = { { name, next, matrix_product(e, raw_a, raw_b) } };
    const Mistake of_a[] = { { name, next,
                               matrix_T(e, matrix_product(e, v, matrix_T(e, raw_b))) } };
    const Mistake of_b[] = { { name, next,
                               matrix_T(e, matrix_product(e, matrix_T(e, raw_a), v)) } };
    exam_equal(e, "my_matmul(t, lk_T(t, a), lk_T(t, b))", y, matrix_product(e, a, b),
               MISTAKES(of_y));
    if (!e->failed && !lk_grad_fn(y)) {
        exam_fail(e, VERDICT_GRADIENT, "my_matmul of views is not on the tape");
        exam_looks_like(e, "copies recorded",
                        "LK_INPUTS(a, b): the tensors themselves, not what "
                        "lk_packed made of them.");
    }
    exam_backward(e, y, v);
    gradient(e, "a", A, matrix_T(e, matrix_product(e, v, bT)), MISTAKES(of_a));
    gradient(e, "b", B, matrix_T(e, matrix_product(e, aT, v)), MISTAKES(of_b));
}

static void matmul_passes(Exam *e)
{
    Tensor *in[] = { exam_input(e, M, K), exam_input(e, K, N) }, *x = exam_input(e, K, K);
    gradcheck(e, "my_matmul(t, a, b)", call_matmul, 2, in, (const char *[]){ "a", "b" });
    gradcheck(e, "my_matmul(t, x, x)", call_square, 1, &x, (const char *[]){ "x" });
}

/* ---- the tape ------------------------------------------------------------------------------- */

static void show(Exam *e)
{
    Tensor *a = exam_leaf(e, matrix_random(e, 2, 3)), *b = exam_leaf(e, matrix_random(e, 3, 2));
    if (e->failed) return;
    lk_tape_annotate(e->t, true);
    lk_tape_name(e->t, a, "a");
    lk_tape_name(e->t, b, "b");
    Tensor *c = lk_tape_name(e->t, CALL(e, my_matmul, e->t, a, b), "c");
    Tensor *r = lk_tape_name(e->t, CALL(e, my_relu, e->t, c), "r");
    Tensor *y = lk_tape_name(e->t, lk_sum(e->t, r, LK_ALL, false), "y");
    if (!lk_backward_with(e->t, y, NULL, true)) return;
    printf("y = sum(my_relu(my_matmul(a, b))), on the tape after backward:\n\n");
    lk_tape_print(stdout, e->t);
}

const Unit unit_ex0 = {
    .name = "ex0",
    .title = "two operations with their backward: ReLU and matmul",
    .minutes = 30,
    .functions = { "my_relu", "my_matmul" },
    .checks = {
        { "my_relu(x) is max(x, 0)", relu_is_right },
        { "its gradient is dy where x > 0", relu_gradient_is_right },
        { "at x = 0 it is 0", relu_at_zero },
        { "my_relu passes lk_gradcheck", relu_passes },
        { "my_matmul(a, b) is the product", matmul_is_right },
        { "dA is dC Bᵀ, dB is Aᵀ dC", matmul_gradients_are_right },
        { "a frozen input gets no gradient", frozen_inputs_get_nothing },
        { "views give the same as copies", takes_views },
        { "my_matmul passes lk_gradcheck", matmul_passes },
    },
    .show = show,
};
