/* roberta_sst2 - the homework: RoBERTa with LoRA on every Linear learns the sentiment of SST-2's
 * sentences.
 *
 * It has the homework's order and prints its lines: the base model, LoRA, data, training with an
 * evaluation and a checkpoint after every epoch, the best weights saved, loaded into a fresh model
 * and evaluated again. It adds full fine-tuning (--full), the adapter as PEFT reads it, logits,
 * results as JSON and as a page. The model and its data: examples/roberta/task.c; training:
 * nn/trainer.c. */
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "data/peft.h"
#include "data/folder.h"
#include "data/roberta_files.h"
#include "examples/shared/results.h"
#include "examples/shared/stop.h"
#include "nn/lora_wrap.h"
#include "examples/roberta/task.h"
#include "examples/roberta/sst2_output.h"

typedef struct Options {
    TaskOptions task;
    const char *targets, *output, *resume, *logits, *adapter, *json, *report;
    int64_t rank, epochs, warmup, threads, stop_after, keep;
    double alpha, lr, weight_decay;
    bool train_head, full, recompute, progress;
} Options;

static const CliOption options[] = {
    INPUT_MODEL(Options, task.model),
    INPUT_SST2(Options, task.data),
    CLI_TEXT("base", Options, task.base, "TYPE",
             "how the frozen weights are stored: float32, bf16 (half the memory) or int8 (a "
             "quarter)"),
    CLI_INT("rank", Options, rank, "N", 1, 4096, "rank of A and B"),
    CLI_DOUBLE("alpha", Options, alpha, "X", 0, 1e4,
               "strength of LoRA, W + alpha A B: not divided by the rank"),
    CLI_TEXT(
        "targets", Options, targets, "LIST",
        "Linears that get LoRA, like query,value or layer.1.*; !NAME takes some away; else all"),
    CLI_FLAG("train-head", Options, train_head,
             "train the weights of the head (classifier) too, not only its LoRA"),
    CLI_FLAG("full", Options, full, "full fine-tuning: no LoRA, all weights are trained"),
    CLI_INT("epochs", Options, epochs, "N", 1, 1000, "passes over the training data"),
    CLI_INT("batch-size", Options, task.batch_size, "N", 1, 65536,
            "training sentences of a batch"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "highest learning rate of AdamW"),
    CLI_INT("warmup", Options, warmup, "N", 0, 1e9,
            "steps in which the learning rate rises; then it falls to 0"),
    CLI_DOUBLE("weight-decay", Options, weight_decay, "X", 0, 1,
               "weight decay of AdamW; biases and LayerNorms have none"),
    CLI_INT("train-rows", Options, task.train_rows, "N", 0, 1e9,
            "so many sentences of train.tsv, from its beginning; 0: all"),
    CLI_INT("max-length", Options, task.max_length, "N", 2, 1 << 20,
            "tokens of a sentence; longer ones are cut"),
    CLI_TEXT("padding", Options, task.padding, "HOW",
             "longest of the batch, max (--max-length), or grouped: longest, in batches of "
             "similar length"),
    CLI_INT("accumulate", Options, task.accumulate, "N", 1, 1e6,
            "batches whose gradients make one step"),
    CLI_FLAG("recompute", Options, recompute,
             "of each layer keep only its input for backward: less memory, more time"),
    CLI_TEXT("output", Options, output, "DIR",
             "folder for checkpoint-N, best_checkpoint and adapter"),
    CLI_TEXT("resume", Options, resume, "DIR",
             "go on from this checkpoint-N, with the options it was made with"),
    CLI_INT("stop-after", Options, stop_after, "N", 0, 1e9,
            "stop after step N with a checkpoint, for --resume; 0: never"),
    CLI_INT("keep", Options, keep, "N", 0, 1e9,
            "newest checkpoints that stay, besides the best one; 0: all"),
    CLI_FLAG("eval-only", Options, task.eval_only,
             "no training: evaluate the model, or --adapter, on dev.tsv"),
    CLI_TEXT("logits", Options, logits, "FILE",
             "write the logits of dev.tsv to FILE: row, label, logits"),
    CLI_TEXT("adapter", Options, adapter, "DIR",
             "LoRA and head as this PEFT adapter has them, instead of new ones"),
    CLI_FLAG("progress", Options, progress, "show a progress bar on stderr"),
    CLI_INT("seed", Options, task.seed, "N", 0, UINT32_MAX,
            "seed of the random numbers, as torch.manual_seed"),
    CLI_THREADS(Options),
    CLI_JSON(Options),
    CLI_TEXT("report", Options, report, "FILE",
             "write a page with the results and curves to FILE, as HTML"),
    CLI_END,
};
static const CliExclusion exclusions[] = {
    { "full",
      "trains all weights",
      { "adapter", "base", "rank", "alpha", "targets", "train-head" } },
    { "adapter",
      "brings LoRA and a head of its own",
      { "rank", "alpha", "targets", "train-head" } },
    { "eval-only",
      "trains nothing",
      { "resume", "stop-after", "keep", "train-head", "epochs", "lr", "warmup", "weight-decay",
        "accumulate", "recompute", "train-rows" } },
    { "stop-after", "ends before there are results", { "logits", "json", "report" } },
    { NULL, NULL, { NULL } },
};
static const CliProgram program = {
    .name = "roberta_sst2",
    .about = "Fine-tunes RoBERTa with LoRA, or fully, on SST-2: does a sentence praise a film (1) "
             "or not (0)?" INPUT_PLACES,
    .options = options,
    .exclusions = exclusions,
};

typedef struct Run {
    const Options *o;
    int argc; /* of main */
    char **argv;
    Task task;
    Module *model;
    Session session;
    LoRAFacts lora; /* --adapter: its own */
    Sst2Outcome out;
    FolderLock *lock;       /* of --output */
    char best[LK_PATH_MAX]; /* …/best_checkpoint/model.safetensors */
} Run;

/* ---- before the work ------------------------------------------------------------------------ */

/* Checks before the work starts that all outputs can be written, and by no other run. */
static bool can_write(Run *r, Error *err)
{
    const Options *o = r->o;
    if (o->logits && !results_writable(o->logits, err)) return false;
    if (o->json && !results_writable(o->json, err)) return false;
    if (o->report && !results_writable(o->report, err)) return false;
    if (o->task.eval_only) return true;
    if (lk_folder_make(o->output, err)) r->lock = lk_folder_lock_new(o->output, err);
    return r->lock;
}

/* Checks that best_checkpoint, with LoRA in it, does not replace its own base. */
static bool keeps_base(const Run *r, Error *err)
{
    char best[LK_PATH_MAX];
    if (r->o->full || r->o->task.eval_only) return true;
    return lk_path_join(best, r->o->output, "best_checkpoint", err) &&
           (!lk_folder_same(best, r->task.folder) ||
            lk_error_set(
                err, LK_EVALUE,
                "%.300s is the base model itself, and would be replaced: another --output is "
                "needed",
                best));
}

/* ---- steps of the homework ------------------------------------------------------------------ */

/* Loads a PEFT adapter: LoRA on the Linears that it names, and its own head. */
static bool load_adapter(const Options *o, Module *model, Error *err)
{
    char number[32];
    LoadReport report = { 0 };
    lk_require_grad(model, "*", false);
    bool ok = lk_load_peft(model, o->adapter, LK_PEFT_WRAPPER, NULL, &report, err);
    if (ok)
        printf("%s: LoRA for %d Linears, %s parameters\n", o->adapter, report.loaded,
               cli_thousands(lk_count_trainable_parameters(model), number));
    if (ok && report.widened)
        printf("In half precision, so converted to float32: %d tensors\n", report.widened);
    lk_load_report_free(&report);
    return ok;
}

static bool make_model(Run *r, Error *err)
{
    char number[32];
    r->model = task_model_new(&r->task, err);
    if (!r->model) return false;
    printf("Original model loaded.\n");
    const Options *o = r->o;
    bool ok = o->full || (o->adapter ? load_adapter(o, r->model, err)
                                     : task_apply_lora(r->model, o->targets, o->rank, o->alpha,
                                                       o->train_head, &r->task.rng, err));
    if (!ok) return false;
    r->lora = lk_lora_facts(r->model);
    r->out.parameters = lk_count_parameters(r->model);
    r->out.trainable = lk_count_trainable_parameters(r->model);
    if (o->full)
        printf("Full fine-tuning: all %s parameters are trained\n",
               cli_thousands(r->out.parameters, number));
    else printf("LoRA model created.\n");
    lk_roberta_set_recompute(r->model, o->recompute);
    return true;
}

static void set_arguments(const Options *o, TrainerArgs *a)
{
    a->output_dir = o->task.eval_only ? NULL : o->output;
    a->resume_from = o->resume;
    a->epochs = o->epochs;
    a->learning_rate = o->lr;
    a->weight_decay = o->weight_decay;
    a->warmup_steps = o->warmup;
    a->stop_after = o->stop_after;
    a->save_total_limit = o->keep;
}

/* trainer.evaluate() with a line of its own. */
static bool evaluate(Run *r, const char *what, double *loss, double *accuracy, Error *err)
{
    Trainer *tr = &r->session.trainer;
    TrainerLog log;
    tr->on_log = NULL;
    if (!lk_trainer_evaluate(tr, &log, err)) return false;
    printf("%s: ", what);
    lk_trainer_log_print(stdout, &log);
    *loss = lk_trainer_log_get(&log, "eval_loss");
    *accuracy = lk_trainer_log_get(&log, "eval_accuracy");
    return true;
}

/* Whether training ended early. A signal that came after the last step counts: its checkpoint is
 * there. */
static bool is_stopped(const Run *r) { return r->session.trainer.stopped || stop_signal(); }

static bool train_and_evaluate(Run *r, Error *err)
{
    Trainer *tr = &r->session.trainer;
    if (!session_begin(&r->session, &r->task, r->model, err)) return false;
    set_arguments(r->o, &tr->args);
    session_show(&r->session, r->o->progress ? stderr : NULL);
    if (!r->o->task.eval_only) {
        int64_t steps = lk_trainer_steps(tr);
        if (tr->args.warmup_steps >= steps)
            printf("All %lld steps belong to the warm-up of %lld: the learning rate only rises, "
                   "and stays small. A "
                   "shorter --warmup may teach more.\n",
                   (long long)steps, (long long)tr->args.warmup_steps);
        tr->should_training_stop = stop_on_signals(program.name);
        const bool ok = lk_trainer_train(tr, err);
        stop_no_more();
        if (!ok) return false;
        lk_progress_end(&r->session.bar);
    }
    return is_stopped(r) || evaluate(r, "Eval Results", &r->out.loss, &r->out.accuracy, err);
}

/* Writes best_checkpoint, which is a folder for --model after full fine-tuning. */
static bool save_best(Run *r, Error *err)
{
    Folder f;
    char path[LK_PATH_MAX];
    const char *from = r->task.folder;
    if (!lk_path_join(path, r->o->output, "best_checkpoint", err) ||
        !lk_folder_begin(&f, NULL, path, err))
        return false;
    bool ok = lk_folder_copy(from, f.temporary, "vocab.json", err) &&
              lk_folder_copy(from, f.temporary, "merges.txt", err) &&
              lk_roberta_config_write(&r->task.config, "RobertaForSequenceClassification",
                                      f.temporary, err) &&
              lk_path_join(path, f.temporary, "model.safetensors", err) &&
              lk_save_module(r->model, path, err);
    return lk_folder_end(&f, ok, err) && lk_path_join(r->best, f.path, "model.safetensors", err);
}

/* Whether all LoRA is in the head. PEFT's form has the head as a whole, so there is no adapter
 * then. */
static bool is_head_alone(const Run *r)
{
    for (const char *name = r->lora.targets; name;
         name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL)
        if (strncmp(name, "classifier.", strlen("classifier.")) != 0) return false;
    return true;
}

/* Writes best_checkpoint, and the adapter with its head. */
static bool save(Run *r, Error *err)
{
    char folder[LK_PATH_MAX];
    static const char *const head[] = { "classifier" };
    const PeftOptions peft = {
        .base_model = r->task.folder, .task_type = "SEQ_CLS", .save_count = 1, .save = head
    };
    if (!save_best(r, err)) return false;
    if (r->o->full) return true;
    if (is_head_alone(r)) {
        printf(
            "LoRA is in the classifier alone: best_checkpoint has it, and there is no adapter\n");
        return true;
    }
    return lk_path_join(folder, r->o->output, "adapter", err) &&
           lk_save_peft(r->model, folder, &peft, err);
}

/* numpy.isclose */
static bool is_close(double a, double b) { return fabs(a - b) <= 1e-8 + 1e-6 * fabs(b); }

/* Makes a model of the same shape that has seen no training. */
static Module *fresh_model(Run *r, Error *err)
{
    const Options *o = r->o;
    Rng unused = r->task.rng;
    Module *m = o->adapter ? task_model_new(&r->task, err) : task_hollow_new(&r->task, err);
    bool ok = m && (o->full || (o->adapter ? load_adapter(o, m, err)
                                           : lk_wrap_lora(m, o->targets, o->rank, o->alpha,
                                                          &unused, err) > 0));
    if (ok) return m;
    lk_free(m);
    return NULL;
}

/* Loads best_checkpoint into a fresh model, and checks that loss and accuracy are those that were
 * measured after training. */
static bool reload(Run *r, Error *err)
{
    lk_free(r->model);
    r->model = fresh_model(r, err);
    if (!r->model || !lk_load_module_mapped(r->model, r->best, NULL, NULL, err)) return false;
    r->session.trainer.model = r->model;
    Sst2Outcome *out = &r->out;
    const char *what = r->o->full ? "Evaluation results on loaded model"
                                  : "Evaluation results on loaded LoRA-trained model";
    if (!evaluate(r, what, &out->loaded_loss, &out->loaded_accuracy, err)) return false;
    out->reloaded = out->same = true;
    cli_line();
    cli_verify(&out->same, is_close(out->loss, out->loaded_loss),
               "loss after training %.9g, of the reloaded model %.9g", out->loss,
               out->loaded_loss);
    cli_verify(&out->same, is_close(out->accuracy, out->loaded_accuracy),
               "accuracy after training %.9g, of the reloaded model %.9g", out->accuracy,
               out->loaded_accuracy);
    return true;
}

/* ---- results -------------------------------------------------------------------------------- */

static void fill_outcome(Run *r, double start)
{
    const Options *o = r->o;
    Sst2Outcome *out = &r->out;
    struct rusage use;
    out->full = o->full;
    out->model = r->task.folder;
    out->adapter = o->adapter;
    out->args = &r->session.trainer.args;
    out->task = &o->task;
    out->targets = o->adapter ? r->lora.targets : o->targets;
    out->linears = r->lora.count;
    out->rank = r->lora.rank;
    out->alpha = r->lora.alpha;
    out->train_rows = r->task.train ? r->task.train->count : 0;
    out->dev_rows = r->task.dev->count;
    out->state = &r->session.trainer.state;
    out->seconds = lk_seconds() - start;
    out->peak_megabytes = getrusage(RUSAGE_SELF, &use) == 0 ? (double)use.ru_maxrss / 1024 : NAN;
}

static void say_how_to_go_on(const Run *r)
{
    char checkpoint[LK_PATH_MAX + 64];
    const int64_t step = r->session.trainer.state.step;
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint-%lld", r->o->output, (long long)step);
    printf("Stopped after step %lld; with the same options, --resume %s goes on:\n",
           (long long)step, checkpoint);
    stop_print_command(r->argc, r->argv, checkpoint);
}

static bool homework(Run *r, double start, Error *err)
{
    const Options *o = r->o;
    if (!task_open(&r->task, &o->task, err) || !keeps_base(r, err) || !make_model(r, err))
        return false;
    printf("Tokenizer loaded\nDatasets prepared.\n");
    if (!train_and_evaluate(r, err)) return false;
    if (is_stopped(r)) {
        say_how_to_go_on(r);
        return true;
    }
    if (o->logits && !task_write_logits(&r->task, &r->session, o->logits, err)) return false;
    if (!o->task.eval_only && (!save(r, err) || !reload(r, err))) return false;
    fill_outcome(r, start);
    return (!o->json || sst2_write_json(&r->out, o->json, err)) &&
           (!o->report || sst2_write_page(&r->out, o->report, err));
}

int main(int argc, char **argv)
{
    Options o = { .task = { .base = "float32",
                            .padding = "grouped",
                            .train_rows = 10000,
                            .max_length = 512,
                            .batch_size = 32,
                            .eval_batch_size = 64,
                            .accumulate = 1,
                            .seed = 42 },
                  .output = "results",
                  .rank = 8,
                  .alpha = 16,
                  .epochs = 2,
                  .lr = 5e-5,
                  .warmup = 500,
                  .weight_decay = 0.01 };
    double start = lk_seconds();
    Run r = { .o = &o, .argc = argc, .argv = argv, .out = { .same = true } };
    Error err = { 0 };
    cli_parse(&program, argc, argv, &o);
    setvbuf(stdout, NULL, _IOLBF, 0); /* every line appears when it is written, in a file too */
    cli_set_threads(o.threads);
    bool ok = can_write(&r, &err) && homework(&r, start, &err);
    session_end(&r.session);
    lk_free(r.model);
    task_close(&r.task);
    lk_folder_lock_free(r.lock);
    return stop_status(cli_exit(&program, ok && r.out.same, &err));
}
