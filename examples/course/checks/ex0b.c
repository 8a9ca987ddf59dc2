/* ex0b.c - the checks of ex0b: lifetimes. In strict mode the library keeps what was freed and
 * reports a second use; without it, freed blocks are counted and a leak is seen. So each part is
 * called twice: what is used too late comes first, since without strict mode it does damage. */
#include <math.h>
#include <string.h>

#include "core/strict.h"
#include "examples/course/checks/ex0b.h"
#include "examples/course/trace.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

/* ---- strict mode ---------------------------------------------------------------------------- */

static void note_place(const Error *err, void *user)
{
    (void)err;
    (void)user;
    trace_failure();
}

/* Gives the exam another tape, which is strict or not. */
static void new_tape(Exam *e)
{
    lk_tape_free(e->t);
    e->t = lk_tape_quiet_new(NULL);
    lk_tape_on_error(e->t, note_place, NULL);
    if (!e->t) exam_fail(e, VERDICT_FAILED, "the checks have no memory");
}

void ex0b_run_with(Exam *e, bool strict, void (*body)(Exam *e))
{
    bool before = lk_strict();
    lk_set_strict(strict);
    new_tape(e);
    if (!e->failed) body(e);
    lk_set_strict(before);
}

bool ex0b_begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Fails with the message of the tape, if it has one. Most are about a tensor used too late. */
static void expect_tape_ok(Exam *e)
{
    const Error *err = lk_tape_error(e->t);
    if (e->failed || err->code == LK_OK) return;
    exam_fail(e, err->code == LK_ESTATE ? VERDICT_MEMORY : VERDICT_FAILED, "%s", err->message);
    e->verdict.at = trace_last_failure();
}

void ex0b_expect_no_blocks(Exam *e, const char *call, Blocks b)
{
    if (e->failed || b.left == 0) return;
    exam_fail(e, VERDICT_LEAK,
              "after %s and lk_free of its result, %d object%s never freed. The "
              "first one was made in this line",
              call, b.left, b.left == 1 ? " is" : "s are");
    e->verdict.at = b.at;
}

/* ---- reset ---------------------------------------------------------------------------------- */

enum { BATCH = 1024, IN = 8, OUT = 4, STEPS = 4, FEW = 9, MANY = 90 };

/* A net, its optimizer, inputs and targets. */
typedef struct Training {
    Module *net;
    Optimizer *opt;
    Tensor *x, *y;
} Training;

static Module *linear(Exam *e, int64_t in, int64_t out)
{
    return exam_to_double(e, exam_own(e, lk_linear_new(in, out, true, &e->own_rng, &e->err)));
}

static Training training_of(Exam *e, Module *net, Tensor *x, Tensor *y)
{
    Optimizer *opt = net ? lk_sgd_new(lk_parameters(net, &e->err), 0.1, &e->err) : NULL;
    if (!opt || !x || !y) exam_fail(e, VERDICT_FAILED, "the checks have no memory");
    return (Training){ net, opt, x, y };
}

static double call_last_loss(Exam *e, const Training *p, int steps)
{
    return CALL(e, last_loss, e->t, p->net, p->opt, p->x, p->y, steps);
}

/* The losses of some steps, each read before the reset. */
static void train(Exam *e, const Training *p, int steps, double *losses)
{
    for (int i = 0; i < steps && !e->failed; i++) {
        lk_optimizer_zero_grad(p->opt);
        Tensor *loss = lk_mse_loss(e->t, lk_forward(e->t, p->net, p->x), p->y);
        if (!lk_backward(e->t, loss) || !lk_step(p->opt, &e->err)) expect_tape_ok(e);
        losses[i] = lk_item(loss);
        lk_tape_reset(e->t);
    }
}

static void name_reset(Exam *e)
{
    const char *message = lk_tape_error(e->t)->message;
    if (ex0b_begins(message, "lk_item"))
        exam_looks_like(e, "read after the reset",
                        "Read the number first; then reset. A double outlives the tape.");
    if (ex0b_begins(message, "lk_backward"))
        exam_looks_like(e, "reset before backward",
                        "Backward needs the whole graph: reset at the end of the step.");
}

static void loss_is_right(Exam *e)
{
    Module *net = linear(e, IN, OUT), *twin = exam_own(e, lk_deepcopy(net, &e->err));
    Tensor *x = exam_input(e, BATCH, IN), *y = exam_input(e, BATCH, OUT);
    Training own = training_of(e, twin, x, y), learners = training_of(e, net, x, y);
    double losses[STEPS] = { 0 };
    train(e, &own, STEPS, losses);
    double last = call_last_loss(e, &learners, STEPS);
    expect_tape_ok(e);
    name_reset(e);
    exam_expect(e, fabs(last - losses[STEPS - 1]) < 1e-9, VERDICT_VALUE,
                "last_loss(t, net, opt, x, y, %d) is %.6g, expected %.6g", STEPS, last,
                losses[STEPS - 1]);
    if (fabs(last - losses[0]) < 1e-9)
        exam_looks_like(e, "loss of the first step", "Read the loss in every step.");
    lk_optimizer_free(own.opt);
    lk_optimizer_free(learners.opt);
}

static void loss_comes_before_the_reset(Exam *e) { ex0b_run_with(e, true, loss_is_right); }

/* The most bytes that are held while a new tape is used for some steps. */
static size_t peak(Exam *e, const Training *p, int steps)
{
    new_tape(e);
    blocks_begin();
    call_last_loss(e, p, steps);
    size_t bytes = blocks_end().peak;
    expect_tape_ok(e);
    name_reset(e);
    return bytes;
}

static void compare_peaks(Exam *e)
{
    Training p =
        training_of(e, linear(e, IN, OUT), exam_input(e, BATCH, IN), exam_input(e, BATCH, OUT));
    size_t one = peak(e, &p, 1), few = peak(e, &p, FEW), many = peak(e, &p, MANY);
    bool empty = !lk_tape_mark(e->t).last;
    lk_optimizer_free(p.opt);
    if (e->failed || few <= one * 3 / 2) return;
    exam_fail(e, VERDICT_VALUE,
              "1 step needs %zu KiB, %d steps %zu KiB, %d steps %zu KiB: the tape keeps more than "
              "one step",
              one / 1024, FEW, few / 1024, MANY, many / 1024);
    const char *name = empty ? "tape reset only once" : "tape never reset";
    if (many <= 3 * few) name = "tape not reset in every step";
    exam_looks_like(e, name, "Call lk_tape_reset(t) at the end of each step.");
}

static void tape_stays_small(Exam *e) { ex0b_run_with(e, false, compare_peaks); }

/* ---- clone and free ------------------------------------------------------------------------- */

enum { INPUTS = 5, ROWS = 2, BEST = 3 };
static const char best_call[] = "best_output_new(t, net, 5, x, err)";

/* Inputs whose outputs have larger and larger sums up to BEST, with smaller ones between. */
static void rising_inputs(Exam *e, Module *net, Tensor *x[INPUTS])
{
    static const double factors[INPUTS] = { 1, 3, 2, 5, 4 };
    Matrix W = exam_fill(e, net, "weight"), rows = matrix_zeros(e, ROWS, IN);
    exam_fill(e, net, "bias");
    for (int64_t i = 0; rows.v && W.v && i < ROWS * IN; i++)
        for (int64_t j = 0; j < OUT; j++) rows.v[i] += W.v[j * IN + i % IN];
    for (int i = 0; i < INPUTS; i++) x[i] = exam_leaf(e, matrix_scale(e, rows, factors[i]));
}

/* Fails when y is gone, or belongs to the tape. */
static void expect_owned(Exam *e, const Tensor *y)
{
    if (e->failed) return;
    if (y->refs < 0) {
        exam_fail(e, VERDICT_MEMORY,
                  "%s returns a tensor that was freed. It was made in this line", best_call);
        e->verdict.at = blocks_place(y);
        exam_looks_like(e, "freed, then returned",
                        "Free the tensor that best had before, not the new one.");
    } else if (y->tape) {
        exam_fail(e, VERDICT_MEMORY,
                  "%s returns a tensor of the tape; after the reset its "
                  "elements are gone",
                  best_call);
        exam_looks_like(e, "tensor of the tape returned",
                        "lk_clone makes a copy of your own. lk_retain does nothing for a tape's "
                        "tensor.");
    }
}

static Tensor *call_best(Exam *e, Module *net, Tensor *const *x)
{
    Tensor *y = CALL(e, best_output_new, e->t, net, INPUTS, x, &e->err);
    if (!e->failed && !y && ex0b_begins(e->err.message, "lk_clone")) {
        exam_fail(e, VERDICT_MEMORY, "%s", e->err.message);
        exam_looks_like(e, "cloned after the reset", "Clone while the tensor is still there.");
    }
    expect_tape_ok(e);
    return exam_result(e, best_call, y);
}

static void best_is_right(Exam *e)
{
    Module *net = linear(e, IN, OUT);
    Tensor *x[INPUTS];
    rising_inputs(e, net, x);
    blocks_begin();
    Tensor *y = call_best(e, net, x);
    blocks_end();
    expect_owned(e, y);
    if (e->failed) return;
    exam_own_tensor(e, y);
    Matrix W = matrix_of(e, lk_param_at(net, "weight", NULL)),
           b = matrix_of(e, lk_param_at(net, "bias", NULL)), outputs[INPUTS];
    for (int i = 0; i < INPUTS; i++)
        outputs[i] = matrix_sum(e, matrix_product(e, matrix_of(e, x[i]), matrix_T(e, W)), b);
    const Mistake mistakes[] = {
        { "the last output", "Keep an output only if its sum is larger.", outputs[INPUTS - 1] },
        { "the first output", "Keep each output that is better.", outputs[0] },
    };
    new_tape(e); /* frees the one that made it */
    exam_equal(e, best_call, y, outputs[BEST], MISTAKES(mistakes));
}

static void best_outlives_the_tape(Exam *e) { ex0b_run_with(e, true, best_is_right); }

static void count_clones(Exam *e)
{
    Module *net = linear(e, IN, OUT);
    Tensor *x[INPUTS];
    rising_inputs(e, net, x);
    new_tape(e);
    if (!e->failed) lk_forward(e->t, net, x[0]); /* what the library keeps, it makes now */
    new_tape(e);
    blocks_begin();
    Tensor *y = CALL(e, best_output_new, e->t, net, INPUTS, x, &e->err);
    bool two = y && !y->tape && y->refs > 1;
    long at = blocks_place(y);
    if (y && !y->tape) lk_free(y);
    lk_tape_free(e->t);
    e->t = NULL;
    Blocks b = blocks_end();
    new_tape(e);
    exam_expect(e, y, VERDICT_FAILED, "%s returned NULL: %s", best_call, e->err.message);
    if (two && !e->failed) {
        exam_fail(e, VERDICT_LEAK, "the result has two owners; only the caller will free it");
        e->verdict.at = at;
        exam_looks_like(e, "an owner too many",
                        "A clone has one owner when it is made: the caller.");
        lk_free(y);
    }
    ex0b_expect_no_blocks(e, best_call, b);
    if (e->verdict.kind == VERDICT_LEAK)
        exam_looks_like(e, "old clone not freed",
                        "lk_free(best) before best gets another "
                        "clone; lk_free takes NULL.");
}

static void no_clone_is_left(Exam *e) { ex0b_run_with(e, false, count_clones); }

/* ---- errors --------------------------------------------------------------------------------- */

static const char roots_call[] = "roots_new(x, err)";

/* Squares, one of them 0, one negative if asked for. */
static Tensor *squares(Exam *e, bool negative)
{
    Matrix m = matrix_random(e, 2, 3);
    m = matrix_times(e, m, m);
    if (m.v) m.v[1] = 0.0;
    if (m.v && negative) m.v[4] = -4.0;
    return exam_leaf(e, m);
}

static void expect_refusal(Exam *e, const Tensor *y, const Error *err)
{
    if (e->failed) return;
    if (y && err->code != LK_OK) {
        exam_fail(e, VERDICT_VALUE, "%s fills err, and returns a tensor too", roots_call);
        exam_looks_like(e, "result beside an error",
                        "A function that fails returns NULL: free y and return NULL.");
    } else if (y) {
        exam_fail(e, VERDICT_VALUE, "%s takes an element of -4; expected NULL", roots_call);
    } else if (err->code == LK_OK) {
        exam_fail(e, VERDICT_FAILED, "%s returned NULL, and err is empty", roots_call);
        exam_looks_like(e, "no reason given",
                        "lk_error_set(err, LK_EVALUE, \"roots_new: …\", …) before return NULL.");
    } else if (err->code != LK_EVALUE) {
        exam_fail(e, VERDICT_VALUE, "the code in err is not LK_EVALUE: %s", err->message);
    } else if (strstr(err->message, "nan")) {
        exam_fail(e, VERDICT_MEMORY, "the message is \"%s\"; the element was -4", err->message);
        exam_looks_like(e, "freed before the message", "Write the message while y is there.");
    } else if (!strstr(err->message, "roots_new") || !strstr(err->message, "-4")) {
        exam_fail(e, VERDICT_VALUE, "the message \"%s\" does not name roots_new and -4",
                  err->message);
        exam_looks_like(e, "",
                        "lk_error_set(err, LK_EVALUE, \"roots_new: element … is %g\", v[i])");
    }
}

static void roots_are_right(Exam *e)
{
    Tensor *x = squares(e, false), *bad = squares(e, true);
    Matrix values = matrix_of(e, x), before = matrix_of(e, bad);
    Tensor *y = exam_own_tensor(e, CALL(e, roots_new, x, &e->err));
    if (!e->failed && !y) {
        lk_fill_(x, 4.0);
        bool only_0 = exam_own_tensor(e, CALL(e, roots_new, x, NULL));
        exam_fail(e, VERDICT_FAILED, "%s returned NULL, and no element is below 0: %s", roots_call,
                  e->err.message);
        if (only_0)
            exam_looks_like(e, "0 refused", "0 is allowed: its root is 0. v[i] < 0, not <=.");
    }
    exam_equal(e, roots_call, y, matrix_map(e, values, sqrt), NO_MISTAKES);
    Error err = { 0 };
    expect_refusal(e, exam_own_tensor(e, CALL(e, roots_new, bad, &err)), &err);
    if (ex0b_begins(e->verdict.text, "lk_free"))
        exam_looks_like(e, "freed twice", "One lk_free gives back what lk_clone made.");
    if (ex0b_begins(e->verdict.text, "lk_numel"))
        exam_looks_like(e, "loop goes on after lk_free", "After lk_free(y) return NULL at once.");
    exam_expect(e, e->failed || matrix_near(matrix_of(e, bad), before, 0.0), VERDICT_VALUE,
                "%s changes x", roots_call);
}

static void negative_is_refused(Exam *e) { ex0b_run_with(e, true, roots_are_right); }

static void count_roots(Exam *e)
{
    Tensor *good = squares(e, false), *bad = squares(e, true);
    blocks_begin();
    lk_free(CALL(e, roots_new, good, &e->err));
    ex0b_expect_no_blocks(e, roots_call, blocks_end());
    if (e->failed) return;
    exam_crash_means(e, "err may be NULL", "lk_error_set takes a NULL err; err->code does not.");
    blocks_begin();
    Tensor *y = CALL(e, roots_new, bad, NULL);
    lk_free(y);
    ex0b_expect_no_blocks(e, "roots_new(x, NULL)", blocks_end());
    exam_looks_like(e, "leak on the way out", "lk_free(y) before return NULL.");
    if (e->failed || !y) return;
    exam_fail(e, VERDICT_VALUE, "roots_new(x, NULL) takes an element of -4; expected NULL");
    exam_looks_like(e, "refused only with an err",
                    "Refuse in any case: err is for the reason only, and may be NULL.");
}

static void refusal_leaves_nothing(Exam *e) { ex0b_run_with(e, false, count_roots); }

/* ---- what strict mode says ------------------------------------------------------------------ */

/* Prints a mistake, and the report about it, which became the exam's verdict. */
static void print_report(Exam *e, const char *mistake)
{
    printf("\n%s\n  %s\n", mistake, e->verdict.text);
    e->failed = false;
}

static void make_mistakes(Exam *e)
{
    Tensor *x = exam_input(e, 1, IN), *y = lk_tensor_new(LK_F64, LK_SHAPE(2, 3), NULL);
    Module *net = lk_linear_new(IN, OUT, true, &e->own_rng, NULL);
    if (!x || !y || !net) return;
    Tensor *sum = lk_sum(e->t, x, LK_ALL, false);
    lk_tape_reset(e->t);
    lk_item(sum);
    expect_tape_ok(e);
    print_report(e, "lk_tape_reset(t); lk_item(sum):");
    lk_free(y);
    lk_free(y);
    print_report(e, "lk_free(y); lk_free(y):");
    new_tape(e);
    lk_free(net);
    lk_forward(e->t, net, x);
    expect_tape_ok(e);
    print_report(e, "lk_free(net); lk_forward(t, net, x):");
}

static void show(Exam *e)
{
    printf("LORIKEET_STRICT=1 finds these mistakes in every program of yours:\n");
    ex0b_run_with(e, true, make_mistakes);
}

const Unit unit_ex0b = {
    .name = "ex0b",
    .title = "how long things live: reset, clone, retain, free, errors",
    .minutes = 15,
    .functions = { "last_loss", "best_output_new", "two_nets_new", "roots_new" },
    .checks = {
        { "the loss is read before the reset", loss_comes_before_the_reset },
        { "the tape stays small", tape_stays_small },
        { "the best output outlives the tape", best_outlives_the_tape },
        { "no other clone is left", no_clone_is_left },
        { "two nets share a Linear, and both may be freed", ex0b_both_nets_may_be_freed },
        { "the Linear is freed with the last of them", ex0b_linear_goes_with_the_last },
        { "two nets that cannot be made leave nothing behind", ex0b_failing_nets_leave_nothing },
        { "a negative number is refused with a reason", negative_is_refused },
        { "a refusal leaves nothing behind", refusal_leaves_nothing },
    },
    .show = show,
};
