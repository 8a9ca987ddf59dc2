/* trainer_state.c - trainer_state.json: written whole, read with suspicion. */
#include "data/trainer_state.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/hash.h"
#include "core/memory.h"
#include "data/atomic_file.h"
#include "data/folder.h"
#include "data/json_write.h"

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

/* Puts "epochs 3; max_steps 0; …; MARK": everything that decides the bits of a run. */
static void put_arguments(Buffer *out, const Trainer *tr)
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
    char number[32];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        /* 0.1, but 17 digits if 15 do not give the same number */
        lk_snprintf(number, sizeof number, "%.15g", numbers[i].value);
        if (lk_strtod(number, NULL) != numbers[i].value)
            lk_snprintf(number, sizeof number, "%.17g", numbers[i].value);
        lk_buffer_print(out, "%s %s; ", numbers[i].name, number);
    }
    lk_buffer_print(out, "schedule %s; seed %llu; %s", schedules[a->schedule],
                    (unsigned long long)a->seed, a->mark ? a->mark : "no mark");
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

static void put_history(JsonWriter *out, const TrainerHistory *history)
{
    lk__json_open(out, "log_history", '[');
    for (int64_t i = 0; i < history->count; i++) {
        const TrainerLog *log = &history->logs[i];
        lk__json_open(out, NULL, '{');
        for (int k = 0; k < log->count; k++)
            lk__json_put_real(out, log->values[k].key, log->values[k].value);
        lk__json_put_integer(out, "step", log->step);
        lk__json_close(out, '}');
    }
    lk__json_close(out, ']');
}

/* Puts the text of the file. */
static void put_state(Buffer *text, const Trainer *tr)
{
    const TrainerState *s = &tr->state;
    char mark[32];
    Buffer arguments = { 0 };
    put_arguments(&arguments, tr);
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    JsonWriter out = { .out = text, .indent = 2 };
    lk__json_open(&out, NULL, '{');
    lk__json_put_integer(&out, "global_step", s->step);
    lk__json_put_integer(&out, "pass", s->pass);
    lk__json_put_integer(&out, "batches", s->batches);
    lk__json_put_integer(&out, "train_batches", tr->train.batches);
    lk__json_put_real(&out, "epoch", s->epoch);
    lk__json_put_real(&out, "loss_sum", s->loss_sum);
    lk__json_put_integer(&out, "logged_step", s->logged);
    lk__json_put_real(&out, "total_loss", s->total_loss);
    lk__json_put_real(&out, "best_metric", s->best_metric);
    lk__json_put_integer(&out, "best_step", s->best_step);
    lk__json_put_text(&out, "base", mark);
    lk__json_put_text(&out, "arguments", arguments.bytes);
    put_history(&out, &s->history);
    lk__json_close(&out, '}');
    lk_buffer_put(text, "\n", 1);
    text->failed = text->failed || arguments.failed;
    lk_buffer_free(&arguments);
}

bool lk__trainer_state_write(const Trainer *tr, const char *folder, Error *err)
{
    char path[LK_PATH_MAX];
    Buffer text = { 0 };
    put_state(&text, tr);
    bool ok =
        !text.failed || lk_error_set(err, LK_EMEMORY, "no memory for %s", LK_TRAINER_STATE_FILE);
    ok = ok && lk_path_join(path, folder, LK_TRAINER_STATE_FILE, err) &&
         lk_atomic_save(NULL, path, text.bytes, text.length, err);
    lk_buffer_free(&text);
    return ok;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool wrong(const FileReport *r, const char *key, const char *kind)
{
    return lk__file_fail(r, LK_EFORMAT, "is not what a Trainer writes: %s is no %s", key, kind);
}

static bool read_integer(const Json *root, const char *key, int64_t *value, const FileReport *r)
{
    const Json *x = lk__json_get(root, key);
    if (!lk__json_is(x, JSON_INTEGER)) return wrong(r, key, "whole number");
    *value = x->integer;
    return true;
}

/* Reads a number or null, which stands for NaN. */
static bool read_number(const Json *root, const char *key, double *value, const FileReport *r)
{
    const Json *x = lk__json_get(root, key);
    *value = lk__json_number(x);
    return !isnan(*value) || lk__json_is(x, JSON_NULL) || wrong(r, key, "number");
}

static const char *read_text(const Json *root, const char *key, const FileReport *r)
{
    const char *text = lk__json_text(lk__json_get(root, key));
    if (!text) wrong(r, key, "text");
    return text;
}

static bool read_history(const Json *list, TrainerHistory *history, const FileReport *r)
{
    if (!lk__json_is(list, JSON_LIST)) return wrong(r, "log_history", "list");
    for (const Json *values = NULL; (values = lk__json_next(list, values));) {
        TrainerLog log = { 0 };
        if (!read_integer(values, "step", &log.step, r)) return false;
        for (const Json *x = NULL; (x = lk__json_next(values, x));)
            if (strcmp(x->key, "step") != 0) lk_trainer_log_add(&log, x->key, lk__json_number(x));
        if (!lk_trainer_history_add(history, &log, r->err)) return false;
    }
    return true;
}

/* Refuses a run with other arguments, other data or another base. */
static bool same_run(const Trainer *tr, const char *folder, const Json *root, int64_t length,
                     const FileReport *r)
{
    char mark[32];
    const char *arguments = read_text(root, "arguments", r), *base = read_text(root, "base", r);
    if (!arguments || !base) return false;
    Buffer now = { 0 };
    put_arguments(&now, tr);
    bool ok = now.failed ? lk_error_set(r->err, LK_EMEMORY, "no memory for the arguments")
                         : same_arguments(folder, arguments, now.bytes, r->err);
    lk_buffer_free(&now);
    if (ok && length != tr->train.batches)
        ok = lk_error_set(r->err, LK_EVALUE,
                          "%.200s was trained with %lld batches in a pass, and there are %lld now",
                          folder, (long long)length, (long long)tr->train.batches);
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)base_mark(tr->model));
    if (ok && strcmp(base, mark) != 0)
        ok = lk_error_set(r->err, LK_EVALUE,
                          "%.200s was trained on another base: the frozen parameters differ",
                          folder);
    return ok;
}

static bool read_state(const Trainer *tr, const char *folder, const Json *root, TrainerState *s,
                       const FileReport *r)
{
    int64_t length = 0;
    const struct {
        const char *key;
        int64_t *value;
    } integers[] = { { "global_step", &s->step },   { "pass", &s->pass },
                     { "batches", &s->batches },    { "train_batches", &length },
                     { "logged_step", &s->logged }, { "best_step", &s->best_step } };
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        if (!read_integer(root, integers[i].key, integers[i].value, r)) return false;
    if (!read_number(root, "epoch", &s->epoch, r) ||
        !read_number(root, "loss_sum", &s->loss_sum, r) ||
        !read_number(root, "total_loss", &s->total_loss, r) ||
        !read_number(root, "best_metric", &s->best_metric, r))
        return false;
    if (s->step < 0 || s->pass < 0 || s->batches < 0 || s->batches > length || s->logged < 0 ||
        s->logged > s->step || s->best_step < 0 || s->best_step > s->step)
        return lk__file_fail(r, LK_EFORMAT, "is damaged: its numbers contradict each other");
    return same_run(tr, folder, root, length, r) &&
           read_history(lk__json_get(root, "log_history"), &s->history, r);
}

bool lk__trainer_state_read(const Trainer *tr, const char *folder, TrainerState *s, Error *err)
{
    char path[LK_PATH_MAX];
    if (!lk_path_join(path, folder, LK_TRAINER_STATE_FILE, err)) return false;
    const FileReport r = { "lk_trainer_train", path, err, 0 };
    Json *root = lk__json_file_new(&r);
    bool ok = root && read_state(tr, folder, root, s, &r);
    lk_mem_free(root);
    return ok;
}
