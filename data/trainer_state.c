/* trainer_state.c - trainer_state.json: written whole, read with suspicion. */
#include "data/trainer_state.h"

#include "core/decimal.h"
#include "data/folder.h"

#ifndef LK_HAVE_JANSSON

bool lk__trainer_state_write(const Trainer *tr, const char *folder, Error *err)
{
    (void)tr, (void)folder;
    return lk_error_set(err, LK_ESTATE, "checkpoints need jansson, which this build is without");
}

bool lk__trainer_state_read(const Trainer *tr, const char *folder, TrainerState *s, Error *err)
{
    (void)s;
    return lk__trainer_state_write(tr, folder, err);
}

#else

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "data/atomic_file.h"

/* ---- the arguments of a run ----------------------------------------------------------------- */

/* A hash of the frozen parameters, from a few elements of each: another base has another hash. */
static uint64_t base_mark(Module *m)
{
    enum { SAMPLES = 16 };
    uint64_t hash = LK_HASH_START;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        int64_t n = lk_numel(it.tensor);
        if (it.tensor->requires_grad || n == 0 || !lk_is_contiguous(it.tensor)) continue;
        size_t size = lk_dtype_size(it.tensor->dtype);
        for (int64_t k = 0; k < SAMPLES; k++) {
            size_t at = (size_t)(k * (n - 1) / (SAMPLES - 1)) * size;
            hash = lk_hash(hash, (const char *)it.tensor->data + at, size);
        }
    }
    return hash;
}

/* Writes "epochs 3; max_steps 0; …; MARK": everything that decides the bits of a run. The caller
 * frees it; NULL without memory. */
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
        /* 0.1, but 17 digits if 15 do not give the same number */
        lk_snprintf(number, sizeof number, "%.15g", numbers[i].value);
        if (lk_strtod(number, NULL) != numbers[i].value)
            lk_snprintf(number, sizeof number, "%.17g", numbers[i].value);
        fprintf(out, "%s %s; ", numbers[i].name, number);
    }
    fprintf(out, "schedule %s; seed %llu; %s", schedules[a->schedule], (unsigned long long)a->seed,
            a->mark ? a->mark : "no mark");
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

/* Refuses two such texts that differ; the error has the first part that differs. */
static bool same_arguments(const char *folder, const char *old, const char *now, Error *err)
{
    if (strcmp(old, now) == 0) return true;
    for (size_t n;
         n = strcspn(old, ";"), n > 0 && n == strcspn(now, ";") && memcmp(old, now, n) == 0;) {
        old += n;
        now += n;
        old += strspn(old, "; ");
        now += strspn(now, "; ");
    }
    enum { MOST = 140 };
    size_t n = strcspn(old, ";"), m = strcspn(now, ";"), same = 0, from = 0;
    for (; (n > MOST || m > MOST) && same < n && same < m && old[same] == now[same]; same++)
        /* long lists are shown from the first name that differs */
        if (old[same] == ',') from = same + 1;
    const char *dots = from ? "…" : "";
    return lk_error_set(
        err, LK_EVALUE,
        "%.120s was made with '%s%.*s', and now it is '%s%.*s': a run goes on with what it "
        "began with only",
        folder, dots, (int)(n - from < MOST ? n - from : MOST), old + from, dots,
        (int)(m - from < MOST ? m - from : MOST), now + from);
}

/* ---- writing -------------------------------------------------------------------------------- */

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

/* Makes the text of the file; the caller frees it. NULL without memory. */
static char *state_text(const Trainer *tr)
{
    const TrainerState *s = &tr->state;
    char mark[32];
    char *arguments = arguments_text(tr);
    if (!arguments) return NULL;
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    json_t *history = history_json(&s->history);
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:f, s:o, s:I, s:o, s:o, s:I, s:s, s:s, s:o}", "global_step",
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

bool lk__trainer_state_write(const Trainer *tr, const char *folder, Error *err)
{
    char path[LK_PATH_MAX], *text = state_text(tr);
    if (!text) return lk_error_set(err, LK_EMEMORY, "no memory for %s", LK_TRAINER_STATE_FILE);
    size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the '\0' */
    bool ok = lk_path_join(path, folder, LK_TRAINER_STATE_FILE, err) &&
              lk_atomic_save(NULL, path, text, length + 1, err);
    free(text);
    return ok;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool wrong(const char *folder, const char *what, const char *why, Error *err)
{
    return lk_error_set(err, LK_EFORMAT, "%.200s/%s: %s %.200s", folder, LK_TRAINER_STATE_FILE,
                        what, why);
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
    json_array_foreach(list, i, values)
    {
        TrainerLog log = { .step = json_integer_value(json_object_get(values, "step")) };
        json_object_foreach(values, key, value)
        {
            if (strcmp(key, "step") != 0) lk_trainer_log_add(&log, key, read_number(value));
        }
        if (!lk_trainer_history_add(history, &log, err)) return false;
    }
    return true;
}

bool lk__trainer_state_read(const Trainer *tr, const char *folder, TrainerState *s, Error *err)
{
    char path[LK_PATH_MAX], mark[32];
    json_error_t reason = { 0 };
    json_int_t step = 0, pass = 0, batches = 0, length = 0, logged = 0, best = 0;
    const char *base = NULL, *arguments = NULL;
    json_t *history = NULL, *loss = NULL, *total = NULL, *metric = NULL;
    if (!lk_path_join(path, folder, LK_TRAINER_STATE_FILE, err)) return false;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (!root) return wrong(folder, "cannot be read:", reason.text, err);
    bool ok =
        json_unpack_ex(root, &reason, 0,
                       "{s:I, s:I, s:I, s:I, s:F, s:o, s:I, s:o, s:o, s:I, s:s, s:s, s:o}",
                       "global_step", &step, "pass", &pass, "batches", &batches, "train_batches",
                       &length, "epoch", &s->epoch, "loss_sum", &loss, "logged_step", &logged,
                       "total_loss", &total, "best_metric", &metric, "best_step", &best, "base",
                       &base, "arguments", &arguments, "log_history", &history) == 0 ||
        wrong(folder, "is not what a Trainer writes:", reason.text, err);
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    if (ok && (step < 0 || pass < 0 || batches < 0 || batches > length || logged < 0 ||
               logged > step || best < 0 || best > step || !json_is_array(history)))
        ok = wrong(folder, "is damaged: its numbers", "contradict each other", err);
    char *now = ok ? arguments_text(tr) : NULL;
    if (ok && !now) ok = lk_error_set(err, LK_EMEMORY, "no memory for the arguments");
    ok = ok && same_arguments(folder, arguments, now, err);
    free(now);
    if (ok && length != tr->train.batches)
        ok = lk_error_set(err, LK_EVALUE,
                          "%.200s was trained with %lld batches in a pass, and there are %lld now",
                          folder, (long long)length, (long long)tr->train.batches);
    if (ok && strcmp(base, mark) != 0)
        ok = lk_error_set(err, LK_EVALUE,
                          "%.200s was trained on another base: the frozen parameters differ",
                          folder);
    s->step = step, s->pass = pass, s->batches = batches, s->logged = logged, s->best_step = best;
    s->loss_sum = read_number(loss), s->total_loss = read_number(total),
    s->best_metric = read_number(metric);
    ok = ok && read_history(history, &s->history, err);
    json_decref(root);
    return ok;
}

#endif
