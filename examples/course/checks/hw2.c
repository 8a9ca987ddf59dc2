/* hw2.c - the checks of hw2: fine-tuning a tiny RoBERTa with LoRA, and its adapter in a file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/decimal.h"
#include "data/safetensors.h"
#include "examples/course/checks/tiny_roberta.h"
#include "nn/models/roberta.h"
#include "optim/optimizer.h"

enum { RANK = 3, SENTENCES = 9, STEPS = 3 };
static const double LR = 0.05;
static const char path[] = "adapter.safetensors"; /* in the folder of this run */

static const char still_on[] = "Call lk_eval(model): the logits of a net with dropout are random.";

/* A net with LoRA on query and value, in eval mode; two of one seed are the same. */
static Module *adapted(Exam *e, uint64_t seed, double dropout)
{
    Module *m = tiny_roberta(e, seed, dropout);
    Rng rng;
    lk_manual_seed(&rng, seed + 1);
    if (m && !apply_lora_to_roberta(m, RANK, 8.0, &rng, &e->err))
        exam_fail(e, VERDICT_FAILED, "the checks have no net: %s", e->err.message);
    lk_eval(m);
    return e->failed ? NULL : m;
}

static Tuning tuning(const TrainerBatch *train, const TrainerBatch *test)
{
    return (Tuning){ .train = train, .test = test, .steps = STEPS, .lr = LR };
}

/* Calls the learner's fine_tune. */
static bool tuned(Exam *e, Module *m, const TrainerBatch *b)
{
    if (!m || !b->x) return false;
    const Tuning how = tuning(b, b);
    return exam_true(e, "fine_tune", CALL(e, fine_tune, e->t, m, &how, &e->err));
}

/* The parameters of which a fact is true, one after the other. */
static Matrix values_that(Exam *e, Module *m, NameFact *fact)
{
    int64_t count = 0;
    if (!m || e->failed) return (Matrix){ 0 };
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (fact(it.name, it.tensor)) count += lk_numel(it.tensor);
    Matrix all = matrix_zeros(e, 1, count);
    if (!all.v) return all;
    double *at = all.v;
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (fact(it.name, it.tensor))
            for (int64_t i = 0, n = lk_numel(it.tensor); i < n; i++)
                *at++ = (double)((const float *)it.tensor->data)[i];
    return all;
}

/* ---- 1, 2: loss and accuracy ---------------------------------------------------------------- */

static void loss_is_right(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES), open = { 0 };
    if (!m || !b.x) return;
    ((bool *)b.mask->data)[2] = false; /* hides a word, so that the mask is not that of the ids */
    ((int64_t *)b.labels->data)[4] = -100;
    open = b;
    open.mask = NULL;
    Matrix logits = tiny_logits(e, m, &b), unmasked = tiny_logits(e, m, &open);
    Matrix right = matrix_zeros(e, 1, 1), mask = matrix_zeros(e, 1, 1);
    Matrix soft = matrix_zeros(e, 1, 1);
    if (e->failed || !soft.v) return;
    right.v[0] = plain_loss(logits, &b);
    mask.v[0] = plain_loss(unmasked, &b);
    Matrix probabilities = matrix_scale(e, logits, 1.0);
    for (int64_t i = 0; probabilities.v && i < logits.rows; i++) {
        double *row = probabilities.v + 2 * i;
        row[0] = 1.0 / (1.0 + exp(row[1] - row[0]));
        row[1] = 1.0 - row[0];
    }
    soft.v[0] = plain_loss(probabilities, &b);
    const Mistake mistakes[] = {
        { "the mask ignored", "Hand b->mask to lk_roberta_logits.", mask },
        { "softmax before cross-entropy",
          "lk_cross_entropy has the softmax inside: give it logits.", soft },
        { "the sum instead of the mean", "lk_cross_entropy gives the mean over the sentences.",
          matrix_scale(e, right, SENTENCES - 1) },
    };
    Tensor *loss = exam_result(e, "batch_loss", CALL(e, batch_loss, e->t, m, &b));
    exam_equal(e, "batch_loss", loss, right, MISTAKES(mistakes));
}

static void accuracy_is_right(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.5);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    Matrix logits = tiny_logits(e, m, &b);
    if (e->failed) return;
    /* Sentences 0, 3 and 6 are classified wrong, and 4 fills the batch up: 5 of 8 are right. */
    int64_t *label = b.labels->data;
    for (int64_t i = 0; i < SENTENCES; i++)
        label[i] = (logits.v[2 * i + 1] > logits.v[2 * i]) != (i % 3 == 0);
    label[4] = -100;
    lk_train(m, true);
    double got = CALL(e, batch_accuracy, e->t, m, &b);
    if (e->failed) return;
    double right = plain_accuracy(logits, &b);
    if (m->training) {
        exam_fail(e, VERDICT_VALUE, "batch_accuracy leaves the model in training mode");
        exam_looks_like(e, "dropout left on", still_on);
    }
    exam_expect(e, lk_tape_grad(e->t), VERDICT_VALUE, "the tape is left in no-grad mode");
    if (fabs(got - right) < 1e-9) return;
    exam_fail(e, VERDICT_VALUE, "batch_accuracy is %.6g, expected %.6g (5 of 8 sentences)", got,
              right);
    if (fabs(got - 100.0 * right) < 1e-9) exam_looks_like(e, "percent", "Return the part, 0 … 1.");
    else if (got == 0.0)
        exam_looks_like(e, "integer division", "Convert one of the two numbers to double.");
    else if (fabs(got - 5.0 / SENTENCES) < 1e-9)
        exam_looks_like(e, "sentences without a label counted",
                        "A label below 0 fills the batch up: leave the sentence out of both "
                        "numbers.");
}

/* ---- 3 to 5: training ----------------------------------------------------------------------- */

static bool is_frozen(const char *name, const Tensor *x) { return !is_adapter(name, x); }

static void base_stays(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    Matrix before = values_that(e, m, is_frozen);
    if (!tuned(e, m, &b)) return;
    Matrix after = values_that(e, m, is_frozen);
    if (!after.v || matrix_near(after, before, 0.0)) return;
    int64_t moved = 0;
    for (int64_t i = 0; i < after.columns; i++) moved += after.v[i] != before.v[i];
    exam_fail(e, VERDICT_FROZEN, "%lld of %lld numbers of the frozen base moved", (long long)moved,
              (long long)after.columns);
}

typedef enum Way { AS_ASKED, NO_ZERO_GRAD, ONE_STEP, ADAM, SGD } Way;

/* The adapter's values after training in one of the ways. */
static Matrix trained(Exam *e, Way way, const TrainerBatch *b)
{
    Module *m = adapted(e, e->seed, 0.0);
    if (!m || !b->x) return (Matrix){ 0 };
    TensorList list = lk_trainable_parameters(m, &e->err);
    Optimizer *opt = NULL;
    if (way == ADAM) opt = lk_adam_new(list, LR, &e->err);
    else if (way == SGD) opt = lk_sgd_new(list, LR, &e->err);
    else opt = lk_adamw_new(list, LR, &e->err);
    bool ok = opt;
    for (int i = 0; ok && i < (way == ONE_STEP ? 1 : STEPS); i++) {
        if (way != NO_ZERO_GRAD) lk_optimizer_zero_grad(opt);
        Tensor *logits = lk_roberta_logits(e->t, m, b->x, b->mask);
        ok = lk_backward(e->t, lk_cross_entropy(e->t, logits, b->labels)) && lk_step(opt, &e->err);
        lk_tape_reset(e->t);
    }
    lk_optimizer_free(opt);
    exam_expect(e, ok, VERDICT_FAILED, "the checks cannot train: %s%s", e->err.message,
                lk_tape_error(e->t)->message);
    return values_that(e, m, is_adapter);
}

static void adapter_moves(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    Matrix before = values_that(e, m, is_adapter), right = trained(e, AS_ASKED, &b);
    if (!tuned(e, m, &b)) return;
    Matrix got = values_that(e, m, is_adapter);
    const double tolerance = 2e-5;
    if (!got.v || !right.v || matrix_near(got, right, tolerance)) return;
    int64_t worst = 0, differ = 0;
    for (int64_t i = 0; i < got.columns; i++) {
        double difference = fabs(got.v[i] - right.v[i]);
        differ += difference > tolerance;
        if (difference > fabs(got.v[worst] - right.v[worst])) worst = i;
    }
    const Mistake mistakes[] = {
        { "nothing moves",
          "lk_optimizer_zero_grad comes before lk_backward, and lk_step after it.", before },
        { "zero_grad forgotten", "Gradients add up: lk_optimizer_zero_grad begins each step.",
          trained(e, NO_ZERO_GRAD, &b) },
        { "only one step", "Make how->steps steps.", trained(e, ONE_STEP, &b) },
        { "Adam instead of AdamW", "lk_adamw_new: its decay keeps the weights small.",
          trained(e, ADAM, &b) },
        { "SGD instead of AdamW", "lk_adamw_new.", trained(e, SGD, &b) },
    };
    exam_fail(
        e, VERDICT_VALUE,
        "after %d steps %lld of %lld trained numbers differ from AdamW's; the worst is %.6g, "
        "expected %.6g",
        STEPS, (long long)differ, (long long)got.columns, got.v[worst], right.v[worst]);
    const Mistake *found = exam_recognise(got, right, MISTAKES(mistakes), tolerance);
    if (found) exam_looks_like(e, found->name, found->next);
}

static void dropout_is_on_in_training(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.5), *other = adapted(e, e->seed, 0.5);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    lk_tape_seed(e->t, 1);
    if (!tuned(e, m, &b)) return;
    lk_tape_seed(e->t, 2);
    if (!tuned(e, other, &b)) return;
    Matrix one = values_that(e, m, is_adapter), two = values_that(e, other, is_adapter);
    if (matrix_near(one, two, 0.0)) {
        exam_fail(e, VERDICT_VALUE,
                  "fine_tune drops nothing: two seeds of the tape give the same "
                  "weights");
        exam_looks_like(e, "trained in eval mode", "Call lk_train(model, true) before the steps.");
    }
    if (e->failed || !m->training) return;
    exam_fail(e, VERDICT_VALUE, "fine_tune leaves the model in training mode");
    exam_looks_like(e, "dropout left on", still_on);
}

/* ---- 6 to 9: files -------------------------------------------------------------------------- */

/* Compares the names of a state with those of the adapter. */
static void compare_names(Exam *e, const char *what, Module *m, const StateDict *state)
{
    int64_t i = 0;
    Matrix right = params_that(e, m, is_adapter), got = matrix_zeros(e, 1, right.columns);
    if (!right.v || !got.v || e->failed) return;
    for (ParamIter it = lk_params(m); lk_params_next(&it); i++)
        got.v[i] = lk_state_dict_get(state, it.name) != NULL;
    if (matrix_near(got, right, 0.0)) return;
    i = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); i++) {
        if (got.v[i] == right.v[i]) continue;
        exam_fail(e, VERDICT_VALUE, "%s has %d tensors; %s %s", what, state->count, it.name,
                  got.v[i] != 0.0 ? "is frozen and should not be there" : "is missing");
        break;
    }
    const Mistake mistakes[] = {
        { "the frozen base saved too", "Take a tensor only if it.tensor->requires_grad.",
          params_that(e, m, is_any) },
        { "the classifier forgotten", "The classifier was trained too; the file must have it.",
          params_that(e, m, is_lora_only) },
        { "LoRA forgotten", "Take every tensor with requires_grad.",
          params_that(e, m, is_classifier_only) },
    };
    const Mistake *found = exam_recognise(got, right, MISTAKES(mistakes), 0.0);
    if (found) exam_looks_like(e, found->name, found->next);
}

static void state_has_the_adapter(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    if (!m) return;
    StateDict *state = CALL(e, adapter_state_new, m, &e->err);
    if (exam_true(e, "adapter_state_new", state)) compare_names(e, "the state", m, state);
    lk_state_dict_free(state);
}

static void file_has_the_adapter(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    if (!m) return;
    unlink(path);
    if (exam_true(e, "save_adapter", CALL(e, save_adapter, m, path, &e->err))) {
        StateDict *state = lk_load_safetensors(path, &e->err);
        if (state) compare_names(e, "the file", m, state);
        else
            exam_fail(e, VERDICT_VALUE, "save_adapter leaves no file that can be read:\n%s",
                      e->err.message);
        lk_state_dict_free(state);
    }
    unlink(path);
}

/* Writes the parameters of which the fact is true to the file. */
static bool write_file(Exam *e, Module *m, NameFact *fact)
{
    StateDict *state = m ? lk_state_dict_empty_new(&e->err) : NULL;
    bool ok = state;
    if (ok)
        for (ParamIter it = lk_params(m); ok && lk_params_next(&it);)
            if (fact(it.name, it.tensor))
                ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), &e->err);
    ok = ok && lk_save_safetensors(state, NULL, path, &e->err);
    lk_state_dict_free(state);
    return exam_expect(e, ok, VERDICT_FAILED, "the checks cannot write %s: %s", path,
                       e->err.message);
}

/* A net whose adapter has other values than that of a fresh net. */
static Module *other_adapter(Exam *e)
{
    Module *m = adapted(e, e->seed, 0.0);
    if (!m) return NULL;
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (is_adapter(it.name, it.tensor)) lk_normal_(it.tensor, 0.0, 0.5, &e->own_rng);
    return m;
}

static void loads_the_adapter(Exam *e)
{
    Module *m = other_adapter(e), *fresh = adapted(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    if (!fresh || !write_file(e, m, is_adapter)) return;
    Matrix right = tiny_logits(e, m, &b);
    if (!exam_true(e, "load_adapter", CALL(e, load_adapter, fresh, path, &e->err)) &&
        strstr(e->err.message, "missing"))
        exam_looks_like(e, "strict loading",
                        "The file has no base, so strict = true cannot work. Load with strict = "
                        "false, after your own look at the names.");
    unlink(path);
    Matrix got = tiny_logits(e, fresh, &b);
    if (e->failed || matrix_near(got, right, 0.0)) return;
    exam_fail(e, VERDICT_VALUE,
              "the logits of the reloaded net differ from those of the saved one: %.6g, expected "
              "%.6g",
              got.v[0], right.v[0]);
}

static void refuses_what_does_not_fit(Exam *e)
{
    Module *m = other_adapter(e), *plain = tiny_roberta(e, e->seed, 0.0);
    Module *fresh = adapted(e, e->seed, 0.0);
    if (!plain || !fresh || !write_file(e, m, is_adapter)) return;
    if (CALL(e, load_adapter, plain, path, &e->err)) {
        exam_fail(e, VERDICT_VALUE, "load_adapter is true for a net without LoRA");
        exam_looks_like(e, "a net without LoRA accepted",
                        "strict = false skips names that the net does not have. Look for each "
                        "name of the file with lk_param_at.");
    }
    Matrix before = values_that(e, fresh, is_adapter);
    if (!write_file(e, m, is_lora_only)) return;
    if (CALL(e, load_adapter, fresh, path, &e->err)) {
        exam_fail(e, VERDICT_VALUE, "load_adapter is true for a file without the classifier");
        exam_looks_like(e, "an incomplete file accepted",
                        "Each trainable parameter must be in the file: lk_state_dict_get.");
    }
    Matrix after = values_that(e, fresh, is_adapter);
    exam_expect(e, e->failed || matrix_near(after, before, 0.0), VERDICT_VALUE,
                "load_adapter is false, but has changed the net already");
    unlink(path);
    bool there = CALL(e, load_adapter, fresh, path, &e->err);
    exam_expect(e, !there, VERDICT_VALUE, "load_adapter is true for a file that does not exist");
}

/* ---- 10: measuring -------------------------------------------------------------------------- */

static int64_t bytes_of(Exam *e, Module *m, NameFact *fact)
{
    StateDict *state = lk_state_dict_empty_new(&e->err);
    bool ok = state;
    if (ok)
        for (ParamIter it = lk_params(m); ok && lk_params_next(&it);)
            if (fact(it.name, it.tensor))
                ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), &e->err);
    int64_t bytes = ok ? lk_safetensors_size(state, NULL, &e->err) : -1;
    lk_state_dict_free(state);
    return bytes;
}

/* The numbers of a row that do not depend on training. */
static void compare_counts(Exam *e, const char *call, Module *m, const TuningRow *row)
{
    int64_t trainable = lk_count_trainable_parameters(m), all = lk_count_parameters(m);
    double percent = 100.0 * (double)trainable / (double)all;
    exam_expect(e, row->trainable == trainable && fabs(row->percent - percent) < 1e-6,
                VERDICT_VALUE, "%s: trainable %lld, %.6g %%, expected %lld, %.6g %%", call,
                (long long)row->trainable, row->percent, (long long)trainable, percent);
    int64_t bytes = bytes_of(e, m, is_trainable), whole = bytes_of(e, m, is_any);
    if (e->failed || llabs(row->bytes - bytes) <= 64) return;
    exam_fail(e, VERDICT_VALUE, "%s: bytes is %lld, expected %lld", call, (long long)row->bytes,
              (long long)bytes);
    if (llabs(row->bytes - whole) <= 64)
        exam_looks_like(e, "the bytes of the whole net",
                        "Measure the file of the adapter: the state of adapter_state_new.");
    else if (row->bytes == 4 * trainable)
        exam_looks_like(e, "the header forgotten",
                        "A file has names and shapes too: lk_safetensors_size.");
}

static void measure(Exam *e, const char *call, Module *m)
{
    TrainerBatch train = tiny_sentences(e, 5, SENTENCES), test = tiny_sentences(e, 6, 12);
    if (!m || !test.x) return;
    const Tuning how = tuning(&train, &test);
    double before = plain_loss(tiny_logits(e, m, &test), &test);
    TuningRow row = { 0 };
    bool ok = CALL(e, tune_and_measure, e->t, m, &how, &row, &e->err);
    if (!exam_true(e, call, ok)) return;
    compare_counts(e, call, m, &row);
    Matrix logits = tiny_logits(e, m, &test), seen = tiny_logits(e, m, &train);
    if (e->failed) return;
    double loss = plain_loss(logits, &test), accuracy = plain_accuracy(logits, &test);
    exam_expect(e, row.seconds >= 0.0 && row.seconds < 3600.0, VERDICT_VALUE,
                "%s: a step took %g seconds", call, row.seconds);
    if (fabs(row.loss - loss) < 1e-5 && fabs(row.accuracy - accuracy) < 1e-9) return;
    exam_fail(e, VERDICT_VALUE, "%s: loss %.6g and accuracy %.6g, expected %.6g and %.6g", call,
              row.loss, row.accuracy, loss, accuracy);
    if (fabs(row.loss - before) < 1e-5)
        exam_looks_like(e, "measured before training", "Measure after fine_tune.");
    else if (fabs(row.loss - plain_loss(seen, &train)) < 1e-5)
        exam_looks_like(e, "measured on the training sentences",
                        "Measure on how->test, which training has not seen.");
    else if (fabs(row.loss - loss) < 1e-5 && fabs(row.accuracy - 100.0 * accuracy) < 1e-6)
        exam_looks_like(e, "percent", "The accuracy is a part, 0 … 1.");
}

static void row_is_right(Exam *e)
{
    measure(e, "tune_and_measure with LoRA", adapted(e, e->seed, 0.1));
    measure(e, "tune_and_measure of the whole net", tiny_roberta(e, e->seed, 0.1));
}

/* ---- looking -------------------------------------------------------------------------------- */

static void show(Exam *e)
{
    TrainerBatch train = tiny_sentences(e, 5, 48), test = tiny_sentences(e, 6, 100);
    const Tuning how = { .train = &train, .test = &test, .steps = 40, .lr = 0.005 };
    printf("a tiny RoBERTa, %d steps of 48 sentences, measured on 100 others:\n\n"
           "                 trainable  percent     bytes  ms a step    loss  accuracy\n",
           (int)how.steps);
    for (int full = 0; full < 2; full++) {
        Module *m = full ? tiny_roberta(e, e->seed, 0.0) : adapted(e, e->seed, 0.0);
        TuningRow r = { 0 };
        if (!m || !CALL(e, tune_and_measure, e->t, m, &how, &r, &e->err)) return;
        lk_printf("%-15s %10lld %8.2f %9lld %10.2f %7.4f %9.4f\n",
                  full ? "everything" : "LoRA, rank 3", (long long)r.trainable, r.percent,
                  (long long)r.bytes, 1e3 * r.seconds, r.loss, r.accuracy);
    }
}

const Unit unit_hw2 = {
    .name = "hw2",
    .title = "fine-tuning, and an adapter in a file",
    .minutes = 40,
    .functions = { "batch_loss", "batch_accuracy", "fine_tune", "adapter_state_new",
                   "save_adapter", "load_adapter", "tune_and_measure" },
    .checks = {
        { "the loss is the mean cross-entropy under the mask", loss_is_right },
        { "the accuracy counts labelled sentences, without dropout", accuracy_is_right },
        { "training leaves the frozen base as it is", base_stays },
        { "training moves the adapter by AdamW", adapter_moves },
        { "dropout is on in training and off after it", dropout_is_on_in_training },
        { "the state has LoRA and the classifier, and nothing else", state_has_the_adapter },
        { "so has the file", file_has_the_adapter },
        { "a fresh net with the file has the same logits, bit by bit", loads_the_adapter },
        { "a file that does not fit is refused", refuses_what_does_not_fit },
        { "a row of the table is measured", row_is_right },
    },
    .show = show,
};
