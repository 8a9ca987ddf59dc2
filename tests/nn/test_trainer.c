/* test_trainer.c - the Trainer's loop: its logs and weights against a loop written in PyTorch,
 * what it prints, its arguments and callbacks. Checkpoints: test_trainer_resume.c. */
#include "tests/shared/toy.h"

static const struct ToyRun *const plain = &toy_runs[0];

/* The values of a log that do not depend on time. */
static bool is_measured(const char *key)
{
    return strstr(key, "_runtime") || strstr(key, "_per_second");
}

static void check_history(const TrainerHistory *history, const ToyValue *expected)
{
    for (int64_t i = 0; i < history->count; i++) {
        const TrainerLog *log = &history->logs[i];
        for (int k = 0; k < log->count; k++) {
            const struct TrainerValue *v = &log->values[k];
            if (is_measured(v->key)) continue;
            check(expected->key, "step %d: %s is one too many", (int)log->step, v->key);
            check(log->step == expected->step && strcmp(v->key, expected->key) == 0,
                  "%s of step %d, expected %s of %d", v->key, (int)log->step, expected->key,
                  expected->step);
            check(fabs(v->value - expected->value) <= 1e-9, "step %d: %s is %.17g, not %.17g",
                  (int)log->step, v->key, v->value, expected->value);
            expected++;
        }
    }
    check(!expected->key, "%s is missing", expected->key);
}

Test(trainer, logs_and_weights_are_those_of_pytorch)
{
    for (size_t i = 0; i < sizeof toy_runs / sizeof *toy_runs; i++) {
        ToyTrainer toy;
        toy_trainer(&toy, &toy_runs[i], TOY_HIDDEN, 0);
        toy_train(&toy);
        check_history(&toy.tr.state.history, toy_runs[i].values);
        check(toy.tr.state.best_step == toy_runs[i].best_step && !toy.tr.stopped);
        int64_t at = 0;
        for (ParamIter it = lk_params(toy.tr.model); lk_params_next(&it);
             at += lk_numel(it.tensor)) {
            check(!it.tensor->grad);
            check_close(it.tensor, toy_runs[i].weights + at, lk_numel(it.tensor), 1e-9);
        }
        check(at == TOY_PARAMETERS);
        toy_free(&toy);
    }
}

Test(trainer, a_second_training_begins_anew_and_has_the_same_logs)
{
    ToyTrainer toy;
    toy_trainer(&toy, plain, TOY_HIDDEN, 0.5);
    StateDict *start = lk_state_dict_new(toy.tr.model, NULL);
    toy_train(&toy);
    StateDict *end = lk_state_dict_new(toy.tr.model, NULL);
    check(lk_load_state_dict(toy.tr.model, start, true, NULL));
    toy_train(&toy);
    for (int i = 0; i < end->count; i++)
        check_equal(end->entries[i].tensor, lk_param_at(toy.tr.model, end->entries[i].name, NULL));
    toy.tr.args.seed = 43; /* another order and another dropout */
    check(lk_load_state_dict(toy.tr.model, start, true, NULL));
    toy_train(&toy);
    check(
        !lk_equal(end->entries[0].tensor, lk_param_at(toy.tr.model, end->entries[0].name, NULL)));
    lk_state_dict_free(start), lk_state_dict_free(end);
    toy_free(&toy);
}

Test(trainer, evaluate)
{
    ToyTrainer toy;
    toy_trainer(&toy, plain, TOY_HIDDEN, 0.5);
    toy_train(&toy);
    TrainerLog log;
    TapeRandom before = lk_tape_random(toy.tr.t);
    int64_t logs = toy.tr.state.history.count;
    check(lk_trainer_evaluate(&toy.tr, &log, NULL));
    const TrainerHistory *h = &toy.tr.state.history;
    check(h->count == logs + 1 && lk_tape_random(toy.tr.t).calls == before.calls &&
          lk_tape_grad(toy.tr.t));
    /* the evaluation of the last epoch, before train_loss */
    const TrainerLog *last = &h->logs[logs - 2];
    check(lk_trainer_log_get(last, "eval_loss") == lk_trainer_log_get(&log, "eval_loss"));
    check(lk_trainer_log_get(last, "eval_accuracy") == lk_trainer_log_get(&log, "eval_accuracy"));
    check(lk_trainer_log_get(&log, "eval_samples_per_second") > 0 &&
          lk_trainer_log_get(&log, "epoch") == 3);
    double seconds = lk_trainer_log_get(&log, "eval_runtime");
    check(fabs(lk_trainer_log_get(&log, "eval_samples_per_second") * seconds - TOY_TEST) < 1e-9);
    check(fabs(lk_trainer_log_get(&log, "eval_steps_per_second") * seconds - 3) < 1e-9);
    toy.tr.eval = (TrainerBatches){ 0 };
    Error err = { 0 };
    check(!lk_trainer_evaluate(&toy.tr, NULL, &err));
    check_error(&err, LK_EVALUE, "no data to evaluate with");
    toy_free(&toy);
}

/* ---- printing ------------------------------------------------------------------------------- */

static const char *printed(const TrainerLog *log)
{
    static char text[1024];
    FILE *f = fmemopen(text, sizeof text, "w");
    lk_trainer_log_print(f, log);
    fclose(f);
    return text;
}

Test(trainer, logs_look_like_pythons_dictionaries)
{
    TrainerLog log = { 0 };
    check_text(printed(&log), "{}\n");
    lk_trainer_log_add(&log, "loss", 0.69314718);
    lk_trainer_log_add(&log, "grad_norm", 1.2345678901234567);
    lk_trainer_log_add(&log, "learning_rate", 5e-5 * 10 / 500);
    lk_trainer_log_add(&log, "epoch", 10.0 / 313);
    check_text(printed(&log),
               "{'loss': 0.6931, 'grad_norm': 1.2345678901234567, 'learning_rate': 1e-06, "
               "'epoch': 0.03}\n");
    log.count = 0;
    lk_trainer_log_add(&log, "eval_loss", 0.25);
    lk_trainer_log_add(&log, "eval_runtime", 12.34567);
    lk_trainer_log_add(&log, "eval_samples_per_second", 70.6336);
    lk_trainer_log_add(&log, "train_loss", 100);
    lk_trainer_log_add(&log, "epoch", 2);
    check_text(printed(&log),
               "{'eval_loss': 0.25, 'eval_runtime': 12.3457, 'eval_samples_per_second': 70.634, "
               "'train_loss': 100.0, 'epoch': 2.0}\n");
    log.count = 0;
    const double values[] = { 0,         -1.5,    1e-4, 9e-5,     1e15,      1e16,
                              123456789, 1.0 / 3, NAN,  INFINITY, -INFINITY, 2.5e-310 };
    for (int i = 0; i < 12; i++) lk_trainer_log_add(&log, "x", values[i]);
    check_text(
        printed(&log),
        "{'x': 0.0, 'x': -1.5, 'x': 0.0001, 'x': 9e-05, 'x': 1000000000000000.0, 'x': 1e+16, "
        "'x': 123456789.0, 'x': 0.3333333333333333, 'x': nan, 'x': inf, 'x': -inf, "
        "'x': 2.5e-310}\n");
    for (int i = 0; i < 10; i++) lk_trainer_log_add(&log, "y", i); /* full is full */
    check(log.count == LK_TRAINER_VALUES_MAX && lk_trainer_log_get(&log, "y") == 0 &&
          isnan(lk_trainer_log_get(&log, "z")));
}

/* ---- callbacks, memory ---------------------------------------------------------------------- */

typedef struct Watch {
    Module *model;
    int logs, steps;
    int64_t allocations[64];
} Watch;

static Tensor *watched_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    return toy_loss(t, ((Watch *)user)->model, b, logits);
}

static void count_log(void *user, const TrainerLog *log)
{
    ((Watch *)user)->logs += log->count > 0;
}

static bool count_step(void *user, const TrainerState *state)
{
    Watch *w = user;
    w->steps++;
    check(state->step == w->steps && state->batches > 0);
    w->allocations[w->steps] = check_alloc_count();
    return w->steps < 14;
}

Test(trainer, callbacks_and_no_allocation_in_a_step)
{
    check_alloc_begin();
    ToyTrainer toy;
    toy_trainer(&toy, plain, TOY_HIDDEN, 0.1);
    Watch w = { .model = toy.tr.model };
    toy.tr.user = &w;
    toy.tr.loss = watched_loss;
    toy.tr.on_log = count_log;
    toy.tr.on_step = count_step;
    toy_train(&toy);
    check(w.steps == 14 && toy.tr.stopped && toy.tr.state.step == 14);
    check(w.logs == 9 && toy.tr.state.history.count == 9); /* 7, and 2 evaluations */
    check(w.allocations[8] == w.allocations[14], "%d allocations in steps 9 to 14",
          (int)(w.allocations[14] - w.allocations[8]));
    toy_free(&toy);
    check(check_alloc_live() == 0);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void check_fails(ToyTrainer *toy, ErrorCode code, const char *message)
{
    Error err = { 0 };
    check(!lk_trainer_train(&toy->tr, &err));
    check(err.code == code && strstr(err.message, message), "%s", err.message);
}

static bool ends_early(void *loader, TrainerBatch *b, Error *err)
{
    return ((DataLoader *)loader)->next < 12 && lk_loader_batches(loader).next(loader, b, err);
}

static bool breaks(void *loader, TrainerBatch *b, Error *err)
{
    return ends_early(loader, b, err) || lk_error_set(err, LK_EIO, "the cable is out");
}

static Tensor *wrong_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    return lk_matmul(t, toy_loss(t, user, b, logits), b->x);
}

Test(trainer, arguments_and_data_that_cannot_be)
{
    ToyTrainer toy;
    toy_trainer(&toy, plain, TOY_HIDDEN, 0);
    const Trainer good = toy.tr;
#define REFUSED(change, message) \
    do { \
        toy.tr = good; \
        change; \
        check_fails(&toy, LK_EVALUE, message); \
    } while (0)
    REFUSED(toy.tr.loss = NULL, "model, t, loss and train must be set");
    REFUSED(toy.tr.train.batches = 0, "there is no data to train with");
    REFUSED(toy.tr.args.accumulation = 0, "accumulation must be positive");
    REFUSED(toy.tr.args.epochs = 0, "epochs or max_steps must be positive");
    REFUSED(toy.tr.args.warmup_steps = -1, "warmup_steps must not be negative");
    REFUSED(toy.tr.args.max_grad_norm = NAN, "max_grad_norm must not be negative");
    REFUSED(toy.tr.args.load_best_at_end = true,
            "load_best_at_end needs an output_dir and evaluations");
    REFUSED(toy.tr.args.save_steps = 1, "save_steps needs an output_dir");
    REFUSED(toy.tr.args.learning_rate = -1, "lr of AdamW is -1");
    REFUSED(toy.tr.train.next = ends_early,
            "the data ended before the 6 batches that a pass should have");
    lk_trainer_free(&toy.tr);
    toy.tr = good;
    toy.tr.train.next = breaks;
    check_fails(&toy, LK_EIO, "the cable is out");
    lk_trainer_free(&toy.tr);
    toy.tr = good;
    toy.tr.loss = wrong_loss;
    check_fails(&toy, LK_ESHAPE, "lk_matmul");
    lk_trainer_free(&toy.tr);
    toy.tr = good;
    lk_tape_clear_error(toy.tr.t);
    lk_require_grad(toy.tr.model, "*", false);
    check_fails(&toy, LK_EVALUE, "the model has no trainable parameter");
    toy_free(&toy);
}

/* Only biases: there is one group, without decay. Only weights: one group with it. */
Test(trainer, groups_that_are_empty)
{
    for (int k = 0; k < 2; k++) {
        ToyTrainer toy;
        toy_trainer(&toy, plain, TOY_HIDDEN, 0);
        lk_require_grad(toy.tr.model, "*", false);
        lk_require_grad(toy.tr.model, k ? "*first.weight" : "*bias", true);
        Optimizer *opt = lk_trainer_optimizer_new(&toy.tr, NULL);
        check(opt && !opt->next && opt->params.count == (k ? 1 : 3) &&
              opt->weight_decay == (k ? 0.1 : 0));
        lk_optimizer_free(opt);
        Tensor *frozen = lk_clone(lk_param_at(toy.tr.model, "second.weight", NULL), NULL);
        toy_train(&toy);
        check_equal(frozen, lk_param_at(toy.tr.model, "second.weight", NULL));
        lk_free(frozen);
        toy_free(&toy);
    }
}

Test(trainer, what_is_decayed)
{
    ToyTrainer toy;
    toy_trainer(&toy, plain, TOY_HIDDEN, 0);
    Optimizer *opt = lk_trainer_optimizer_new(&toy.tr, NULL);
    check(opt->params.count == 2 && opt->weight_decay == 0.1);
    check(opt->params.items[0] == lk_param_at(toy.tr.model, "first.weight", NULL));
    check(opt->params.items[1] == lk_param_at(toy.tr.model, "second.weight", NULL));
    check(opt->next->params.count == 4 && opt->next->weight_decay == 0 && !opt->next->next);
    lk_optimizer_free(opt);
    toy_free(&toy);
}
