/* trainer.h - training as the Trainer of Hugging Face's Transformers does it, for any module.
 *
 *     TrainerAccuracy accuracy = trainer_accuracy();
 *     Trainer tr = { .args = trainer_defaults(), .model = model, .t = t, .rng = &rng, .loss = my_loss, .user = my,
 *                    .train = trainer_loader(train), .eval = trainer_loader(test), .metrics = &accuracy.base,
 *                    .on_log = trainer_print };
 *     tr.args.output_dir = "results", tr.args.load_best_at_end = true;
 *     bool ok = trainer_train(&tr, &err) && trainer_evaluate(&tr, &log, &err);
 *     trainer_free(&tr);
 *
 * A step is: `accumulation` batches forward and backward, clip, AdamW with the schedule's learning
 * rate and without decay of LayerNorm parameters and of names with "bias". All of it follows from
 * arguments, seed and data: a run that was stopped, or killed, and resumed has the bits of one
 * that was not.
 *
 * The Trainer prints nothing itself: logs go to on_log, the bar to args.progress. Checkpoints:
 * trainer_checkpoint.h. */
#ifndef TRAINER_H
#define TRAINER_H

#include "examples/trainer_data.h"
#include "nn/module.h"
#include "optim/schedule.h"

/* compute_loss: the mean loss of a batch, a tensor of t with one element, and, where logits is not
 * NULL, what the metrics are made of. NULL with the reason on t. */
typedef Tensor *TrainerLoss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits);

/* ---- arguments: TrainingArguments ----------------------------------------------------------- */

/* When to evaluate or save: every N > 0 steps, at the end of each epoch, never. */
enum { TRAINER_EPOCH = 0, TRAINER_NEVER = -1 };

typedef struct TrainerArgs {
    /* for checkpoint-N; made when missing, with those around it. NULL: nothing is saved */
    const char *output_dir;
    const char *resume_from; /* a checkpoint-N to go on from; NULL: from the beginning */
    int64_t epochs;          /* num_train_epochs, 3 */
    /* more than 0: so many optimizer steps, however many epochs they take */
    int64_t max_steps;
    /* gradient_accumulation_steps, 1: batches in a step; an epoch's last may have fewer */
    int64_t accumulation;
    double learning_rate;     /* 5e-5 */
    double weight_decay;      /* 0 */
    double beta1, beta2, eps; /* of AdamW: 0.9, 0.999, 1e-8 */
    double max_grad_norm;     /* 1; 0: no clipping */
    ScheduleKind schedule;    /* lr_scheduler_type, linear */
    int64_t warmup_steps;     /* 0 */
    int64_t logging_steps;    /* 500; 0: never */
    int64_t eval_steps;       /* TRAINER_NEVER */
    int64_t save_steps;       /* TRAINER_NEVER */
    /* Loads the weights of the best evaluation when training ends; every evaluation that is the
     * best so far is saved. */
    bool load_best_at_end;
    const char *best_metric; /* metric_for_best_model, "eval_loss" */
    bool greater_is_better;  /* false */
    uint64_t seed;           /* of rng and of dropout, 42 */
    int64_t stop_after;      /* more than 0: stop behind this step as if on_step had said so */
    /* What else decides the run's bits, "rank 8; alpha 16; data 9f3a…": UTF-8 without line breaks,
     * kept in checkpoints. NULL: nothing. A run is resumed only with the arguments and the mark it
     * had (trainer_checkpoint.h). */
    const char *mark;
    FILE *progress; /* for a bar; NULL: none */
} TrainerArgs;
TrainerArgs trainer_defaults(void);

/* ---- the Trainer ---------------------------------------------------------------------------- */

/* trainer.state: where training is. */
typedef struct TrainerState {
    int64_t step; /* global_step: optimizer steps made */
    /* finished passes over the data; batches used of the one that has begun */
    int64_t pass, batches;
    double epoch; /* the same as a number, for logs */
    /* losses of the steps since the last log, which was at step `logged` */
    double loss_sum;
    int64_t logged;
    double total_loss;  /* of the steps before it */
    double best_metric; /* of the best evaluation, made at best_step; 0: none yet */
    int64_t best_step;
    Rng pass_rng;           /* the generator when the pass began */
    TrainerHistory history; /* log_history */
} TrainerState;

typedef struct Trainer Trainer;
struct Trainer {
    TrainerArgs args;
    Module *model; /* all that is borrowed here must live as long as the Trainer */
    Tape *t;       /* is reset after every batch */
    Rng *rng;      /* what the loaders draw from; NULL: they draw nothing */
    TrainerLoss *loss;
    TrainerData train, eval; /* eval.next NULL: no evaluation */
    TrainerMetrics *metrics; /* NULL: none */
    void *user;              /* for loss and callbacks */
    void (*on_log)(void *user, const TrainerLog *log);
    bool (*on_step)(void *user, const TrainerState *state); /* after each step; false: stop here */
    TrainerState state;
    int64_t resumed; /* the step of resume_from; 0: from the beginning */
    bool stopped;    /* training ended early; what is missing can be done with args.resume_from */
};
void trainer_free(Trainer *tr); /* the history; leaves the model, the tape and the data alone */

/* on_log that prints to stdout. */
void trainer_print(void *user, const TrainerLog *log);

/* trainer.train(resume_from_checkpoint = args.resume_from). Logs {loss (mean since the last log),
 * grad_norm (before clipping), learning_rate (of this step), epoch}, evaluates, saves, and at its
 * end loads the best weights and logs {train_runtime, train_samples_per_second,
 * train_steps_per_second, train_loss, epoch}. Stopped early (on_step, stop_after) it saves a
 * checkpoint, where there is an output_dir, and returns true; the best weights are not loaded
 * then. False: err says why; the weights are those of the last step, and what was saved before is
 * still there. */
bool trainer_train(Trainer *tr, Error *err);

/* Optimizer steps of the whole training, of args and train.batches. */
int64_t trainer_steps(const Trainer *tr);

/* trainer.evaluate(): {eval_loss (mean over samples), eval_<metric> …, eval_runtime,
 * eval_samples_per_second, eval_steps_per_second, epoch} into log (NULL allowed), the history and
 * on_log. No gradients, no dropout. */
bool trainer_evaluate(Trainer *tr, TrainerLog *log, Error *err);

#endif
