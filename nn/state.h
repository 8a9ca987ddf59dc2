/* state.h - the state dict: named copies of all parameters and persistent buffers, in memory
 * (files: data/). */
#ifndef LK_STATE_H
#define LK_STATE_H

#include "nn/module.h"

typedef struct StateEntry {
    char *name;     /* "layers.0.linear.weight" */
    Tensor *tensor; /* the dictionary's own reference */
} StateEntry;

/* A module's entries are in PyTorch's order; a shared tensor appears under every one of its
 * names. */
typedef struct StateDict {
    StateEntry *entries;
    int count;
} StateDict;

/* {k: v.clone() for k, v in m.state_dict().items()}: a snapshot. NULL without memory. */
LK_API StateDict *lk_state_dict_new(Module *m, Error *err);
/* m.state_dict(): the same names with m's own tensors, nothing copied. Training m changes them
 * here too. NULL without memory. */
LK_API StateDict *lk_state_dict_shared_new(Module *m, Error *err);

/* {}, and state[name] = x. The name must be a new one, which is not checked. x is consumed, on
 * failure too; if x is NULL, err already says why. LK_ESTATE for a tensor of a tape: lk_clone
 * it. */
LK_API StateDict *lk_state_dict_empty_new(Error *err);
LK_API LK_MUST_CHECK bool lk_state_dict_add(StateDict *state, const char *name, Tensor *x,
                                            Error *err);

LK_API void lk_state_dict_free(StateDict *state); /* NULL allowed */
/* borrowed; NULL: no such name */
LK_API Tensor *lk_state_dict_get(const StateDict *state, const char *name);

/* m.load_state_dict(state, strict): copies the values into m's parameters and buffers. With strict
 * every name must be on both sides; without, a name that is on one side only is skipped. Shapes
 * and dtypes must agree, and no name may be there twice. On an error (one message lists missing,
 * unexpected and mismatched names) nothing is changed. */
LK_API LK_MUST_CHECK bool lk_load_state_dict(Module *m, const StateDict *state, bool strict,
                                             Error *err);

#endif
