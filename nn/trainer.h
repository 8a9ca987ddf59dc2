/* trainer.h - training as the Trainer of Hugging Face's Transformers does it, for any module.
 *
 *     TrainerAccuracy accuracy = lk_trainer_accuracy();
 *     Trainer tr = { .args = lk_trainer_defaults(), .model = model, .t = t, .rng = &rng,
 *                    .loss = my_loss, .user = my, .metrics = &accuracy.base,
 *                    .train = lk_loader_batches(train), .eval = lk_loader_batches(test),
 *                    .store = &lk_checkpoints, .on_log = my_log };
 *     tr.args.output_dir = "results", tr.args.load_best_at_end = true;
 *     bool ok = lk_trainer_train(&tr, &err) && lk_trainer_evaluate(&tr, &log, &err);
 *     lk_trainer_free(&tr);
 *
 * A step runs `accumulation` batches forward and backward, clips the gradients, and updates the
 * parameters by AdamW with the schedule's learning rate. Parameters of LayerNorms and those with
 * "bias" in their names do not decay. The result depends on arguments, seed and data only: a run
 * that was stopped or killed, and then resumed, has the bits of an uninterrupted run.
 *
 * The Trainer prints nothing and opens no file. Logs go to on_log, steps to on_step; batches come
 * from data/trainer_batches.h, checkpoints go to data/trainer_checkpoint.h. */
#ifndef LK_TRAINER_H
#define LK_TRAINER_H

#include "nn/module.h"
#include "nn/trainer_data.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

/* compute_loss: the mean loss of a batch, a tensor of t with one element; on failure NULL, with
 * the reason on t. If logits is not NULL, the function sets *logits for the metrics. */
typedef Tensor *TrainerLoss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits);

/* ---- arguments: TrainingArguments ----------------------------------------------------------- */

/* When to evaluate or save: every N > 0 steps, at the end of each epoch, never. */
enum { LK_EVERY_EPOCH = 0, LK_NEVER = -1 };

typedef struct TrainerArgs {
    const char *output_dir;  /* for the store: the folder of checkpoints. NULL: nothing is saved */
    const char *resume_from; /* for the store: a checkpoint to go on from; NULL: the beginning */
    int64_t epochs;          /* num_train_epochs, 3 */
    int64_t max_steps;       /* > 0: the number of optimizer steps; epochs does not count then */
    int64_t accumulation;    /* gradient_accumulation_steps, 1; fewer at the end of an epoch */
    double learning_rate;    /* 5e-5 */
    double weight_decay;     /* 0 */
    double beta1, beta2, eps; /* of AdamW: 0.9, 0.999, 1e-8 */
    double max_grad_norm;     /* 1; 0: no clipping */
    ScheduleKind schedule;    /* lr_scheduler_type, linear */
    int64_t warmup_steps;     /* 0 */
    int64_t logging_steps;    /* 500; 0: never */
    int64_t eval_steps;       /* LK_NEVER */
    int64_t save_steps;       /* LK_NEVER */
    /* > 0: of this step's and earlier checkpoints the newest N stay, the best one, and the one
     * that the run went on from; 0: all */
    int64_t save_total_limit;
    bool load_best_at_end;   /* saves at each new best evaluation; at the end loads the best */
    const char *best_metric; /* metric_for_best_model, "eval_loss" */
    bool greater_is_better;  /* false */
    uint64_t seed;           /* of rng and of dropout, 42 */
    int64_t stop_after;      /* > 0: stop after this step, as if on_step had returned false */
    /* The other settings that decide the run's bits, "rank 8; alpha 16; data 9f3a…": UTF-8 without
     * line breaks, kept in checkpoints. NULL: none. A run is resumed only with the arguments and
     * the mark that it had. */
    const char *mark;
} TrainerArgs;
LK_API TrainerArgs lk_trainer_defaults(void);

/* ---- the Trainer ---------------------------------------------------------------------------- */

/* trainer.state: the progress of training. */
typedef struct TrainerState {
    int64_t step;          /* global_step: optimizer steps made */
    int64_t pass, batches; /* finished passes over the data; batches used of the present one */
    double epoch;          /* the same as a number, for logs */
    double loss;           /* of the last batch */
    double loss_sum;       /* sum over the steps since the last log, made at step `logged` */
    int64_t logged;
    double total_loss;  /* sum over the steps before that log */
    double best_metric; /* of the best evaluation, made at best_step; 0: none yet */
    int64_t best_step;
    Rng pass_rng;           /* the generator when the pass began */
    TrainerHistory history; /* log_history */
} TrainerState;

typedef struct Trainer Trainer;

/* A place for checkpoints. Each function returns false on failure, with the reason in err. */
typedef struct TrainerStore {
    /* Makes args.output_dir and keeps other runs out of it, before the first step. */
    bool (*open)(Trainer *tr, Error *err);
    /* Saves weights, optimizer, generators and tr->state as the checkpoint of the present step. */
    bool (*save)(const Trainer *tr, Optimizer *opt, Error *err);
    /* Loads the checkpoint args.resume_from into the same objects; on failure none is changed. */
    bool (*resume)(Trainer *tr, Optimizer *opt, Error *err);
    /* Loads the weights of the checkpoint of a step. */
    bool (*load_weights)(const Trainer *tr, int64_t step, Error *err);
    /* Ends what open began, also where that failed, after the last step. NULL: nothing to end. */
    void (*close)(Trainer *tr);
} TrainerStore;

struct Trainer {
    TrainerArgs args;
    Module *model; /* all that is borrowed here must live as long as the Trainer */
    Tape *t;       /* is reset after every batch */
    Rng *rng;      /* the loaders draw from it; NULL: they draw nothing */
    TrainerLoss *loss;
    TrainerBatches train, eval; /* eval.next NULL: no evaluation */
    TrainerMetrics *metrics;    /* NULL: none */
    const TrainerStore *store;  /* NULL: none; &lk_checkpoints: folders */
    void *user;                 /* for loss and callbacks */
    void (*on_log)(void *user, const TrainerLog *log);
    bool (*on_step)(void *user, const TrainerState *state); /* after each step; false: stop here */
    /* control.should_training_stop: training ends after the step, or the evaluation, in which this
     * becomes anything but 0. A handler of signals may set it (as a sig_atomic_t), or another
     * thread. NULL: never. */
    const volatile int *should_training_stop;
    TrainerState state;
    int64_t resumed; /* the step of resume_from; 0: from the beginning */
    bool stopped;    /* training ended early; args.resume_from can do the rest */
    void *opened;    /* the store's own, from open to close */
};
LK_API void lk_trainer_free(Trainer *tr); /* the history; leaves model, tape and data alone */

/* trainer.train(resume_from_checkpoint = args.resume_from). Logs {loss (mean since the last log),
 * grad_norm (before clipping), learning_rate (of this step), epoch}, evaluates, saves, and at its
 * end loads the best weights and logs {train_runtime, train_samples_per_second,
 * train_steps_per_second, train_loss, epoch}. If on_step or stop_after stops the run early, or
 * should_training_stop at any step, it saves a checkpoint (with an output_dir), does not load the
 * best weights, and returns true.
 * False: err says why; the weights are those of the last step, and the checkpoints that
 * save_total_limit keeps are still there. */
LK_API bool lk_trainer_train(Trainer *tr, Error *err);

/* trainer.create_optimizer(): the AdamW that training uses. It has one group of parameters that
 * decay, and one of LayerNorms and biases; an empty group is left out. Owned by the caller.
 * LK_EVALUE, LK_EMEMORY. */
LK_API Optimizer *lk_trainer_optimizer_new(const Trainer *tr, Error *err);

/* Optimizer steps of the whole training, from args and train.batches. */
LK_API int64_t lk_trainer_steps(const Trainer *tr);

/* trainer.evaluate(): {eval_loss (mean over samples), eval_<metric> …, eval_runtime,
 * eval_samples_per_second, eval_steps_per_second, epoch} into log (NULL allowed), the history and
 * on_log. No gradients, no dropout. */
LK_API bool lk_trainer_evaluate(Trainer *tr, TrainerLog *log, Error *err);

#endif
