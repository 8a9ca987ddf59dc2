/* lora_layer.h - the class of ex1, for units that look into it. lora_layer_new makes it. */
#ifndef COURSE_LORA_LAYER_H
#define COURSE_LORA_LAYER_H

#include "nn/module.h"

typedef struct LoRALayer {
    Module base;
    Tensor *A;    /* (in, rank) */
    Tensor *B;    /* (rank, out) */
    double alpha; /* y = alpha (x A B) */
} LoRALayer;

#endif
