/* net.h - the networks of notebooks 2 and 3, which digit9 and weak_digits train. */
#ifndef DIGITS_NET_H
#define DIGITS_NET_H

#include "nn/module.h"

enum { DIGITS_PIXELS = 28 * 28, DIGITS_CLASSES = 10 };

/* Notebook 2's RichBoyNet: 784-1000-2000-10, far more than digits need. */
typedef struct RichBoyNet {
    Module base;
    Module *linear1, *linear2, *linear3, *relu;
} RichBoyNet;
Module *rich_boy_net_new(Rng *rng, Error *err);

/* Notebook 3's NeuralNetwork: 784-1000-1500-1300-10. */
typedef struct NeuralNetwork {
    Module base;
    Module *linear1, *linear2, *linear3, *linear4, *relu;
} NeuralNetwork;
Module *neural_network_new(Rng *rng, Error *err);

#endif
