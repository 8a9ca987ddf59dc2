/* roberta_lora.h - the homework's second part: chosen Linears of a model become LinearWithLoRA
 * (nn/lora.h), all else is frozen. Works for any module. */
#ifndef ROBERTA_LORA_H
#define ROBERTA_LORA_H

#include "nn/lora.h"

/* Replaces every Linear that a target matches by a LinearWithLoRA around it, in the order of the
 * names; each draws its A. targets is a list like "query,value": a target is the end of a dotted
 * name, from a dot on, or all of it, and may hold `*` and `?`; one with `!` before it takes out
 * what was in before. NULL: every Linear, and that is what a list begins with whose first is a
 * `!`. alpha is not divided by the rank. Returns how many, or -1 with nothing changed: LK_EVALUE
 * for a target that matches no Linear (the message names the nearest ones), targets that leave
 * none or a bad rank, LK_ESTATE when there is LoRA already, LK_EMEMORY. */
int roberta_add_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                     Error *err);

/* Puts the Linears back where they were, as they are; the adapters are freed. Returns how many. */
int roberta_remove_lora(Module *model);

/* What LoRA a model really has, however it got it. */
typedef struct LoraFacts {
    int count;          /* LinearWithLoRAs */
    int64_t rank;       /* -1: they differ */
    double alpha;       /* NaN: they differ */
    uint64_t alphas;    /* a hash of every alpha: no tensor has them */
    char targets[1024]; /* the names of the Linears, a number in them as `*`, commas between */
} LoraFacts;
LoraFacts roberta_lora_facts(Module *model);

/* apply_lora_to_roberta of the homework, with its lines: freezes all parameters, adds LoRA,
 * counts. With train_head the classifier's own weights are trained too. */
bool roberta_apply_lora(Module *model, const char *targets, int64_t rank, double alpha,
                        bool train_head, Rng *rng, Error *err);

#endif
