/* trainer_data.h - what goes into a Trainer and what it measures: batches and metrics.
 *
 *     tr.train = trainer_loader(loader);
 *     TrainerAccuracy accuracy = trainer_accuracy();
 *     tr.metrics = &accuracy.base; */
#ifndef TRAINER_DATA_H
#define TRAINER_DATA_H

#include "core/tape.h"
#include "data/loader.h"
#include "examples/trainer_log.h"

typedef struct TrainerBatch {
    Tensor *x;      /* features or token ids; valid until the next batch */
    Tensor *mask;   /* which of x count; NULL: all */
    Tensor *labels; /* (samples, …) */
} TrainerBatch;

/* A data loader of any kind. A pass is begin and then `batches` calls of next. begin may draw from
 * the Trainer's rng, next only for the first batch of a pass: so a pass is repeated from the state
 * that the generator had before begin. */
typedef struct TrainerData {
    void *loader;
    int64_t samples, batches; /* in a pass */
    bool (*begin)(void *loader, Error *err);
    /* false: no batch, for the reason in err or at the end */
    bool (*next)(void *loader, TrainerBatch *b, Error *err);
} TrainerData;
TrainerData trainer_loader(DataLoader *loader); /* borrowed; its batch size is the batch size */

/* compute_metrics, batch by batch, so that no evaluation needs all logits at once. `end` adds its
 * results to an empty log; the Trainer calls them "eval_…", unless they are called so already.
 * Your own: a struct whose first member is this. */
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
TrainerAccuracy trainer_accuracy(void);

#endif
