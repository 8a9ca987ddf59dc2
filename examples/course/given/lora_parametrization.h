/* lora_parametrization.h - the struct of nb2's LoRAParametrization, for later units. */
#ifndef COURSE_LORA_PARAMETRIZATION_H
#define COURSE_LORA_PARAMETRIZATION_H

#include "nn/parametrize.h"

typedef struct LoRAParametrization {
    Module base;
    Tensor *lora_A;      /* (rank, features_out) */
    Tensor *lora_B;      /* (features_in, rank) */
    double alpha, scale; /* scale: alpha / rank, as the constructor sets it */
    bool enabled;
} LoRAParametrization;

#endif
