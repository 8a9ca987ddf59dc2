/* trainer.c - the training loop, evaluation and callbacks of Transformers' Trainer. The reported
 * numbers: nn/trainer_log.c; checkpoints: data/trainer_checkpoint.c. */
#include "nn/trainer.h"

#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/ops.h"
#include "optim/clip.h"

TrainerArgs lk_trainer_defaults(void)
{
    return (TrainerArgs){
        .epochs = 3,
        .accumulation = 1,
        .learning_rate = 5e-5,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .max_grad_norm = 1,
        .schedule = LK_SCHEDULE_LINEAR,
        .logging_steps = 500,
        .eval_steps = LK_NEVER,
        .save_steps = LK_NEVER,
        .best_metric = "eval_loss",
        .seed = 42,
    };
}

void lk_trainer_free(Trainer *tr)
{
    if (tr) lk_trainer_history_free(&tr->state.history);
}

/* Reads the next batch; it is an error if the pass is over. */
static bool next_batch(const TrainerBatches *data, TrainerBatch *b, Error *err)
{
    Error reason = { 0 };
    if (data->next(data->loader, b, &reason)) return true;
    if (reason.code != LK_OK) return lk_error_pass(err, &reason);
    return lk_error_set(
        err, LK_EVALUE,
        "lk_trainer_train: the data ended before the %lld batches that a pass should have",
        (long long)data->batches);
}

/* ---- logs and evaluation -------------------------------------------------------------------- */

/* Completes the log, keeps it, and shows it. */
static bool publish(Trainer *tr, TrainerLog *log, Error *err)
{
    log->step = tr->state.step;
    lk_trainer_log_add(log, "epoch", tr->state.epoch);
    if (!lk_trainer_history_add(&tr->state.history, log, err)) return false;
    if (tr->on_log) tr->on_log(tr->user, log);
    return true;
}

static bool evaluate_batch(Trainer *tr, const TrainerBatch *b, double *loss_sum, int64_t *samples)
{
    Tensor *logits = NULL, *loss = tr->loss(tr->t, tr->user, b, tr->metrics ? &logits : NULL);
    if (!loss || (tr->metrics && !tr->metrics->add(tr->metrics, tr->t, logits, b))) return false;
    int64_t n = lk_size(b->labels, 0);
    *loss_sum += lk_item(loss) * (double)n;
    *samples += n;
    return true;
}

/* Makes one pass over the data, and adds its metrics to *log. */
static bool evaluate_all(Trainer *tr, TrainerLog *log, Error *err)
{
    TrainerMetrics *metrics = tr->metrics;
    TrainerBatch b;
    double start = lk_seconds(), loss_sum = 0;
    int64_t samples = 0;
    if (metrics) metrics->begin(metrics);
    if (!tr->eval.begin(tr->eval.loader, err)) return false;
    for (int64_t i = 0; i < tr->eval.batches; i++) {
        if (!next_batch(&tr->eval, &b, err)) return false;
        if (!evaluate_batch(tr, &b, &loss_sum, &samples)) return lk_tape_ok(tr->t, err);
        lk_tape_reset(tr->t);
    }
    lk_trainer_log_add(log, "eval_loss", loss_sum / (double)samples);
    TrainerLog own = { 0 };
    if (metrics) metrics->end(metrics, &own);
    for (int i = 0; i < own.count; i++) {
        const char *name = own.values[i].key;
        char key[2 * LK_TRAINER_KEY_MAX];
        snprintf(key, sizeof key, "%s%s", strncmp(name, "eval_", 5) == 0 ? "" : "eval_", name);
        lk_trainer_log_add(log, key, own.values[i].value);
    }
    double seconds = lk_seconds() - start;
    lk_trainer_log_add(log, "eval_runtime", seconds);
    lk_trainer_log_add(log, "eval_samples_per_second", (double)samples / seconds);
    lk_trainer_log_add(log, "eval_steps_per_second", (double)tr->eval.batches / seconds);
    return true;
}

bool lk_trainer_evaluate(Trainer *tr, TrainerLog *log, Error *err)
{
    TrainerLog local;
    if (!log) log = &local;
    *log = (TrainerLog){ 0 };
    if (!tr || !tr->model || !tr->t || !tr->loss)
        return lk_error_set(err, LK_EVALUE,
                            "lk_trainer_evaluate: model, t and loss of the Trainer must be set");
    if (!tr->eval.next || tr->eval.batches <= 0)
        return lk_error_set(err, LK_EVALUE, "lk_trainer_evaluate: no data to evaluate with");
    bool before = lk_tape_set_grad(tr->t, false);
    lk_eval(tr->model);
    bool ok = evaluate_all(tr, log, err);
    lk_tape_reset(tr->t);
    lk_tape_set_grad(tr->t, before);
    return ok && publish(tr, log, err);
}

/* ---- what a run is made of ------------------------------------------------------------------ */

typedef struct Run {
    Trainer *tr;
    Optimizer *opt;
    TensorList params; /* those that are trained */
    Schedule schedule;
    double started;
    int64_t first;                   /* the step it started from */
    int64_t saved;                   /* the last step that was saved; -1: none */
    double grad_norm, learning_rate; /* of the last step */
    Error *err;
} Run;

/* Optimizer steps in a pass: its last one may have fewer batches than the others. */
static int64_t steps_of_pass(const Trainer *tr)
{
    return (tr->train.batches + tr->args.accumulation - 1) / tr->args.accumulation;
}

int64_t lk_trainer_steps(const Trainer *tr)
{
    if (!tr || tr->args.accumulation <= 0) return 0;
    return tr->args.max_steps > 0 ? tr->args.max_steps : tr->args.epochs * steps_of_pass(tr);
}

/* Refuses arguments that contradict each other; the error has the first rule that is broken. */
static bool check_trainer(const Trainer *tr, Error *err)
{
    if (!tr) return lk_error_set(err, LK_EVALUE, "lk_trainer_train: the Trainer is NULL");
    const TrainerArgs *a = &tr->args;
    const struct {
        bool broken;
        const char *rule;
    } rules[] = {
        { !tr->model || !tr->t || !tr->loss || !tr->train.next,
          "model, t, loss and train must be set" },
        { tr->train.batches <= 0, "there is no data to train with" },
        { a->accumulation <= 0, "accumulation must be positive" },
        { a->epochs <= 0 && a->max_steps <= 0, "epochs or max_steps must be positive" },
        { a->warmup_steps < 0, "warmup_steps must not be negative" },
        { !(a->max_grad_norm >= 0), "max_grad_norm must not be negative" },
        { a->load_best_at_end && (!a->output_dir || a->eval_steps == LK_NEVER),
          "load_best_at_end needs an output_dir and evaluations" },
        { a->save_total_limit < 0, "save_total_limit must not be negative" },
        { a->save_steps != LK_NEVER && !a->output_dir, "save_steps needs an output_dir" },
        { (a->output_dir || a->resume_from) && !tr->store,
          "output_dir and resume_from need a store: .store = &lk_checkpoints" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].broken)
            return lk_error_set(err, LK_EVALUE, "lk_trainer_train: %s", rules[i].rule);
    return true;
}

static bool is_decayed(const ParamIter *it)
{
    return strcmp(it->modules.module->type->name, "LayerNorm") != 0 &&
           !strstr(it->name, "LayerNorm") && !strstr(it->name, "bias");
}

static bool wants_decay(const ParamIter *it, void *user)
{
    (void)user;
    return it->tensor->requires_grad && is_decayed(it);
}

static bool wants_no_decay(const ParamIter *it, void *user)
{
    (void)user;
    return it->tensor->requires_grad && !is_decayed(it);
}

/* Makes AdamW with one group for the parameters that decay and one for the rest; an empty group is
 * left out. */
Optimizer *lk_trainer_optimizer_new(const Trainer *tr, Error *err)
{
    if (!tr || !tr->model) {
        lk_error_set(err, LK_EVALUE, "lk_trainer_optimizer_new: the Trainer has no model");
        return NULL;
    }
    const TrainerArgs *a = &tr->args;
    Error reason = { 0 };
    TensorList decayed = lk_parameters_where(tr->model, wants_decay, NULL, &reason);
    TensorList others = lk_parameters_where(tr->model, wants_no_decay, NULL, &reason);
    if (reason.code != LK_OK) {
        lk_error_pass(err, &reason);
        lk_tensor_list_free(&decayed);
        lk_tensor_list_free(&others);
        return NULL;
    }
    bool both = decayed.count > 0 && others.count > 0;
    Optimizer *opt = lk_adamw_new(decayed.count > 0 ? decayed : others, a->learning_rate, err);
    if (!opt) {
        if (both) lk_tensor_list_free(&others);
        return NULL;
    }
    opt->beta1 = a->beta1, opt->beta2 = a->beta2, opt->eps = a->eps;
    opt->weight_decay = decayed.count > 0 ? a->weight_decay : 0;
    if (!both) return opt;
    ParamGroup *rest = lk_add_param_group(opt, others, err);
    if (rest) {
        rest->weight_decay = 0;
        return opt;
    }
    lk_optimizer_free(opt);
    return NULL;
}

/* ---- one step ------------------------------------------------------------------------------- */

static bool backward_batch(Run *r, int64_t parts)
{
    Trainer *tr = r->tr;
    TrainerBatch b;
    if (!next_batch(&tr->train, &b, r->err)) return false;
    Tensor *loss = tr->loss(tr->t, tr->user, &b, NULL);
    if (parts > 1) loss = lk_scale(tr->t, loss, 1.0 / (double)parts);
    if (!lk_backward(tr->t, loss)) return lk_tape_ok(tr->t, r->err);
    double part = lk_item(loss);
    tr->state.loss = part * (double)parts;
    tr->state.loss_sum += part;
    lk_tape_reset(tr->t);
    return true;
}

static bool train_step(Run *r)
{
    const TrainerArgs *a = &r->tr->args;
    TrainerState *s = &r->tr->state;
    int64_t left = r->tr->train.batches - s->batches,
            parts = a->accumulation < left ? a->accumulation : left;
    lk_optimizer_zero_grad(r->opt);
    for (int64_t i = 0; i < parts; i++)
        if (!backward_batch(r, parts)) return false;
    r->grad_norm =
        lk_clip_grad_norm_(&r->params, a->max_grad_norm > 0 ? a->max_grad_norm : INFINITY);
    r->learning_rate = a->learning_rate * lk_schedule(&r->schedule, s->step);
    for (ParamGroup *g = r->opt; g; g = g->next) g->lr = r->learning_rate;
    if (!lk_step(r->opt, r->err)) return false;
    s->step++;
    s->batches += parts;
    s->epoch = (double)s->pass + (double)s->batches / (double)r->tr->train.batches;
    return true;
}

/* ---- what is done between steps ------------------------------------------------------------- */

static bool log_step(Run *r)
{
    TrainerState *s = &r->tr->state;
    TrainerLog log = { 0 };
    lk_trainer_log_add(&log, "loss", s->loss_sum / (double)(s->step - s->logged));
    lk_trainer_log_add(&log, "grad_norm", r->grad_norm);
    lk_trainer_log_add(&log, "learning_rate", r->learning_rate);
    s->total_loss += s->loss_sum;
    s->loss_sum = 0;
    s->logged = s->step;
    return publish(r->tr, &log, r->err);
}

static bool evaluate_now(Run *r, bool *is_best)
{
    const TrainerArgs *a = &r->tr->args;
    TrainerState *s = &r->tr->state;
    TrainerLog log;
    if (!lk_trainer_evaluate(r->tr, &log, r->err)) return false;
    lk_train(r->tr->model, true);
    if (a->load_best_at_end && !lk_trainer_log_find(&log, a->best_metric))
        return lk_error_set(r->err, LK_EVALUE, "lk_trainer_train: no evaluation gives \"%s\"",
                            a->best_metric);
    double value = lk_trainer_log_get(&log, a->best_metric);
    bool better = s->best_step == 0 ||
                  (a->greater_is_better ? value > s->best_metric : value < s->best_metric);
    *is_best = better && !isnan(value);
    if (!*is_best) return true;
    s->best_metric = value;
    s->best_step = s->step;
    return true;
}

static bool save_now(Run *r)
{
    r->saved = r->tr->state.step;
    return r->tr->store->save(r->tr, r->opt, r->err);
}

static bool evaluate_and_save(Run *r, bool evaluate, bool save)
{
    bool is_best = false;
    if (evaluate && !evaluate_now(r, &is_best)) return false;
    return !(save || (is_best && r->tr->args.load_best_at_end)) || save_now(r);
}

static bool is_due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

static bool after_step(Run *r)
{
    const TrainerArgs *a = &r->tr->args;
    int64_t step = r->tr->state.step;
    if (is_due(a->logging_steps, step) && !log_step(r)) return false;
    return evaluate_and_save(r, is_due(a->eval_steps, step), is_due(a->save_steps, step));
}

/* Does the work at the end of a pass, or of a training that ends inside a pass. */
static bool after_pass(Run *r)
{
    const TrainerArgs *a = &r->tr->args;
    r->tr->state.pass++;
    r->tr->state.batches = 0;
    return evaluate_and_save(r, a->eval_steps == LK_EVERY_EPOCH, a->save_steps == LK_EVERY_EPOCH);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Begins the pass that the state is in, and skips its batches that have been used already. */
static bool begin_pass(Run *r)
{
    Trainer *tr = r->tr;
    TrainerBatch b;
    if (tr->state.batches == 0) {
        if (tr->rng) tr->state.pass_rng = *tr->rng;
        return tr->train.begin(tr->train.loader, r->err);
    }
    Rng now = { 0 };
    if (tr->rng) {
        now = *tr->rng;
        *tr->rng = tr->state.pass_rng;
    }
    if (!tr->train.begin(tr->train.loader, r->err)) return false;
    for (int64_t i = 0; i < tr->state.batches; i++)
        if (!next_batch(&tr->train, &b, r->err)) return false;
    if (tr->rng) *tr->rng = now; /* evaluations may have drawn since */
    return true;
}

static bool start(Run *r)
{
    Trainer *tr = r->tr;
    lk_trainer_history_free(&tr->state.history);
    tr->state = (TrainerState){ 0 };
    tr->resumed = 0;
    lk_tape_reset(tr->t);
    if (tr->args.output_dir && !tr->store->open(tr, r->err)) return false;
    if (tr->args.resume_from) {
        int64_t stop = tr->args.stop_after;
        return tr->store->resume(tr, r->opt, r->err) &&
               (stop <= 0 || stop > tr->state.step ||
                lk_error_set(
                    r->err, LK_EVALUE,
                    "lk_trainer_train: stop_after is %lld, and %.200s is behind step %lld",
                    (long long)stop, tr->args.resume_from, (long long)tr->state.step));
    }
    if (tr->rng) lk_manual_seed(tr->rng, tr->args.seed);
    lk_tape_seed(tr->t, tr->args.seed);
    return true;
}

static bool is_asked_to_stop(const Trainer *tr)
{
    return tr->should_training_stop && *tr->should_training_stop != 0;
}

/* Makes step after step, until all are made or the run is stopped. */
static bool loop(Run *r)
{
    Trainer *tr = r->tr;
    TrainerState *s = &tr->state;
    int64_t total = r->schedule.total;
    bool begun = false;
    lk_train(tr->model, true);
    while (s->step < total || s->batches > 0) {
        if (s->batches == tr->train.batches || s->step >= total) {
            if (!after_pass(r)) return false;
            begun = false;
        } else {
            if (!begun && !begin_pass(r)) return false;
            begun = true;
            if (!train_step(r) || !after_step(r)) return false;
            bool go_on = !tr->on_step || tr->on_step(tr->user, s);
            tr->stopped = tr->stopped || !go_on || s->step == tr->args.stop_after;
        }
        /* The work at the end of a pass is done before the run stops there. */
        bool complete = s->batches < tr->train.batches && !(s->step >= total && s->batches > 0);
        bool asked = is_asked_to_stop(tr);
        tr->stopped = tr->stopped || asked;
        if (tr->stopped && complete && (asked || s->step < total))
            return !tr->args.output_dir || r->saved == s->step || save_now(r);
    }
    tr->stopped = false;
    return true;
}

static bool finish(Run *r)
{
    Trainer *tr = r->tr;
    TrainerState *s = &tr->state;
    bool load = tr->args.load_best_at_end && s->best_step > 0;
    if (load && !tr->store->load_weights(tr, s->best_step, r->err)) return false;
    double seconds = lk_seconds() - r->started;
    int64_t steps = s->step - r->first;
    TrainerLog log = { 0 };
    lk_trainer_log_add(&log, "train_runtime", seconds);
    lk_trainer_log_add(&log, "train_samples_per_second",
                       (double)steps * (double)tr->train.samples / (double)steps_of_pass(tr) /
                           seconds);
    lk_trainer_log_add(&log, "train_steps_per_second", (double)steps / seconds);
    lk_trainer_log_add(&log, "train_loss",
                       (s->total_loss + s->loss_sum) / (double)(s->step > 0 ? s->step : 1));
    return publish(tr, &log, r->err);
}

bool lk_trainer_train(Trainer *tr, Error *err)
{
    Run r = { .tr = tr, .saved = -1, .started = lk_seconds(), .err = err };
    if (!check_trainer(tr, err)) return false;
    tr->stopped = false;
    int64_t total = lk_trainer_steps(tr);
    r.schedule = (Schedule){ tr->args.schedule, tr->args.warmup_steps, total };
    r.params = lk_trainable_parameters(tr->model, err);
    r.opt = r.params.count > 0 ? lk_trainer_optimizer_new(tr, err) : NULL;
    if (r.params.count == 0)
        lk_error_set(err, LK_EVALUE, "lk_trainer_train: the model has no trainable parameter");
    bool ok = r.opt && start(&r);
    if (ok) {
        r.first = tr->state.step;
        ok = loop(&r);
        ok = ok && (tr->stopped || finish(&r));
    }
    if (tr->store && tr->store->close) tr->store->close(tr);
    lk_optimizer_zero_grad(r.opt);
    lk_optimizer_free(r.opt);
    lk_tensor_list_free(&r.params);
    return ok;
}
