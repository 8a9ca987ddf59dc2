/* sst2_output.h - the results of roberta_sst2 beside the model: JSON and a page. */
#ifndef SST2_OUTPUT_H
#define SST2_OUTPUT_H

#include "examples/roberta/task.h"

typedef struct Sst2Outcome {
    bool full; /* full fine-tuning: rank, alpha and targets mean nothing */
    const char *model, *targets;
    const char *adapter; /* where LoRA came from; NULL: it was new */
    int64_t rank;        /* -1: the Linears differ in it */
    double alpha;        /* NaN: they differ */
    int64_t linears, train_rows, dev_rows, parameters, trainable;
    double loss, accuracy; /* on dev.tsv, in the end */
    /* whether there was a training, whose result was saved and loaded again */
    bool reloaded;
    double loaded_loss, loaded_accuracy; /* of the loaded result */
    bool same;                           /* they agree */
    double seconds, peak_megabytes;      /* of the whole program */
    const TrainerState *state;
    const TaskOptions *task;
    const TrainerArgs *args; /* of the training; without one they mean nothing */
} Sst2Outcome;

bool sst2_write_json(const Sst2Outcome *o, const char *path, Error *err);
bool sst2_write_page(const Sst2Outcome *o, const char *path, Error *err);

#endif
