/* no_grad.h - values that are computed once for as long as nothing changes and no gradient is
 * recorded; no part of the interface. */
#ifndef LK_NO_GRAD_H
#define LK_NO_GRAD_H

#include "nn/module.h"

/* A number for the state of a tensor: which it is, and its version. `start` (0, or another such
 * number) joins several. */
uint64_t lk__tensor_state(const Tensor *x, uint64_t start);
/* The same for all that a module computes from: its settings, its tensors, its children. */
uint64_t lk__module_state(const Module *m, uint64_t start);

/* Returns *value, which belongs to the caller and is NULL at first. It is computed anew if `state`
 * is not *value_state, and the tape's memory for that is given back. NULL, with the reason on t,
 * when compute fails or memory is short. */
typedef Tensor *ComputeFn(Tape *t, const void *of);
Tensor *lk__no_grad_value(Tape *t, Tensor **value, uint64_t *value_state, uint64_t state,
                          ComputeFn *compute, const void *of);

#endif
