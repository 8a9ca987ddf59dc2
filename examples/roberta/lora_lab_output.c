/* lora_lab_output.c - tables, JSON and the page of lora_lab. The measurements:
 * examples/roberta/lora_lab.c. */
#include "examples/roberta/lora_lab_output.h"

#include <math.h>
#include <stdlib.h>

#include "core/decimal.h"
#include "examples/shared/chart.h"
#include "examples/shared/cli.h"
#include "examples/shared/page.h"
#include "examples/shared/results.h"

double lab_mean(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum / n;
}

double lab_deviation(const double *x, int n)
{
    double mean = lab_mean(x, n), sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (n - 1)) : 0;
}

/* ---- rows of the tables, as text or as HTML ------------------------------------------------- */

enum { COLUMNS = 9, CELL = 48 };
static const char *const heads[COLUMNS] = {
    "", "accuracy %", "loss", "trained", "in %", "steps/s", "peak MB", "AdamW MB", "file MB",
};
static const char about[] =
    "Accuracy and loss on all of dev.tsv: the mean of the seeds, ± their standard deviation. "
    "Trained: the parameters\n"
    "that training changes, and their part of all. Steps/s: of the fastest seed. Peak: memory of "
    "the whole process, of\n"
    "the last seed. AdamW: its two moments. File: the trained parameters as safetensors.";

/* Writes about three significant digits, without an exponent, and with two decimals at most. */
static void fill_number(char cell[CELL], double x)
{
    if (isnan(x)) snprintf(cell, CELL, "?");
    else if (x < 99.5) lk_snprintf(cell, CELL, "%.*f", x < 9.995 ? 2 : 1, x);
    else cli_thousands((int64_t)lround(x), cell);
}

static void fill_row(const LabMeasure *m, char cell[COLUMNS][CELL])
{
    const double million = 1e6;
    snprintf(cell[0], CELL, "%s", m->name);
    int length = lk_snprintf(cell[1], CELL, "%.2f", 100 * lab_mean(m->accuracy, m->seeds));
    if (m->seeds > 1)
        lk_snprintf(cell[1] + length, (size_t)(CELL - length), " ± %.2f",
                    100 * lab_deviation(m->accuracy, m->seeds));
    lk_snprintf(cell[2], CELL, "%.4f", lab_mean(m->loss, m->seeds));
    cli_thousands(m->trainable, cell[3]);
    lk_snprintf(cell[4], CELL, "%.2f", 100.0 * (double)m->trainable / (double)m->parameters);
    fill_number(cell[5], m->steps_per_second);
    fill_number(cell[6], m->peak_megabytes);
    fill_number(cell[7], (double)m->optimizer_bytes / million);
    fill_number(cell[8], (double)m->file_bytes / million);
}

/* Counts columns, not bytes, because of "±": the bytes after a character's first one take no
 * room. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void print_row(const char *const *cell)
{
    static const int width[COLUMNS] = { 20, 16, 9, 14, 9, 9, 9, 10, 9 };
    for (int c = 0; c < COLUMNS; c++) {
        int room = width[c] - width_of(cell[c]);
        if (c == 0) printf("%s%*s", cell[c], room > 0 ? room : 0, "");
        else printf("%*s%s", room > 0 ? room : 1, "", cell[c]);
    }
    putchar('\n');
}

static void table(FILE *page, const char *title, const Lab *lab, const int *which, int count)
{
    if (page) fprintf(page, "<h2>%s</h2>\n<div class=\"wide\"><table><tr>", title);
    else printf("\n%s\n", title);
    for (int c = 0; page && c < COLUMNS; c++) fprintf(page, "<th>%s</th>", heads[c]);
    if (page) fputs("</tr>\n", page);
    else print_row(heads);
    for (int i = 0; i < count; i++) {
        char cell[COLUMNS][CELL];
        const char *row[COLUMNS];
        if (lab->measures[which[i]].seeds == 0) continue; /* not run yet */
        fill_row(&lab->measures[which[i]], cell);
        for (int c = 0; c < COLUMNS; c++) row[c] = cell[c];
        if (!page) print_row(row);
        for (int c = 0; page && c < COLUMNS; c++)
            fprintf(page, "%s<td>%s</td>", c ? "" : "<tr>", row[c]);
        if (page) fputs("</tr>\n", page);
    }
    if (page) fputs("</table></div>\n", page);
}

static void full_table(FILE *page, const Lab *lab)
{
    table(page, "Full fine-tuning and LoRA on all Linears", lab, (int[]){ 0, lab->reference }, 2);
}

static void rank_table(FILE *page, const Lab *lab)
{
    int which[LAB_MEASURES_MAX];
    for (int i = 0; i < lab->ranks; i++) which[i] = 1 + i;
    table(page, "Rank, LoRA on all Linears", lab, which, lab->ranks);
}

static void group_table(FILE *page, const Lab *lab)
{
    char title[80];
    int which[LAB_MEASURES_MAX];
    for (int i = 0; i < lab->groups; i++) which[i] = 1 + lab->ranks + i;
    which[lab->groups] = lab->reference;
    snprintf(title, sizeof title, "Which Linears have LoRA, of rank %lld",
             (long long)lab->measures[lab->reference].rank);
    table(page, title, lab, which, lab->groups + 1);
}

void lab_print(const Lab *lab)
{
    full_table(NULL, lab);
    rank_table(NULL, lab);
    group_table(NULL, lab);
    lk_printf("\n%s\nalways the more frequent label: %.2f %%\n", about, 100 * lab->majority);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

bool lab_write_json(const Lab *lab, const char *path, Error *err)
{
    Results f;
    results_open(&f, path);
    results_text(&f, "model", lab->model);
    results_int(&f, "base_parameters", lab->base_parameters);
    results_int(&f, "train_rows", lab->train_rows);
    results_int(&f, "dev_rows", lab->dev_rows);
    results_number(&f, "majority", lab->majority);
    results_int(&f, "seed", lab->seed);
    results_int(&f, "epochs", lab->epochs);
    results_int(&f, "batch_size", lab->batch_size);
    results_number(&f, "alpha", lab->alpha);
    results_number(&f, "lr", lab->lr);
    results_number(&f, "full_lr", lab->full_lr);
    for (int i = 0; i < lab->count; i++) {
        const LabMeasure *m = &lab->measures[i];
        results_object(&f, m->name);
        results_numbers(&f, "accuracy", m->seeds, m->accuracy);
        results_numbers(&f, "loss", m->seeds, m->loss);
        results_int(&f, "trainable", m->trainable);
        results_number(&f, "steps_per_second", m->steps_per_second);
        results_number(&f, "peak_megabytes", m->peak_megabytes);
        results_int(&f, "optimizer_bytes", m->optimizer_bytes);
        results_int(&f, "file_bytes", m->file_bytes);
        results_object_end(&f);
    }
    return results_close(&f, err);
}

/* ---- the page ------------------------------------------------------------------------------- */

/* Draws mean accuracy over the ranks, with full fine-tuning as a level line. */
static void rank_chart(FILE *out, const Lab *lab)
{
    double x[LAB_MEASURES_MAX], y[LAB_MEASURES_MAX], low = 100, high = 0;
    const LabMeasure *full = &lab->measures[0];
    double level = 100 * lab_mean(full->accuracy, full->seeds);
    for (int i = 0; i < lab->ranks; i++) {
        const LabMeasure *m = &lab->measures[1 + i];
        x[i] = (double)m->rank;
        y[i] = 100 * lab_mean(m->accuracy, m->seeds);
        low = fmin(low, y[i]);
        high = fmax(high, y[i]);
    }
    double ends[] = { x[0], x[lab->ranks - 1] }, levels[] = { level, level };
    const ChartLine lines[] = { { "full fine-tuning", 0, 2, ends, levels },
                                { "LoRA on all Linears", 1, lab->ranks, x, y } };
    chart_log_lines(out, "Accuracy and rank", "rank", 2, lines, fmin(low, level) - 0.5,
                    fmax(high, level) + 0.5, " %");
}

/* Draws accuracy over the number of trained parameters, in thousands: the gain of a group of
 * Linears for its price. */
static void price_chart(FILE *out, const Lab *lab)
{
    double x[2][LAB_MEASURES_MAX], y[2][LAB_MEASURES_MAX], low = 100, high = 0;
    int count[2] = { lab->ranks, lab->groups + 1 }, order[LAB_MEASURES_MAX];
    for (int line = 0; line < 2; line++) {
        int n = count[line];
        for (int i = 0; i < n; i++)
            if (line == 0) order[i] = 1 + i;
            else order[i] = i < lab->groups ? 1 + lab->ranks + i : lab->reference;
        for (int i = 1; i < n; i++) /* lines go from left to right */
            for (int k = i; k > 0 && lab->measures[order[k]].trainable <
                                         lab->measures[order[k - 1]].trainable;
                 k--) {
                int swap = order[k];
                order[k] = order[k - 1];
                order[k - 1] = swap;
            }
        for (int i = 0; i < n; i++) {
            const LabMeasure *m = &lab->measures[order[i]];
            x[line][i] = (double)m->trainable / 1000;
            y[line][i] = 100 * lab_mean(m->accuracy, m->seeds);
            low = fmin(low, y[line][i]);
            high = fmax(high, y[line][i]);
        }
    }
    const ChartLine lines[] = { { "all Linears, rank by rank", 1, count[0], x[0], y[0] },
                                { "groups of Linears", 2, count[1], x[1], y[1] } };
    chart_log_lines(out, "Accuracy and trained parameters", "thousand trained parameters", 2,
                    lines, low - 0.5, high + 0.5, " %");
}

bool lab_write_page(const Lab *lab, const char *path, Error *err)
{
    char rows[32], parameters[32];
    Buffer text;
    FILE *out = results_stream(&text);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for the page");
    page_begin(out, "LoRA, measured");
    lk_fprintf(out,
               "<h1>LoRA, measured</h1>\n<p>A RoBERTa of %s parameters learns the sentiment of "
               "SST-2 from %s "
               "sentences in %lld epoch%s. Every way of training is run with %d seed%s. Always "
               "the same answer has an "
               "accuracy of %.2f&nbsp;%%. All adapters share one frozen base; the highest "
               "learning rate is %g for "
               "them, with alpha %g, and %g for full fine-tuning.</p>\n<p class=\"soft\">%s</p>\n",
               cli_thousands(lab->base_parameters, parameters),
               cli_thousands(lab->train_rows, rows), (long long)lab->epochs,
               lab->epochs == 1 ? "" : "s", lab->measures[0].seeds,
               lab->measures[0].seeds == 1 ? "" : "s", 100 * lab->majority, lab->lr, lab->alpha,
               lab->full_lr, about);
    full_table(out, lab);
    rank_table(out, lab);
    bool ranks = lab->measures[lab->ranks].seeds > 0,
         all = lab->measures[lab->count - 1].seeds > 0;
    if (lab->measures[lab->count - 1].seeds < lab->measures[0].seeds)
        fputs("<p>Not all has been run yet.</p>\n", out);
    if (ranks) {
        fputs("<h2>Accuracy and rank</h2>\n", out);
        rank_chart(out, lab);
    }
    group_table(out, lab);
    if (all) {
        fputs("<h2>Accuracy and trained parameters</h2>\n", out);
        price_chart(out, lab);
    }
    page_end(out);
    return results_put(out, &text, path, err);
}
