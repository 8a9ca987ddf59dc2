/* sst2_output.c - the results of roberta_sst2 as JSON and as a page. Charts:
 * examples/shared/chart.c. */
#include "examples/roberta/sst2_output.h"

#include <math.h>
#include <stdlib.h>

#include "core/decimal.h"
#include "examples/shared/chart.h"
#include "examples/shared/cli.h"
#include "examples/shared/page.h"
#include "examples/shared/results.h"

/* One number of every log that has it, over the steps. */
typedef struct Curve {
    double *x, *y;
    int64_t count;
} Curve;

static bool curve_new(Curve *c, const TrainerHistory *history, const char *key, Error *err)
{
    size_t room = (size_t)history->count + 1;
    *c = (Curve){ .x = calloc(2 * room, sizeof *c->x) };
    if (!c->x) return lk_error_set(err, LK_EMEMORY, "no memory for a curve of %s", key);
    c->y = c->x + room;
    for (int64_t i = 0; i < history->count; i++) {
        double y = lk_trainer_log_get(&history->logs[i], key);
        if (isnan(y)) continue;
        c->x[c->count] = (double)history->logs[i].step;
        c->y[c->count++] = y;
    }
    return true;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

bool sst2_write_json(const Sst2Outcome *o, const char *path, Error *err)
{
    Results f;
    Curve loss = { 0 };
    if (!curve_new(&loss, &o->state->history, "loss", err)) return false;
    results_open(&f, path);
    results_text(&f, "mode", o->full ? "full" : "lora");
    results_text(&f, "model", o->model);
    if (o->adapter) results_text(&f, "adapter", o->adapter);
    if (!o->full) {
        results_text(&f, "base", o->task->base);
        results_text(&f, "targets", o->targets ? o->targets : "all");
        results_int(&f, "linears", o->linears);
        results_number(&f, "rank", o->rank > 0 ? (double)o->rank : NAN);
        results_number(&f, "alpha", o->alpha);
    }
    results_int(&f, "seed", o->task->seed);
    results_int(&f, "train_rows", o->train_rows);
    if (o->reloaded) {
        results_int(&f, "epochs", o->args->epochs);
        results_int(&f, "batch_size", o->task->batch_size);
        results_int(&f, "accumulate", o->args->accumulation);
        results_text(&f, "padding", o->task->padding);
        results_int(&f, "max_length", o->task->max_length);
        results_number(&f, "lr", o->args->learning_rate);
        results_int(&f, "warmup", o->args->warmup_steps);
        results_number(&f, "weight_decay", o->args->weight_decay);
    }
    results_int(&f, "parameters", o->parameters);
    results_int(&f, "trainable_parameters", o->trainable);
    results_number(&f, "trainable_percent", 100.0 * (double)o->trainable / (double)o->parameters);
    results_int(&f, "steps", o->state->step);
    results_numbers(&f, "losses", loss.count, loss.y);
    results_number(&f, "eval_loss", o->loss);
    results_number(&f, "eval_accuracy", o->accuracy);
    if (o->reloaded) {
        results_number(&f, "reloaded_eval_loss", o->loaded_loss);
        results_number(&f, "reloaded_eval_accuracy", o->loaded_accuracy);
        results_bool(&f, "reloaded_is_the_same", o->same);
    }
    results_number(&f, "seconds", o->seconds);
    results_number(&f, "peak_megabytes", o->peak_megabytes);
    bool ok = results_close(&f, err);
    free(loss.x);
    return ok;
}

/* ---- the page ------------------------------------------------------------------------------- */

/* The logged numbers, in units that keep them short. */
typedef struct Drawing {
    const char *key, *title, *about; /* about NULL: it depends */
    double factor;
    int color;
} Drawing;
static const Drawing drawings[] = {
    { "loss", "Loss",
      "Mean cross-entropy of the training sentences between two logs; a coin has 0.693.", 1, 1 },
    { "grad_norm", "Norm of the gradient",
      "Of all trained parameters together, before it is clipped to 1.", 1, 0 },
    { "learning_rate", "Learning rate, in millionths", NULL, 1e6, 0 },
};

static void draw(FILE *out, const Sst2Outcome *o, const Drawing *d, Curve *c)
{
    double high = 0;
    if (c->count < 2) return;
    for (int64_t i = 0; i < c->count; i++) {
        c->y[i] *= d->factor;
        high = fmax(high, c->y[i]);
    }
    const char *about = d->about;
    if (!about)
        about = o->args->warmup_steps < o->state->step
                    ? "It rises in the warm-up, and falls to 0 at the end."
                    : "It only rises: all steps belong to the warm-up.";
    const ChartLine line = { d->title, d->color, c->count, c->x, c->y };
    fprintf(out, "<h2>%s</h2>\n<p class=\"soft\">%s</p>\n", d->title, about);
    chart_lines(out, d->title, "step", 1, &line, 0, high, "");
}

/* "SST-2 with …" */
static const char *what_of(const Sst2Outcome *o)
{
    if (!o->reloaded) return o->adapter ? "an adapter" : "a model as it is";
    return o->full ? "full fine-tuning" : "LoRA";
}

static void summary(FILE *out, const Sst2Outcome *o)
{
    char trained[32], all[32], rows[32], steps[32], memory[32];
    fprintf(out, "<h1>SST-2 with %s</h1>\n<p>", what_of(o));
    if (o->reloaded)
        lk_fprintf(out, "%s of %s parameters are trained (%.4f&nbsp;%%)",
                   cli_thousands(o->trainable, trained), cli_thousands(o->parameters, all),
                   100.0 * (double)o->trainable / (double)o->parameters);
    else fprintf(out, "Nothing is trained here: %s parameters", cli_thousands(o->parameters, all));
    if (!o->full && o->rank > 0) fprintf(out, ", rank %lld", (long long)o->rank);
    if (!o->full && !isnan(o->alpha)) lk_fprintf(out, ", alpha %g", o->alpha);
    if (o->reloaded)
        fprintf(out, ", with %s sentence%s in %s step%s", cli_thousands(o->train_rows, rows),
                o->train_rows == 1 ? "" : "s", cli_thousands(o->state->step, steps),
                o->state->step == 1 ? "" : "s");
    lk_fprintf(out,
               ". Accuracy on the %lld sentences of dev.tsv: <b>%.2f&nbsp;%%</b>, loss %.4f. The "
               "program took "
               "%.*f&nbsp;s and at most %s&nbsp;MB; seed %lld.</p>\n",
               (long long)o->dev_rows, 100 * o->accuracy, o->loss, o->seconds < 10, o->seconds,
               cli_thousands((int64_t)lround(o->peak_megabytes), memory),
               (long long)o->task->seed);
}

/* Writes one row for each evaluation during the training. An evaluation after the training has no
 * later step, and no row. */
static void evaluations(FILE *out, const Sst2Outcome *o)
{
    const TrainerHistory *history = &o->state->history;
    int64_t last = 0;
    if (!o->reloaded) return;
    fputs("<h2>Evaluations</h2>\n<p class=\"soft\">On all of dev.tsv. An epoch is one pass over "
          "the training "
          "sentences. The weights with the lowest loss are kept.</p>\n"
          "<table><tr><th>step</th><th>epoch</th><th>loss</th><th>accuracy</th></tr>\n",
          out);
    for (int64_t i = 0; i < history->count; i++) {
        const TrainerLog *log = &history->logs[i];
        double loss = lk_trainer_log_get(log, "eval_loss");
        if (isnan(loss) || log->step <= last) continue;
        last = log->step;
        char step[32];
        lk_fprintf(out, "<tr><td>%s</td><td>%.2f</td><td>%.4f</td><td>%.2f %%</td></tr>\n",
                   cli_thousands(last, step), lk_trainer_log_get(log, "epoch"), loss,
                   100 * lk_trainer_log_get(log, "eval_accuracy"));
    }
    fputs("</table>\n", out);
}

static void checks(FILE *out, const Sst2Outcome *o)
{
    if (!o->reloaded) return;
    lk_fprintf(out,
               "<h2>Checks</h2>\n<ul><li><b class=\"%s\">%s reloaded</b>: in a fresh model, "
               "best_checkpoint gives "
               "loss %.9g and accuracy %.9g&nbsp;%%",
               o->same ? "ok" : "bad", o->same ? "✓" : "✗", o->loaded_loss,
               100 * o->loaded_accuracy);
    if (o->same) fputs(", as after the training", out);
    else
        lk_fprintf(out, "; after the training it was %.9g and %.9g&nbsp;%%", o->loss,
                   100 * o->accuracy);
    fputs("</li></ul>\n", out);
}

bool sst2_write_page(const Sst2Outcome *o, const char *path, Error *err)
{
    char title[64];
    Buffer text;
    FILE *out = results_stream(&text);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for the page");
    snprintf(title, sizeof title, "SST-2 with %s", what_of(o));
    page_begin(out, title);
    summary(out, o);
    evaluations(out, o);
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof drawings / sizeof drawings[0]; i++) {
        Curve c;
        ok = curve_new(&c, &o->state->history, drawings[i].key, err);
        if (ok) draw(out, o, &drawings[i], &c);
        free(c.x);
    }
    checks(out, o);
    page_end(out);
    return results_put(out, &text, path, err) && ok;
}
