/* lora.h - low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) in the forms of the course's
 * exercises 1, 2 and 4.
 *
 * In these forms ΔW = alpha · (A B)ᵀ: alpha is NOT divided by the rank. */
#ifndef LK_LORA_H
#define LK_LORA_H

#include "nn/linear.h"

/* Exercise 1: y = alpha · (x A B). */
typedef struct LoRALayer {
    Module base;
    Tensor *A;    /* (in, rank), N(0, 1) / √rank */
    Tensor *B;    /* (rank, out), zeros: nothing changes until it is trained */
    double alpha; /* strength of the adaptation */
} LoRALayer;
LK_MODULE_TYPE(LoRALayer, lk_lora_layer_type, lk_as_lora_layer);
/* float32. Errors: LK_EVALUE for a size or rank that is not positive. */
LK_API Module *lk_lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha,
                                 Rng *rng, Error *err);

/* Exercise 2: y = linear(x) + lora(x). Consumes the linear (lk_retain it to share it with another
 * wrapper); the LoRALayer gets its sizes and its dtype. Errors: LK_EVALUE when it is not a Linear,
 * or a rank that is not positive. */
typedef struct LinearWithLoRA {
    Module base;
    Module *linear; /* a Linear */
    Module *lora;   /* a LoRALayer of the same sizes */
    /* The library's own, for the merged form in no-grad mode: the combined weight, and a hash of
     * everything that it was computed from. */
    Tensor *combined;
    uint64_t combined_state;
} LinearWithLoRA;
LK_MODULE_TYPE(LinearWithLoRA, lk_linear_with_lora_type, lk_as_linear_with_lora);
LK_API Module *lk_linear_with_lora_new(Module *linear, int64_t rank, double alpha, Rng *rng,
                                       Error *err);

/* Exercise 4: y = x (W + alpha · (A B)ᵀ)ᵀ + b; gradients flow to W, A and B. The same members,
 * made in the same way. Training computes the equal x Wᵀ + b + alpha (x A) B; in no-grad mode the
 * weights are combined once, and again when one of them has changed. */
typedef LinearWithLoRA LinearWithLoRAMerged;
LK_MODULE_TYPE(LinearWithLoRAMerged, lk_linear_with_lora_merged_type,
               lk_as_linear_with_lora_merged);
LK_API Module *lk_linear_with_lora_merged_new(Module *linear, int64_t rank, double alpha, Rng *rng,
                                              Error *err);

#endif
