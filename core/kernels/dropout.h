/* dropout.h - the masks of dropout, shared by the operations that drop. Internal.
 *
 * A mask is a function: p, the seed of the tape's stream, the number of the call and i decide
 * whether element i is kept (Philox4x32-10: Salmon, Moraes, Dror and Shaw 2011). So forward keeps
 * only the three numbers of DropoutMask. Backward makes the mask again, and threads make any part
 * of it in any order. An operation takes its mask with lk__dropout_mask and copies it into its
 * state. It multiplies element i by lk__dropout_scale where keep is 1, and by 0 where it is 0. */
#ifndef LK_DROPOUT_H
#define LK_DROPOUT_H

#include "core/tape.h"

typedef struct DropoutMask {
    uint64_t seed, call;
    double p; /* the probability to be dropped */
} DropoutMask;

/* Takes the mask of the next call of the tape's stream. Returns false, with the reason on the
 * tape, when p is not a probability. */
bool lk__dropout_mask(Tape *t, const char *function, double p, DropoutMask *m);

/* Sets keep[0 … n-1] to 1 or 0 for elements first … first + n - 1. It is fastest when first and n
 * are multiples of 64. */
void lk__dropout_keep(const DropoutMask *m, int64_t first, int64_t n, uint8_t *keep);

/* Returns 1 / (1 - p), rounded as PyTorch does in the dtype; 0 for p = 1. */
double lk__dropout_scale(const DropoutMask *m, DType dtype);

#endif
