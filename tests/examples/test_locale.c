/* test_locale.c - numbers have a dot in everything that is printed, written, read or reported,
 * also in a program that called setlocale for a user who writes 0,25 (core/decimal.h). Tensors:
 * test_print.c. */
#include "tests/core/german.h"

#include "core/decimal.h"
#include "core/ops.h"
#include "data/peft.h"
#include "data/progress.h"
#include "nn/adapter.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/sequential.h"

#include "examples/shared/chart.h"
#include "examples/shared/cli.h"
#include "examples/shared/results.h"
#include "nn/trainer_log.h"

/* A memory stream, and all that was written to it. */
typedef struct Memory {
    FILE *out;
    char *text;
    size_t size;
} Memory;

static void memory_begin(Memory *m)
{
    *m = (Memory){ 0 };
    m->out = open_memstream(&m->text, &m->size);
    check(m->out);
}

static void check_text(Memory *m, const char *expected)
{
    check(fclose(m->out) == 0);
    check(strcmp(m->text, expected) == 0, "expected %s, got %s", expected, m->text);
    free(m->text);
}

Test(locale, modules_adapters_and_messages)
{
    speak_german();
    Rng rng;
    Memory m;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(2, 2, true, &rng, &err);
    Module *net = lk_sequential_new(LK_MODULES(linear, lk_dropout_new(0.25, &err)), &err);
    memory_begin(&m);
    lk_print_module(m.out, net);
    check_text(&m, "Sequential(\n  (0): Linear(in_features=2, out_features=2, bias=True)\n"
                   "  (1): Dropout(p=0.25, inplace=False)\n)");

    check(lk_add_lora(net, &(LoRAConfig){ .rank = 2, .alpha = 0.5 }, &rng, &err) == 1);
    memory_begin(&m);
    lk_print_adapters(m.out, net);
    check_text(&m, "0.weight: default, rank 2, scale 0.25, on, trainable\n");

    check(!lk_dropout_new(1.5, &err));
    check_error(&err, LK_EVALUE, "but got 1.5");
    Tape *t = quiet_tape();
    check(!lk_dropout(t, lk_ones(t, LK_F32, LK_SHAPE(2)), 1.5));
    check_error(lk_tape_error(t), LK_EVALUE, "but got 1.5");
    lk_tape_free(t);
    lk_free(net);
}

Test(locale, progress_bar)
{
    speak_german();
    Progress p = lk_progress(NULL, "epoch", 4);
    char text[256];
    p.count = 1;
    p.label = "loss";
    p.value = 0.125;
    lk_progress_text(&p, 2, 60, text, sizeof text);
    check(strstr(text, "00:02<00:06") && strstr(text, "2.00s/it, loss=0.125]"), "%s", text);
}

/* --lr 0.5 and files of settings are read as they were written. */
Test(locale, what_is_read)
{
    typedef struct Options {
        double lr;
    } Options;
    static const CliOption options[] = { CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "learning rate"),
                                         CLI_END };
    static const CliProgram program = { "test", "reads a number", options, NULL };
    char *argv[] = { (char[]){ "test" }, (char[]){ "--lr" }, (char[]){ "0.25" }, NULL };
    Options o = { 0 };
    speak_german();
    cli_parse(&program, 3, argv, &o);
    check(o.lr == 0.25, "%g", o.lr);
    const char *end;
    check(lk_strtod("0.5,", &end) == 0.5 && *end == ',');
}

Test(locale, reports_of_the_examples)
{
    speak_german();
    Memory m;
    Error err = { 0 };
    Results r;
    const char *path = check_scratch("results.json");
    const double half = 0.5;
    results_open(&r, path);
    results_number(&r, "accuracy", 0.25);
    results_numbers(&r, "losses", 1, &half);
    check(results_close(&r, &err));
    char json[256] = { 0 };
    FILE *file = fopen(path, "r");
    check(file && fread(json, 1, sizeof json - 1, file) > 0);
    fclose(file);
    check(strcmp(json, "{\n  \"accuracy\": 0.25,\n  \"losses\": [0.5]\n}\n") == 0, "%s", json);

    TrainerLog log = { 0 };
    lk_trainer_log_add(&log, "loss", 0.12345);
    lk_trainer_log_add(&log, "learning_rate", 5e-05);
    memory_begin(&m);
    lk_trainer_log_print(m.out, &log);
    check_text(&m, "{'loss': 0.1235, 'learning_rate': 5e-05}\n");

    memory_begin(&m);
    chart_lines(m.out, "losses", "step", 1, &(ChartLine){ "loss", 0, 1, &half, &half }, 0, 1, "");
    fflush(m.out);
    /* y1="30.0", not "30,0" */
    check(strstr(m.text, "y1=\"") && !strstr(m.text, ",0\""), "%s", m.text);
    fclose(m.out);
    free(m.text);
}

/* The settings of an adapter: written with a dot, and read again. */
Test(locale, adapters_on_disk)
{
    speak_german();
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Module *net = lk_linear_new(2, 2, true, &rng, &err);
    Module *model = lk_sequential_new(LK_MODULES(net), &err), *copy = lk_deepcopy(model, &err);
    const char *folder = check_scratch("adapter"),
               *settings = check_scratch("adapter/adapter_config.json");
    check(lk_add_lora(model, &(LoRAConfig){ .rank = 2, .alpha = 0.75 }, &rng, &err) == 1);
    check(lk_save_peft(model, folder, &(PeftOptions){ 0 }, &err), "%s", err.message);
    char text[4096] = { 0 };
    FILE *file = fopen(settings, "r");
    check(file && fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    check(strstr(text, "\"lora_alpha\": 0.75,"), "%s", text);
    check(lk_load_peft(copy, folder, LK_PEFT_PARAMETRIZATION, NULL, NULL, &err), "%s",
          err.message);
    AdapterIter it = lk_adapters(copy);
    check(lk_adapters_next(&it) && it.lora->alpha == 0.75);
    lk_free(copy);
    lk_free(model);
}
