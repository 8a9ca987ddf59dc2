/* hw3.c - the checks of hw3: the tables of the analysis. The answers in words are collected for
 * the teacher; nothing here looks at them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/course/checks/tiny_roberta.h"

enum { SENTENCES = 9, STEPS = 3, ROWS = 3, COLUMNS = 7 };
static const double ALPHA = 2.0;
static const char *const query_value[] = { "query", "value", NULL };
static const char *const dense[] = { "dense", NULL };
static const int64_t ranks[ROWS] = { 5, 2, 4 };

static Tuning tuning(Exam *e, const TrainerBatch *train, const TrainerBatch *test)
{
    return (
        Tuning){ .train = train, .test = test, .steps = STEPS, .lr = 0.05, .seed = e->seed + 3 };
}

/* ---- 1, 2: the formula ---------------------------------------------------------------------- */

static void formula_is_right(Exam *e)
{
    int64_t got = CALL(e, lora_parameters, 5, 4, 3);
    if (e->failed || got == 27) return;
    exam_fail(e, VERDICT_VALUE, "lora_parameters(5, 4, 3) is %lld, expected 27", (long long)got);
    const char *sum = "A has in · rank numbers and B rank · out: together rank · (in + out).";
    if (got == 60 || got == 20) exam_looks_like(e, "in times out", sum);
    else if (got == 19) exam_looks_like(e, "parentheses forgotten", sum);
    else if (got == 30 || got == 24)
        exam_looks_like(e, got == 30 ? "A counted twice" : "B counted twice", sum);
    else if (got == 15 || got == 12)
        exam_looks_like(e, got == 15 ? "B not counted" : "A not counted", sum);
    else if (got == 9) exam_looks_like(e, "the rank forgotten", sum);
}

/* By the sizes of the tiny net: 3 layers of width 12 with a feed-forward part of 20. */
static void sum_is_right(Exam *e)
{
    static const char *const words[] = { "dense", "out_proj", NULL };
    enum { RANK = 3, D = TINY_HIDDEN, WIDE = TINY_WIDE, LABELS = 2 };
    const int64_t square = RANK * (D + D), wide = RANK * (D + WIDE), last = RANK * (D + LABELS);
    const int64_t right = TINY_LAYERS * (square + 2 * wide) + square + last;
    const int64_t all = right + TINY_LAYERS * 3 * square, squares = right - last + square;
    const int64_t weights = TINY_LAYERS * (D * D + 2 * D * WIDE) + D * D + D * LABELS;
    Module *m = tiny_roberta(e, e->seed, 0.0);
    if (!m) return;
    int64_t got = CALL(e, lora_parameters_of, m, words, RANK);
    int64_t attention = CALL(e, lora_parameters_of, m, query_value, RANK);
    if (e->failed || (got == right && attention == TINY_LAYERS * 2 * square)) return;
    if (got == right)
        exam_fail(e, VERDICT_VALUE, "lora_parameters_of query and value is %lld, expected %lld",
                  (long long)attention, (long long)(TINY_LAYERS * 2 * square));
    else
        exam_fail(e, VERDICT_VALUE, "lora_parameters_of dense and out_proj is %lld, expected %lld",
                  (long long)got, (long long)right);
    if (got == all && attention == all)
        exam_looks_like(e, "every Linear counted", "is_lora_target(it.name, words) chooses.");
    else if (got == square && attention == square)
        exam_looks_like(e, "only the first one counted", "Add up all of the walk.");
    else if (got == right + weights)
        exam_looks_like(e, "the frozen weights counted", "LoRA adds A and B only; W was there.");
    else if (got == squares)
        exam_looks_like(e, "all Linears taken for square",
                        "A Linear has its in_features and its out_features, which differ.");
}

/* ---- 3 to 5: a row -------------------------------------------------------------------------- */

/* The learner's measure_lora. */
static bool measured(Exam *e, const Module *base, const char *const *words, int64_t rank,
                     const Tuning *how, TuningRow *row)
{
    if (!base || !how->test->x || e->failed) return false;
    bool ok = CALL(e, measure_lora, e->t, base, words, rank, ALPHA, how, row, &e->err);
    return exam_true(e, "measure_lora", ok);
}

static bool is_not_trainable(const char *name, const Tensor *x) { return !is_trainable(name, x); }

static void base_stays(Exam *e)
{
    Module *base = tiny_roberta(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    Matrix before = tiny_logits(e, base, &b);
    const Tuning how = tuning(e, &b, &b);
    TuningRow row = { 0 };
    bool ok = base ? CALL(e, measure_lora, e->t, base, query_value, 2, ALPHA, &how, &row, &e->err)
                   : false;
    if (e->failed) return;
    Matrix frozen = params_that(e, base, is_not_trainable);
    bool same = lk_count_parameters(base) == 4046 &&
                matrix_near(frozen, matrix_zeros(e, 1, frozen.columns), 0.0) &&
                matrix_near(tiny_logits(e, base, &b), before, 0.0);
    if (!same) {
        exam_fail(e, VERDICT_VALUE, "after measure_lora base has %lld parameters, expected 4046%s",
                  (long long)lk_count_parameters(base),
                  lk_count_parameters(base) == 4046 ? ", and other values or frozen ones" : "");
        exam_looks_like(e, "base itself changed",
                        "lk_deepcopy gives a net of its own; lk_retain only one more owner. The "
                        "next row must begin with the same base.");
    }
    exam_true(e, "measure_lora", ok);
}

static void counts_are_right(Exam *e)
{
    enum { RANK = 2 };
    Module *base = tiny_roberta(e, e->seed, 0.0);
    TrainerBatch b = tiny_sentences(e, 5, SENTENCES);
    const Tuning how = tuning(e, &b, &b);
    TuningRow row = { 0 };
    if (!measured(e, base, dense, RANK, &how, &row)) return;
    int64_t head = TINY_HIDDEN * TINY_HIDDEN + TINY_HIDDEN + 2 * TINY_HIDDEN + 2;
    int64_t lora = lora_parameters_of(base, dense, RANK), right = lora + head;
    if (row.trainable == right) return;
    exam_fail(e, VERDICT_VALUE,
              "measure_lora with { \"dense\" } and rank 2 trains %lld parameters, expected %lld: "
              "%lld of LoRA and %lld of the classifier",
              (long long)row.trainable, (long long)right, (long long)lora, (long long)head);
    if (row.trainable == lora)
        exam_looks_like(e, "classifier frozen", "lk_require_grad(copy, \"classifier.*\", true).");
    else if (row.trainable == lora + lk_count_parameters(base))
        exam_looks_like(e, "nothing frozen", "lk_require_grad(copy, \"*\", false), first of all.");
    else if (row.trainable == head + lora_parameters_of(base, query_value, RANK))
        exam_looks_like(e, "the words ignored", "put_lora takes the words.");
    else if (row.trainable == head)
        exam_looks_like(e, "LoRA frozen too", "Freeze before put_lora, not after it.");
}

static bool same_row(const TuningRow *a, const TuningRow *b)
{
    return a->trainable == b->trainable && a->bytes == b->bytes &&
           fabs(a->loss - b->loss) < 1e-6 && fabs(a->accuracy - b->accuracy) < 1e-9;
}

/* A row of the course's own solution. The tape's stream goes on where it stands. */
static TuningRow own_row(Exam *e, const Module *base, int64_t rank, double alpha,
                         const Tuning *how, bool seed_tape)
{
    TuningRow row = { 0 };
    Module *m = base ? lk_deepcopy(base, &e->err) : NULL;
    Rng rng;
    lk_manual_seed(&rng, how->seed);
    if (seed_tape) lk_tape_seed(e->t, how->seed);
    bool ok = m && apply_lora_to_roberta(m, rank, alpha, &rng, &e->err) &&
              tune_and_measure(e->t, m, how, &row, &e->err);
    lk_free(m);
    exam_expect(e, ok || !base, VERDICT_FAILED, "the checks cannot train: %s", e->err.message);
    return row;
}

static void row_is_repeatable(Exam *e)
{
    enum { RANK = 3, ELSEWHERE = 77 };
    Module *base = tiny_roberta(e, e->seed, 0.3);
    TrainerBatch train = tiny_sentences(e, 5, SENTENCES), test = tiny_sentences(e, 6, 12);
    const Tuning how = tuning(e, &train, &test);
    if (!base || e->failed) return;
    TuningRow row = { 0 }, right = own_row(e, base, RANK, ALPHA, &how, true);
    TuningRow divided = own_row(e, base, RANK, ALPHA / RANK, &how, true);
    TuningRow plain = own_row(e, base, RANK, 1.0, &how, true);
    lk_tape_seed(e->t, ELSEWHERE);
    TuningRow unseeded = own_row(e, base, RANK, ALPHA, &how, false);
    lk_tape_seed(e->t, ELSEWHERE);
    if (!measured(e, base, query_value, RANK, &how, &row) || same_row(&row, &right)) return;
    exam_fail(e, VERDICT_VALUE,
              "measure_lora with rank 3: loss %.6g and accuracy %.6g, expected %.6g and %.6g",
              row.loss, row.accuracy, right.loss, right.accuracy);
    if (same_row(&row, &unseeded))
        exam_looks_like(e, "the tape's seed forgotten",
                        "Dropout draws from the tape. lk_tape_seed(t, how->seed) gives each row "
                        "the same masks.");
    else if (same_row(&row, &divided))
        exam_looks_like(e, "alpha divided by the rank", "Hand alpha on to put_lora as it is.");
    else if (same_row(&row, &plain))
        exam_looks_like(e, "alpha forgotten", "Hand alpha on to put_lora.");
}

/* ---- 6: the table of ranks ------------------------------------------------------------------ */

static void table_is_right(Exam *e)
{
    Module *base = tiny_roberta(e, e->seed, 0.1);
    TrainerBatch train = tiny_sentences(e, 5, SENTENCES), test = tiny_sentences(e, 6, 12);
    const Tuning how = tuning(e, &train, &test);
    TuningRow rows[ROWS] = { 0 }, right[ROWS] = { 0 };
    if (!base || e->failed) return;
    for (int i = 0; i < ROWS; i++) right[i] = own_row(e, base, ranks[i], ALPHA, &how, true);
    bool ok = CALL(e, rank_table, e->t, base, ranks, ROWS, ALPHA, &how, rows, &e->err);
    if (!exam_true(e, "rank_table", ok)) return;
    bool first = true, empty = true, number = true;
    int64_t head = right[0].trainable - lora_parameters_of(base, query_value, ranks[0]), bad = -1;
    for (int i = 0; i < ROWS; i++) {
        if (!same_row(&rows[i], &right[i]) && bad < 0) bad = i;
        first = first && same_row(&rows[i], &right[0]);
        empty = empty && same_row(&rows[i], i ? &(TuningRow){ 0 } : &right[0]);
        number =
            number && rows[i].trainable == head + lora_parameters_of(base, query_value, i + 1);
    }
    if (bad < 0) return;
    exam_fail(e, VERDICT_VALUE,
              "rank_table of ranks 5, 2, 4: row %d has %lld trainable parameters and loss %.6g, "
              "expected %lld and %.6g",
              (int)bad, (long long)rows[bad].trainable, rows[bad].loss,
              (long long)right[bad].trainable, right[bad].loss);
    if (first) exam_looks_like(e, "the first rank in every row", "Row i has ranks[i].");
    else if (empty)
        exam_looks_like(e, "only the first row filled", "Fill rows[0] to rows[count - 1].");
    else if (number)
        exam_looks_like(e, "the row's number taken for its rank", "Row i has ranks[i], not i.");
}

/* ---- 7, 8: the printed table ---------------------------------------------------------------- */

static const char *const names[ROWS] = { "query, value", "dense", "all" };
static const TuningRow made_up[ROWS] = {
    { .trainable = 614,
      .bytes = 4128,
      .percent = 13.7126,
      .seconds = 0.25,
      .loss = 0.625,
      .accuracy = 0.875 },
    { .trainable = 1200,
      .bytes = 6000,
      .percent = 22.5,
      .seconds = 0.5,
      .loss = 0.75,
      .accuracy = 0.5 },
    { .trainable = 5000000000,
      .bytes = 20000000000,
      .percent = 100.0,
      .seconds = 1.5,
      .loss = 0.125,
      .accuracy = 1.0 },
};

/* The text that the learner's function prints, in the exam's memory. */
static char *printed_table(Exam *e)
{
    char *text = NULL;
    size_t size = 0;
    void *function = exam_function(e, "print_tuning_table");
    FILE *out = function ? open_memstream(&text, &size) : NULL;
    if (!out) return NULL;
    LEARNERS(e, print_tuning_table)(out, names, made_up, ROWS);
    fclose(out);
    Matrix room = matrix_zeros(e, 1, (int64_t)(size / sizeof(double)) + 1);
    if (room.v) memcpy(room.v, text, size);
    free(text);
    return (char *)room.v;
}

/* The next line of *text, which becomes a string of its own; NULL at the end. */
static char *next_line(char **text)
{
    char *line = *text;
    if (!*line) return NULL;
    *text += strcspn(line, "\n");
    if (**text) *(*text)++ = '\0';
    return line;
}

/* Splits "| a | b |" into its cells; returns how many. */
static int cells_of(char *line, char *cells[COLUMNS + 1])
{
    int count = 0;
    char *at = line + strspn(line, " ");
    if (*at++ != '|') return 0;
    while (count <= COLUMNS) {
        char *end = strchr(at, '|');
        if (!end) return count;
        *end = '\0';
        at += strspn(at, " ");
        for (char *last = end; last > at && last[-1] == ' ';) *--last = '\0';
        cells[count++] = at;
        at = end + 1;
    }
    return count;
}

static void a_line_for_each_row(Exam *e)
{
    char *text = printed_table(e), *cells[COLUMNS + 1];
    int lines = 0;
    if (!text) return;
    for (char *line; (line = next_line(&text)) != NULL;) {
        int bars = 0;
        for (const char *c = line; *c; c++) bars += *c == '|';
        int columns = cells_of(line, cells);
        if (columns && ++lines && columns != COLUMNS) {
            exam_fail(e, VERDICT_VALUE, "line %d of the table has %d bars, expected %d", lines,
                      bars, COLUMNS + 1);
            if (bars > COLUMNS + 1)
                exam_looks_like(e, "a newline forgotten", "End each row with |\\n.");
            else exam_looks_like(e, "columns missing", "Print the columns that the header names.");
        }
    }
    exam_expect(e, lines == 2 + ROWS, VERDICT_VALUE,
                "%d rows give %d lines, expected %d with the header and its line of dashes", ROWS,
                lines, 2 + ROWS);
}

static void cells_are_right(Exam *e)
{
    char *text = printed_table(e), *cells[COLUMNS + 1];
    if (!text) return;
    next_line(&text);
    next_line(&text);
    for (int i = 0; i < ROWS; i++) {
        char *line = next_line(&text);
        if (!line || cells_of(line, cells) != COLUMNS) {
            exam_fail(e, VERDICT_VALUE, "row %d of the table has not %d columns", i, COLUMNS);
            return;
        }
        const TuningRow *r = &made_up[i];
        const double right[COLUMNS] = { 0.0,        (double)r->trainable,
                                        r->percent, (double)r->bytes,
                                        r->seconds, r->loss,
                                        r->accuracy };
        exam_expect(e, !strcmp(cells[0], names[i]), VERDICT_VALUE,
                    "row %d begins with \"%.60s\", expected \"%s\"", i, cells[0], names[i]);
        if (lk_strtod(cells[5], NULL) == r->accuracy && lk_strtod(cells[6], NULL) == r->loss) {
            exam_fail(e, VERDICT_VALUE, "row %d: the loss is %.20s, expected %g", i, cells[5],
                      r->loss);
            exam_looks_like(e, "loss and accuracy exchanged", "Keep the order of the header.");
        }
        for (int k = 1; k < COLUMNS; k++)
            exam_expect(e, fabs(lk_strtod(cells[k], NULL) - right[k]) < 0.006, VERDICT_VALUE,
                        "row %d, column %d is %.40s, expected %.12g", i, k, cells[k], right[k]);
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

/* The two tables of hw3.answers.md. */
static void show(Exam *e)
{
    static const int64_t shown[] = { 1, 2, 4, 8 };
    static const char *const ranked[] = { "rank 1", "rank 2", "rank 4", "rank 8" };
    static const char *const key[] = { "key", NULL };
    static const char *const all[] = { "query", "key", "value", "dense", NULL };
    static const char *const *const words[] = { key, dense, all };
    static const char *const chosen[] = { "key", "dense", "all of them" };
    enum { SHOWN = 4, OTHER = 3 };
    TuningRow rows[SHOWN] = { 0 };
    Module *base = tiny_roberta(e, e->seed, 0.0);
    TrainerBatch train = tiny_sentences(e, 5, 48), test = tiny_sentences(e, 6, 100);
    Tuning how = { .train = &train, .test = &test, .steps = 25, .lr = 0.01, .seed = e->seed };
    if (!base || !test.x || e->failed) return;
    if (!CALL(e, rank_table, e->t, base, shown, SHOWN, ALPHA, &how, rows, &e->err)) return;
    printf("LoRA on query and value of a tiny RoBERTa, and its classifier:\n\n");
    fflush(stdout);
    LEARNERS(e, print_tuning_table)(stdout, ranked, rows, SHOWN);
    for (int i = 0; i < OTHER; i++)
        if (!measured(e, base, words[i], 2, &how, &rows[i])) return;
    printf("\nrank 2 on different Linears:\n\n");
    LEARNERS(e, print_tuning_table)(stdout, chosen, rows, OTHER);
}

const Unit unit_hw3 = {
    .name = "hw3",
    .title = "the analysis, with tables of your own",
    .minutes = 40,
    .answers = true,
    .functions = { "lora_parameters", "lora_parameters_of", "measure_lora", "rank_table",
                   "print_tuning_table" },
    .checks = {
        { "LoRA adds rank (in + out) parameters to a Linear", formula_is_right },
        { "the formula is summed over the chosen Linears", sum_is_right },
        { "measuring leaves the base as it is", base_stays },
        { "LoRA on the words and the classifier are trained", counts_are_right },
        { "a row depends on nothing but its arguments", row_is_repeatable },
        { "the table has a row for each rank", table_is_right },
        { "the printed table has a line for each row", a_line_for_each_row },
        { "its cells are the row's numbers", cells_are_right },
    },
    .show = show,
};
