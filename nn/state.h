/* state.h - the state dict: named copies of all parameters, in memory (files: data/). */
#ifndef LK_STATE_H
#define LK_STATE_H

#include "nn/module.h"

typedef struct StateEntry {
    char *name;     /* "layers.0.linear.weight" */
    Tensor *tensor; /* an owned copy */
} StateEntry;

/* Entries in PyTorch's order; a shared parameter appears under every one of its names. */
typedef struct StateDict {
    StateEntry *entries;
    int count;
} StateDict;

/* {k: v.clone() for k, v in m.state_dict().items()}: a snapshot. NULL without memory. */
LK_API StateDict *lk_state_dict_new(Module *m, Error *err);
LK_API void lk_state_dict_free(StateDict *state);
LK_API Tensor *lk_state_dict_get(const StateDict *state, const char *name); /* borrowed; NULL: no such name */

/* m.load_state_dict(state, strict): copies the values into m's parameters. With strict every name must be on both
 * sides; without, what is on one side only is skipped. Shapes and dtypes must agree. On an error (one message lists
 * missing, unexpected and mismatched names) nothing is changed. */
LK_API bool lk_load_state_dict(Module *m, const StateDict *state, bool strict, Error *err);

#endif
