/* lora_lab_output.h - the measurements of lora_lab and their output: tables, JSON, a page. */
#ifndef LORA_LAB_OUTPUT_H
#define LORA_LAB_OUTPUT_H

#include "core/error.h"

enum { LAB_SEEDS_MAX = 16, LAB_MEASURES_MAX = 24 };

/* One way to train, with every seed. */
typedef struct LabMeasure {
    const char *name;    /* "LoRA, rank 8" */
    const char *targets; /* NULL: all Linears; full fine-tuning does not use it */
    bool full;
    int64_t rank;
    int seeds; /* runs so far */
    double accuracy[LAB_SEEDS_MAX], loss[LAB_SEEDS_MAX];
    double steps_per_second; /* of the fastest run */
    double peak_megabytes;   /* of the last run; NaN where the system does not tell it */
    /* file_bytes: of a file with the result of the training */
    int64_t parameters, trainable, optimizer_bytes, file_bytes;
} LabMeasure;

typedef struct Lab {
    LabMeasure measures[LAB_MEASURES_MAX]; /* full; the ranks; the groups of targets */
    int count, ranks, groups;              /* measures[1 … ranks], and then the groups */
    /* the rank that stands for "LoRA on all" beside full fine-tuning and the groups */
    int reference;
    /* seed: the first of the seeds */
    int64_t train_rows, dev_rows, base_parameters, epochs, batch_size, seed;
    double lr, full_lr, alpha; /* the highest learning rates; alpha of LoRA */
    double majority;           /* accuracy of always saying the more frequent label */
    const char *model;
} Lab;

double lab_mean(const double *x, int n);
double lab_deviation(const double *x, int n); /* of a sample; 0 for a single value */

void lab_print(const Lab *lab); /* the three tables, and what their columns are */
bool lab_write_json(const Lab *lab, const char *path, Error *err);
bool lab_write_page(const Lab *lab, const char *path, Error *err);

#endif
