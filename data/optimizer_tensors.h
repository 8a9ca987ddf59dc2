/* optimizer_tensors.h - the state of an optimizer as named tensors, for data/optimizer_file.c and
 * data/trainer_checkpoint.c; hidden.
 *
 *     NAME.step           (1, 1) int64: the updates of the parameter NAME of a module
 *     NAME.exp_avg, …     its moments, by PyTorch's names */
#ifndef LK_OPTIMIZER_TENSORS_H
#define LK_OPTIMIZER_TENSORS_H

#include "nn/state.h"
#include "optim/optimizer.h"

/* Adds the state of every parameter; the moments are shared, not copied. Errors: LK_EMEMORY,
 * LK_EVALUE for a parameter that is none of m. */
bool lk__optimizer_tensors_add(StateDict *state, Optimizer *opt, Module *m, Error *err);

/* Gives opt the state of every parameter; opt keeps the dictionary's tensors.
 * Errors, with nothing changed: LK_EVALUE for a missing tensor and for a parameter that is none of
 * m, LK_ESHAPE for another shape or dtype. */
bool lk__optimizer_tensors_set(const StateDict *state, Optimizer *opt, Module *m, Error *err);

/* Whether a tensor of that name belongs to a parameter of opt. */
bool lk__optimizer_tensors_has(Optimizer *opt, Module *m, const char *name);

#endif
