/* sst2_output.c - the results of roberta_sst2 as JSON and as a page. Charts: examples/chart.c. */
#include "examples/sst2_output.h"

#include <math.h>
#include <stdlib.h>

#include "examples/chart.h"
#include "examples/cli.h"
#include "examples/page.h"
#include "examples/results.h"

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
        double y = trainer_log_get(&history->logs[i], key);
        if (isnan(y)) continue;
        c->x[c->count] = (double)history->logs[i].step;
        c->y[c->count++] = y;
    }
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

bool sst2_write_json(const Sst2Outcome *o, const char *path, Error *err)
{
    Results f;
    Curve loss = { 0 };
    if (!curve_new(&loss, &o->state->history, "loss", err)) return false;
    bool ok = results_open(&f, path, err);
    if (ok) {
        results_text(&f, "mode", o->full ? "full" : "lora");
        if (!o->full) {
            results_text(&f, "targets", o->targets ? o->targets : "all");
            results_int(&f, "rank", o->rank);
            results_number(&f, "alpha", o->alpha);
        }
        results_int(&f, "seed", o->seed);
        results_int(&f, "train_rows", o->train_rows);
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
        ok = results_close(&f, err);
    }
    free(loss.x);
    return ok;
}

/* ---- the page --------------------------------------------------------------------------------------------------- */

static void draw(FILE *out, const char *title, const Curve *c, int color)
{
    double high = 0;
    if (c->count < 2) return;
    for (int64_t i = 0; i < c->count; i++) high = fmax(high, c->y[i]);
    const ChartLine line = { title, color, c->count, c->x, c->y };
    fprintf(out, "<h2>%s</h2>\n", title);
    chart_lines(out, title, "step", 1, &line, 0, high, "");
}

static void summary(FILE *out, const Sst2Outcome *o)
{
    char trained[32], all[32], rows[32];
    fprintf(out, "<h1>SST-2 with %s</h1>\n<p>%s of %s parameters were trained (%.4f&nbsp;%%)",
            o->full ? "full fine-tuning" : "LoRA", cli_thousands(o->trainable, trained),
            cli_thousands(o->parameters, all), 100.0 * (double)o->trainable / (double)o->parameters);
    if (!o->full) fprintf(out, ", rank %lld, alpha %g", (long long)o->rank, o->alpha);
    fprintf(out, ", with %s sentences in %lld steps. Accuracy on the %lld sentences of dev.tsv: <b>%.2f&nbsp;%%</b>, "
            "loss %.4f. The program took %.0f&nbsp;s and at most %.0f&nbsp;MB; seed %lld.</p>\n",
            cli_thousands(o->train_rows, rows), (long long)o->state->step, (long long)o->dev_rows, 100 * o->accuracy,
            o->loss, o->seconds, o->peak_megabytes, (long long)o->seed);
}

static void evaluations(FILE *out, const TrainerHistory *history)
{
    fputs("<h2>Evaluations</h2>\n<table><tr><th>step</th><th>epoch</th><th>loss</th><th>accuracy</th></tr>\n", out);
    for (int64_t i = 0; i < history->count; i++) {
        const TrainerLog *log = &history->logs[i];
        double loss = trainer_log_get(log, "eval_loss");
        if (isnan(loss)) continue;
        fprintf(out, "<tr><td>%lld</td><td>%.2f</td><td>%.4f</td><td>%.2f %%</td></tr>\n", (long long)log->step,
                trainer_log_get(log, "epoch"), loss, 100 * trainer_log_get(log, "eval_accuracy"));
    }
    fputs("</table>\n", out);
}

bool sst2_write_page(const Sst2Outcome *o, const char *path, Error *err)
{
    static const struct {
        const char *key, *title;
    } curves[] = { { "loss", "Loss" }, { "grad_norm", "Norm of the gradient" }, { "learning_rate", "Learning rate" } };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for the page");
    page_begin(out, "SST-2");
    summary(out, o);
    evaluations(out, &o->state->history);
    bool ok = true;
    for (int i = 0; ok && i < 3; i++) {
        Curve c;
        ok = curve_new(&c, &o->state->history, curves[i].key, err);
        if (ok) draw(out, curves[i].title, &c, i == 0);
        free(c.x);
    }
    if (o->reloaded)
        fprintf(out, "<h2>Checks</h2>\n<ul><li><b class=\"%s\">%s reloaded</b>: loss %.9g and accuracy %.9g of the "
                "saved model, %.9g and %.9g after training</li></ul>\n", o->same ? "ok" : "bad", o->same ? "✓" : "✗",
                o->loaded_loss, o->loaded_accuracy, o->loss, o->accuracy);
    page_end(out);
    return results_put(out, &text, &size, path, err) && ok;
}
