/* course.h - the functions that you write in the course, unit by unit. The checks find them by
 * these names. A function that differs from its line here does not compile.
 *
 * A unit may call the functions of earlier units: the checks give it right ones, so that a mistake
 * counts once. */
#ifndef COURSE_H
#define COURSE_H

#include "nn/module.h"

/* ---- ex0: two operations with their backward, in float64 ------------------------------------ */

Tensor *my_relu(Tape *t, Tensor *x);              /* max(x, 0), any shape */
Tensor *my_matmul(Tape *t, Tensor *a, Tensor *b); /* (m, k), (k, n) → (m, n) */

/* ---- ex1: LoRALayer, parameters A (in, rank) and B (rank, out) ------------------------------ */

Module *lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng *rng,
                       Error *err);

#endif
