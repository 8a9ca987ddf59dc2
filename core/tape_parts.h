/* tape_parts.h - the inside of a tape: its record, the headers of its tensors, its errors. It is
 * for the files that make up the tape (failure.c, tape_tensors.c, tape.c, tape_notes.c,
 * backward.c, recompute.c), for those that show it, for the gradient check, and for files that
 * test whether a tensor is stale. Operations need only core/internal.h. */
#ifndef LK_TAPE_PARTS_H
#define LK_TAPE_PARTS_H

#include "core/internal.h"

/* In backward, the gradient of an intermediate lives from the first addition to it until its own
 * operation has run. Then its block serves the next gradient of that size. So backward needs
 * memory for the gradients that are alive at once, not for all of them. */
typedef struct FreeBlock FreeBlock;
struct FreeBlock {
    FreeBlock *next;
    size_t bytes;
};

/* The headers of a tape's tensors. They lie apart from the elements. (tape_tensors.c) */
enum { LK_RESETS_KNOWN = 5 }; /* a header serves another tensor only after so many resets */
typedef struct HeaderList {
    Tensor *newest, *oldest; /* linked by ->next; empty: newest is NULL */
} HeaderList;
typedef struct Headers {
    Arena memory;
    HeaderList live;                         /* made since the last reset */
    HeaderList waiting[LK_RESETS_KNOWN - 1]; /* gone with the last reset, the one before, … */
    HeaderList released[2];                  /* given back by lk_tape_release since that reset */
    int released_count;                      /* of released[0] */
    HeaderList free;
    int64_t next_serial;            /* of the next tensor; the first is 1 */
    int64_t since[LK_RESETS_KNOWN]; /* first serial since the last reset, the one before, … */
    bool never_again;               /* strict mode: no header serves again */
} Headers;

/* A part of a computation, such as the forward of a module. Failures in it name it. It lies on the
 * C stack of the function that opened it. Core knows no module, so `path` writes where the scope
 * is, such as "layers.2", and returns the length; nothing for the outermost scope. */
typedef struct TapeScope TapeScope;
struct TapeScope {
    const TapeScope *outer;
    const void *of;   /* for `path`: the module */
    const char *kind; /* its class, such as "Linear" */
    size_t (*path)(const TapeScope *scope, char *text, size_t size);
};

/* Notes for those who read the tape. They lie in the arena, and are gone with the records.
 * (tape_notes.c) */
typedef struct TensorName TensorName;
struct TensorName {
    const TensorName *older;
    const Tensor *of;
    char text[];
};
typedef struct TapePlace TapePlace;
struct TapePlace {
    const TapePlace *older; /* an inner scope ends before the outer one, so it is older */
    int64_t first, end;     /* the serials of the tensors that were made in the scope */
    const char *kind;
    char path[];
};
typedef struct TapeNotes {
    bool on; /* lk_tape_annotate */
    const TensorName *names;
    const TapePlace *places;
} TapeNotes;

struct Tape {
    Arena arena; /* elements, nodes, gradients of intermediates */
    Headers headers;
    void *scratch; /* one block for temporaries */
    size_t scratch_bytes;
    /* the newest record; ->prev leads to the oldest: creation order is a topological order */
    Node *last;
    FreeBlock *free;   /* blocks of gradients that are no longer needed, in the arena */
    bool grad;         /* recording is on */
    DType products;    /* lk_tape_set_matmul_precision */
    TapeRandom random; /* the stream of dropout */
    uint64_t epoch;    /* of the tensors on it */
    int graphs_used;   /* by lk_backward since the last reset */
    uint64_t pins;     /* records and backward runs so far: each pins what was made before it */
    Error error;
    const TapeScope *scope; /* the innermost one, which a failure names */
    TapeNotes notes;
    ErrorHandler *handler;
    void *handler_user;
};

/* ---- failure.c ------------------------------------------------------------------------------ */

/* Whether x, which is not NULL, is stale: the test of lk_is_stale. */
static inline bool lk__is_gone(const Tensor *x)
{
    return x->tape && x->serial < x->tape->headers.since[0];
}

/* Whether x is neither NULL nor stale. Functions without tape and Error begin with this check. If
 * x is stale, its tape then has the reason. */
static inline bool lk__is_readable(const char *function, const Tensor *x)
{
    if (!x) return false;
    if (lk__is_gone(x)) lk__fail_stale(x->tape, function, "", x);
    return !lk__is_gone(x);
}

/* Fails on t because operand i of count is NULL or stale; returns NULL. */
void *lk__fail_operand(Tape *t, const char *function, int i, int count, const Tensor *x);
/* Fails on t because an allocation failed; returns NULL. */
void *lk__fail_memory(Tape *t, size_t bytes);

/* The tape of freed tensors in strict mode: everything on it is stale. */
extern Tape lk__graveyard;

/* ---- tape_tensors.c ------------------------------------------------------------------------- */

/* Returns a number that was not the epoch of any tape yet. */
uint64_t lk__next_epoch(void);

/* Make all tensors of the tape stale. lk__headers_bury is for a tape that is freed in strict mode:
 * its tensors are stale because they were freed. */
void lk__headers_reset(Headers *h);
void lk__headers_bury(Headers *h);

/* Whether x was made on t after the mark, and is still there. */
static inline bool lk__made_since(const Tape *t, TapeMark mark, const Tensor *x)
{
    return x->tape == t && x->serial >= mark.serial;
}

/* Gives back everything made since the mark, as lk_tape_release does, but also when there are
 * records. y stays unless it is NULL, and its elements move. */
void lk__tape_rewind(Tape *t, TapeMark mark, Tensor *y);

/* ---- tape_notes.c --------------------------------------------------------------------------- */

/* Notes that the tensors from serial `first` on were made in the scope. Called at its end, while
 * t->notes.on. */
void lk__note_place(Tape *t, const TapeScope *scope, int64_t first);

/* Return the newest name of x, and the innermost place where x was made. NULL: none is noted. */
const char *lk__name_of(const Tape *t, const Tensor *x);
const TapePlace *lk__place_of(const Tape *t, const Tensor *x);

/* ---- backward.c ----------------------------------------------------------------------------- */

/* Whether input i gets a gradient: it required one when it was recorded and still does. */
static inline bool lk__is_wanted(const Node *n, int i)
{
    return n->in[i] && n->was[i].wanted && n->in[i]->requires_grad;
}

/* Adds dy to the gradient of y, and runs the graph behind y to the oldest record that t->last
 * leads to. Returns false with the reason on the tape. Nothing has changed then, unless memory
 * ran out. */
bool lk__run_backward(Tape *t, Tensor *y, const Tensor *dy, bool keep_graph);

#endif
