/* test_planted_bugs.c - operations with one bug, of the kinds that people make (planted_ops.h).
 * lk_gradcheck must catch each, name it, and pass the same operation without its bug. */
#include "tests/core/planted_ops.h"

enum { MAX_INPUTS = 2, SEEDS = 10 };

/* alpha and rank of `strengthened` and `matrices`. */
static const double ALPHA = 2.5, RANK = 7;

/* MIXED: normal. POSITIVE: 0.5 to 2. LARGE: 700 to 2000. */
typedef enum Domain { MIXED, POSITIVE, LARGE } Domain;

/* The shape of an input is (rows, columns), or (columns) for rows 0; columns 0: no such input,
 * -1: the first one again. */
typedef struct Row {
    GradcheckFn *f;
    int64_t shape[MAX_INPUTS][2];
    int bug;
    Fault fault;
    const char *hint; /* how the report's hint begins; "": none can be certain */
    Domain domain;
    int frozen; /* 1: input 0, 2: input 1 */
} Row;

/* clang-format off */
#define ONE(rows, columns) { { rows, columns } }
#define TWO(rows, columns, rows1, columns1) { { rows, columns }, { rows1, columns1 } }
#define TWICE(rows, columns) { { rows, columns }, { 0, -1 } }
/* clang-format on */
#define FACTOR(number) "factor: the analytic gradient is " number " times what it should be"
#define VALUE(ratio) \
    "value: element by element the analytic gradient is " ratio " times what it should be"

#define BUG(f, shapes, bug, hint) \
    { \
        f, shapes, bug, NONE, hint, MIXED, 0 \
    }
#define FAULT(f, shapes, fault, hint) \
    { \
        f, shapes, 0, fault, hint, MIXED, 0 \
    }

static const Row planted[] = {
    /* ---- elementwise ------------------------------------------------------------------------ */
    BUG(square, ONE(2, 3), 1, "sign: "),
    BUG(square, ONE(2, 3), 2, FACTOR("0.5")),
    BUG(square, ONE(2, 5), 3,
        FACTOR("2") "; it is the size of its dimension 0 or the size of dimension 0 of the"),
    BUG(square, ONE(2, 3), 4, "dy forgotten: "),
    BUG(square, ONE(2, 3), 5, "dy twice: "),
    BUG(square, ONE(2, 3), 6, VALUE("y / input 0")),
    BUG(square, ONE(0, 6), 7, VALUE("1 / input 0")),
    BUG(square, ONE(3, 3), 8, VALUE("input 0 / 1")),
    BUG(square, ONE(2, 4), 9, "incomplete: 1 of 8 elements get nothing, from (1, 3) on"),
    BUG(square, ONE(2, 4), 10, ""),
    BUG(square, ONE(2, 3), 11, "dy: "),
    BUG(exponential, ONE(2, 4), 1, VALUE("input 0 / y")),
    BUG(exponential, ONE(0, 5), 2, VALUE("1 / y")),
    BUG(exponential, ONE(3, 2), 3, "sign: "),
    BUG(exponential, ONE(3, 2), 4, VALUE("y / 1")),
    BUG(exponential, ONE(3, 2), 5, "dy forgotten: "),
    BUG(exponential, ONE(0, 9), 6, "incomplete: 1 of 9 elements get nothing, from (0,) on"),
    { softplus, ONE(0, 5), 1, NONE, "range: NaN or infinity", LARGE, 0 },
    BUG(hyperbolic, ONE(2, 4), 1, VALUE("(1 - input 0²) / (1 - y²)")),
    BUG(hyperbolic, ONE(2, 4), 2, VALUE("(1 - y) / (1 - y²)")),
    BUG(hyperbolic, ONE(2, 4), 3, VALUE("1 / (1 - y²)")),
    BUG(hyperbolic, ONE(2, 4), 4, VALUE("y / (1 - y²)")),
    BUG(logistic, ONE(2, 4), 1, VALUE("1 / (1 - y)")),
    BUG(logistic, ONE(2, 4), 2, ""),
    BUG(logistic, ONE(2, 4), 3, VALUE("1 / y")),
    BUG(rectified, ONE(4, 4), 1,
        "mask forgotten: the analytic gradient is right where y > 0 only"),
    BUG(rectified, ONE(4, 4), 2, "mask inverted: "),
    BUG(rectified, ONE(4, 4), 3, "sign: "),
    BUG(rectified, ONE(4, 4), 4, "dy forgotten: "),
    BUG(magnitude, ONE(4, 4), 1,
        "one side: the analytic gradient is right where x > 0 only; elsewhere it has the wrong"),
    BUG(magnitude, ONE(4, 4), 2,
        "one side: the analytic gradient is right where x > 0 only; elsewhere it is 0"),
    BUG(magnitude, ONE(4, 4), 3, "sign: "),
    BUG(strengthened, ONE(3, 2), 1, FACTOR("0.4") "; it is 1 / alpha"),
    BUG(strengthened, ONE(3, 2), 2, FACTOR("2.5") "; it is alpha"),
    BUG(strengthened, ONE(3, 2), 3, FACTOR("0.16")),
    BUG(strengthened, ONE(3, 2), 4, "sign: "),
    BUG(dropped, ONE(3, 4), 1, "mask forgotten: "),
    BUG(dropped, ONE(3, 4), 2, FACTOR("0.666667")),
    BUG(dropped, ONE(3, 4), 3, "mask inverted: "),
    BUG(product, TWO(2, 3, 2, 3), 1, "swapped: this is the gradient of input "),
    BUG(product, TWO(2, 3, 2, 3), 2, "sign: "),
    BUG(product, TWO(2, 3, 2, 3), 3, "not connected: productBackward has this input"),
    BUG(product, TWO(2, 3, 2, 3), 4, "dy forgotten: "),
    BUG(product, TWO(0, 5, 0, 5), 5, FACTOR("2")),
    { quotient, TWO(0, 4, 0, 4), 1, NONE, "sign: ", POSITIVE, 0 },
    { quotient, TWO(2, 3, 2, 3), 2, NONE, VALUE("input 1 / 1"), POSITIVE, 0 },
    { quotient, TWO(2, 3, 2, 3), 3, NONE, VALUE("input 1² / 1"), POSITIVE, 0 },
    { quotient, TWO(2, 3, 2, 3), 4, NONE, VALUE("input 1 / 1"), POSITIVE, 0 },
    /* ---- broadcast -------------------------------------------------------------------------- */
    BUG(biased, TWO(4, 3, 0, 3), 1, "sum: only the first of the results"),
    BUG(biased, TWO(4, 3, 0, 3), 2, "sum: only the last of the results"),
    BUG(biased, TWO(4, 3, 0, 3), 3,
        FACTOR("0.25") "; it is 1 / the size of dimension 0 of the result"),
    BUG(biased, TWO(4, 3, 0, 3), 4, "sign: "),
    BUG(biased, TWO(4, 3, 0, 3), 5, "not connected: "),
    BUG(biased, TWO(4, 3, 0, 3), 6, "dy forgotten: "),
    /* ---- reductions ------------------------------------------------------------------------- */
    BUG(row_mean, ONE(2, 5), 1, FACTOR("2.5")),
    BUG(row_mean, ONE(2, 5), 2, FACTOR("5") "; it is the size of its dimension 1"),
    BUG(row_mean, ONE(2, 5), 3, FACTOR("0.2") "; it is 1 / the size of its dimension 1"),
    BUG(row_mean, ONE(2, 5), 4, "dy forgotten: "),
    BUG(row_mean, ONE(2, 5), 5, "incomplete: 8 of 10 elements get nothing, from (0, 1) on"),
    BUG(row_mean, ONE(2, 5), 6, "sign: "),
    BUG(cubes, ONE(2, 3), 1, "dy: "),
    BUG(cubes, ONE(0, 1), 1, "dy: "),
    BUG(cubes, ONE(2, 3), 2, ""),
    BUG(cubes, ONE(0, 5), 2, ""),
    BUG(cubes, ONE(2, 3), 3, ""),
    BUG(row_mean, ONE(2, 5), 7, ""),
    BUG(row_max, ONE(3, 4), 1, "mask forgotten: "),
    BUG(row_max, ONE(3, 4), 2, "sign: "),
    BUG(row_max, ONE(3, 4), 3, "mask inverted: "),
    BUG(row_max, ONE(3, 4), 4, "dy forgotten: "),
    /* ---- matrices --------------------------------------------------------------------------- */
    BUG(matrices, TWO(3, 3, 3, 3), A_UNTRANSPOSED,
        "transposed: dy is multiplied by a matrix that must be transposed"),
    BUG(matrices, TWO(2, 3, 3, 4), A_TURNED,
        "transposed: the analytic gradient has rows and columns exchanged"),
    BUG(matrices, TWO(3, 3, 3, 3), B_UNTRANSPOSED, "transposed: dy is multiplied by a matrix"),
    BUG(matrices, TWO(2, 3, 3, 4), B_TURNED,
        "transposed: the analytic gradient has rows and columns exchanged"),
    BUG(matrices, TWO(3, 3, 3, 3), A_FOR_B, "swapped: this is the gradient of input "),
    BUG(matrices, TWO(2, 3, 3, 4), LAST_LOST, "incomplete: "),
    BUG(matrices, TWO(2, 3, 3, 4), ALPHA_LOST, FACTOR("0.4") "; it is 1 / alpha"),
    BUG(matrices, TWO(2, 3, 3, 4), RANK_LOST, FACTOR("7") "; it is rank"),
    BUG(matrices, TWO(2, 3, 3, 4), ALPHA_TWICE, FACTOR("2.5") "; it is alpha"),
    BUG(matrices, TWO(2, 3, 3, 4), B_ALONE, "not connected: "),
    { matrices, TWO(2, 3, 3, 4), ONE_TERM, NONE, "sum: only the first of the results", MIXED, 2 },
    BUG(turned, ONE(2, 3), 1, "transposed: "),
    /* ---- indexed ---------------------------------------------------------------------------- */
    BUG(rows_taken, ONE(5, 3), 1, "sum: only the last of the results"),
    BUG(rows_taken, ONE(5, 3), 2, "sum: only the first of the results"),
    BUG(rows_taken, ONE(5, 3), 3, "offset: the analytic gradient lies 3 elements too far"),
    BUG(rows_taken, ONE(5, 3), 4, ""),
    BUG(rows_taken, ONE(5, 3), 5, "sign: "),
    BUG(joined, TWO(0, 3, 0, 4), 1, "offset: dy is read -3 elements too far"),
    BUG(joined, TWO(0, 3, 0, 4), 2, "not connected: "),
    BUG(neighbours, ONE(0, 6), 1, ""),
    /* ---- norms ------------------------------------------------------------------------------ */
    BUG(row_softmax, ONE(2, 4), 1,
        "term: in each row the analytic gradient is off by a number times y"),
    BUG(row_softmax, ONE(2, 4), 2, "sign: "),
    BUG(row_softmax, ONE(2, 4), 3, VALUE("1 / y")),
    BUG(rms_norm, TWO(3, 5, 0, 5), 1,
        "term: in each row the analytic gradient is off by a number times x"),
    BUG(rms_norm, TWO(3, 5, 0, 5), 2, "row factor: "),
    BUG(rms_norm, TWO(3, 5, 0, 5), 3, "sum: only the first of the results"),
    BUG(rms_norm, TWO(3, 5, 0, 5), 4, ""),
    BUG(rms_norm, TWO(3, 5, 0, 5), 5, ""),
    BUG(rms_norm, TWO(3, 5, 0, 5), 6,
        "term: in each row the analytic gradient is off by a number times x"),
    /* ---- of every operation ----------------------------------------------------------------- */
    FAULT(square, ONE(2, 3), ASSIGNS,
          "overwritten: the backward of squareBackward does not add (= for +=)"),
    FAULT(product, TWICE(0, 5), ASSIGNS, "overwritten: "),
    FAULT(matrices, TWO(2, 3, 3, 4), ASSIGNS, "overwritten: "),
    FAULT(biased, TWO(4, 3, 0, 3), ASSIGNS, "overwritten: "),
    FAULT(row_mean, ONE(2, 5), ASSIGNS, "overwritten: "),
    FAULT(rows_taken, ONE(5, 3), ASSIGNS, "overwritten: "),
    FAULT(row_softmax, ONE(2, 4), ASSIGNS, "overwritten: "),
    FAULT(square, ONE(2, 3), WRITES_INPUT, "input written: the forward writes to input 0"),
    FAULT(matrices, TWO(2, 3, 3, 4), WRITES_INPUT, "input written: the forward writes to input 0"),
    FAULT(square, ONE(2, 3), WRITES_BACK,
          "input written: the backward of squareBackward writes to its input 0"),
    FAULT(rms_norm, TWO(3, 5, 0, 5), WRITES_BACK,
          "input written: the backward of rms_normBackward writes to its input 0"),
    FAULT(square, ONE(2, 3), RAW_FORWARD, "strided: input 0 (2, 3) as a transposed view"),
    FAULT(matrices, TWO(2, 3, 3, 4), RAW_FORWARD, "strided: "),
    FAULT(row_mean, ONE(2, 5), RAW_FORWARD, "strided: "),
    FAULT(rows_taken, ONE(5, 3), RAW_FORWARD, "strided: "),
    FAULT(joined, TWO(0, 3, 0, 4), RAW_FORWARD, "strided: input 0 (3,) as every second element"),
    FAULT(biased, TWO(4, 3, 0, 3), RAW_FORWARD, "strided: "),
    FAULT(square, ONE(2, 3), RAW_BACKWARD,
          "strided: input 0 (2, 3) as a transposed view has gradient"),
    FAULT(product, TWO(2, 3, 2, 3), RAW_BACKWARD, "strided: "),
    FAULT(rms_norm, TWO(3, 5, 0, 5), RAW_BACKWARD, "strided: "),
    FAULT(square, ONE(2, 3), UNWRITTEN, "unwritten: the forward reads memory before it wrote it"),
    FAULT(row_mean, ONE(2, 5), UNWRITTEN, "unwritten: the forward"),
    FAULT(matrices, TWO(2, 3, 3, 4), UNWRITTEN, "unwritten: the forward"),
    FAULT(product, TWO(2, 3, 2, 3), UNWRITTEN_BACK,
          "unwritten: the backward reads memory before it wrote it"),
    FAULT(square, ONE(2, 3), IGNORES_FRESH, "unwritten: the backward"),
    FAULT(biased, TWO(4, 3, 0, 3), IGNORES_FRESH, "unwritten: the backward"),
    FAULT(square, ONE(2, 3), KEPT_IN_SCRATCH, "unwritten: the backward"),
    FAULT(product, TWO(2, 3, 2, 3), KEPT_IN_SCRATCH, "unwritten: the backward"),
    FAULT(square, ONE(2, 3), FEW_NEEDS, "needs: the backward of squareBackward reads its input 0"),
    FAULT(exponential, ONE(2, 3), FEW_NEEDS,
          "needs: the backward of exponentialBackward reads its result"),
    FAULT(product, TWO(2, 3, 2, 3), FEW_NEEDS,
          "needs: the backward of productBackward reads its input "),
    FAULT(matrices, TWO(2, 3, 3, 4), FEW_NEEDS, "needs: "),
    FAULT(rms_norm, TWO(3, 5, 0, 5), FEW_NEEDS, "needs: "),
    FAULT(square, ONE(2, 3), UNRECORDED,
          "not connected: the result requires no gradient: lk_record is forgotten"),
    FAULT(row_max, ONE(3, 4), UNRECORDED, "not connected: the result requires no gradient"),
    FAULT(square, ONE(2, 3), DETACHED, "not connected: the result requires no gradient"),
    FAULT(product, TWO(2, 3, 2, 3), DETACHED,
          "not connected: no recorded operation on the way to the result has this"),
    FAULT(product, TWICE(2, 3), FIRST_USE,
          "first use: the backward of productBackward is right for the first use"),
    FAULT(joined, TWICE(0, 4), FIRST_USE, "first use: "),
    FAULT(product, TWO(2, 3, 2, 3), GIVES_UP,
          "frozen: the backward of productBackward gives its input 1 another gradient"),
    FAULT(biased, TWO(4, 3, 0, 3), GIVES_UP, "frozen: "),
    { product, TWO(2, 3, 2, 3), 0, GIVES_UP, "not connected: ", MIXED, 1 },
    FAULT(square, ONE(2, 3), DRAWS, "changes: the result changes from call to call"),
    FAULT(row_max, ONE(3, 4), DRAWS, "changes: the result changes from call to call"),
    FAULT(product, TWO(2, 3, 2, 3), RESEEDS, "changes: the result changes from call to call"),
    FAULT(square, ONE(2, 3), DRAWS_BACK, "changes: equal results have different gradients"),
};
enum { ROWS = sizeof planted / sizeof *planted };

static int make_inputs(const Row *row, uint64_t seed, Tensor *x[MAX_INPUTS])
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    int count = 0;
    for (; count < MAX_INPUTS && row->shape[count][1]; count++) {
        const int64_t *shape = row->shape[count];
        if (shape[1] < 0) {
            x[count] = lk_tensor_retain(x[0]);
            continue;
        }
        x[count] = shape[0] ? lk_param_new(LK_F64, 2, shape, NULL)
                            : lk_param_new(LK_F64, 1, shape + 1, NULL);
        if (row->domain == MIXED) lk_normal_(x[count], 0, 1, &rng);
        else
            lk_uniform_(x[count], row->domain == LARGE ? 700 : 0.5,
                        row->domain == LARGE ? 2000 : 2, &rng);
    }
    if (row->frozen) lk_set_requires_grad(x[row->frozen - 1], false);
    return count;
}

static bool gradcheck(const Row *row, Planted p, GradcheckOptions o, GradcheckReport *r)
{
    Tensor *x[MAX_INPUTS];
    const GradcheckConstant constants[] = { { "alpha", ALPHA }, { "rank", RANK } };
    o.constants = constants;
    o.constant_count = 2;
    p.alpha = ALPHA;
    p.rank = RANK;
    int count = make_inputs(row, o.seed, x);
    bool ok = lk_gradcheck(row->f, &p, count, x, NULL, &o, r);
    for (int i = 0; i < count; i++) lk_free(x[i]);
    return ok;
}

Test(planted_bugs, correct_versions_pass)
{
    for (size_t i = 0; i < ROWS; i++)
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            GradcheckReport r;
            const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5, .seed = seed };
            check(gradcheck(&planted[i], (Planted){ 0 }, strict, &r), "row %zu, seed %d: %s", i,
                  (int)seed, r.message);
            check(!r.mistake && !r.hint[0] && !r.table_count && !r.notice[0], "row %zu: %s", i,
                  r.notice);
        }
}

/* Every one is caught for every seed. A hint is the right one or there is none; then the table
 * says more. */
Test(planted_bugs, each_is_caught_and_named)
{
    const GradcheckOptions tolerances[] = { { .atol = 1e-7, .rtol = 1e-5 },
                                            { .atol = 1e-5, .rtol = 1e-3 } };
    int all = 0, named = 0;
    for (size_t i = 0; i < ROWS; i++)
        for (int trial = 0; trial < 2 * SEEDS; trial++) {
            const Row *row = &planted[i];
            GradcheckOptions o = tolerances[trial % 2];
            o.seed = (uint64_t)trial / 2;
            GradcheckReport r;
            check(!gradcheck(row, (Planted){ .bug = row->bug, .fault = row->fault }, o, &r) &&
                      !r.ok && r.mistake,
                  "row %zu, seed %d is not caught", i, (int)o.seed);
            all++;
            named += r.hint[0] != '\0';
            check(strncmp(r.hint, row->hint, strlen(row->hint)) == 0 &&
                      (row->hint[0] || !r.hint[0]),
                  "row %zu, seed %d: expected \"%s\", got: %s", i, (int)o.seed, row->hint,
                  r.message);
            check(strstr(r.message, r.hint[0] ? r.hint : "no single mistake explains it"),
                  "row %zu: %s", i, r.message);
            bool is_value =
                strcmp(r.mistake, "values") == 0 || strcmp(r.mistake, "not connected") == 0;
            check(is_value == (r.worst > 1) && is_value == (r.table_count > 0), "row %zu: %s", i,
                  r.message);
        }
    check(ROWS >= 60 && named >= 0.9 * all, "%d of %d are named", named, all);
}

/* ---- the element that is named -------------------------------------------------------------- */

/* Gradients for one cotangent of the check, one input after the other. */
static int64_t gradients_of(const Row *row, int bug, uint64_t seed, int w, double *to)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x[MAX_INPUTS];
    Planted p = { .bug = bug, .alpha = ALPHA, .rank = RANK };
    int count = make_inputs(row, seed, x);
    int64_t total = 0;
    Tensor *y = row->f(t, x, &p), *v = lk_zeros(t, LK_F64, y->ndim, y->shape);
    lk__gradcheck_cotangent(seed, (uint64_t)w, lk_numel(v), v->data);
    check(lk_backward_with(t, y, v, false), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < count; i++) {
        for (int64_t k = 0; k < lk_numel(x[i]) && x[i]->requires_grad; k++)
            to[total++] = lk_grad(x[i]) ? ((double *)lk_grad(x[i])->data)[k] : 0;
        lk_free(x[i]);
    }
    lk_tape_free(t);
    return total;
}

/* The report names the element with the largest error, measured here against the correct
 * backward. */
Test(planted_bugs, the_worst_element_is_named)
{
    enum { MOST = 64 };
    for (size_t i = 0; i < ROWS && planted[i].fault == NONE; i++) {
        const GradcheckOptions o = { .atol = 1e-7, .rtol = 1e-5, .seed = i };
        GradcheckReport r;
        double worst = 0, wrong[MOST], right[MOST];
        bool found = false;
        check(!gradcheck(&planted[i], (Planted){ .bug = planted[i].bug }, o, &r));
        for (int w = 0; w < 2; w++) {
            int64_t n = gradients_of(&planted[i], planted[i].bug, i, w, wrong);
            gradients_of(&planted[i], 0, i, w, right);
            for (int64_t k = 0; k < n; k++) {
                double ratio = fabs(wrong[k] - right[k]) / (o.atol + o.rtol * fabs(right[k]));
                worst = fmax(worst, isnan(ratio) ? INFINITY : ratio);
                found =
                    found || ((wrong[k] == r.analytic || (isnan(wrong[k]) && isnan(r.analytic))) &&
                              fabs(right[k] - r.numeric) <= 1e-6 + 1e-6 * fabs(right[k]));
            }
        }
        check(found, "row %zu: no element has these gradients: %s", i, r.message);
        check(r.worst == worst || fabs(r.worst - worst) <= 0.01 * worst, "row %zu: %g, not %g: %s",
              i, r.worst, worst, r.message);
        check(r.table[0].analytic == r.analytic || isnan(r.analytic), "row %zu: %s", i, r.message);
    }
}
