/* test_gradcheck.c - lk_gradcheck: PyTorch's semantics and defaults, what it leaves behind,
 * what it refuses, and that correct gradients pass where numbers are hard. Kinds of functions:
 * test_gradcheck_functions.c; wrong gradients: test_planted_bugs.c. */
#include "core/gradcheck/parts.h" /* lk__gradcheck_cotangent */

#include <math.h>
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

#include <criterion/redirect.h> /* after criterion.h, or cr_assert is another macro */

static const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };

#define FN(name, expression) \
    static Tensor *name(Tape *t, Tensor *const *x, void *user) \
    { \
        (void)t, (void)x, (void)user; \
        return expression; \
    }

/* ---- tolerances and steps ------------------------------------------------------------------- */

/* y = c x; backward takes (1 + error) c for c. */
typedef struct Wrong {
    double c, error;
} Wrong;

static void wrong_backward(Tape *t, Node *n)
{
    const Wrong *w = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    for (int64_t i = 0; dx && i < lk_numel(dx); i++)
        ((double *)dx->data)[i] += (1 + w->error) * w->c * ((const double *)n->grad->data)[i];
}
static const Op WRONG = { "WrongBackward", wrong_backward, { 0 } };

static Tensor *wrong(Tape *t, Tensor *const *x, void *user)
{
    const Wrong *w = user;
    Tensor *packed = lk_packed(t, x[0]), *y = lk_empty(t, LK_F64, x[0]->ndim, x[0]->shape);
    for (int64_t i = 0; packed && y && i < lk_numel(y); i++)
        ((double *)y->data)[i] = w->c * ((const double *)packed->data)[i];
    return lk_record(t, &WRONG, y, LK_INPUTS(x[0]), w, sizeof *w);
}

/* The first element of the cotangents that lk_gradcheck takes; of both, the larger. */
static double larger_cotangent(uint64_t seed)
{
    double v[COTANGENTS];
    for (int w = 0; w < COTANGENTS; w++) lk__gradcheck_cotangent(seed, (uint64_t)w, 1, &v[w]);
    return fabs(v[1]) > fabs(v[0]) ? v[1] : v[0];
}

/* |a - n| <= atol + rtol |n|: the relative part is of the numeric value. worst is the error as
 * a part of that. */
Test(gradcheck, defaults_and_tolerances_are_pytorchs)
{
    const struct {
        GradcheckOptions options;
        double gradient, error; /* of one element, the error relative to it */
        bool ok;
    } cases[] = {
        { { .eps = 0 }, 1e6, 0.99e-3, true },
        { { .eps = 0 }, 1e6, 1.01e-3, false }, /* rtol 1e-3 */
        { { .eps = 0 }, 1e6, -0.99e-3, true },
        { { .eps = 0 }, 1e6, -1.01e-3, false },
        { { .eps = 0 }, 1e-6, 5, true },
        { { .eps = 0 }, 1e-6, 15, false }, /* atol 1e-5 */
        { { .rtol = 0.1 }, 1e6, 0.099, true },
        { { .rtol = 0.1 }, 1e6, 0.101, false },
        { { .atol = 10, .rtol = 1e-9 }, 1, 9.9, true },
        { { .atol = 10, .rtol = 1e-9 }, 1, 10.1, false },
        { { .atol = 1, .rtol = 1 }, 1, 1.99, true },
        { { .atol = 1, .rtol = 1 }, 1, 2.01, false }, /* the sum of both */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GradcheckOptions o = cases[i].options;
        double v = larger_cotangent(0), n = cases[i].gradient; /* Σ v y: the gradient is v c */
        Wrong w = { n / v, cases[i].error };
        Tensor *x = make_param(LK_F64, LK_SHAPE(1), 0);
        GradcheckReport r;
        bool ok = lk_gradcheck(wrong, &w, 1, &x, NULL, &o, &r);
        check(ok == cases[i].ok && r.ok == ok && r.checked == 1, "case %zu: %s", i, r.message);
        double atol = o.atol > 0 ? o.atol : 1e-5, rtol = o.rtol > 0 ? o.rtol : 1e-3;
        double expected = fabs(n * cases[i].error) / (atol + rtol * fabs(n));
        check(fabs(r.worst - expected) < 1e-3 * expected, "case %zu: worst is %g, expected %g", i,
              r.worst, expected);
        lk_free(x);
    }
}

typedef struct Seen {
    double low, high;
    int calls, recorded;
} Seen;

static Tensor *watch(Tape *t, Tensor *const *x, void *user)
{
    Seen *s = user;
    double value = ((const double *)x[0]->data)[0];
    s->low = fmin(s->low, value);
    s->high = fmax(s->high, value);
    s->calls++;
    s->recorded += lk_tape_grad(t);
    return lk_scale(t, x[0], 1);
}

Test(gradcheck, step_is_relative_beyond_one)
{
    const struct {
        double x, eps, step;
    } cases[] = {
        { 0.5, 0, 1e-6 },  { -0.25, 0, 1e-6 }, { 1e-9, 0, 1e-6 },
        { 1000, 0, 1e-3 }, { -1e6, 0, 1 },     { 2, 0.125, 0.25 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tensor *x = make_param(LK_F64, LK_SHAPE(1), cases[i].x);
        Seen s = { INFINITY, -INFINITY, 0, 0 };
        GradcheckReport r;
        GradcheckOptions o = { .eps = cases[i].eps };
        check(lk_gradcheck(watch, &s, 1, &x, NULL, &o, &r), "%s", r.message);
        double up = s.high - cases[i].x, down = cases[i].x - s.low, h = cases[i].step,
               rounding = 1e-9 * h + 1e-12;
        check(fabs(up - h) < rounding && fabs(down - h) < rounding, "at %g: %g and %g", cases[i].x,
              up, down);
        /* one for the shape and two for the difference; eight recorded, one of them with a view */
        check(s.calls == 11 && s.recorded == 8, "%d calls, %d of them recorded", s.calls,
              s.recorded);
        lk_free(x);
    }
}

/* ---- what it reports ------------------------------------------------------------------------ */

static Tensor *tangle(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *left = lk_tanh(t, lk_linear(t, x[0], x[1], x[2])),
           *right = lk_matmul(t, x[0], lk_T(t, x[1]));
    return lk_mean(t, lk_mul(t, left, lk_softmax(t, right, 0)), LK_DIMS(1), false);
}

Test(gradcheck, several_inputs_of_a_complex_function)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *x[] = { lk_param_new(LK_F64, LK_SHAPE(5, 4), NULL),
                    lk_param_new(LK_F64, LK_SHAPE(3, 4), NULL),
                    lk_param_new(LK_F64, LK_SHAPE(3), NULL) };
    for (int i = 0; i < 3; i++) lk_normal_(x[i], 0, 1, &rng);
    GradcheckReport r;
    check(lk_gradcheck(tangle, NULL, 3, x, NULL, &strict, &r), "%s", r.message);
    check(r.checked == 20 + 12 + 3 && r.worst < 0.5 && r.hint[0] == '\0', "%s", r.message);
    check(strcmp(r.message, "35 elements agree within 1e-07 + 1e-05 |gradient|") == 0, "%s",
          r.message);
    lk_set_requires_grad(x[1], false); /* now a constant */
    check(lk_gradcheck(tangle, NULL, 3, x, NULL, &strict, &r) && r.checked == 23, "%s", r.message);
    check(!r.mistake && r.notice[0] == '\0', "a constant is not looked for: %s", r.message);
    for (int i = 0; i < 3; i++) lk_free(x[i]);
}

static Tensor *second_is_wrong(Tape *t, Tensor *const *x, void *user)
{
    Tensor *y = wrong(t, x + 1, user);
    return lk_add(t, lk_sum(t, x[0], LK_ALL, false), lk_sum(t, y, LK_ALL, false));
}

Test(gradcheck, report_names_input_index_and_values)
{
    Tensor *x[] = { make_param(LK_F64, LK_SHAPE(2), 1, 2),
                    make_param(LK_F64, LK_SHAPE(2, 1), 3, 4) };
    const char *const names[] = { "layers.0.weight", "layers.0.bias" };
    Wrong w = { 2, -3 }; /* a = -4 v for n = 2 v */
    GradcheckReport r;
    double v = larger_cotangent(7);
    check(!lk_gradcheck(second_is_wrong, &w, 2, x, names, &(GradcheckOptions){ .seed = 7 }, &r));
    check(strcmp(r.name, "layers.0.bias") == 0 && r.ndim == 2 && r.index[0] == 0 &&
              r.index[1] == 0,
          "%s", r.message);
    check(fabs(r.analytic + 4 * v) < 1e-12 && fabs(r.numeric - 2 * v) < 1e-8, "%g and %g",
          r.analytic, r.numeric);
    check(strstr(r.message, "gradient of layers.0.bias at (0, 0): analytic ") == r.message, "%s",
          r.message);
    check(r.hint[0] && strstr(r.message, r.hint), "%s", r.message);
    check(!lk_gradcheck(second_is_wrong, &w, 2, x, NULL, NULL, &r) &&
              strcmp(r.name, "input 1") == 0,
          "%s", r.name);
    check(!lk_gradcheck(second_is_wrong, &w, 2, x, (const char *const[]){ "a", NULL }, NULL, &r));
    check(strcmp(r.name, "input 1") == 0, "%s", r.name);
    lk_free(x[0]), lk_free(x[1]);
}

FN(product, lk_mul(t, x[0], x[1]))
FN(identity, x[0])
FN(constant, lk_full(t, LK_F64, LK_SHAPE(2), 3))

Test(gradcheck, special_arguments)
{
    Tape *t = lk_tape_new(NULL);
    GradcheckReport r;
    Tensor *a = make_param(LK_F64, LK_SHAPE(2), 1, 2),
           *empty = lk_param_new(LK_F64, LK_SHAPE(0, 3), NULL);
    check(lk_gradcheck(identity, NULL, 1, &a, NULL, &strict, &r) && r.checked == 2, "%s",
          r.message);
    check(lk_gradcheck(constant, NULL, 1, &a, NULL, &strict, &r),
          "no dependence is a gradient of 0: %s", r.message);
    check(strcmp(r.notice, "input 0 was never read") == 0 && strstr(r.message, r.notice), "%s",
          r.message);
    check(lk_gradcheck(identity, NULL, 2, (Tensor *[]){ a, empty },
                       (const char *const[]){ "a", "b" }, &strict, &r));
    check(r.notice[0] == '\0', "an input without elements cannot be read: %s", r.notice);
    check(lk_gradcheck(product, NULL, 2, (Tensor *[]){ a, a }, NULL, &strict, &r) &&
              r.checked == 4,
          "%s", r.message);
    Tensor *odd = make_param(LK_F64, LK_SHAPE(3), 0.1, -1234.5678,
                             1e-3); /* x ± h is rounded; that is not an error */
    check(lk_gradcheck(identity, NULL, 1, &odd, NULL, &strict, &r) && r.worst < 1e-6,
          "worst is %g", r.worst);
    lk_free(odd);
    check(lk_gradcheck(identity, NULL, 1, &empty, NULL, &strict, &r) && r.checked == 0, "%s",
          r.message);
    Tensor *leaf = lk_full(t, LK_F64, LK_SHAPE(3, 2), 2); /* a leaf that a tape owns */
    lk_set_requires_grad(leaf, true);
    check(lk_gradcheck(product, NULL, 2, (Tensor *[]){ leaf, a }, NULL, &strict, &r), "%s",
          r.message);
    check(r.checked == 8 && !lk_grad(leaf));
    lk_free(a), lk_free(empty);
    lk_tape_free(t);
}

/* ---- what it leaves behind ------------------------------------------------------------------ */

FN(product_of_exp, lk_mul(t, lk_exp(t, x[0]), x[1]))

static Tensor *fail_late(Tape *t, Tensor *const *x, void *user)
{
    int *calls = user;
    return --*calls < 0 ? lk_fail(t, LK_EIO, "the disk is gone") : lk_exp(t, x[0]);
}

Test(gradcheck, inputs_and_gradients_are_left_as_they_were)
{
    /* Values where x + h - h differs from x, and both zeros. */
    const double values[] = { 0.1, 1e-300, -0.0, 0.0, 123456.789, 1e17 };
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    Tensor *x[2];
    for (int i = 0; i < 2; i++) {
        x[i] = lk_tensor_from_new(LK_F64, LK_SHAPE(6), values, NULL);
        lk_set_requires_grad(x[i], true);
    }
    check(lk_backward(t, lk_sum(t, lk_scale(t, x[0], 3), LK_ALL, false)));
    lk_tape_free(t);
    Tensor *before = lk_clone(lk_grad(x[0]), NULL);
    const Tensor *gradient = lk_grad(x[0]);
    GradcheckReport r;
    int64_t live = check_alloc_live();

    lk_gradcheck(product_of_exp, NULL, 2, x, NULL, NULL, &r);
    lk_gradcheck(product, NULL, 2, (Tensor *[]){ x[0], x[0] }, NULL, NULL, &r);
    for (int calls = 0; calls < 10; calls++) {
        int left = calls;
        check(!lk_gradcheck(fail_late, &left, 1, x, NULL, NULL, &r));
    }
    for (int i = 0; i < 2; i++) check_bits(x[i], values, 6);
    check(lk_grad(x[0]) == gradient && !lk_grad(x[1]));
    check_equal(lk_grad(x[0]), before);
    check(check_alloc_live() == live, "%lld blocks are left",
          (long long)(check_alloc_live() - live));
    lk_free(x[0]), lk_free(x[1]), lk_free(before);
    check(check_alloc_live() == 0);
}

Test(gradcheck, says_nothing_by_itself, .init = cr_redirect_stderr)
{
    int calls = 0;
    GradcheckReport r;
    Tensor *x = make_param(LK_F64, LK_SHAPE(1), 1);
    check(!lk_gradcheck(fail_late, &calls, 1, &x, NULL, NULL, &r));
    fprintf(stderr, "end");
    fflush(stderr);
    cr_assert_stderr_eq_str("end");
    lk_free(x);
}

/* ---- what it refuses ------------------------------------------------------------------------ */

static Tensor *returns_null(Tape *t, Tensor *const *x, void *user)
{
    (void)t, (void)x, (void)user;
    return NULL;
}
FN(bad_shapes, lk_add(t, x[0], lk_zeros(t, LK_F64, LK_SHAPE(3))))
FN(single, lk_to(t, x[0], LK_F32))

static Tensor *grows(Tape *t, Tensor *const *x, void *user)
{
    int *calls = user;
    return lk_expand(t, x[0], LK_SHAPE(++*calls / 3 + 1, 2));
}

/* Gives its first result again in the second call. */
static Tensor *keeps_its_result(Tape *t, Tensor *const *x, void *user)
{
    Tensor **kept = user;
    return *kept ? *kept : (*kept = lk_scale(t, x[0], 2));
}

static void failing_backward(Tape *t, Node *n)
{
    (void)n;
    lk_fail(t, LK_EVALUE, "my_op: backward is not possible");
}
static const Op FAILING = { "FailingBackward", failing_backward, { 0 } };
FN(fails_in_backward,
   lk_record(t, &FAILING, lk_full(t, LK_F64, LK_SHAPE(2), 1), LK_INPUTS(x[0]), NULL, 0))

/* Goes on with what failed. */
static Tensor *size_of_a_failure(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *y = lk_add(t, x[0], lk_zeros(t, LK_F64, LK_SHAPE(3)));
    return lk_view(t, y, LK_SHAPE(lk_size(y, 0), -1));
}

Test(gradcheck, whatever_fails_is_a_report)
{
    Tape *t = lk_tape_new(NULL);
    int calls = 0, left = 0;
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 1, 2),
           *f32 = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    Tensor *kept = NULL, *stale = lk_zeros(t, LK_F64, LK_SHAPE(2));
    lk_tape_reset(t);
    Tensor *frozen = make_tensor(LK_F64, LK_SHAPE(2), 1, 2), *node = lk_scale(t, x, 2);
    Tensor *view = lk_expand(t, frozen, LK_SHAPE(2, 2));
    lk_set_requires_grad(view, true);
    const struct {
        GradcheckFn *f;
        void *user;
        Tensor *in;
        const char *message;
    } cases[] = {
        { identity, NULL, f32, "contiguous float64 leaf (float32 is too coarse" },
        { identity, NULL, node, "contiguous float64 leaf" },
        { identity, NULL, view, "contiguous float64 leaf" },
        { identity, NULL, frozen, "no input requires a gradient" },
        { returns_null, NULL, x, "the function returned NULL" },
        { bad_shapes, NULL, x, "lk_add: (2,) and (3,) do not broadcast" },
        { fail_late, &left, x, "the disk is gone" },
        { single, NULL, x, "must return float64" },
        { grows, &calls, x, "the shape of the result changes from call to call" },
        { fails_in_backward, NULL, x, "my_op: backward is not possible" },
        { NULL, NULL, x, "the function is NULL" },
        { identity, NULL, NULL, "input 0 is NULL; did making it fail?" },
        { identity, NULL, stale, "input 0: (2,) was made before the last lk_tape_reset" },
        { keeps_its_result, &kept, x, "make its result anew in each call: (2,) was made" },
        { size_of_a_failure, NULL, x, "lk_add: (2,) and (3,) do not broadcast" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GradcheckReport r;
        memset(&r, 0xff, sizeof r); /* nothing of it is read */
        check(!lk_gradcheck(cases[i].f, cases[i].user, 1, &cases[i].in, NULL, NULL, NULL),
              "case %zu", i);
        calls = 0;
        kept = NULL;
        check(!lk_gradcheck(cases[i].f, cases[i].user, 1, &cases[i].in, NULL, NULL, &r) && !r.ok,
              "case %zu", i);
        check(strncmp(r.message, "lk_gradcheck: ", 14) == 0 && strstr(r.message, cases[i].message),
              "case %zu: %s", i, r.message);
        check(r.mistake &&
                  (strcmp(r.mistake, "arguments") == 0 || strcmp(r.mistake, "function") == 0 ||
                   strcmp(r.mistake, "changes") == 0),
              "case %zu: %s", i, r.mistake);
        check_values(x, 0, 1, 2);
        check(!lk_grad(x));
    }
    GradcheckReport r;
    check(!lk_gradcheck(identity, NULL, 0, NULL, NULL, NULL, &r) && strstr(r.message, "no input"));
    check(!lk_gradcheck(identity, NULL, 1, NULL, NULL, NULL, &r) &&
          strstr(r.message, "the array of inputs is NULL"));
    check(!lk_gradcheck(identity, NULL, 2, (Tensor *[]){ x, stale }, NULL, NULL, &r) &&
              strstr(r.message, "input 1: (2,) was made before") && strstr(r.message, "lk_clone"),
          "a constant: %s", r.message);
    check(!lk_gradcheck(identity, NULL, -1, &x, NULL, NULL, &r) && strstr(r.message, "-1 inputs"));
    lk_free(x), lk_free(f32), lk_free(frozen);
    lk_tape_free(t);
}

/* ---- where numbers are hard ----------------------------------------------------------------- */

/* A difference of two sums of outputs fails these with correct gradients; a sum of differences
 * passes. */
FN(exponential, lk_exp(t, x[0]))
FN(sum_of_softmax, lk_sum(t, lk_softmax(t, x[0], 1), LK_ALL, false))
FN(cubes, lk_pow_scalar(t, x[0], 3))
FN(squares, lk_mul(t, x[0], x[0]))
FN(power_of_two, lk_pow_scalar(t, x[0], 2))
FN(log_of_softmax, lk_log_softmax(t, x[0], 1))

static Tensor *cross_entropy(Tape *t, Tensor *const *x, void *user)
{
    return lk_cross_entropy(t, x[0], user);
}

static void passes(const char *name, GradcheckFn *f, void *user, int count, Tensor *const *x)
{
    GradcheckReport r;
    check(lk_gradcheck(f, user, count, x, NULL, &strict, &r), "%s: %s", name, r.message);
    check(r.worst > 0, "%s: no difference quotient is exact to the last bit", name);
}

static Tensor *normal_param(Rng *rng, double scale, int64_t rows, int64_t columns)
{
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(rows, columns), NULL);
    check(lk_normal_(x, 0, scale, rng));
    return x;
}

Test(gradcheck, hard_numerics)
{
    Rng rng;
    lk_manual_seed(&rng, 3);
    Tensor *x = normal_param(&rng, 3, 10, 10);
    Tensor *large = normal_param(&rng, 1e6, 4, 5), *small = normal_param(&rng, 1e-6, 4, 5);
    int64_t label[20];
    for (int i = 0; i < 20; i++) label[i] = i % 10;
    Tensor *labels = lk_tensor_from_new(LK_I64, LK_SHAPE(20), label, NULL),
           *logits = normal_param(&rng, 3, 20, 10);
    passes("exp", exponential, NULL, 1, &x);
    passes("sum(softmax)", sum_of_softmax, NULL, 1, &x);
    passes("log_softmax", log_of_softmax, NULL, 1, &x);
    passes("x³", cubes, NULL, 1, &x);
    passes("x² at 1e6", squares, NULL, 1, &large);
    passes("x² at 1e-6", squares, NULL, 1, &small);
    passes("pow(x, 2) at 1e6", power_of_two, NULL, 1, &large);
    passes("pow(x, 2) at 1e-6", power_of_two, NULL, 1, &small);
    passes("cross_entropy", cross_entropy, labels, 1, &logits);
    lk_free(x), lk_free(large), lk_free(small), lk_free(labels), lk_free(logits);
}

/* A (128, 256) @ B (256, 64), as large as layers are. To keep it short only some elements of
 * one row of A and of one column of B are leaves; products with zeros and ones put them there,
 * exactly. */
typedef struct Product {
    Tensor *A, *B;         /* with zeros where the leaves go */
    Tensor *row, *column;  /* (128, 1) and (1, 64): where row 5 and column 7 are */
    Tensor *across, *down; /* (32, 256) and (256, 32): every eighth place */
} Product;

static Tensor *large_product(Tape *t, Tensor *const *x, void *user)
{
    const Product *p = user;
    Tensor *A = lk_add(t, p->A, lk_matmul(t, p->row, lk_matmul(t, x[0], p->across)));
    Tensor *B = lk_add(t, p->B, lk_matmul(t, lk_matmul(t, p->down, x[1]), p->column));
    return lk_matmul(t, A, B);
}

Test(gradcheck, large_product_passes)
{
    enum { M = 128, K = 256, N = 64, LEAVES = 32, EACH = K / LEAVES, ROW = 5, COLUMN = 7 };
    Rng rng;
    lk_manual_seed(&rng, 4);
    Tensor *A = normal_param(&rng, 1, M, K), *B = normal_param(&rng, 1, K, N);
    Product p = { A,
                  B,
                  lk_tensor_new(LK_F64, LK_SHAPE(M, 1), NULL),
                  lk_tensor_new(LK_F64, LK_SHAPE(1, N), NULL),
                  lk_tensor_new(LK_F64, LK_SHAPE(LEAVES, K), NULL),
                  lk_tensor_new(LK_F64, LK_SHAPE(K, LEAVES), NULL) };
    Tensor *parts[] = { p.A, p.B, p.row, p.column, p.across, p.down };
    ((double *)p.row->data)[ROW] = ((double *)p.column->data)[COLUMN] = 1;
    for (int k = 0; k < K; k += EACH) {
        ((double *)p.A->data)[ROW * K + k] = ((double *)p.B->data)[k * N + COLUMN] = 0;
        ((double *)p.across->data)[k / EACH * K + k] =
            ((double *)p.down->data)[k * LEAVES + k / EACH] = 1;
    }
    for (int i = 0; i < 6; i++) lk_set_requires_grad(parts[i], false);
    Tensor *row = normal_param(&rng, 1, 1, LEAVES), *column = normal_param(&rng, 1, LEAVES, 1);
    Tensor *x[] = { row, column };
    passes("128×256×64", large_product, &p, 2, x);
    for (int i = 0; i < 6; i++) lk_free(parts[i]);
    lk_free(x[0]), lk_free(x[1]);
}
