/* no_grad.h - values that are kept in no-grad mode, until something that they were computed from
 * changes; no part of the interface. Several threads may read one model at the same time, each
 * with a tape of its own. */
#ifndef LK_NO_GRAD_H
#define LK_NO_GRAD_H

#include "nn/module.h"

/* A hash of the state of a tensor: its storage, version and requires_grad. To join several states,
 * pass the hash of the others as `start`, else 0. */
uint64_t lk__tensor_state(const Tensor *x, uint64_t start);
/* The same for everything that a module computes from: its settings, its tensors, its children.
 * Members that keep values (ModuleType.kept) are left out. */
uint64_t lk__module_state(const Module *m, uint64_t start);

/* Returns *value, which belongs to the caller and is NULL at first. If `state` is not
 * *value_state, computes it anew, and gives back the tape's memory for that. While another thread
 * writes *value, returns the same value as a tensor of t. NULL, with the reason on t, when compute
 * fails or memory is short. */
typedef Tensor *ComputeFn(Tape *t, const void *of);
Tensor *lk__no_grad_value(Tape *t, Tensor **value, uint64_t *value_state, uint64_t state,
                          ComputeFn *compute, const void *of);

#endif
