/* recurrent.h - the arithmetic of core/ops_recurrent.c: an LSTM or a GRU over a sequence. */
#ifndef LK_CORE_RECURRENT_H
#define LK_CORE_RECURRENT_H

#include "core/op.h"

/* The order of the inputs: x, both weights, h0, c0, both biases. The last four may be NULL. */
enum { LK__RECURRENT_INPUTS = 7 };

/* A call, and the facts that backward needs besides its inputs. */
typedef struct Recurrent {
    DType dtype;
    bool gru, reverse;
    int64_t steps, batch, inputs, hidden;
    const int64_t *lengths; /* (B), until the tape's reset; NULL: all are `steps` */
    char *gates;            /* (S, B, 4 H): left by the forward step */
    char *cells;            /* (S, B, H): c after each step; NULL for a GRU */
} Recurrent;

/* Computes h of every step into y (S, B, H), and c_n of an LSTM behind it, and records y. Behind
 * its length a sequence keeps its state, in y too, and x must be finite there. The caller has
 * checked all sizes. Returns NULL when memory is short. */
Tensor *lk__recurrent(Tape *t, Recurrent a, Tensor *const in[LK__RECURRENT_INPUTS], Tensor *y);

#endif
