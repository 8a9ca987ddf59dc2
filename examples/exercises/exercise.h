/* exercise.h - for the six exercise programs: their main, printing as in the notebook, and helpers
 * of the checks. */
#ifndef EXERCISE_H
#define EXERCISE_H

#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/module.h"

/* An exercise has two parts. Both get a tape and the generator after manual_seed, and return false
 * with the reason in err when something could not be done; check also returns false when one of
 * its checks does not hold. */
typedef struct Exercise {
    const char *name;
    const char *about;
    /* the notebook's statements in their order, and what they print */
    bool (*notebook)(Tape *t, Rng *rng, Error *err);
    bool (*check)(Tape *t, Rng *rng, Error *err); /* what the notebook's test leaves open */
} Exercise;

/* Reads the options, makes generator and tape, runs the notebook's part and the checks, with a
 * line of dashes between them, and prints the verdict. Returns main's status. */
int exercise_main(const Exercise *exercise, int argc, char **argv);

/* print(label, x). Prints nothing when x is NULL: the failure is on the tape. */
void show(const char *label, const Tensor *x);

/* Verifies the gradients of m's trainable parameters and of x against central differences. All in
 * float64. */
void verify_gradients(bool *ok, Module *m, Tensor *x);

/* The largest |a - b|; NaN when one of them is NULL or the shapes differ. */
double largest_difference(Tape *t, Tensor *a, Tensor *b);

/* A float64 test input with requires_grad: (rows, columns) of N(0, 1). The caller owns it. */
Tensor *random_input_new(int64_t rows, int64_t columns, Rng *rng, Error *err);

#endif
