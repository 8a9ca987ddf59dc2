/* task.c - makes data for a Trainer from a model's folder and SST-2. The Trainer: nn/trainer.h. */
#include "data/roberta_files.h"
#include "data/trainer_batches.h"
#include "examples/roberta/task.h"
#include "examples/shared/results.h"

#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/hash.h"
#include "core/ops.h"
#include "nn/frozen.h"
#include "nn/lora_wrap.h"

/* ---- data and model ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    DType dtype;
} bases[] = { { "float32", LK_F32 }, { "bf16", LK_BF16 }, { "int8", LK_QI8 } };

/* The dtype of the base; -1: the name is none of them. */
static int base_dtype(const TaskOptions *o)
{
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        if (!o->base || strcmp(o->base, bases[i].name) == 0) return (int)bases[i].dtype;
    return -1;
}

bool task_open(Task *task, const TaskOptions *o, Error *err)
{
    *task = (Task){ .o = *o };
    lk_manual_seed(&task->rng, (uint64_t)o->seed);
    if (strcmp(o->padding, "grouped") != 0 && strcmp(o->padding, "longest") != 0 &&
        strcmp(o->padding, "max") != 0)
        return lk_error_set(err, LK_EVALUE, "--padding: '%.40s' is none of longest, max, grouped",
                            o->padding);
    if (base_dtype(o) < 0)
        return lk_error_set(err, LK_EVALUE, "--base: '%.40s' is none of float32, bf16, int8",
                            o->base);
    if (!input_model_folder(o->model, task->folder, err) ||
        !lk_roberta_config_read(&task->config, task->folder, err))
        return false;
    /* from_pretrained(…, num_labels=2): the head is SST-2's, whatever the model had */
    task->config.num_labels = 2;
    if (o->max_length > lk_roberta_max_length(&task->config))
        return lk_error_set(
            err, LK_EVALUE, "--max-length %lld: the model has positions for %lld tokens",
            (long long)o->max_length, (long long)lk_roberta_max_length(&task->config));
    task->tok = lk_tokenizer_new(task->folder, err);
    if (!task->tok) return false;
    if (task->tok->size > task->config.vocab_size || task->tok->pad != task->config.pad_token_id)
        return lk_error_set(
            err, LK_EVALUE,
            "%.200s: vocab.json has %lld tokens and the padding %lld, config.json %lld and %lld",
            task->folder, (long long)task->tok->size, (long long)task->tok->pad,
            (long long)task->config.vocab_size, (long long)task->config.pad_token_id);
    if (!o->eval_only)
        task->train = input_sentences_new(o->data, "train.tsv", task->tok, o->max_length,
                                          o->train_rows, err);
    if (o->eval_only || task->train)
        task->dev = input_sentences_new(o->data, "dev.tsv", task->tok, o->max_length, 0, err);
    task->t = task->dev ? lk_tape_quiet_new(err) : NULL; /* main prints the message, once */
    return task->t;
}

void task_close(Task *task)
{
    lk_tape_free(task->t);
    lk_text_dataset_free(task->dev);
    lk_text_dataset_free(task->train);
    lk_tokenizer_free(task->tok);
}

/* Refuses a folder with weights in a form that is not read. They must not be taken for missing
 * weights. */
static bool has_no_other_weights(const char *folder, Error *err)
{
    static const char *const others[] = { "model.safetensors.index.json", "pytorch_model.bin",
                                          "pytorch_model.bin.index.json", "tf_model.h5",
                                          "flax_model.msgpack" };
    char path[LK_PATH_MAX + 64];
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, others[i]);
        if (input_is_file(path))
            return lk_error_set(
                err, LK_EFORMAT,
                "%.300s has its weights in %s; only model.safetensors is read: save "
                "the model as one with safe_serialization=True",
                folder, others[i]);
    }
    return true;
}

static void print_report(const char *path, const LoadReport *r)
{
    char list[400];
    printf("%s: %d tensors\n", path, r->loaded);
    if (r->widened)
        printf("In half precision, so copied and converted to float32: %d\n", r->widened);
    if (r->ignored.count)
        printf("Not used of it: %s\n", lk_names_text(&r->ignored, list, sizeof list));
    if (r->missing.count)
        printf("Not in it, so newly initialised: %s\n",
               lk_names_text(&r->missing, list, sizeof list));
}

Module *task_hollow_new(const Task *task, Error *err)
{
    Module *m = lk_roberta_classifier_new(&task->config, err);
    const DType dtype = (DType)base_dtype(&task->o);
    if (!m || dtype == LK_F32) return m;
    lk_require_grad(m, "roberta.*", false);
    if (lk_store_frozen(m, dtype, err) >= 0) return m;
    lk_free(m);
    return NULL;
}

Module *task_model_new(Task *task, Error *err)
{
    char path[LK_PATH_MAX + 32];
    Module *m = task_hollow_new(task, err);
    if (!m) return NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", task->folder);
    bool there = input_is_file(path);
    LoadReport report = { 0 };
    bool ok = there ? lk_roberta_load_base(m, path, &report, err)
                    : has_no_other_weights(task->folder, err);
    if (ok && there) print_report(path, &report);
    lk_load_report_free(&report);
    if (ok && !there) printf("%s: not there, so all weights are newly initialised\n", path);
    if (ok && lk_roberta_fill(m, &task->rng, err)) return m;
    lk_free(m);
    return NULL;
}

/* ---- LoRA ----------------------------------------------------------------------------------- */

bool task_apply_lora(Module *model, const char *targets, int64_t rank, double alpha,
                     bool train_head, Rng *rng, Error *err)
{
    char number[32];
    printf("Freezing original model parameters...\n");
    lk_require_grad(model, "*", false);
    lk_printf("Original parameters frozen.\nPrepared LoRA wrapper with r=%lld, alpha=%g\n",
              (long long)rank, alpha);
    printf("Applying LoRA wrappers to target layers...\n");
    int wrapped = lk_wrap_lora(model, targets, rank, alpha, rng, err);
    if (wrapped < 0) return false;
    printf("Target layers replaced.\n");
    if (train_head)
        printf("Parameters of the head that are trained too: %d\n",
               lk_require_grad(model, "classifier.*", true));
    int64_t trainable = lk_count_trainable_parameters(model), total = lk_count_parameters(model);
    printf("\nTrainable params (LoRA A/B matrices%s): %s\n", train_head ? ", head" : "",
           cli_thousands(trainable, number));
    printf("Total params in model: %s\n", cli_thousands(total, number));
    lk_printf("Trainable parameter ratio: %.4f%%\n", 100.0 * (double)trainable / (double)total);
    return true;
}

/* ---- what the Trainer calls ----------------------------------------------------------------- */

static bool feed_begin(void *loader, Error *err)
{
    TaskFeed *f = loader;
    (void)err;
    if (f->reseed) lk_manual_seed(f->reseed, 0);
    lk_text_loader_begin(f->loader);
    return true;
}

static bool feed_next(void *loader, TrainerBatch *b, Error *err)
{
    TaskFeed *f = loader;
    (void)err;
    if (!lk_text_loader_next(f->loader, &f->batch)) return false;
    *b = (TrainerBatch){ f->batch.ids, f->batch.mask, f->batch.labels };
    return true;
}

static Tensor *loss_of(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    const Session *s = user;
    Tensor *y = lk_roberta_logits(t, s->trainer.model, b->x, b->mask);
    if (logits) *logits = y;
    return lk_cross_entropy(t, y, b->labels);
}

static void scores_begin(TrainerMetrics *self) { ((TaskScores *)self)->correct = 0; }

static bool scores_add(TrainerMetrics *self, Tape *t, Tensor *logits, const TrainerBatch *b)
{
    TaskScores *s = (TaskScores *)self;
    Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b->labels),
           *packed = lk_contiguous(t, logits);
    if (!right || !packed) return false;
    s->correct += lk_count(right);
    for (int64_t i = 0; i < packed->shape[0]; i++)
        memcpy(s->logits + s->feed->batch.rows[i] * s->classes,
               (const float *)packed->data + i * s->classes, (size_t)s->classes * sizeof(float));
    return true;
}

static void scores_end(TrainerMetrics *self, TrainerLog *log)
{
    const TaskScores *s = (const TaskScores *)self;
    lk_trainer_log_add(log, "accuracy", (double)s->correct / (double)s->count);
}

/* ---- a training ----------------------------------------------------------------------------- */

static TrainerBatches data_of(TaskFeed *feed)
{
    const TextLoader *l = feed->loader;
    return (TrainerBatches){ feed, l->dataset->count, lk_text_loader_len(l), feed_begin,
                             feed_next };
}

static uint64_t hash_of(uint64_t hash, const int64_t *x, int64_t count)
{
    return lk_hash(hash, x, (size_t)count * sizeof *x);
}

/* Describes the settings that decide a run's bits and that a Trainer cannot see. (All members of
 * the config have eight bytes, so there are no gaps to hash.) */
static void put_mark(Session *s, const Task *task, Module *model)
{
    const TaskOptions *o = &task->o;
    const TextDataset *d[] = { task->train, task->dev };
    LoRAFacts lora = lk_lora_facts(model);
    uint64_t hash = LK_HASH_START;
    for (int i = 0; i < 2; i++) {
        if (!d[i]) continue;
        hash = hash_of(hash, d[i]->ids, d[i]->offset[d[i]->count]);
        hash = hash_of(hash_of(hash, d[i]->offset, d[i]->count), d[i]->labels, d[i]->count);
    }
    lk_snprintf(s->mark, sizeof s->mark,
                "%s; padding %s; max-length %lld; batch-size %lld; train-rows %lld; sentences of "
                "checksum %016llx; "
                "config.json of checksum %016llx; rank %lld; alpha %g; LoRA of %s; alphas "
                "%016llx; %lld trained "
                "parameters",
                lora.count ? "LoRA" : "full fine-tuning", o->padding, (long long)o->max_length,
                (long long)o->batch_size, (long long)(task->train ? task->train->count : 0),
                (unsigned long long)hash,
                (unsigned long long)lk_hash(LK_HASH_START, &task->config, sizeof task->config),
                (long long)lora.rank, lora.alpha, lora.targets, (unsigned long long)lora.alphas,
                (long long)lk_count_trainable_parameters(model));
}

bool session_begin(Session *s, Task *task, Module *model, Error *err)
{
    const TaskOptions *o = &task->o;
    *s = (Session){ 0 };
    int64_t accumulate = o->accumulate > 1 ? o->accumulate : 1;
    bool max = strcmp(o->padding, "max") == 0, grouped = strcmp(o->padding, "grouped") == 0;
    TextOptions train = { .batch_size = o->batch_size,
                          .order = grouped ? LK_GROUPED : LK_SHUFFLED,
                          .length = max ? o->max_length : 0,
                          .pad = task->tok->pad,
                          .group = o->batch_size * accumulate };
    /* The order of an evaluation changes only its duration, not its results. */
    TextOptions dev = { .batch_size = o->eval_batch_size,
                        .order = grouped ? LK_GROUPED : LK_IN_ORDER,
                        .length = train.length,
                        .pad = task->tok->pad };
    if (task->train) s->train.loader = lk_text_loader_new(task->train, &train, &task->rng, err);
    if (!task->train || s->train.loader)
        s->dev.loader = lk_text_loader_new(task->dev, &dev, &s->dev_rng, err);
    s->dev.reseed = &s->dev_rng;
    if (!s->dev.loader) return false;
    s->scores = (TaskScores){ .base = { scores_begin, scores_add, scores_end },
                              .feed = &s->dev,
                              .count = task->dev->count,
                              .classes = task->config.num_labels };
    s->scores.logits = calloc((size_t)(s->scores.count * s->scores.classes), sizeof(float));
    if (!s->scores.logits) return lk_error_set(err, LK_EMEMORY, "no memory for the logits");
    s->trainer = (Trainer){ .args = lk_trainer_defaults(),
                            .model = model,
                            .t = task->t,
                            .rng = &task->rng,
                            .loss = loss_of,
                            .user = s,
                            .store = &lk_checkpoints,
                            .train = s->train.loader ? data_of(&s->train) : (TrainerBatches){ 0 },
                            .eval = data_of(&s->dev),
                            .metrics = &s->scores.base };
    TrainerArgs *a = &s->trainer.args; /* the homework's TrainingArguments */
    a->epochs = 2;
    a->accumulation = accumulate;
    a->weight_decay = 0.01;
    a->warmup_steps = 500;
    a->logging_steps = 10;
    a->eval_steps = a->save_steps = LK_EVERY_EPOCH;
    a->load_best_at_end = true;
    a->seed = (uint64_t)o->seed;
    a->mark = s->mark;
    put_mark(s, task, model);
    return true;
}

static void show_log(void *user, const TrainerLog *log)
{
    Session *s = user;
    lk_progress_clear(&s->bar); /* it goes on below the log */
    lk_trainer_log_print(stdout, log);
    fflush(stdout);
}

static bool show_step(void *user, const TrainerState *state)
{
    Session *s = user;
    s->bar.count = state->step - 1;
    s->bar.value = state->loss;
    lk_progress_step(&s->bar);
    if (state->step == s->bar.total) {
        lk_progress_end(&s->bar);
        s->bar.out = NULL;
    }
    return true;
}

void session_show(Session *s, FILE *bar)
{
    s->bar = lk_progress(bar, NULL, lk_trainer_steps(&s->trainer));
    s->bar.label = "loss";
    s->trainer.on_log = show_log;
    s->trainer.on_step = show_step;
}

void session_end(Session *s)
{
    lk_trainer_free(&s->trainer);
    lk_text_loader_free(s->dev.loader);
    lk_text_loader_free(s->train.loader);
    free(s->scores.logits);
}

bool task_write_logits(const Task *task, const Session *s, const char *path, Error *err)
{
    Buffer text;
    const TaskScores *scores = &s->scores;
    FILE *out = results_stream(&text);
    if (!out) return lk_error_set(err, LK_EMEMORY, "no memory for %.300s", path);
    fputs("row\tlabel", out);
    for (int64_t k = 0; k < scores->classes; k++) fprintf(out, "\tlogit_%lld", (long long)k);
    for (int64_t i = 0; i < scores->count; i++) {
        fprintf(out, "\n%lld\t%lld", (long long)i, (long long)task->dev->labels[i]);
        for (int64_t k = 0; k < scores->classes; k++)
            lk_fprintf(out, "\t%.9g", (double)scores->logits[i * scores->classes + k]);
    }
    fputc('\n', out);
    return results_put(out, &text, path, err);
}
