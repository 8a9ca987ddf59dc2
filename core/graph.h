/* graph.h - what a tape is inside, shared by tape.c, backward.c and recompute.c and by nobody else. */
#ifndef LK_GRAPH_H
#define LK_GRAPH_H

#include "core/internal.h"

/* The gradient of an intermediate lives from its first reader to its maker, then its block serves the next one of that
 * size: backward needs memory for the gradients that are alive at once, not for all of them. */
typedef struct FreeBlock FreeBlock;
struct FreeBlock {
    FreeBlock *next;
    size_t bytes;
};

struct Tape {
    Arena arena;      /* tensors, nodes, gradients of intermediates */
    void *scratch;    /* one block for temporaries */
    size_t scratch_bytes;
    Node *last;       /* the newest record; ->prev leads to the oldest: creation order is a topological order */
    FreeBlock *free;  /* blocks of gradients that are no longer needed, in the arena */
    bool grad;        /* recording is on */
    TapeRandom random; /* the stream of dropout */
    uint64_t epoch;   /* of the tensors on it */
    uint64_t kept;    /* records and backward runs: what they leave in the arena must stay there */
    Error error;
    ErrorHandler *handler;
    void *handler_user;
    unsigned char poison; /* not 0: what new memory is filled with, so that lk_gradcheck sees a read before the write */
};

/* A number that no tape had for its epoch yet. (tape.c) */
uint64_t lk_next_epoch(void);

/* ---- backward.c -------------------------------------------------------------------------------------------------- */

/* A contiguous tensor in the shape of x for a gradient on the tape, uninitialised; NULL without memory. */
Tensor *lk_flow_new(Tape *t, const Tensor *x);

/* Adds dy to what flows into y, and runs the graph behind y to the oldest record that t->last leads to. False, with the
 * reason on the tape: before anything has changed, unless memory ran out. */
bool lk_run_backward(Tape *t, Tensor *y, const Tensor *dy, bool keep_graph);

#endif
