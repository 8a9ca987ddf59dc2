/* task.h - SST-2, a RoBERTa that classifies its sentences, and a Trainer between the two; for
 * roberta_sst2 and lora_lab.
 *
 *     Task task;           -- tokenizer, sentences, generator, tape
 *     Session s;           -- one training of a model
 *     Module *model = task_open(&task, &options, &err) ? task_model_new(&task, &err) : NULL;
 *     ok = model && task_apply_lora(model, …) && session_begin(&s, &task, model, &err);
 *     ok = ok && lk_trainer_train(&s.trainer, &err);
 *     session_end(&s), lk_free(model), task_close(&task);      -- each also after a failure */
#ifndef TASK_H
#define TASK_H

#include "data/progress.h"
#include "data/trainer_checkpoint.h"
#include "examples/roberta/inputs.h"
#include "nn/models/roberta.h"

typedef struct TaskOptions {
    const char *model, *data; /* folders, NULL: the usual places */
    /* "grouped": batches of similar lengths; "longest": shuffled; "max": all of max_length */
    const char *padding;
    const char *base; /* how the frozen base is stored: "float32", "bf16", "int8"; NULL: float32 */
    int64_t train_rows, max_length, batch_size, eval_batch_size, seed;
    int64_t accumulate; /* batches whose gradients make one step; 0: 1 */
    bool eval_only;     /* train.tsv is not read, and need not be there */
} TaskOptions;

typedef struct Task {
    TaskOptions o;
    char folder[LK_PATH_MAX];
    RobertaConfig config;
    Tokenizer *tok;
    TextDataset *train, *dev; /* train NULL: o.eval_only */
    /* starts from o.seed, and draws in this order: missing weights, A of LoRA, the order of
     * training */
    Rng rng;
    Tape *t;
} Task;
bool task_open(Task *task, const TaskOptions *o, Error *err);
void task_close(Task *task);

/* A model without weights, whose base (roberta.*) is stored as o.base says. The head is
 * float32. */
Module *task_hollow_new(const Task *task, Error *err);

/* The base model of the folder. Tensors that model.safetensors lacks, or all when there is no such
 * file, are drawn from task->rng, and a line says so. */
Module *task_model_new(Task *task, Error *err);

/* apply_lora_to_roberta of the homework, with its lines: freezes all parameters, adds LoRA,
 * counts. With train_head the classifier's own weights are trained too. */
bool task_apply_lora(Module *model, const char *targets, int64_t rank, double alpha,
                     bool train_head, Rng *rng, Error *err);

/* Sentences for a Trainer, and which of them the present batch has. */
typedef struct TaskFeed {
    TextLoader *loader;
    TextBatch batch;
    Rng *reseed; /* evaluation: reseeded, so that all passes have one order; NULL: training */
} TaskFeed;

/* Accuracy, and the logits of every sentence of dev.tsv. */
typedef struct TaskScores {
    TrainerMetrics base;
    const TaskFeed *feed;
    int64_t count, classes, correct;
    float *logits; /* (count, classes) in the order of the file */
} TaskScores;

typedef struct Session {
    Trainer trainer; /* args: N5's epochs, learning rate, …; change them before training */
    TaskFeed train, dev;
    TaskScores scores;
    Rng dev_rng;
    char mark[2048]; /* of the Trainer: model, LoRA and data */
    Progress bar;
} Session; /* must not be moved: its parts point to each other */
bool session_begin(Session *s, Task *task, Module *model, Error *err);
void session_end(Session *s);
/* From now on each log is printed, and a bar is drawn on `bar` (NULL: none). */
void session_show(Session *s, FILE *bar);

/* Logits of the last evaluation: a line of names, then row, label and every logit with 9 digits,
 * tabs between. */
bool task_write_logits(const Task *task, const Session *s, const char *path, Error *err);

#endif
