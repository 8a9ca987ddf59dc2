/* low_rank.h - computes a Linear and a LoRALayer side by side, faster than the form in nn/lora.c;
 * no part of the interface. */
#ifndef LK_LOW_RANK_H
#define LK_LOW_RANK_H

#include "nn/module.h"

/* The children of a wrapper, and the slots of the LoRALayer. A is NULL if `lora` is of another
 * class. */
typedef struct LoRAPair {
    Module *wrapper, *linear, *lora;
    Tensor **A, **B; /* (in, rank), (rank, out) */
    double alpha;
} LoRAPair;

/* linear(x) + lora(x). LK_EVALUE for children of other classes, LK_ESHAPE for other sizes. */
Tensor *lk__linear_plus_lora(Tape *t, LoRAPair pair, Tensor *x);

/* linear(x) with the weight W + alpha (A B)ᵀ, and the same errors. In no-grad mode *combined keeps
 * that weight, and *state a hash of everything that it was computed from. */
Tensor *lk__linear_merged_lora(Tape *t, LoRAPair pair, Tensor **combined, uint64_t *state,
                               Tensor *x);

/* The literal forms that these replace, for tests. (nn/lora.c) */
Tensor *lk__linear_with_lora_literal(Tape *t, Module *self, Tensor *x);
Tensor *lk__linear_with_lora_merged_literal(Tape *t, Module *self, Tensor *x);

#endif
