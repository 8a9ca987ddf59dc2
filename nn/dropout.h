/* dropout.h - torch.nn.Dropout: drops in training mode, gives x itself in evaluation mode. */
#ifndef LK_NN_DROPOUT_H
#define LK_NN_DROPOUT_H

#include "nn/module.h"

typedef struct Dropout {
    Module base;
    double p; /* the probability to be dropped; may be changed at any time */
} Dropout;
LK_MODULE_TYPE(Dropout, lk_dropout_type, lk_as_dropout);

/* nn.Dropout(p). The masks come from the stream of the tape it runs on (lk_tape_seed); in
 * evaluation mode the result is x itself and nothing is drawn. Errors: LK_EVALUE for a p outside 0
 * … 1. */
LK_API Module *lk_dropout_new(double p, Error *err);

#endif
