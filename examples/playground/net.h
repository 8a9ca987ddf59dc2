/* net.h - the playground's network. */
#ifndef PLAYGROUND_NET_H
#define PLAYGROUND_NET_H

#include "nn/module.h"

enum {
    NET_PIXELS = 28 * 28,
    NET_HIDDEN_1 = 128,
    NET_HIDDEN_2 = 64,
    NET_CLASSES = 10,
    NET_LAYERS = 3,
};

/* 784 → 128 → 64 → 10 with ReLU between them. Its input is (n, 28, 28) or (n, 784). */
typedef struct Net {
    Module base;
    Module *linear1, *linear2, *linear3, *relu;
} Net;
Module *net_new(Rng *rng, Error *err);

#endif
