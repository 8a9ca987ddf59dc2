/* report.c - the page of --report. Charts and images: examples/shared/chart.c. */
#include "examples/digits/report.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/shared/chart.h"
#include "examples/shared/cli.h"
#include "examples/digits/output.h"
#include "examples/shared/page.h"
#include "examples/shared/results.h"

/* ---- states and errors ---------------------------------------------------------------------- */

static const char *const state_names[] = { "base", "LoRA on", "LoRA off" };

static void write_summary(FILE *out, const DigitsOutcome *o)
{
    char digits[DIGITS_LIST_TEXT], added[32], base[32];
    bool several = strchr(digits_list(o, digits), ',') != NULL;
    lk_fprintf(out,
               "<h1>%s</h1>\n<p>LoRA of rank %lld taught a trained network the digit%s %s, with "
               "%s parameters "
               "beside "
               "its %s (%.3f&nbsp;%%). ",
               o->notebook->name, (long long)o->options->rank, several ? "s" : "", digits,
               cli_thousands(o->lora_parameters, added), cli_thousands(o->base_parameters, base),
               100.0 * (double)o->lora_parameters / (double)o->base_parameters);
    const DigitsScore *score[] = { &o->base, &o->on, &o->off };
    char wrong[3][32];
    for (int s = 0; s < 3; s++) cli_thousands(digits_target_wrong(o, score[s]), wrong[s]);
    lk_fprintf(out,
               "Errors on %s: <b>%s before, %s with LoRA on</b>, %s with LoRA off again. "
               "Accuracy on all digits: %.2f&nbsp;%% before, %.2f&nbsp;%% with LoRA on, "
               "%.2f&nbsp;%% with LoRA off again.</p>\n",
               several ? "them" : "it", wrong[0], wrong[1], wrong[2],
               100 * digits_accuracy(&o->base), 100 * digits_accuracy(&o->on),
               100 * digits_accuracy(&o->off));
    fprintf(out,
            "<p class=\"soft\">Trained and tested on %s; seed %lld. An expert pays elsewhere: "
            "overall accuracy "
            "usually falls at scale 1, and whether some scale improves both depends on the seed. "
            "The dial below shows "
            "it.</p>\n",
            o->rendered ? "rendered digits (no MNIST was found)" : "MNIST",
            (long long)o->options->seed);
}

static void write_wrong(FILE *out, const DigitsOutcome *o)
{
    const DigitsScore *score[] = { &o->base, &o->on, &o->off };
    double value[DIGITS_CLASSES * 3];
    char number[32];
    for (int d = 0; d < DIGITS_CLASSES; d++)
        for (int s = 0; s < 3; s++) value[d * 3 + s] = (double)score[s]->wrong[d];
    fputs("<h2>Wrong answers per digit</h2>\n", out);
    chart_bars(out, "Wrong answers per digit, for the three states", "digit", DIGITS_CLASSES, 3,
               state_names, value);
    fputs("<table><tr><th>digit</th>", out);
    for (int s = 0; s < 3; s++) fprintf(out, "<th>%s</th>", state_names[s]);
    fputs("</tr>\n", out);
    for (int d = 0; d < DIGITS_CLASSES; d++) {
        fprintf(out,
                o->target[d] ? "<tr class=\"learned\"><td>%d, learned</td>" : "<tr><td>%d</td>",
                d);
        for (int s = 0; s < 3; s++)
            fprintf(out, "<td>%s</td>", cli_thousands(score[s]->wrong[d], number));
        fputs("</tr>\n", out);
    }
    fputs("<tr><td>accuracy</td>", out);
    for (int s = 0; s < 3; s++)
        lk_fprintf(out, "<td>%.2f %%</td>", 100 * digits_accuracy(score[s]));
    fputs("</tr></table>\n", out);
}

/* ---- the dial ------------------------------------------------------------------------------- */

static void write_dial(FILE *out, const DigitsOutcome *o)
{
    enum { POINTS = DIGITS_DIAL_STEPS + 1 };
    double x[POINTS], all[POINTS], target[POINTS], low = 1;
    const DigitsDial *best = &o->dial[0];
    for (int i = 0; i < POINTS; i++) {
        x[i] = o->dial[i].scale;
        all[i] = 100 * o->dial[i].accuracy;
        target[i] = 100 * o->dial[i].target_accuracy;
        low = fmin(low, fmin(o->dial[i].accuracy, o->dial[i].target_accuracy));
        if (o->dial[i].accuracy > best->accuracy) best = &o->dial[i];
    }
    const ChartLine lines[] = { { "all digits", 0, POINTS, x, all },
                                { "the learned digits", 1, POINTS, x, target } };
    fputs("<h2>The specialisation dial</h2>\n<p>The adapter's effect turned up from 0 (off) to 1 "
          "(as trained) and "
          "beyond. ",
          out);
    if (best == &o->dial[0])
        fputs("Here no scale improves the accuracy on all digits.</p>\n", out);
    else
        lk_fprintf(out,
                   "The accuracy on all digits is best at scale %.1f: %.2f&nbsp;%% instead of "
                   "%.2f&nbsp;%%.</p>\n",
                   best->scale, 100 * best->accuracy, 100 * o->dial[0].accuracy);
    chart_lines(out, "Accuracy as the adapter's scale grows", "scale of the adapter", 2, lines,
                100 * low, 100, " %");
    fputs("<table><tr><th>scale</th><th>all digits</th><th>learned digits</th><th>both "
          "better</th></tr>\n",
          out);
    for (int i = 0; i < POINTS; i++)
        lk_fprintf(
            out,
            "<tr><td>%.1f</td><td>%.2f %%</td><td>%.2f %%</td><td class=\"ok\">%s</td></tr>\n",
            x[i], all[i], target[i], digits_both_better(o, i) ? "✓" : "");
    fputs("</table>\n", out);
}

/* ---- losses --------------------------------------------------------------------------------- */

/* Draws a curve of thousands of batches as at most 150 means. */
static void write_losses(FILE *out, const char *title, const DigitsCurve *c, int color)
{
    enum { POINTS = 150 };
    double x[POINTS], y[POINTS], high = 0;
    int64_t points = c->count < POINTS ? c->count : POINTS;
    char batches[32];
    if (points == 0) return;
    for (int64_t p = 0; p < points; p++) {
        int64_t from = p * c->count / points, to = (p + 1) * c->count / points;
        double sum = 0;
        for (int64_t i = from; i < to; i++) sum += c->losses[i];
        x[p] = (double)to;
        y[p] = sum / (double)(to - from);
        high = fmax(high, y[p]);
    }
    lk_fprintf(out, "<h2>%s</h2>\n<p class=\"soft\">%s batches in %.1f s; ", title,
               cli_thousands(c->count, batches), c->seconds);
    if (points == c->count) fputs("one point a batch.</p>\n", out);
    else fprintf(out, "each of %d points is the mean of its share.</p>\n", POINTS);
    const ChartLine line = { "loss", color, points, x, y };
    chart_lines(out, title, "batch", 1, &line, 0, high, "");
}

/* ---- images --------------------------------------------------------------------------------- */

static void write_digit(FILE *out, const DigitsOutcome *o, int64_t i)
{
    uint8_t rgb[DIGITS_PIXELS * 3];
    char text[96];
    int label = (int)lk_dataset_label(o->test, i);
    const uint8_t *pixel =
        (const uint8_t *)o->test->x->data + lk_dataset_row(o->test, i) * DIGITS_PIXELS;
    for (int p = 0; p < DIGITS_PIXELS; p++) memset(rgb + 3 * p, pixel[p], 3);
    snprintf(text, sizeof text, "a %d, base says %d, LoRA says %d", label, o->base.predicted[i],
             o->on.predicted[i]);
    fputs("<figure>", out);
    chart_image(out, 28, 28, rgb, text, "digit");
    fprintf(out, "<br>%d → <b>%d</b></figure>\n", o->base.predicted[i], o->on.predicted[i]);
}

/* Shows the test images that only LoRA gets right (fixed), or only the base (broken). */
static void write_changed(FILE *out, const DigitsOutcome *o, bool fixed)
{
    enum { SHOWN = 24 };
    int64_t found = 0;
    for (int64_t i = 0; i < o->base.count; i++) {
        int64_t label = lk_dataset_label(o->test, i);
        bool was = o->base.predicted[i] == label, is = o->on.predicted[i] == label;
        found += fixed ? !was && is : was && !is;
    }
    char number[32];
    fprintf(out, "<h2>%s by LoRA: %s image%s</h2>\n", fixed ? "Fixed" : "Broken",
            cli_thousands(found, number), found == 1 ? "" : "s");
    if (found > SHOWN) fprintf(out, "<p class=\"soft\">The first %d: ", SHOWN);
    else fputs("<p class=\"soft\">", out);
    fprintf(out, "the base's answer → <b>LoRA's</b>, which is %s.</p>\n<div class=\"cards\">\n",
            fixed ? "right" : "wrong");
    for (int64_t i = 0, shown = 0; i < o->base.count && shown < SHOWN; i++) {
        int64_t label = lk_dataset_label(o->test, i);
        bool was = o->base.predicted[i] == label, is = o->on.predicted[i] == label;
        if (fixed ? was || !is : !was || is) continue;
        write_digit(out, o, i);
        shown++;
    }
    fputs("</div>\n", out);
}

/* ---- ΔW ------------------------------------------------------------------------------------- */

enum { RANK_MAX = 64 };

/* Jacobi: turns the symmetric n × n matrix a into diagonal form; the columns of v are its
 * eigenvectors. */
static void diagonalize(int n, double a[RANK_MAX][RANK_MAX], double v[RANK_MAX][RANK_MAX])
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) v[i][j] = i == j;
    for (int sweep = 0; sweep < 50; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (a[p][q] == 0) continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) {
                    double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y, a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y, a[q][k] = s * x + c * y;
                    x = v[k][p], y = v[k][q];
                    v[k][p] = c * x - s * y, v[k][q] = s * x + c * y;
                }
            }
}

static double at(const Tensor *x, int64_t i, int64_t j) { return lk_at(x, LK_INDEX(i, j)); }

/* Computes the singular values of scale · B A without forming it: with BᵀB = V D Vᵀ they are scale
 * · √eig(√D Vᵀ A Aᵀ V √D). */
static int singular_values(const DigitsDelta *d, double sigma[RANK_MAX])
{
    static double g[RANK_MAX][RANK_MAX], v[RANK_MAX][RANK_MAX], h[RANK_MAX][RANK_MAX],
        m[RANK_MAX][RANK_MAX];
    int r = (int)d->A->shape[0];
    if (r > RANK_MAX) return 0;
    for (int i = 0; i < r; i++)
        for (int j = 0; j < r; j++) {
            g[i][j] = h[i][j] = 0;
            for (int64_t k = 0; k < d->B->shape[0]; k++)
                g[i][j] += at(d->B, k, i) * at(d->B, k, j);
            for (int64_t k = 0; k < d->A->shape[1]; k++)
                h[i][j] += at(d->A, i, k) * at(d->A, j, k);
        }
    diagonalize(r, g, v);
    for (int i = 0; i < r; i++)
        for (int j = 0; j < r; j++) {
            m[i][j] = 0;
            for (int a = 0; a < r; a++)
                for (int b = 0; b < r; b++) m[i][j] += v[a][i] * h[a][b] * v[b][j];
            m[i][j] *= sqrt(fmax(g[i][i], 0)) * sqrt(fmax(g[j][j], 0));
        }
    diagonalize(r, m, v);
    for (int i = 0; i < r; i++) {
        double value = fabs(d->scale) * sqrt(fmax(m[i][i], 0));
        int k = i;
        for (; k > 0 && sigma[k - 1] < value; k--) sigma[k] = sigma[k - 1];
        sigma[k] = value;
    }
    return r;
}

static double delta_at(const DigitsDelta *d, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t r = 0; r < d->A->shape[0]; r++) sum += at(d->B, i, r) * at(d->A, r, j);
    return sum * d->scale;
}

/* Draws ΔW in at most 96 × 96 cells, one entry for each: blue below 0, white at 0, orange
 * above. */
static void write_heat_map(FILE *out, const DigitsDelta *d)
{
    enum { CELLS = 96 };
    static double value[CELLS][CELLS];
    static uint8_t rgb[CELLS * CELLS * 3];
    int rows = (int)(d->B->shape[0] < CELLS ? d->B->shape[0] : CELLS);
    int columns = (int)(d->A->shape[1] < CELLS ? d->A->shape[1] : CELLS);
    double largest = 1e-300;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            value[i][j] = delta_at(d, i * d->B->shape[0] / rows, j * d->A->shape[1] / columns);
            largest = fmax(largest, fabs(value[i][j]));
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            /* the root shows small entries too */
            double x = value[i][j] / largest, far = sqrt(fabs(x));
            static const double end[2][3] = { { 0, 114, 178 }, { 213, 94, 0 } };
            for (int c = 0; c < 3; c++)
                rgb[(i * columns + j) * 3 + c] =
                    (uint8_t)lround(250 + (end[x > 0][c] - 250) * far);
        }
    char text[96];
    lk_snprintf(text, sizeof text, "change of %s.weight, largest entry %.3g", d->layer, largest);
    chart_image(out, columns, rows, rgb, text, "map");
    lk_fprintf(out,
               "<p class=\"soft\">%d × %d of %s × %s entries; blue below 0, orange above, largest "
               "%.3g</p>\n",
               rows, columns, cli_thousands(d->B->shape[0], text),
               cli_thousands(d->A->shape[1], text + 32), largest);
}

static void write_deltas(FILE *out, const DigitsOutcome *o)
{
    fputs("<h2>What LoRA adds to each weight</h2>\n<p class=\"soft\">", out);
    if (o->options->rank == 1)
        fputs("ΔW of rank 1 is one column times one row. So each row of ΔW is the same pattern "
              "times one number, and the map has stripes: a row is pale where its number is near "
              "0.",
              out);
    else
        fprintf(out,
                "ΔW of rank %lld is a sum of so many products of a column and a row. Each of them "
                "alone would give stripes; here they lie one over the other.",
                (long long)o->options->rank);
    fputs("</p>\n<div class=\"maps\">\n", out);
    for (int l = 0; l < o->layers; l++) {
        double sigma[RANK_MAX] = { 0 };
        int r = singular_values(&o->delta[l], sigma);
        fprintf(out, "<div><h3>%s</h3>\n<p>Singular values of ΔW:", o->delta[l].layer);
        for (int i = 0; i < r; i++) lk_fprintf(out, " %.4g", sigma[i]);
        fputs("</p>\n", out);
        write_heat_map(out, &o->delta[l]);
        fputs("</div>\n", out);
    }
    fputs("</div>\n", out);
}

/* ---- the page ------------------------------------------------------------------------------- */

static void write_page(FILE *out, const DigitsOutcome *o)
{
    page_begin(out, o->notebook->name);
    write_summary(out, o);
    fputs("<div class=\"pair\"><section>\n", out);
    write_wrong(out, o);
    fputs("</section><section>\n", out);
    write_dial(out, o);
    fputs("</section></div>\n", out);
    write_changed(out, o, true);
    write_changed(out, o, false);
    fputs("<div class=\"pair\"><section>\n", out);
    write_losses(out, "Loss while all of the network was trained", &o->training, 0);
    fputs("</section><section>\n", out);
    write_losses(out, "Loss while LoRA alone was trained", &o->tuning, 1);
    fputs("</section></div>\n", out);
    write_deltas(out, o);
    fputs("<h2>Checks</h2>\n<ul>\n", out);
    for (int i = 0; i < DIGITS_CHECKS; i++)
        fprintf(out, "<li><b class=\"%s\">%s %s</b>: %s</li>\n", o->checks[i].holds ? "ok" : "bad",
                o->checks[i].holds ? "✓" : "✗", o->checks[i].name, o->checks[i].detail);
    fputs("</ul>\n", out);
    page_end(out);
}

bool digits_report(const DigitsOutcome *o, const char *path, Error *err)
{
    Buffer page;
    FILE *out = results_stream(&page);
    if (out) write_page(out, o);
    return results_put(out, &page, path, err);
}
