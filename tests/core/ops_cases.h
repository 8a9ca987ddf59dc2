/* ops_cases.h - operations against the tables that tests/fixtures/make_ops*.py made with PyTorch,
 * and bad calls.
 *
 * A case is one call: leaves, the forms in which the operation sees them, the result, and what
 * backward leaves in each leaf for the gradient `cotangents`. Values are computed in float64 from
 * numbers that are exact in float32 too. The tolerance is `ulps`·ε(1 + |expected|), with the ε of
 * the dtype. It is 0 where only multiples of 1/8 are added and multiplied: these results are exact
 * in both dtypes, whatever the order of summation. Elsewhere it counts the roundings on the way
 * (half an ulp each, one for a function of the C library); PyTorch's own float32 keeps it. */
#ifndef OPS_CASES_H
#define OPS_CASES_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"

/* ---- cases ---------------------------------------------------------------------------------- */

/* Views behind which a leaf is hidden, so that the operation sees other strides. */
typedef enum Form {
    PLAIN,
    TRANSPOSED, /* the last two dimensions exchanged */
    SWAPPED,    /* the first two exchanged: no common stride for leading dimensions */
    STEPPED,    /* every second element of the last dimension, from the second on */
    EXPANDED,   /* one row repeated 3 times: stride 0 */
} Form;

enum { MAX_INPUTS = 7, MAX_VALUES = 192 }; /* of a case; a leaf and a result have so many */

typedef struct Shape {
    int ndim;
    int64_t size[5];
} Shape;

typedef struct Input {
    Form form;
    Shape shape;                 /* as the operation sees it */
    const double *values, *grad; /* of the leaf */
} Input;

typedef struct Case {
    const char *op, *grad_fn; /* grad_fn NULL: not differentiable */
    int ulps;
    double c; /* the operation's constant … */
    int args; /* … and its integers */
    int64_t arg[10];
    Shape shape;
    const double *y;
    int inputs;
    Input in[MAX_INPUTS];
} Case;

#include "tests/fixtures/ops_pools.h"

/* How a test program calls an operation of the table. */
typedef struct Caller {
    const char *op;
    Tensor *(*call)(Tape *t, Tensor **x, const Case *c);
} Caller;

#define CALLER(name, expression) \
    static Tensor *name(Tape *t, Tensor **x, const Case *c) \
    { \
        (void)c; \
        return expression; \
    }

static inline Tensor *make_leaf(const Input *in, DType dtype)
{
    int64_t shape[5], n = 1;
    int last = in->shape.ndim - 1;
    memcpy(shape, in->shape.size, sizeof shape);
    if (in->form == TRANSPOSED)
        shape[last] = in->shape.size[last - 1], shape[last - 1] = in->shape.size[last];
    if (in->form == SWAPPED) shape[0] = in->shape.size[1], shape[1] = in->shape.size[0];
    if (in->form == STEPPED) shape[last] *= 2;
    if (in->form == EXPANDED) shape[0] = 1;
    for (int d = 0; d <= last; d++) n *= shape[d];
    return check_make_tensor(dtype, true, n, in->values, in->shape.ndim, shape);
}

static inline Tensor *hide(Tape *t, Tensor *leaf, const Input *in)
{
    switch (in->form) {
    case PLAIN: break;
    case TRANSPOSED: return lk_transpose(t, leaf, -1, -2);
    case SWAPPED: return lk_transpose(t, leaf, 0, 1);
    case STEPPED: return lk_slice(t, leaf, -1, 1, INT64_MAX, 2);
    case EXPANDED: return lk_expand(t, leaf, in->shape.ndim, in->shape.size);
    }
    return leaf;
}

#define CASE(condition, what) \
    cr_assert(condition, "%s, case %d, %s, leaves %#x: %s", c->op, number, lk_dtype_name(dtype), \
              wanted, what)

/* The result when the leaves in `wanted` require a gradient. */
static inline Tensor *call_case(Tape *t, const Case *c, const Caller *caller, Tensor **leaf,
                                unsigned wanted)
{
    Tensor *x[MAX_INPUTS] = { NULL };
    for (int i = 0; i < c->inputs; i++) {
        leaf[i]->requires_grad = wanted >> i & 1;
        x[i] = hide(t, leaf[i], &c->in[i]);
    }
    return caller->call(t, x, c);
}

/* The largest |x - expected| / (1 + |expected|); numbers that are not finite count as equal. */
static inline double worst_of(const Tensor *x, const double *expected, double worst)
{
    const double *v = x->data; /* float64, contiguous */
    for (int64_t i = 0; i < lk_numel(x); i++)
        if (isfinite(expected[i]))
            worst = fmax(worst, fabs(v[i] - expected[i]) / (1 + fabs(expected[i])));
    return worst;
}

/* The gradients of the leaves in `wanted` are `times` those of the table; the others have none. */
static inline void check_case_gradients(const Case *c, int number, Tensor **leaf, unsigned wanted,
                                        int times, double tol)
{
    DType dtype = leaf[0]->dtype;
    for (int i = 0; i < c->inputs; i++) {
        double expected[MAX_VALUES];
        int64_t n = lk_numel(leaf[i]);
        Tensor *grad = lk_grad(leaf[i]);
        CASE(!grad == !(wanted >> i & 1), "only leaves that require one have a gradient");
        if (!grad) continue;
        CASE(lk_same_shape(grad, leaf[i]) && grad->dtype == dtype,
             "the gradient is not like its leaf");
        for (int64_t j = 0; j < n; j++) expected[j] = times * c->in[i].grad[j];
        CASE(check_close_("gradient", grad, expected, n, times * tol), check_message());
    }
}

/* Returns the worst error of the result and of the gradients, in float64. */
static inline double run_case(const Case *c, int number, const Caller *caller, DType dtype)
{
    double worst = 0;
    Tape *t = lk_tape_new(NULL);
    Tensor *leaf[MAX_INPUTS], *before[MAX_INPUTS];
    const double tol = c->ulps * (dtype == LK_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
    unsigned all = (1u << c->inputs) - 1, wanted = 0;
    for (int i = 0; i < c->inputs; i++) {
        leaf[i] = make_leaf(&c->in[i], dtype);
        before[i] = lk_clone(leaf[i], NULL);
    }
    /* Without a gradient: nothing is recorded. Then every choice of leaves that want one, in a
     * graph of its own. */
    Tensor *first = lk_clone(call_case(t, c, caller, leaf, wanted), NULL);
    CASE(lk_tape_error(t)->code == LK_OK, lk_tape_error(t)->message);
    CASE(check_shape_("result", first, c->shape.ndim, c->shape.size), check_message());
    CASE(check_close_("result", first, c->y, lk_numel(first), tol), check_message());
    if (first->dtype == LK_F64) worst = worst_of(first, c->y, worst);
    for (wanted = 0; wanted <= all; wanted++) {
        /* the second backward adds to what the first one left */
        for (int times = 1; times <= 2; times++) {
            Tensor *y = call_case(t, c, caller, leaf, wanted);
            bool recorded = wanted && c->grad_fn;
            CASE(check_equal_("result", "result without leaves", y, first), check_message());
            CASE(y->requires_grad == recorded && !y->node == !recorded, "recorded or not");
            if (!recorded) continue;
            CASE(strcmp(lk_grad_fn(y), c->grad_fn) == 0, lk_grad_fn(y));
            Tensor *dy =
                check_make_tensor(y->dtype, false, lk_numel(y), cotangents, y->ndim, y->shape);
            CASE(lk_backward_with(t, y, dy, false), lk_tape_error(t)->message);
            check_case_gradients(c, number, leaf, wanted, times, tol);
            for (int i = 0; i < c->inputs && wanted == all && times == 1; i++)
                if (dtype == LK_F64) worst = worst_of(lk_grad(leaf[i]), c->in[i].grad, worst);
            lk_free(dy);
        }
        for (int i = 0; i < c->inputs; i++) lk_zero_grad_(leaf[i]);
        lk_tape_reset(t);
    }
    wanted = all;
    lk_tape_set_grad(t, false);
    Tensor *y = call_case(t, c, caller, leaf, wanted);
    CASE(check_equal_("result", "result without leaves", y, first), check_message());
    CASE(!y->node && !y->requires_grad, "recorded in no-grad mode");
    for (int i = 0; i < c->inputs; i++) {
        CASE(check_equal_("leaf", "leaf before", leaf[i], before[i]), check_message());
        lk_free(leaf[i]);
        lk_free(before[i]);
    }
    lk_free(first);
    lk_tape_free(t);
    return worst;
}

/* How an operation did in float64. */
typedef struct OpRecord {
    int cases;
    double worst;
} OpRecord;

/* Appends "op cases worst" to the file that the environment names, if it does. */
static inline void report_ops(const Caller *callers, int count, const OpRecord *records)
{
    const char *path = getenv("LORIKEET_OPS_REPORT");
    FILE *f = path ? fopen(path, "a") : NULL;
    for (int k = 0; f && k < count; k++)
        fprintf(f, "%s %d %.1e\n", callers[k].op, records[k].cases, records[k].worst);
    if (f) fclose(f);
}

/* Runs a whole table; every operation of it needs a caller, and every caller a case. */
static inline void run_cases(const Case *cases, int count, const Caller *callers, int caller_count,
                             DType dtype)
{
    enum { MAX_CALLERS = 64 };
    OpRecord records[MAX_CALLERS] = { { 0 } };
    cr_assert(caller_count <= MAX_CALLERS);
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < caller_count && strcmp(callers[k].op, cases[i].op) != 0) k++;
        cr_assert(k < caller_count, "%s has no caller", cases[i].op);
        double worst = run_case(&cases[i], i, &callers[k], dtype);
        records[k] = (OpRecord){ records[k].cases + 1, fmax(records[k].worst, worst) };
    }
    for (int k = 0; k < caller_count; k++)
        cr_assert(records[k].cases > 0, "%s has no case", callers[k].op);
    if (dtype == LK_F64) report_ops(callers, caller_count, records);
}

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

/* Test(suite, values_and_gradients_float32) and …_float64 over a table and its callers. */
#define TEST_CASES(suite, cases, callers) \
    Test(suite, values_and_gradients_float32) \
    { \
        run_cases(cases, LENGTH(cases), callers, LENGTH(callers), LK_F32); \
    } \
    Test(suite, values_and_gradients_float64) \
    { \
        run_cases(cases, LENGTH(cases), callers, LENGTH(callers), LK_F64); \
    }

/* ---- bad calls ------------------------------------------------------------------------------ */

static inline void count_errors(const Error *err, void *user)
{
    (void)err;
    ++*(int *)user;
}

/* A tape that is silent and counts its errors in *reports. */
static inline Tape *counting_tape(int *reports)
{
    Tape *t = lk_tape_new(NULL);
    *reports = 0;
    lk_tape_on_error(t, count_errors, reports);
    return t;
}

/* The call fails once, with this code and exactly this message, and the tape works on. `t` and
 * `reports` as above. */
#define REFUSES(call, error_code, text) \
    do { \
        reports = 0; \
        const void *result_ = (call); \
        const Error *error_ = lk_tape_error(t); \
        cr_assert(result_ == NULL, "%s gave a result", #call); \
        cr_assert(error_->code == (error_code) && strcmp(error_->message, text) == 0, \
                  "%s: expected code %d and\n    %s\n  got %d and\n    %s", #call, \
                  (int)(error_code), text, (int)error_->code, error_->message); \
        cr_assert(reports == 1, "%s reported %d errors", #call, reports); \
        lk_tape_clear_error(t); \
    } while (0)

/* With a NULL operand the call gives NULL and says so, unless the tape has a message already,
 * which it keeps. */
#define PASSES_NULL(call) \
    do { \
        reports = 0; \
        cr_assert((call) == NULL && reports == 1 && \
                      strstr(lk_tape_error(t)->message, " is NULL"), \
                  "%s says \"%s\"", #call, lk_tape_error(t)->message); \
        lk_tape_clear_error(t); \
        lk_fail(t, LK_EVALUE, "the first failure"); \
        cr_assert((call) == NULL && strcmp(lk_tape_error(t)->message, "the first failure") == 0, \
                  "%s: the first message is gone", #call); \
        lk_tape_clear_error(t); \
    } while (0)

#endif
