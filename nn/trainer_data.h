/* trainer_data.h - batches for a Trainer, and metrics that it measures.
 *
 *     tr.train = lk_loader_batches(loader);             -- data/trainer_batches.h
 *     TrainerAccuracy accuracy = lk_trainer_accuracy();
 *     tr.metrics = &accuracy.base; */
#ifndef LK_TRAINER_DATA_H
#define LK_TRAINER_DATA_H

#include "core/tape.h"
#include "nn/trainer_log.h"

typedef struct TrainerBatch {
    Tensor *x;      /* features or token ids; valid until the next batch */
    Tensor *mask;   /* true where x counts; NULL: everywhere */
    Tensor *labels; /* (samples, …) */
} TrainerBatch;

/* A data loader of any kind. A pass is begin and then `batches` calls of next. begin may draw from
 * the Trainer's rng; next may draw for the first batch of a pass only. So a pass can be repeated
 * from the state that the generator had before begin. */
typedef struct TrainerBatches {
    void *loader;
    int64_t samples, batches; /* in a pass */
    bool (*begin)(void *loader, Error *err);
    /* false: no batch, for the reason in err or at the end */
    bool (*next)(void *loader, TrainerBatch *b, Error *err);
} TrainerBatches;

/* compute_metrics, batch by batch, so that no evaluation needs all logits at once. `end` adds its
 * results to an empty log; the Trainer puts "eval_" before each name that lacks it. Metrics of
 * your own are a struct whose first member is this. */
typedef struct TrainerMetrics TrainerMetrics;
struct TrainerMetrics {
    void (*begin)(TrainerMetrics *self);
    /* false: reason on t */
    bool (*add)(TrainerMetrics *self, Tape *t, Tensor *logits, const TrainerBatch *b);
    void (*end)(TrainerMetrics *self, TrainerLog *log);
};

/* eval_accuracy: how often the largest logit (…, classes) is the label (…); labels below 0 are not
 * counted. */
typedef struct TrainerAccuracy {
    TrainerMetrics base;
    int64_t correct, count;
} TrainerAccuracy;
LK_API TrainerAccuracy lk_trainer_accuracy(void);

#endif
