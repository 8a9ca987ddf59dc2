/* mlp.h - the network of exercises 5 and 6 and of mnist_lora: the notebook's class
 * MultilayerPerceptron. */
#ifndef MLP_H
#define MLP_H

#include "nn/module.h"

/* Linear, ReLU, Linear, ReLU, Linear in a Sequential: the Linears are called layers.0, layers.2,
 * layers.4. */
typedef struct MultilayerPerceptron {
    Module base;
    Module *layers;
} MultilayerPerceptron;

Module *mlp_new(int64_t features, int64_t hidden_1, int64_t hidden_2, int64_t classes, Rng *rng,
                Error *err);

/* The Sequential of an mlp; NULL for a NULL. */
Module *mlp_layers(Module *mlp);

/* layers[i] = LinearWithLoRAMerged(layers[i], rank, alpha) for i = 0, 2, 4. On failure the layers
 * that could not be replaced stay as they are. */
bool mlp_add_lora(Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err);

#endif
