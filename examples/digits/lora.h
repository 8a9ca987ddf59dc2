/* lora.h - the run of digit9 and weak_digits: notebooks 2 and 3 take the same steps with two
 * networks.
 *
 * A network is trained on all digits. LoRA (nn/adapter.h) is added to every layer, all else is
 * frozen, and a hundred batches of some digits train the adapter alone. The network is tested
 * before that, with LoRA on, and with LoRA off again. lora.c is the run itself, output.c prints,
 * checks and writes, files.c saves and loads. */
#ifndef DIGITS_LORA_H
#define DIGITS_LORA_H

#include "data/dataset.h"
#include "examples/digits/net.h"
#include "nn/adapter.h"
#include "nn/state.h"

/* The differences between the programs. */
typedef struct DigitsNotebook {
    const char *name, *about;
    Module *(*net_new)(Rng *rng, Error *err);
    const char *digits; /* the digits that LoRA learns, "3,6,8,9", if there is no --digits */
} DigitsNotebook;

/* The whole program: returns the status of main. */
int digits_main(const DigitsNotebook *notebook, int argc, char **argv);

/* ---- what a run leaves behind --------------------------------------------------------------- */

typedef struct DigitsOptions {
    const char *data, *digits, *save, *load, *report, *json;
    int64_t seed, threads, epochs, limit, batches, rank;
    double alpha, lr;
} DigitsOptions;

typedef struct DigitsCurve { /* of one training */
    double *losses;          /* one a batch */
    int64_t count;
    double seconds; /* of the loop, with loading and without evaluation */
} DigitsCurve;

typedef struct DigitsScore { /* of one pass over the test set */
    int64_t correct, count;
    int64_t wrong[DIGITS_CLASSES]; /* by label */
    uint8_t *predicted;            /* by place in the test set */
} DigitsScore;

enum { DIGITS_DIAL_STEPS = 15, DIGITS_LAYERS_MAX = 4, DIGITS_DETAIL_MAX = 400 };

typedef struct DigitsDial { /* the adapter turned up from 0 (off) to 1 (as trained) and beyond */
    double scale;
    double accuracy, target_accuracy; /* on all digits, on those that LoRA learned */
} DigitsDial;

typedef struct DigitsDelta { /* ΔW = B A · scale of one layer */
    char layer[32];          /* "linear1" */
    const Tensor *A, *B;     /* (rank, in), (out, rank); the model's */
    double scale;            /* alpha / rank */
} DigitsDelta;

typedef struct DigitsCheck {
    const char *name;
    bool holds;
    /* what was compared, or, if it does not hold, where and how it differs */
    char detail[DIGITS_DETAIL_MAX];
} DigitsCheck;

enum { DIGITS_CHECKS = 5 };

typedef struct DigitsOutcome {
    const DigitsNotebook *notebook;
    const DigitsOptions *options;
    const Dataset *test;         /* its images: lk_dataset_row, lk_dataset_label */
    bool rendered;               /* no MNIST was there */
    bool target[DIGITS_CLASSES]; /* the digits that LoRA learns */
    int64_t base_parameters, lora_parameters;
    DigitsCurve training, tuning; /* training: empty after --load */
    DigitsScore base, on, off;
    DigitsDial dial[DIGITS_DIAL_STEPS + 1];
    int layers;
    DigitsDelta delta[DIGITS_LAYERS_MAX];
    DigitsCheck checks[DIGITS_CHECKS];
} DigitsOutcome;

#endif
