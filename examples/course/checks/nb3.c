/* nb3.c - the checks of nb3: errors per digit, the weak digits, their training, the dial. Most of
 * them run on data that decide what the net answers, so that every count is known. */
#include <math.h>
#include <string.h>

#include "data/digits.h"
#include "examples/course/checks/digits.h"
#include "examples/course/given/lora_parametrization.h"
#include "optim/optimizer.h"

static const char *const layers[] = { "linear1", "linear2", "linear3" };
enum { LAYERS = 3, RANK = 3 };
static const double ALPHA = 8.0;

/* ---- counting ------------------------------------------------------------------------------- */

/* 23 images: labels, and the answers that the net gives. */
enum { IMAGES = 23 };
static const int labels[IMAGES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 3,
                                    3, 6, 6, 8, 8, 8, 8, 9, 9, 1, 2 };
static const int answers[IMAGES] = { 0, 1, 2, 5, 4, 5, 0, 7, 3, 4, 8, 3,
                                     2, 5, 6, 8, 9, 3, 5, 9, 7, 1, 7 };

/* A row of ten counts for each of wrong and total. */
static Tensor *counts_tensor(Exam *e, const DigitCounts *c)
{
    return exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(2, DIGITS), c->wrong, &e->err));
}

static Matrix counts_matrix(Exam *e, const DigitCounts *c)
{
    return matrix_of(e, counts_tensor(e, c));
}

/* What a pass over the images from `first` on gives. */
static DigitCounts counts_from(int first)
{
    DigitCounts c = { 0 };
    for (int i = first; i < IMAGES; i++) {
        c.total[labels[i]]++;
        c.wrong[labels[i]] += labels[i] != answers[i];
    }
    return c;
}

/* The learner's count_errors of a spy, in batches of 4. */
static bool count(Exam *e, Spy *spy, bool shuffle, DigitCounts *c)
{
    Dataset *data = digits_spy_data_new(e, IMAGES, labels, answers);
    DataLoader *loader = data ? lk_loader_new(data, 4, shuffle, &e->own_rng, &e->err) : NULL;
    bool ok = spy && loader && CALL(e, count_errors, e->t, &spy->base, loader, c, &e->err);
    exam_true(e, "count_errors", ok);
    lk_loader_free(loader);
    lk_dataset_free(data);
    return !e->failed;
}

static void counted_at_the_label(Exam *e)
{
    /* The room is not zero at first, as a local variable is not. */
    DigitCounts c, dirty, right = counts_from(0), at_answer = right, of_right = right;
    DigitCounts rest = counts_from(20);
    for (int d = 0; d < DIGITS; d++) {
        c.wrong[d] = c.total[d] = 100 + d;
        dirty.wrong[d] = right.wrong[d] + c.wrong[d];
        dirty.total[d] = right.total[d] + c.total[d];
        of_right.wrong[d] = right.total[d] - right.wrong[d];
        at_answer.wrong[d] = 0;
    }
    for (int i = 0; i < IMAGES; i++) at_answer.wrong[answers[i]] += answers[i] != labels[i];
    if (!count(e, digits_spy(e, NULL, false), false, &c)) return;
    const Mistake mistakes[] = {
        { "errors counted at the answer",
          "An error belongs to the label: the digit that the net did not know.",
          counts_matrix(e, &at_answer) },
        { "right answers counted", "Count where answer and label differ.",
          counts_matrix(e, &of_right) },
        { "counts not set to 0", "Begin with *c = (DigitCounts){ 0 };", counts_matrix(e, &dirty) },
        { "the last batch alone", "Set the counts to 0 once, before the loop.",
          counts_matrix(e, &rest) },
    };
    exam_equal(e, "count_errors of 23 images, wrong above total,", counts_tensor(e, &c),
               counts_matrix(e, &right), MISTAKES(mistakes));
}

static void counted_without_gradients(Exam *e)
{
    Spy *spy = digits_spy(e, NULL, false);
    DigitCounts c = { 0 };
    if (!count(e, spy, true, &c)) return;
    int64_t calls = spy->training + spy->evaluation;
    exam_expect(e, calls == 6, VERDICT_VALUE,
                "count_errors calls the net %lld times, expected 6: 5 batches of 4, and one of 3",
                (long long)calls);
    exam_expect(e, !spy->training, VERDICT_VALUE, "count_errors runs the net in training mode");
    exam_expect(e, !spy->recorded, VERDICT_VALUE,
                "count_errors records gradients; lk_tape_set_grad(t, false) switches them off");
    exam_expect(e, lk_tape_grad(e->t), VERDICT_VALUE,
                "count_errors leaves the tape without gradients");
    DigitCounts right = counts_from(0);
    exam_equal(e, "count_errors of the shuffled images, wrong above total,", counts_tensor(e, &c),
               counts_matrix(e, &right), NO_MISTAKES);
}

/* ---- the weak digits ------------------------------------------------------------------------ */

static void compare_choice(Exam *e, const char *call, const DigitCounts *c, int n,
                           const int64_t *right, const int64_t *fewest, const int64_t *rates)
{
    enum { GUARD = -77 };
    int64_t weak[DIGITS + 1];
    for (int i = 0; i <= DIGITS; i++) weak[i] = GUARD;
    if (!LEARNERS(e, weakest_digits)) return;
    LEARNERS(e, weakest_digits)(c, n, weak);
    if (weak[n] != GUARD) {
        exam_fail(e, VERDICT_VALUE, "%s writes %d digits", call, n + 1);
        exam_looks_like(e, "one digit too many", "weak has room for weak[0] … weak[count - 1].");
    }
    Tensor *got = exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(n), weak, &e->err));
    Tensor *expected[3] = { NULL };
    const int64_t *rows[3] = { right, fewest, rates };
    for (int i = 0; i < 3; i++)
        expected[i] =
            exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(n), rows[i], &e->err));
    const Mistake mistakes[] = {
        { "the fewest errors chosen", "The weak digits have the most errors: use >.",
          matrix_of(e, expected[1]) },
        { "rates compared", "Compare the counts c->wrong, as the notebook does.",
          matrix_of(e, expected[2]) },
    };
    exam_equal(e, call, got, matrix_of(e, expected[0]), MISTAKES(mistakes));
}

static void most_errors_first(Exam *e)
{
    /* the notebook's counts; totals so that the rates have another order */
    const DigitCounts c = { { 18, 19, 30, 81, 42, 11, 60, 32, 150, 80 },
                            { 20, 1000, 1000, 1000, 1000, 1000, 80, 1000, 1000, 1000 } };
    const int64_t right[] = { 8, 3, 9, 6 }, fewest[] = { 5, 0, 1, 2 }, rates[] = { 0, 6, 8, 3 };
    compare_choice(e, "weakest_digits of {18, 19, 30, 81, 42, 11, 60, 32, 150, 80}, count 4,", &c,
                   4, right, fewest, rates);
}

static void ties_and_zeros(Exam *e)
{
    const DigitCounts c = { { 5, 0, 7, 7, 0, 0, 0, 0, 0, 5 }, { 9, 9, 9, 9, 9, 9, 9, 9, 9, 9 } };
    const int64_t right[] = { 2, 3, 0, 9, 1, 4 }, fewest[] = { 1, 4, 5, 6, 7, 8 };
    compare_choice(e, "weakest_digits of {5, 0, 7, 7, 0, 0, 0, 0, 0, 5}, count 6,", &c, 6, right,
                   fewest, right);
}

/* ---- the training --------------------------------------------------------------------------- */

/* A net with LoRA of nb2; all else is frozen. */
static Module *with_lora(Exam *e, Module *net, int64_t rank, double alpha)
{
    if (!net) return NULL;
    if (!parametrize_linears(net, rank, alpha, &e->own_rng, &e->err))
        exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    freeze_all_but_lora(net);
    return net;
}

static Module *net_with_lora(Exam *e, Module *net) { return with_lora(e, net, RANK, ALPHA); }

static LoRAParametrization *lora_at(Module *net, int layer)
{
    ParametrizationList *list =
        lk_parametrizations(lk_module_at(net, layers[layer], NULL), "weight");
    return list ? (LoRAParametrization *)list->chain.items[0] : NULL;
}

/* 60 images, six of each digit. */
static Dataset *training_data_new(Exam *e)
{
    int digits[60];
    for (int i = 0; i < 60; i++) digits[i] = 7 * i % DIGITS;
    return digits_spy_data_new(e, 60, digits, digits);
}

enum { TUNING = 7 }; /* batches: three passes over the weak digits, and one batch */

/* The learner's tune_lora on 3 and 8 (12 images, two batches a pass). */
static void tune(Exam *e, Module *net, const Dataset *data)
{
    const int64_t weak[] = { 8, 3 };
    bool ok = net && data && CALL(e, tune_lora, e->t, net, data, 2, weak, TUNING, e->rng, &e->err);
    exam_true(e, "tune_lora", ok);
}

static void weak_digits_trained(Exam *e)
{
    Module *net = net_with_lora(e, digits_net(e, PIXELS, 7, 6, DIGITS));
    Spy *spy = digits_spy(e, lk_retain(net), false);
    Dataset *data = training_data_new(e);
    tune(e, spy ? &spy->base : NULL, data);
    lk_dataset_free(data);
    if (e->failed) return;
    int64_t others = 0, calls = spy->training + spy->evaluation;
    for (int d = 0; d < DIGITS; d++) others += d == 3 || d == 8 ? 0 : spy->seen[d];
    const char *what = exam_text(e,
                                 "the net sees %lld batches: %lld threes, %lld eights and %lld "
                                 "other digits",
                                 (long long)calls, (long long)spy->seen[3],
                                 (long long)spy->seen[8], (long long)others);
    const char *call = "tune_lora(…, 2, {8, 3}, 7 batches, …)";
    if (others) {
        exam_fail(e, VERDICT_VALUE, "%s: %s", call, what);
        exam_looks_like(e, "trained on all digits",
                        "Make the loader for the chosen digits: lk_filter_classes_new.");
    } else if (!spy->seen[3] || !spy->seen[8]) {
        exam_fail(e, VERDICT_VALUE, "%s: %s", call, what);
        exam_looks_like(e, "a weak digit left out",
                        "Give lk_filter_classes_new all `count` digits.");
    } else if (calls != TUNING) {
        exam_fail(e, VERDICT_VALUE, "%s: %s", call, what);
        exam_looks_like(e, calls == 2 ? "one pass over the data" : "wrong number of batches",
                        "Count the batches over all passes, and begin a new pass when one ends: "
                        "lk_loader_begin.");
    }
    exam_expect(e, !spy->evaluation, VERDICT_VALUE, "%s runs the net in evaluation mode", call);
}

/* What tune_lora should do, on a copy. */
static Module *reference(Exam *e, Module *net, const Dataset *data)
{
    if (e->failed || !net || !data) return NULL;
    const int64_t weak[] = { 8, 3 };
    Rng rng;
    lk_manual_seed(&rng, e->seed);
    Module *copy = exam_own(e, lk_deepcopy(net, &e->err));
    Dataset *chosen = lk_filter_classes_new(data, 2, weak, &e->err);
    DataLoader *loader = chosen ? lk_loader_new(chosen, 10, true, &rng, &e->err) : NULL;
    Optimizer *opt =
        copy ? lk_adam_new(lk_trainable_parameters(copy, &e->err), 1e-3, &e->err) : NULL;
    bool ok = loader && opt;
    for (int i = 0; ok && i < TUNING;) {
        lk_loader_begin(loader);
        for (Batch b; ok && i < TUNING && lk_loader_next(loader, &b); i++) {
            Tensor *loss = lk_cross_entropy(e->t, lk_forward(e->t, copy, b.x), b.y);
            lk_optimizer_zero_grad(opt);
            ok = lk_backward(e->t, loss) && lk_step(opt, &e->err);
            lk_tape_reset(e->t);
        }
    }
    lk_optimizer_free(opt);
    lk_loader_free(loader);
    lk_dataset_free(chosen);
    exam_expect(e, ok, VERDICT_FAILED, "the checks cannot train: %s", e->err.message);
    return copy;
}

static void only_lora_moves(Exam *e)
{
    Module *net = net_with_lora(e, digits_net(e, PIXELS, 7, 6, DIGITS));
    Dataset *data = training_data_new(e);
    Module *expected = reference(e, net, data);
    Matrix before[2 * LAYERS];
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, layers[i]);
        before[2 * i] = matrix_of(e, lk_original(linear, "weight"));
        before[2 * i + 1] = matrix_of(e, lk_original(linear, "bias"));
    }
    tune(e, net, data);
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, layers[i]);
        exam_unmoved(e, exam_text(e, "%s.weight, the original", layers[i]),
                     lk_original(linear, "weight"), before[2 * i]);
        exam_unmoved(e, exam_text(e, "%s.bias", layers[i]), lk_original(linear, "bias"),
                     before[2 * i + 1]);
    }
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        LoRAParametrization *now = lora_at(net, i), *right = lora_at(expected, i);
        exam_equal(e, exam_text(e, "after 7 batches lora_A of %s", layers[i]), now->lora_A,
                   matrix_of(e, right->lora_A), NO_MISTAKES);
        exam_equal(e, exam_text(e, "after 7 batches lora_B of %s", layers[i]), now->lora_B,
                   matrix_of(e, right->lora_B), NO_MISTAKES);
    }
    lk_dataset_free(data);
}

/* ---- the dial ------------------------------------------------------------------------------- */

static void turn(Exam *e, Module *net, double dial)
{
    if (net && LEARNERS(e, turn_dial)) LEARNERS(e, turn_dial)(net, dial);
}

static void fill_lora(Exam *e, Module *net, double deviation)
{
    for (int i = 0; net && i < LAYERS && !e->failed; i++) {
        LoRAParametrization *l = lora_at(net, i);
        lk_normal_(l->lora_A, 0.0, deviation, &e->own_rng);
        lk_normal_(l->lora_B, 0.0, deviation, &e->own_rng);
    }
}

/* Compares the weights that forward reads with W + factor B A. `last` is the dial before this
 * one. */
static void compare_dial(Exam *e, Module *net, double dial, double last)
{
    const double scale = ALPHA / RANK;
    for (int i = 0; net && i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, layers[i]);
        LoRAParametrization *l = lora_at(net, i);
        Matrix W = matrix_of(e, lk_original(linear, "weight"));
        Matrix BA = matrix_product(e, matrix_of(e, l->lora_B), matrix_of(e, l->lora_A));
        const Matrix nothing = { 0, 0, NULL };
#define WITH(factor) matrix_sum(e, W, matrix_scale(e, BA, factor))
        const Mistake mistakes[] = {
            { "alpha / rank forgotten", "The scale at dial 1 is alpha / rank.", WITH(dial) },
            { "alpha not divided by the rank", "The rank is lk_size(l->lora_A, 0).",
              WITH(dial * ALPHA) },
            { "the dial on A and on B", "B A is scaled once.", WITH(dial * dial * scale) },
            { "the dial multiplied at each turn",
              "Compute the scale anew: dial · alpha / rank. A product keeps the turns of before.",
              WITH(dial * last * scale) },
            { "a switch instead of a dial", "enabled is on or off; the dial sets l->scale.",
              dial > 0.0 ? WITH(scale) : W },
            /* later it could be a product with a dial at 0 */
            { i > 0 ? "a layer not turned" : "the dial not turned",
              "Set the scale of every LoRA of the net.", dial > 0.0 ? nothing : WITH(scale) },
        };
#undef WITH
        Matrix right = matrix_sum(e, W, matrix_scale(e, BA, dial * scale));
        exam_equal(e, exam_text(e, "dial at %g: the weight of %s", dial, layers[i]),
                   lk_param_named(e->t, linear, "weight"), right, MISTAKES(mistakes));
    }
}

static void dial_scales(Exam *e)
{
    Module *net = exam_to_double(e, net_with_lora(e, digits_net(e, 8, 7, 6, 5)));
    fill_lora(e, net, 1.0);
    const double dials[] = { 0.0, 0.5, 0.25, 0.75, 1.0 };
    for (int i = 0; i < 5; i++) {
        turn(e, net, dials[i]);
        compare_dial(e, net, dials[i], i ? dials[i - 1] : 1.0);
    }
}

static void dial_0_is_the_base(Exam *e)
{
    Module *net = digits_net(e, 8, 7, 6, 5);
    Tensor *x = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(4, 8), &e->err));
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    Matrix before = matrix_of(e, exam_forward(e, "the net without LoRA", net, x));
    net_with_lora(e, net);
    fill_lora(e, net, 1.0);
    turn(e, net, 0.5);
    turn(e, net, 0.0);
    Matrix at_0 = matrix_of(e, exam_forward(e, "the net at dial 0", net, x));
    for (int64_t i = 0; !e->failed && i < 4 * 5; i++)
        exam_expect(e, at_0.v[i] == before.v[i], VERDICT_VALUE,
                    "at dial 0 output %lld is %.9g, but %.9g without LoRA: not the same bits",
                    (long long)i, at_0.v[i], before.v[i]);
    turn(e, net, 1.0);
    Matrix at_1 = matrix_of(e, exam_forward(e, "the net at dial 1", net, x));
    exam_expect(e, !matrix_near(at_1, before, 1e-4), VERDICT_VALUE,
                "dial 1 after dial 0 gives the net without LoRA; compute the scale from alpha");
}

/* ---- the curves ----------------------------------------------------------------------------- */

enum { POINTS = 5 };

static double share(const int64_t wrong[DIGITS], const int64_t total[DIGITS],
                    const bool in[DIGITS])
{
    int64_t w = 0, n = 0;
    for (int d = 0; d < DIGITS; d++) {
        w += in[d] ? wrong[d] : 0;
        n += in[d] ? total[d] : 0;
    }
    return n ? (double)w / (double)n : 0.0;
}

static void curves_are_read(Exam *e)
{
    Dataset *data = lk_rendered_digits_new(60, e->seed, LK_MNIST_NORMALIZE, &e->err);
    Module *net = digits_net(e, PIXELS, 12, 16, DIGITS);
    digits_train(e, net, data, 20);
    net_with_lora(e, net);
    fill_lora(e, net, 0.2);
    const int64_t weak[] = { 8, 3, 9 };
    bool all[DIGITS], few[DIGITS] = { false }, rest[DIGITS];
    for (int k = 0; k < 3; k++) few[weak[k]] = true;
    for (int d = 0; d < DIGITS; d++) all[d] = true;
    for (int d = 0; d < DIGITS; d++) rest[d] = !few[d];
    int64_t total[DIGITS] = { 0 };
    for (int64_t i = 0; data && i < data->count; i++) total[lk_dataset_label(data, i)]++;
    Matrix right = matrix_zeros(e, POINTS, 3), errors = matrix_zeros(e, POINTS, 3);
    Matrix of_all = matrix_zeros(e, POINTS, 3), whole = matrix_zeros(e, POINTS, 3);
    for (int i = 0; i < POINTS && !e->failed; i++) {
        int64_t wrong[DIGITS];
        double dial = i / (POINTS - 1.0);
        for (int k = 0; k < LAYERS; k++) lora_at(net, k)->scale = dial * ALPHA / RANK;
        digits_wrong(e, net, data, wrong);
        double w = share(wrong, total, few), r = share(wrong, total, rest);
        const double rows[4][3] = { { dial, 1.0 - w, 1.0 - r },
                                    { dial, w, r },
                                    { dial, 1.0 - w, 1.0 - share(wrong, total, all) },
                                    { dial, 1.0 - floor(w), 1.0 - floor(r) } };
        Matrix to[4] = { right, errors, of_all, whole };
        for (int k = 0; k < 4; k++) memcpy(to[k].v + 3 * i, rows[k], sizeof rows[k]);
    }
    DataLoader *loader = data ? lk_loader_new(data, 16, false, &e->own_rng, &e->err) : NULL;
    DialPoint curve[POINTS] = { { 0.0, 0.0, 0.0 } };
    bool ok = loader && CALL(e, read_dial, e->t, net, loader, 3, weak, POINTS, curve, &e->err);
    exam_true(e, "read_dial", ok);
    Tensor *got = exam_own_tensor(
        e, lk_tensor_from_new(LK_F64, LK_SHAPE(POINTS, 3), &curve[0].dial, &e->err));
    const Mistake mistakes[] = {
        { "error rates for accuracies", "The accuracy is 1 - wrong / total.", errors },
        { "all digits for the rest", "The rest are the digits that are not weak.", of_all },
        { "integer division", "Divide doubles: (double)wrong / (double)total.", whole },
    };
    exam_equal(e, "read_dial, rows of dial, weak, rest,", got, right, MISTAKES(mistakes));
    lk_loader_free(loader);
    lk_dataset_free(data);
}

static void show(Exam *e)
{
    enum { STEPS = 11 };
    DialPoint curve[STEPS];
    DigitCounts c;
    int64_t weak[4] = { 0 };
    Dataset *train = lk_rendered_digits_new(400, e->seed, LK_MNIST_NORMALIZE, &e->err);
    Dataset *test = lk_rendered_digits_new(400, e->seed + 1, LK_MNIST_NORMALIZE, &e->err);
    DataLoader *loader = test ? lk_loader_new(test, 50, false, &e->own_rng, &e->err) : NULL;
    Module *net = digits_net(e, PIXELS, 24, 24, DIGITS);
    digits_train(e, net, train, 120);
    if (loader && CALL(e, count_errors, e->t, net, loader, &c, &e->err) && !e->failed) {
        LEARNERS(e, weakest_digits)(&c, 4, weak);
        printf("A small net, rendered digits, seed %llu. Errors on the digits 0 to 9:",
               (unsigned long long)e->seed);
        for (int d = 0; d < DIGITS; d++) printf(" %lld", (long long)c.wrong[d]);
        printf("\nLoRA learns %lld, %lld, %lld and %lld. The dial:\ndial  weak   rest\n",
               (long long)weak[0], (long long)weak[1], (long long)weak[2], (long long)weak[3]);
        with_lora(e, net, 1, 1.0);
        bool ok = CALL(e, tune_lora, e->t, net, train, 4, weak, 100, e->rng, &e->err) &&
                  CALL(e, read_dial, e->t, net, loader, 4, weak, STEPS, curve, &e->err);
        for (int i = 0; ok && i < STEPS; i++)
            printf("%4.1f  %.3f  %.3f\n", curve[i].dial, curve[i].weak, curve[i].rest);
    }
    lk_loader_free(loader);
    lk_dataset_free(test);
    lk_dataset_free(train);
}

const Unit unit_nb3 = {
    .name = "nb3",
    .title = "the weak digits, and the specialisation dial",
    .minutes = 20,
    .functions = { "count_errors", "weakest_digits", "tune_lora", "turn_dial", "read_dial" },
    .checks = {
        { "an error counts at its label", counted_at_the_label },
        { "counting is a whole pass, without gradients", counted_without_gradients },
        { "the weak digits have most errors, the worst first", most_errors_first },
        { "of two equal digits the smaller comes first", ties_and_zeros },
        { "LoRA sees the weak digits only", weak_digits_trained },
        { "A and B move, the base does not", only_lora_moves },
        { "the dial scales every B A, turn by turn", dial_scales },
        { "dial 0 is the base, bit by bit", dial_0_is_the_base },
        { "both curves are read, from dial 0 to 1", curves_are_read },
    },
    .show = show,
};
