/* linear_with_lora.h - the class of ex2, for units that look into it. linear_with_lora_new makes
 * it. */
#ifndef COURSE_LINEAR_WITH_LORA_H
#define COURSE_LINEAR_WITH_LORA_H

#include "nn/module.h"

typedef struct LinearWithLoRA {
    Module base;
    Module *linear; /* a Linear */
    Module *lora;   /* a LoRALayer of the same sizes */
} LinearWithLoRA;

#endif
