/* training.h - trainings of a small net with LoRA, right or with known mistakes: a loop that a
 * learner wrote is known by the losses that it gives. */
#ifndef COURSE_TRAINING_H
#define COURSE_TRAINING_H

#include "data/loader.h"
#include "examples/course/checks/check.h"
#include "optim/optimizer.h"

/* The net of ex5, made by the course's own solutions, with LoRA in its three Linears: features 5,
 * hidden 7 and 6, classes 4, rank 2, alpha 0.5. */
enum { BENCH_RANK = 2, BENCH_EPOCHS = 5, BENCH_SAMPLES = 10, BENCH_BATCH = 4, BENCH_BATCHES = 3 };
#define BENCH_ALPHA 0.5
#define BENCH_RATE 0.02
Module *bench_mlp(Exam *e);           /* without LoRA */
Module *bench_mlp_with_lora(Exam *e); /* its Linears are not frozen yet */

/* A net in float64 whose Linears are frozen and whose B are not 0, its Adam, and ten samples in
 * batches of 4, 4 and 2. */
typedef struct Bench {
    Module *model, *start; /* start: as it was before the training */
    Optimizer *opt;
    Dataset *data;
    DataLoader *loader;
    /* of the learner's loop; BENCH_UNWRITTEN at first; one more, for a loop that runs too often */
    double losses[BENCH_EPOCHS + 1];
} Bench;
#define BENCH_UNWRITTEN (-12345.0)
/* The labels go from 0 to `highest`; 3 is right for this net. The exam owns the two nets. */
Bench bench_new(Exam *e, int64_t highest);
void bench_free(Bench *b); /* the rest */

/* Mistakes of a training loop; together they are the sum. */
enum {
    RIGHT = 0,
    KEEP_GRADIENTS = 1 << 0, /* no zero_grad */
    RARELY_ZERO = 1 << 1,    /* zero_grad once in an epoch */
    ONE_STEP = 1 << 2,       /* the gradients of an epoch are added up for one step at its end */
    OLD_GRADIENTS = 1 << 3,  /* the step uses the gradients of the batch before */
    FIRST_BATCH = 1 << 4,    /* always the first batch */
    ONE_BATCH = 1 << 5,      /* an epoch is one batch */
    SOFTMAX = 1 << 6,        /* before cross-entropy */
    SUMMED = 1 << 7,         /* over the batch */
    UPHILL = 1 << 8,         /* the loss times -1 */
    LAST_LOSS = 1 << 9,      /* losses[epoch] is that of the last batch */
    LATE_LOSS = 1 << 10,     /* the loss of a batch is computed again after its step */
    PER_SAMPLE = 1 << 11,    /* losses[epoch] is the mean over the samples, not the batches */
    TWO_STEPS = 1 << 12,     /* in each batch */
};

/* The losses (1, epochs) of a training of b->start with these mistakes. The net comes back in
 * *trained, unless that is NULL; the exam owns it. */
Matrix bench_losses(Exam *e, const Bench *b, int mistakes, Module **trained);

#endif
