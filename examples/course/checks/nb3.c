/* nb3.c - the checks of nb3: errors per digit, the weak digits, their training. Most of them run
 * on data that decide what the net answers, so that every count is known. The dial: nb3_dial.c. */
#include "examples/course/checks/nb3.h"

#include "optim/optimizer.h"

const char *const nb3_layers[LAYERS] = { "linear1", "linear2", "linear3" };
const double nb3_alpha = 8.0;

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
    return exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(2, DIGITS), c, &e->err));
}

static Matrix counts_matrix(Exam *e, const DigitCounts *c)
{
    return matrix_of(e, counts_tensor(e, c));
}

/* The result of a pass over the images from `first` on. */
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
    DigitCounts rest = counts_from(20), only_wrong = right;
    for (int d = 0; d < DIGITS; d++) {
        c.wrong[d] = c.total[d] = 100 + d;
        dirty.wrong[d] = right.wrong[d] + c.wrong[d];
        dirty.total[d] = right.total[d] + c.total[d];
        of_right.wrong[d] = right.total[d] - right.wrong[d];
        at_answer.wrong[d] = 0;
        only_wrong.total[d] = right.wrong[d];
    }
    for (int i = 0; i < IMAGES; i++) at_answer.wrong[answers[i]] += answers[i] != labels[i];
    if (!count(e, digits_spy(e, NULL, false), false, &c)) return;
    const Mistake mistakes[] = {
        { "errors counted at the answer",
          "An error belongs to the label: the digit that the net did not know.",
          counts_matrix(e, &at_answer) },
        { "right answers counted", "Count where answer and label differ.",
          counts_matrix(e, &of_right) },
        { "images counted only with an error", "c->total counts every image of the label.",
          counts_matrix(e, &only_wrong) },
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
    digits_test_leaves_no_trace(e, "count_errors", spy);
    DigitCounts right = counts_from(0);
    exam_equal(e, "count_errors of the shuffled images, wrong above total,", counts_tensor(e, &c),
               counts_matrix(e, &right), NO_MISTAKES);
}

/* ---- the weak digits ------------------------------------------------------------------------ */

/* A choice that a mistake gives. */
typedef struct Choice {
    const char *name, *next;
    int64_t digits[DIGITS];
} Choice;

static Matrix choice_matrix(Exam *e, int n, const int64_t *digits)
{
    return matrix_of(e,
                     exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(n), digits, &e->err)));
}

static void compare_choice(Exam *e, const char *call, const DigitCounts *c, int n,
                           const int64_t *right, const Choice choices[3])
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
    Mistake mistakes[3];
    for (int i = 0; i < 3; i++)
        mistakes[i] =
            (Mistake){ choices[i].name, choices[i].next, choice_matrix(e, n, choices[i].digits) };
    Tensor *got = exam_own_tensor(e, lk_tensor_from_new(LK_I64, LK_SHAPE(n), weak, &e->err));
    exam_equal(e, call, got, choice_matrix(e, n, right), MISTAKES(mistakes));
}

static const char fewest_next[] = "The weak digits have the most errors: use >.";

static void most_errors_first(Exam *e)
{
    /* the notebook's counts, nearly; totals so that the rates have another order */
    const DigitCounts c = { { 18, 19, 30, 81, 42, 11, 60, 32, 150, 80 },
                            { 20, 1000, 1000, 1000, 1000, 1000, 80, 1000, 1000, 1000 } };
    const int64_t right[] = { 8, 3, 9, 6 };
    const Choice choices[3] = {
        { "the fewest errors chosen", fewest_next, { 5, 0, 1, 2 } },
        { "rates compared", "Compare the counts c->wrong, as the notebook does.", { 0, 6, 8, 3 } },
        { "one digit again and again",
          "Leave out the digits that are chosen already.",
          { 8, 8, 8, 8 } },
    };
    compare_choice(e, "weakest_digits of {18, 19, 30, 81, 42, 11, 60, 32, 150, 80}, count 4,", &c,
                   4, right, choices);
}

static void ties_and_zeros(Exam *e)
{
    const DigitCounts c = { { 5, 0, 7, 7, 0, 0, 0, 0, 0, 5 }, { 9, 9, 9, 9, 9, 9, 9, 9, 9, 9 } };
    const int64_t right[] = { 2, 3, 0, 9, 1, 4 };
    const Choice choices[3] = {
        { "the fewest errors chosen", fewest_next, { 1, 4, 5, 6, 7, 8 } },
        { "of two equal digits the later",
          "A later digit needs more errors: > and not >=.",
          { 3, 2, 9, 0, 8, 7 } },
        { "digits without errors left out",
          "Begin with worst = -1, and take any digit then.",
          { 2, 3, 0, 9, -1, -1 } },
    };
    compare_choice(e, "weakest_digits of {5, 0, 7, 7, 0, 0, 0, 0, 0, 5}, count 6,", &c, 6, right,
                   choices);
}

/* ---- the training --------------------------------------------------------------------------- */

Module *nb3_with_lora(Exam *e, Module *net, int64_t rank, double alpha)
{
    if (!net) return NULL;
    if (!parametrize_linears(net, rank, alpha, &e->own_rng, &e->err))
        exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    freeze_all_but_lora(net);
    return net;
}

Module *nb3_net_with_lora(Exam *e, Module *net) { return nb3_with_lora(e, net, RANK, nb3_alpha); }

LoRAParametrization *nb3_lora_at(Module *net, int layer)
{
    ParametrizationList *list =
        lk_parametrizations(lk_module_at(net, nb3_layers[layer], NULL), "weight");
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
    Module *net = nb3_net_with_lora(e, digits_net(e, PIXELS, 7, 6, DIGITS));
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

/* Does the work of tune_lora on a copy, with or without zero_grad. */
static Module *reference(Exam *e, Module *net, const Dataset *data, bool zero_grad)
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
            if (zero_grad) lk_optimizer_zero_grad(opt);
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
    Module *net = nb3_net_with_lora(e, digits_net(e, PIXELS, 7, 6, DIGITS));
    Dataset *data = training_data_new(e);
    Module *expected = reference(e, net, data, true), *added = reference(e, net, data, false);
    Matrix before[2 * LAYERS];
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, nb3_layers[i]);
        before[2 * i] = matrix_of(e, lk_original(linear, "weight"));
        before[2 * i + 1] = matrix_of(e, lk_original(linear, "bias"));
    }
    tune(e, net, data);
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, nb3_layers[i]);
        exam_unmoved(e, exam_text(e, "%s.weight, the original", nb3_layers[i]),
                     lk_original(linear, "weight"), before[2 * i]);
        exam_unmoved(e, exam_text(e, "%s.bias", nb3_layers[i]), lk_original(linear, "bias"),
                     before[2 * i + 1]);
    }
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        LoRAParametrization *now = nb3_lora_at(net, i), *right = nb3_lora_at(expected, i);
        const Mistake mistakes[] = {
            { "zero_grad forgotten", "Backward adds to the gradients: zero_grad comes before it.",
              matrix_of(e, nb3_lora_at(added, i)->lora_A) },
        };
        exam_equal(e, exam_text(e, "after 7 batches lora_A of %s", nb3_layers[i]), now->lora_A,
                   matrix_of(e, right->lora_A), MISTAKES(mistakes));
        exam_equal(e, exam_text(e, "after 7 batches lora_B of %s", nb3_layers[i]), now->lora_B,
                   matrix_of(e, right->lora_B), NO_MISTAKES);
    }
    lk_dataset_free(data);
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
        { "the dial scales every B A, turn by turn", nb3_dial_scales },
        { "dial 0 is the base, bit by bit", nb3_dial_0_is_the_base },
        { "both curves are read, from dial 0 to 1", nb3_curves_are_read },
    },
    .show = nb3_show,
};
