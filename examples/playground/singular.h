/* singular.h - the singular values and vectors of a product B A of low rank, without forming
 * it. */
#ifndef PLAYGROUND_SINGULAR_H
#define PLAYGROUND_SINGULAR_H

#include "core/error.h"

/* B (out, rank), A (rank, in): scale · B A = Σ values[k] · left[k] right[k]ᵀ, with values falling.
 * Writes rank values, left (rank, out) and right (rank, in): unit vectors, or zeros where the
 * value is 0. Each right vector points to where its largest number is positive. Error:
 * LK_EMEMORY. */
bool singular_of_product(int64_t out, int64_t in, int64_t rank, const float *B, const float *A,
                         double scale, float *values, float *left, float *right, Error *err);

#endif
