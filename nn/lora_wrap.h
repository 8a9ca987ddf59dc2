/* lora_wrap.h - the homework's second part for any model: chosen Linears become LinearWithLoRA
 * (nn/lora.h). For LoRA as a parametrization, where a Linear stays a Linear: nn/adapter.h. */
#ifndef LK_LORA_WRAP_H
#define LK_LORA_WRAP_H

#include "nn/lora.h"
#include "nn/lora_targets.h"

/* Replaces every Linear that the targets choose by a LinearWithLoRA around it, in the order of the
 * names; each draws its A. A Linear in several places stays one. alpha is not divided by the rank.
 * Nothing is frozen; lk_require_grad does that. Returns the number of replaced Linears, or -1 with
 * nothing changed: LK_EVALUE for the targets (lk_check_lora_targets) or a bad rank, LK_ESTATE when
 * there is LoRA already, LK_EMEMORY. */
LK_API int lk_wrap_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                        Error *err);

/* Puts the Linears back in their places with the weights that they have now, and frees the
 * adapters. Returns the number of Linears. */
LK_API int lk_unwrap_lora(Module *model);

/* The LoRA of a model's LinearWithLoRAs, whether lk_wrap_lora made them or not. */
typedef struct LoRAFacts {
    int count;          /* LinearWithLoRAs */
    int64_t rank;       /* -1: they differ */
    double alpha;       /* NaN: they differ */
    uint64_t alphas;    /* a hash of every alpha, since no tensor has them */
    char targets[1024]; /* the names of the Linears as targets; `*` stands for a number */
} LoRAFacts;
LK_API LoRAFacts lk_lora_facts(Module *model);

#endif
