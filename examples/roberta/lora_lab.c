/* lora_lab - the homework's last part, measured: full fine-tuning against LoRA, ranks, which
 * Linears, seeds.
 *
 * Full fine-tuning comes first, with a base of its own for every seed. Then one frozen base is
 * loaded and shared by all adapters, one after the other. So no run's peak of memory includes the
 * base of another run. JSON and page are written after every run. The output:
 * examples/roberta/lora_lab_output.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "data/safetensors.h"
#include "core/decimal.h"
#include "examples/roberta/lora_lab_output.h"
#include "examples/shared/results.h"
#include "nn/lora_wrap.h"
#include "examples/roberta/task.h"

typedef struct Options {
    TaskOptions task;
    const char *json, *report;
    int64_t epochs, seeds, rank, threads;
    double alpha, lr, full_lr, warmup;
} Options;

static const CliOption options[] = {
    INPUT_MODEL(Options, task.model),
    INPUT_SST2(Options, task.data),
    CLI_INT("train-rows", Options, task.train_rows, "N", 0, 1e9,
            "so many sentences of train.tsv, from its beginning; 0: all"),
    CLI_INT("epochs", Options, epochs, "N", 1, 1000, "passes over the training data"),
    CLI_INT("batch-size", Options, task.batch_size, "N", 1, 65536,
            "training sentences of a batch"),
    CLI_INT("max-length", Options, task.max_length, "N", 2, 1 << 20,
            "tokens of a sentence; longer ones are cut"),
    CLI_INT("seeds", Options, seeds, "N", 1, LAB_SEEDS_MAX,
            "runs of each kind of training; their seeds are --seed, --seed + 1, …"),
    CLI_INT("rank", Options, rank, "N", 1, 32,
            "rank where ranks are not what is compared: 1, 2, 4, 8, 16 or 32"),
    CLI_DOUBLE("alpha", Options, alpha, "X", 0, 1e4,
               "strength of LoRA, W + alpha A B: not divided by the rank"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "highest learning rate of LoRA"),
    CLI_DOUBLE("full-lr", Options, full_lr, "X", 0, 1,
               "highest learning rate of full fine-tuning"),
    CLI_DOUBLE("warmup", Options, warmup, "X", 0, 1,
               "part of the steps, 0 to 1, in which the learning rate rises; then it falls to 0"),
    CLI_INT("seed", Options, task.seed, "N", 0, UINT32_MAX, "first seed"),
    CLI_THREADS(Options),
    CLI_JSON(Options),
    CLI_TEXT("report", Options, report, "FILE", "write the tables and plots to FILE, as HTML"),
    CLI_END,
};
static const CliProgram program = {
    .name = "lora_lab",
    .about = "Measures LoRA on SST-2: beside full fine-tuning, rank by rank, group of Linears by "
             "group." INPUT_PLACES,
    .options = options,
};

static const int64_t all_ranks[] = { 1, 2, 4, 8, 16, 32 };
static const LabMeasure groups[] = {
    { .name = "query, value", .targets = "query,value" },
    { .name = "all attention", .targets = "attention.*" },
    { .name = "feed-forward",
      .targets = "intermediate.dense,output.dense,!attention.output.dense" },
    { .name = "head", .targets = "classifier.*" },
};
enum { RANKS = sizeof all_ranks / sizeof all_ranks[0], GROUPS = sizeof groups / sizeof groups[0] };

/* ---- peak memory ---------------------------------------------------------------------------- */

/* Makes Linux forget the highest resident size, so that the next one is that of the next run. */
static bool forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    return f && (fputs("5", f), fclose(f) == 0);
}

static double peak_megabytes(void)
{
    char line[256];
    double kilobytes = NAN;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %lf", &kilobytes);
    if (f) fclose(f);
    return kilobytes / 1024;
}

/* ---- one run -------------------------------------------------------------------------------- */

/* Measures the trained parameters as a file: an adapter, or a whole model. */
static bool measure_file(Module *model, int64_t *bytes, Error *err)
{
    StateDict *trained = lk_state_dict_empty_new(err);
    bool ok = trained;
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
        if (it.tensor->requires_grad)
            ok = lk_state_dict_add(trained, it.name, lk_retain(it.tensor), err);
    *bytes = ok ? lk_safetensors_size(trained, NULL, err) : -1;
    lk_state_dict_free(trained);
    return *bytes >= 0;
}

/* Trains and evaluates a model. *rate: steps per second. */
static bool train(Task *task, const Options *o, Module *model, LabMeasure *m, double *rate,
                  Error *err)
{
    Session s;
    TrainerLog log;
    bool ok = session_begin(&s, task, model, err);
    if (ok) {
        TrainerArgs *a = &s.trainer.args;
        a->epochs = o->epochs;
        int64_t steps = lk_trainer_steps(&s.trainer);
        a->learning_rate = m->full ? o->full_lr : o->lr;
        a->warmup_steps = (int64_t)(o->warmup * (double)steps);
        a->eval_steps = a->save_steps = LK_NEVER;
        a->load_best_at_end = false;
        a->seed = (uint64_t)(o->task.seed + m->seeds);
        double start = lk_seconds();
        ok = lk_trainer_train(&s.trainer, err);
        /* the fastest run is the one that other programs have disturbed least */
        *rate = (double)steps / (lk_seconds() - start);
        m->steps_per_second = fmax(m->steps_per_second, *rate);
    }
    ok = ok && lk_trainer_evaluate(&s.trainer, &log, err) &&
         measure_file(model, &m->file_bytes, err);
    if (ok) {
        m->accuracy[m->seeds] = lk_trainer_log_get(&log, "eval_accuracy");
        m->loss[m->seeds] = lk_trainer_log_get(&log, "eval_loss");
        m->seeds++;
    }
    session_end(&s);
    return ok;
}

/* Makes the base model, the same one each time: weights that its file lacks are drawn from the
 * first seed. */
static Module *base_new(Task *task, const Options *o, Error *err)
{
    lk_manual_seed(&task->rng, (uint64_t)o->task.seed);
    return task_model_new(task, err);
}

/* Makes one run of a measurement. base: shared by all adapters, unchanged in the end; NULL for
 * full fine-tuning. */
static bool run_once(Task *task, const Options *o, Module *base, LabMeasure *m, Error *err)
{
    lk_tape_free(task->t); /* the memory of the previous tape must not count in this run */
    bool forgotten = forget_peak();
    task->t = lk_tape_quiet_new(err); /* main prints the message, once */
    if (!task->t) return false;
    Module *model = m->full ? base_new(task, o, err) : base;
    lk_manual_seed(&task->rng, (uint64_t)(o->task.seed + m->seeds));
    if (!model) return false;
    bool ok = m->full || lk_wrap_lora(model, m->targets, m->rank, o->alpha, &task->rng, err) > 0;
    m->parameters = lk_count_parameters(model);
    m->trainable = lk_count_trainable_parameters(model);
    m->optimizer_bytes = 2 * (int64_t)sizeof(float) * m->trainable; /* AdamW's two moments */
    double rate = 0;
    ok = ok && train(task, o, model, m, &rate, err);
    /* else the peak would be that of the largest run before */
    m->peak_megabytes = forgotten ? peak_megabytes() : NAN;
    if (m->full) lk_free(model);
    else lk_unwrap_lora(model);
    if (ok)
        lk_printf("%s, seed %lld: accuracy %.2f%%, loss %.4f, %.2f steps/s\n", m->name,
                  (long long)(o->task.seed + m->seeds - 1), 100 * m->accuracy[m->seeds - 1],
                  m->loss[m->seeds - 1], rate);
    return ok;
}

/* ---- the lab -------------------------------------------------------------------------------- */

static void plan(const Options *o, Lab *lab)
{
    static char names[RANKS][24];
    lab->measures[lab->count++] = (LabMeasure){ .name = "full fine-tuning", .full = true };
    for (int i = 0; i < RANKS; i++) {
        snprintf(names[i], sizeof names[i], "LoRA, rank %lld", (long long)all_ranks[i]);
        if (all_ranks[i] == o->rank) lab->reference = lab->count;
        lab->measures[lab->count++] = (LabMeasure){ .name = names[i], .rank = all_ranks[i] };
    }
    for (int i = 0; i < GROUPS; i++) {
        lab->measures[lab->count] = groups[i];
        lab->measures[lab->count++].rank = o->rank;
    }
    lab->ranks = RANKS;
    lab->groups = GROUPS;
}

static bool write_results(const Options *o, const Lab *lab, Error *err)
{
    return (!o->json || lab_write_json(lab, o->json, err)) &&
           (!o->report || lab_write_page(lab, o->report, err));
}

static void describe(const Task *task, const Options *o, Lab *lab)
{
    int64_t ones = 0;
    for (int64_t i = 0; i < task->dev->count; i++) ones += task->dev->labels[i];
    lab->dev_rows = task->dev->count;
    lab->train_rows = task->train->count;
    lab->majority = fmax((double)ones, (double)(lab->dev_rows - ones)) / (double)lab->dev_rows;
    lab->model = task->folder;
    lab->epochs = o->epochs;
    lab->batch_size = o->task.batch_size;
    lab->seed = o->task.seed;
    lab->alpha = o->alpha;
    lab->lr = o->lr;
    lab->full_lr = o->full_lr;
}

static bool run(Task *task, const Options *o, Lab *lab, Error *err)
{
    if (!task_open(task, &o->task, err)) return false;
    describe(task, o, lab);
    LabMeasure *full = &lab->measures[0];
    bool ok = true;
    while (ok && full->seeds < o->seeds) {
        ok = run_once(task, o, NULL, full, err);
        lab->base_parameters = full->parameters;
        ok = ok && write_results(o, lab, err);
    }
    Module *base = ok ? base_new(task, o, err) : NULL;
    if (!base) return false;
    lk_require_grad(base, "*", false);
    for (int seed = 0; ok && seed < o->seeds; seed++)
        for (int i = 1; ok && i < lab->count; i++)
            ok = run_once(task, o, base, &lab->measures[i], err) && write_results(o, lab, err);
    lk_free(base);
    if (ok) lab_print(lab);
    return ok;
}

int main(int argc, char **argv)
{
    Options o = { .task = { .padding = "grouped",
                            .train_rows = 10000,
                            .max_length = 512,
                            .batch_size = 32,
                            .eval_batch_size = 64,
                            .seed = 42 },
                  .epochs = 2,
                  .seeds = 3,
                  .rank = 8,
                  .alpha = 16,
                  .lr = 3e-5,
                  .full_lr = 2e-4,
                  .warmup = 0.1 };
    Error err = { 0 };
    Task task = { 0 };
    Lab lab = { 0 };
    cli_parse(&program, argc, argv, &o);
    setvbuf(stdout, NULL, _IOLBF, 0); /* every line appears when it is written, in a file too */
    cli_set_threads(o.threads);
    plan(&o, &lab);
    bool ok =
        lab.reference || lk_error_set(&err, LK_EVALUE, "--rank %lld is none of 1, 2, 4, 8, 16, 32",
                                      (long long)o.rank);
    ok = ok && (!o.json || results_writable(o.json, &err)) &&
         (!o.report || results_writable(o.report, &err));
    ok = ok && run(&task, &o, &lab, &err);
    task_close(&task);
    return cli_exit(&program, ok, &err);
}
