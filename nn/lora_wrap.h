/* lora_wrap.h - the homework's second part for any model: chosen Linears become LinearWithLoRA
 * (nn/lora.h), and where a target asks for them a Conv1d, Conv2d or Embedding gets its wrapper of
 * nn/lora_layers.h. For LoRA as a parametrization, where a Linear stays a Linear: nn/adapter.h. */
#ifndef LK_LORA_WRAP_H
#define LK_LORA_WRAP_H

#include "nn/lora.h"
#include "nn/lora_targets.h"

/* Replaces every layer that the targets choose by its wrapper, in the order of the names; each
 * draws its A. Without targets, and by each target that matches some Linear, the Linears alone are
 * chosen: "*" is all Linears, "conv*" all layers of such names. A layer in several places stays
 * one. alpha is not divided by the rank. Nothing is frozen; lk_require_grad does that. Returns the
 * number of replaced layers, or -1 with nothing changed: LK_EVALUE for the targets or a bad rank,
 * LK_ESTATE when there is LoRA already, LK_EMEMORY. */
LK_API int lk_wrap_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                        Error *err);

/* Puts the layers back in their places with the weights that they have now, and frees the
 * adapters. Returns the number of layers. */
LK_API int lk_unwrap_lora(Module *model);

/* The LoRA of a model's wrappers, whether lk_wrap_lora made them or not. */
typedef struct LoRAFacts {
    int count;          /* wrappers */
    int64_t rank;       /* -1: they differ */
    double alpha;       /* NaN: they differ */
    uint64_t alphas;    /* a hash of every alpha, since no tensor has them */
    char targets[1024]; /* the names of the layers as targets; `*` stands for a number */
} LoRAFacts;
LK_API LoRAFacts lk_lora_facts(Module *model);

#endif
