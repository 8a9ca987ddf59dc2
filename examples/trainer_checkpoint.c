/* trainer_checkpoint.c - a run in a folder: written as a whole, read with suspicion. What is in it: the header; how it
 * is put in its place: folder.c. */
#include "examples/trainer_checkpoint.h"

#ifndef LK_HAVE_JANSSON

bool checkpoint_save(const Trainer *tr, Optimizer *opt, Error *err)
{
    (void)tr, (void)opt;
    return lk_error_set(err, LK_ESTATE, "checkpoints need jansson, which this build is without");
}

bool checkpoint_load(Trainer *tr, Optimizer *opt, const char *folder, Error *err)
{
    (void)folder;
    return checkpoint_save(tr, opt, err);
}

bool checkpoint_load_weights(const Trainer *tr, int64_t step, Error *err)
{
    (void)step;
    return checkpoint_save(tr, NULL, err);
}

#else

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/atomic_file.h"
#include "data/safetensors.h"
#include "examples/folder.h"

static const char MODEL[] = "model.safetensors", STATE[] = "state.safetensors", JSON[] = "trainer_state.json";

/* ---- the base ---------------------------------------------------------------------------------------------------- */

/* A number for the frozen parameters, from a few elements of each (FNV-1a): another base has another one. */
static uint64_t base_mark(Module *m)
{
    enum { SAMPLES = 16 };
    uint64_t hash = 14695981039346656037u;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        int64_t n = lk_numel(it.tensor);
        if (it.tensor->requires_grad || n == 0 || !lk_is_contiguous(it.tensor)) continue;
        size_t size = lk_dtype_size(it.tensor->dtype);
        for (int64_t k = 0; k < SAMPLES; k++) {
            size_t at = (size_t)(k * (n - 1) / (SAMPLES - 1)) * size;
            const unsigned char *x = (const unsigned char *)it.tensor->data + at;
            for (size_t i = 0; i < size; i++) hash = (hash ^ x[i]) * 1099511628211u;
        }
    }
    return hash;
}

/* ---- the arguments ----------------------------------------------------------------------------------------------- */

/* "epochs 3; max_steps 0; …; MARK": what decides the bits of a run. Free it; NULL without memory. */
static char *arguments_text(const Trainer *tr)
{
    static const char *const schedules[] = { "constant", "linear", "cosine" };
    const TrainerArgs *a = &tr->args;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        { "epochs", (double)a->epochs },
        { "max_steps", (double)a->max_steps },
        { "accumulation", (double)a->accumulation },
        { "learning_rate", a->learning_rate },
        { "warmup_steps", (double)a->warmup_steps },
        { "weight_decay", a->weight_decay },
        { "beta1", a->beta1 },
        { "beta2", a->beta2 },
        { "eps", a->eps },
        { "max_grad_norm", a->max_grad_norm },
    };
    char *text = NULL, number[32];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        snprintf(number, sizeof number, "%.15g", numbers[i].value); /* 0.1, but all digits where these are not it */
        if (strtod(number, NULL) != numbers[i].value) snprintf(number, sizeof number, "%.17g", numbers[i].value);
        fprintf(out, "%s %s; ", numbers[i].name, number);
    }
    fprintf(out, "schedule %s; seed %llu; %s", schedules[a->schedule], (unsigned long long)a->seed,
            a->mark ? a->mark : "no mark");
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

/* Refuses two such texts that differ, by the first of their parts that do. */
static bool same_arguments(const char *folder, const char *old, const char *now, Error *err)
{
    if (strcmp(old, now) == 0) return true;
    for (size_t n; n = strcspn(old, ";"), n > 0 && n == strcspn(now, ";") && memcmp(old, now, n) == 0;) {
        old += n, now += n;
        old += strspn(old, "; "), now += strspn(now, "; ");
    }
    enum { MOST = 140 };
    size_t n = strcspn(old, ";"), m = strcspn(now, ";");
    return lk_error_set(err, LK_EVALUE,
                        "%.120s was made with '%.*s', and now it is '%.*s': a run goes on with what it began with only",
                        folder, (int)(n < MOST ? n : MOST), old, (int)(m < MOST ? m : MOST), now);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static Tensor *integers_new(int64_t rows, int64_t columns, const int64_t *values, Error *err)
{
    return lk_tensor_from_new(LK_I64, LK_SHAPE(rows, columns), values, err);
}

/* A generator as numbers: words, next, whether a normal waits, its bits. */
enum { RNG_NUMBERS = 624 + 3 };

static void pack_rng(const Rng *rng, int64_t *x)
{
    for (int i = 0; i < 624; i++) x[i] = rng->word[i];
    x[624] = rng->next;
    x[625] = rng->has_normal;
    memcpy(&x[626], &rng->normal, sizeof *x);
}

static bool unpack_rng(const int64_t *x, Rng *rng)
{
    bool ok = x[624] >= 0 && x[624] <= 624 && (x[625] == 0 || x[625] == 1);
    for (int i = 0; i < 624; i++) {
        ok = ok && x[i] >= 0 && x[i] <= UINT32_MAX;
        rng->word[i] = (uint32_t)x[i];
    }
    rng->next = (int)x[624];
    rng->has_normal = x[625];
    memcpy(&rng->normal, &x[626], sizeof *x);
    return ok;
}

static bool add_generators(StateDict *state, const Trainer *tr, Error *err)
{
    TapeRandom dropout = lk_tape_random(tr->t);
    const int64_t at[] = { (int64_t)dropout.seed, (int64_t)dropout.calls };
    if (!lk_state_dict_add(state, "trainer.dropout", integers_new(1, 2, at, err), err)) return false;
    if (!tr->rng) return true;
    int64_t numbers[2 * RNG_NUMBERS];
    pack_rng(tr->rng, numbers);
    pack_rng(&tr->state.pass_rng, numbers + RNG_NUMBERS);
    return lk_state_dict_add(state, "trainer.rng", integers_new(2, RNG_NUMBERS, numbers, err), err);
}

/* The name of the parameter at *it; its moments are called after it. */
static bool find_name(Module *m, const Tensor *p, char name[LK_NAME_MAX])
{
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (it.tensor == p) {
            snprintf(name, LK_NAME_MAX, "%s", it.name);
            return true;
        }
    return false;
}

static bool add_optimizer(StateDict *state, const Trainer *tr, Optimizer *opt, Error *err)
{
    char name[LK_NAME_MAX], key[LK_NAME_MAX + 32];
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(tr->model, it.param, name)) continue;
        snprintf(key, sizeof key, "%s.step", name);
        if (!lk_state_dict_add(state, key, integers_new(1, 1, &it.state->step, err), err)) return false;
        for (int k = 0; k < 2; k++) {
            if (!it.state->moment[k]) continue;
            snprintf(key, sizeof key, "%s.%s", name, opt->type->moment_name[k]);
            if (!lk_state_dict_add(state, key, lk_retain(it.state->moment[k]), err)) return false;
        }
    }
    return true;
}

static StateDict *trained_weights_new(Module *m, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (ParamIter it = lk_params(m); ok && lk_params_next(&it);)
        if (it.tensor->requires_grad) ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null(); /* JSON has no NaN */
}

static json_t *history_json(const TrainerHistory *history)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < history->count; i++) {
        const TrainerLog *log = &history->logs[i];
        json_t *values = json_object();
        for (int k = 0; k < log->count; k++)
            json_object_set_new(values, log->values[k].key, number(log->values[k].value));
        json_object_set_new(values, "step", json_integer(log->step));
        if (json_array_append_new(list, values) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The text of trainer_state.json; free it. NULL without memory. */
static char *state_text(const Trainer *tr)
{
    const TrainerState *s = &tr->state;
    char mark[32];
    char *arguments = arguments_text(tr);
    if (!arguments) return NULL;
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    json_t *history = history_json(&s->history);
    json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:f, s:o, s:I, s:o, s:o, s:I, s:s, s:s, s:o}", "global_step",
                             (json_int_t)s->step, "pass", (json_int_t)s->pass, "batches", (json_int_t)s->batches,
                             "train_batches", (json_int_t)tr->train.batches, "epoch", s->epoch, "loss_sum",
                             number(s->loss_sum), "logged_step", (json_int_t)s->logged, "total_loss",
                             number(s->total_loss), "best_metric", number(s->best_metric), "best_step",
                             (json_int_t)s->best_step, "base", mark, "arguments", arguments, "log_history", history);
    free(arguments);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    return text;
}

static bool write_text(const char *path, const char *text, Error *err)
{
    AtomicFile f;
    bool ok = lk_atomic_begin(&f, NULL, path, err) && lk_atomic_write(&f, text, strlen(text)) &&
              lk_atomic_write(&f, "\n", 1);
    return lk_atomic_end(&f, ok);
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

static bool write_files(const char *folder, const Trainer *tr, Optimizer *opt, Error *err)
{
    char path[FOLDER_PATH_MAX];
    StateDict *weights = trained_weights_new(tr->model, err), *state = lk_state_dict_empty_new(err);
    bool ok = weights && state && add_optimizer(state, tr, opt, err) && add_generators(state, tr, err);
    ok = ok && folder_join(path, folder, MODEL, err) &&
         lk_save_safetensors(weights, LK_METADATA({ "format", "pt" }), path, err);
    ok = ok && folder_join(path, folder, STATE, err) && lk_save_safetensors(state, NULL, path, err);
    lk_state_dict_free(weights);
    lk_state_dict_free(state);
    char *text = ok ? state_text(tr) : NULL;
    if (ok && !text) lk_error_set(err, LK_EMEMORY, "no memory for %s", JSON);
    ok = text && folder_join(path, folder, JSON, err) && write_text(path, text, err);
    free(text);
    return ok;
}

/* DIR/checkpoint-N */
static bool checkpoint_path(const char *dir, int64_t step, char path[FOLDER_PATH_MAX], Error *err)
{
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return folder_join(path, dir, name, err);
}

bool checkpoint_save(const Trainer *tr, Optimizer *opt, Error *err)
{
    Folder f;
    char path[FOLDER_PATH_MAX];
    if (!checkpoint_path(tr->args.output_dir, tr->state.step, path, err) || !folder_begin(&f, path, err)) return false;
    return folder_end(&f, write_files(f.temporary, tr, opt, err), err);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool wrong(const char *folder, const char *file, const char *what, const char *name, Error *err)
{
    return lk_error_set(err, LK_EFORMAT, "%.200s/%s: %s %.200s", folder, file, what, name);
}

static bool has_all_files(const char *folder, Error *err)
{
    static const char *const files[] = { MODEL, STATE, JSON };
    char path[FOLDER_PATH_MAX];
    struct stat info;
    if (stat(folder, &info) != 0) return folder_failed(folder, "no checkpoint", err);
    for (int i = 0; i < 3; i++) {
        if (!folder_join(path, folder, files[i], err)) return false;
        if (stat(path, &info) != 0)
            return lk_error_set(err, LK_EIO, "%.300s is no complete checkpoint: %s is missing", folder, files[i]);
    }
    return true;
}

/* A number or null, which stands for NaN. */
static double read_number(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool read_history(json_t *list, TrainerHistory *history, Error *err)
{
    size_t i;
    json_t *values, *value;
    const char *key;
    json_array_foreach (list, i, values) {
        TrainerLog log = { .step = json_integer_value(json_object_get(values, "step")) };
        json_object_foreach (values, key, value) {
            if (strcmp(key, "step") != 0) trainer_log_add(&log, key, read_number(value));
        }
        if (!trainer_history_add(history, &log, err)) return false;
    }
    return true;
}

/* *s from trainer_state.json, all of it or an error. */
static bool read_state(const Trainer *tr, const char *folder, TrainerState *s, Error *err)
{
    char path[FOLDER_PATH_MAX], mark[32];
    json_error_t reason;
    json_int_t step = 0, pass = 0, batches = 0, length = 0, logged = 0, best = 0;
    const char *base = NULL, *arguments = NULL;
    json_t *history = NULL, *loss = NULL, *total = NULL, *metric = NULL;
    if (!folder_join(path, folder, JSON, err)) return false;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (!root) return wrong(folder, JSON, "cannot be read:", reason.text, err);
    bool ok = json_unpack_ex(root, &reason, 0, "{s:I, s:I, s:I, s:I, s:F, s:o, s:I, s:o, s:o, s:I, s:s, s:s, s:o}",
                             "global_step", &step, "pass", &pass, "batches", &batches, "train_batches", &length,
                             "epoch", &s->epoch, "loss_sum", &loss, "logged_step", &logged, "total_loss", &total,
                             "best_metric", &metric, "best_step", &best, "base", &base, "arguments", &arguments,
                             "log_history", &history) == 0 ||
              wrong(folder, JSON, "is not what a Trainer writes:", reason.text, err);
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    if (ok && (step < 0 || pass < 0 || batches < 0 || batches > length || logged < 0 || logged > step || best < 0 ||
               best > step || !json_is_array(history)))
        ok = wrong(folder, JSON, "is damaged: its numbers", "contradict each other", err);
    char *now = ok ? arguments_text(tr) : NULL;
    if (ok && !now) ok = lk_error_set(err, LK_EMEMORY, "no memory for the arguments");
    ok = ok && same_arguments(folder, arguments, now, err);
    free(now);
    if (ok && length != tr->train.batches)
        ok = lk_error_set(err, LK_EVALUE, "%.200s was trained with %lld batches in a pass, and there are %lld now",
                          folder, (long long)length, (long long)tr->train.batches);
    if (ok && strcmp(base, mark) != 0)
        ok = lk_error_set(err, LK_EVALUE, "%.200s was trained on another base: the frozen parameters differ", folder);
    s->step = step, s->pass = pass, s->batches = batches, s->logged = logged, s->best_step = best;
    s->loss_sum = read_number(loss), s->total_loss = read_number(total), s->best_metric = read_number(metric);
    ok = ok && read_history(history, &s->history, err);
    json_decref(root);
    return ok;
}

/* The int64 tensor (rows, columns) of that name, as numbers; NULL with the reason. */
static const int64_t *read_integers(const StateDict *state, const char *name, int64_t rows, int64_t columns,
                                    const char *folder, Error *err)
{
    const Tensor *x = lk_state_dict_get(state, name);
    if (x && x->dtype == LK_I64 && x->ndim == 2 && x->shape[0] == rows && x->shape[1] == columns) return x->data;
    wrong(folder, STATE, "has no or a damaged tensor", name, err);
    return NULL;
}

static bool read_generators(const StateDict *state, const char *folder, const Trainer *tr, TrainerState *s, Rng *rng,
                            TapeRandom *dropout, Error *err)
{
    const int64_t *at = read_integers(state, "trainer.dropout", 1, 2, folder, err);
    if (!at) return false;
    *dropout = (TapeRandom){ (uint64_t)at[0], (uint64_t)at[1] };
    if (!tr->rng) return true;
    const int64_t *numbers = read_integers(state, "trainer.rng", 2, RNG_NUMBERS, folder, err);
    if (!numbers) return false;
    return (unpack_rng(numbers, rng) && unpack_rng(numbers + RNG_NUMBERS, &s->pass_rng)) ||
           wrong(folder, STATE, "has a damaged tensor", "trainer.rng", err);
}

/* The moments are the dictionary's tensors, which the optimizer takes over. */
static bool read_optimizer(const StateDict *state, const char *folder, const Trainer *tr, Optimizer *opt, Error *err)
{
    char name[LK_NAME_MAX], key[LK_NAME_MAX + 32];
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(tr->model, it.param, name)) continue;
        snprintf(key, sizeof key, "%s.step", name);
        const int64_t *step = read_integers(state, key, 1, 1, folder, err);
        if (!step) return false;
        Tensor *moment[2];
        for (int k = 0; k < 2; k++) {
            snprintf(key, sizeof key, "%s.%s", name, opt->type->moment_name[k]);
            moment[k] = lk_state_dict_get(state, key);
            if (moment[k]) lk_retain(moment[k]);
        }
        Error reason = { 0 };
        if (!lk_optimizer_set_state(&it, *step, moment[0], moment[1], &reason))
            return wrong(folder, STATE, reason.message, name, err);
    }
    return true;
}

/* The names in the file are those of the trained parameters; shapes are compared when they are loaded. */
static bool check_names(const StateDict *weights, const char *folder, Module *m, Error *err)
{
    int trained = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        if (!it.tensor->requires_grad) continue;
        trained++;
        if (!lk_state_dict_get(weights, it.name))
            return lk_error_set(err, LK_EVALUE, "%.200s was made of another model: it has no trained %.200s", folder,
                                it.name);
    }
    return trained == weights->count ||
           lk_error_set(err, LK_EVALUE, "%.200s was made of another model: it has %d trained parameters, this one %d",
                        folder, weights->count, trained);
}

static StateDict *read_weights(const char *folder, Module *m, Error *err)
{
    char path[FOLDER_PATH_MAX];
    StateDict *weights = folder_join(path, folder, MODEL, err) ? lk_load_safetensors(path, err) : NULL;
    if (weights && check_names(weights, folder, m, err)) return weights;
    lk_state_dict_free(weights);
    return NULL;
}

/* Where the best weights so far are: in output_dir, or beside the checkpoint that the run was resumed from. */
static bool find_best(const Trainer *tr, int64_t step, char folder[FOLDER_PATH_MAX], Error *err)
{
    char parent[FOLDER_PATH_MAX];
    struct stat info;
    if (!checkpoint_path(tr->args.output_dir, step, folder, err)) return false;
    if (stat(folder, &info) == 0) return true;
    if (tr->args.resume_from &&
        (!folder_join(parent, tr->args.resume_from, "..", err) || !checkpoint_path(parent, step, folder, err)))
        return false;
    return stat(folder, &info) == 0 || folder_failed(folder, "the best weights so far are gone", err);
}

bool checkpoint_load(Trainer *tr, Optimizer *opt, const char *folder, Error *err)
{
    char path[FOLDER_PATH_MAX];
    TrainerState s = { 0 };
    Rng rng = { 0 };
    TapeRandom dropout = { 0 };
    bool ok = has_all_files(folder, err) && read_state(tr, folder, &s, err);
    StateDict *weights = ok ? read_weights(folder, tr->model, err) : NULL, *state = NULL;
    ok = weights && folder_join(path, folder, STATE, err) && (state = lk_load_safetensors(path, err));
    ok = ok && read_generators(state, folder, tr, &s, &rng, &dropout, err);
    ok = ok && read_optimizer(state, folder, tr, opt, err);
    if (ok && tr->args.load_best_at_end && s.best_step > 0) ok = find_best(tr, s.best_step, path, err);
    /* The first change of something that was there before, and the last thing that can fail. */
    ok = ok && lk_load_state_dict(tr->model, weights, false, err);
    lk_state_dict_free(weights);
    lk_state_dict_free(state);
    if (!ok) {
        trainer_history_free(&s.history);
        return false;
    }
    tr->state = s;
    if (tr->rng) *tr->rng = rng;
    lk_tape_set_random(tr->t, dropout);
    return true;
}

bool checkpoint_load_weights(const Trainer *tr, int64_t step, Error *err)
{
    char folder[FOLDER_PATH_MAX];
    StateDict *weights = find_best(tr, step, folder, err) ? read_weights(folder, tr->model, err) : NULL;
    bool ok = weights && lk_load_state_dict(tr->model, weights, false, err);
    lk_state_dict_free(weights);
    return ok;
}

#endif
