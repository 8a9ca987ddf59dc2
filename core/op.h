/* op.h - how to write an operation.
 *
 * An operation is a forward function and, above it, its backward. Forward begins with
 * lk_check_floating or lk_check_operands, makes the result with lk_empty, computes it, and ends
 * with lk_record. Backward gets the node: n->grad is dL/dy, n->in[i] are the inputs, n->out is the
 * result; for each input it asks lk_grad_in for the buffer to ADD to, which is NULL when that
 * input wants no gradient (frozen, or not a float). examples/own/custom_op.c is one from beginning
 * to end:
 *
 *     // y = x², so dx += 2 x dy
 *     static void square_backward(Tape *t, Node *n)
 *     {
 *         Tensor *x = lk_packed(t, n->in[0]), *dx = lk_grad_in(t, n, 0);
 *         if (!x || !dx) return;
 *         LK_REAL(dx->dtype, square_gradient, lk_numel(dx), x->data, n->grad->data, dx->data);
 *     }
 *     static const Op SQUARE = { "SquareBackward", square_backward, { LK_IN0 } };
 *
 * The arithmetic, here square_gradient, is written once for float32 and float64: core/real.h. */
#ifndef LK_OP_H
#define LK_OP_H

#include "core/kernels.h"
#include "core/tape.h"

typedef struct Node Node;

/* A mask of the values that a gradient is computed from: backward refuses when one of them was
 * changed since the forward. Inputs behind the fifth are in LK_IN_ALL only. */
enum { LK_IN0 = 1, LK_IN1 = 2, LK_IN2 = 4, LK_IN3 = 8, LK_IN4 = 16, LK_IN_ALL = 63, LK_OUT = 64 };

/* The description of an operation. It is static and constant; its address identifies it. */
typedef struct Op {
    const char *name;                   /* PyTorch's grad_fn name; NULL in a NamedOp */
    void (*backward)(Tape *t, Node *n); /* adds to lk_grad_in(t, n, 0), 1, … */
    uint8_t needs[5]; /* a mask for each input's gradient; the last also for those behind it */
} Op;

/* An operation for which PyTorch has several names. `name` chooses one when the result is printed.
 * It may read n->state, n->was and n->out, but not n->in: the inputs may be gone by then. */
typedef struct NamedOp {
    Op op;
    const char *(*name)(const Node *n);
} NamedOp;

/* The facts about an input that are kept when it is recorded. */
typedef struct NodeInput {
    uint32_t version; /* a later write is noticed */
    DType dtype;      /* a later lk_convert_ too */
    /* it required a gradient; an input that requires one only later gets none, as in PyTorch */
    bool wanted;
} NodeInput;

/* One recorded call of an operation. */
struct Node {
    const Op *op;
    Tensor *out;          /* the result of forward */
    Tensor *grad;         /* dL/dout, contiguous; only set while backward runs */
    void *state;          /* the copy of forward's constants that lk_record made, or NULL */
    Node *prev;           /* the node recorded before this one: the tape in reverse order */
    bool reached, used;   /* marks of backward: on the way to the loss; already gone through */
    uint32_t out_version; /* when recorded */
    int inputs;
    Tensor **in;    /* the inputs; NULL where an optional one was not given */
    NodeInput *was; /* one for each input */
};

/* Every operation begins with this check: no operand is NULL or stale. Otherwise it returns false,
 * and the tape has the reason. For a NULL operand the reason is the earlier failure that made it
 * NULL, if the tape has one. */
LK_API bool lk_check_operands(Tape *t, const char *function, int count, Tensor *const *x);
/* The same, and they are floating and of one dtype. */
LK_API bool lk_check_floating(Tape *t, const char *function, int count, Tensor *const *x);
/* Checks an operand that may be left out. NULL is allowed, but not after a failure: then it may be
 * the result of the failed operation. */
LK_API bool lk_check_optional(Tape *t, const char *function, const char *name, const Tensor *x);

/* An uninitialised contiguous result on the tape; NULL (with the error kept) when memory is
 * short. */
LK_API Tensor *lk_empty(Tape *t, DType dtype, int ndim, const int64_t *shape);

/* Records y = op(in…) when grad mode is on and an input requires a gradient; returns y (NULL for
 * NULL). state_bytes of state are copied and handed to backward as n->state. */
#define LK_INPUTS(...) LK_LIST(Tensor *, __VA_ARGS__)
LK_API Tensor *lk_record(Tape *t, const Op *op, Tensor *y, int inputs, Tensor *const *in,
                         const void *state, size_t state_bytes);
/* Whether lk_record would record: forward may skip what only backward needs. */
LK_API bool lk_records(const Tape *t, int inputs, Tensor *const *in);

/* In a backward: the contiguous tensor to which the gradient of input i is added (zeros at first),
 * or NULL when input i wants none. lk_grad_in_fresh does not clear a buffer that nothing was added
 * to yet. It sets *fresh to true for it, and backward must overwrite the buffer. fresh is never
 * NULL. */
LK_API Tensor *lk_grad_in(Tape *t, Node *n, int i);
LK_API Tensor *lk_grad_in_fresh(Tape *t, Node *n, int i, bool *fresh);

/* Memory of the tape, 64-byte aligned. lk_tape_alloc: until the reset. lk_tape_scratch: until the
 * next call of it; the same room every time, for packing and temporaries. NULL with the error kept
 * when memory is short. */
LK_API void *lk_tape_alloc(Tape *t, size_t bytes);
LK_API void *lk_tape_scratch(Tape *t, size_t bytes);

/* ---- helpers for strided and broadcast operands --------------------------------------------- */

/* Walks tensors that broadcast to x[0]'s shape, row by row. A row has n elements; p[i] points to
 * the first of x[i] and step[i] is the distance in elements from one to the next (0: broadcast).
 * Large walks run in parallel when no step of x[0] is 0, in pieces that do not depend on the
 * number of threads. arg is passed on to `row`. Only arg may be NULL. */
enum { LK_LOOP_MAX = 5 };
typedef void RowFn(int64_t n, void *const *p, const int64_t *step, const void *arg);
typedef RowFn *RowTable[LK_KERNEL_SETS][2]; /* [set][dtype]: LK_ROWS of core/real.h */
LK_API void lk_loop(RowFn *row, const void *arg, int count, const Tensor *const *x);
/* The same, one row after the other in logical order. So `row` can collect a result in what arg
 * points to. */
LK_API void lk_loop_serial(RowFn *row, const void *arg, int count, const Tensor *const *x);

/* The shape that a and b broadcast to (PyTorch's rule); false when they do not. */
LK_API bool lk_broadcast_shape(const Tensor *a, const Tensor *b, int *ndim,
                               int64_t shape[LK_MAX_DIMS]);

/* dst += src. src is broadcast over dst. Where dst itself is a broadcast view (stride 0), the
 * elements that share a place are summed in double. Expand's backward and sum's forward use this.
 * False when memory for the sums is short. */
LK_API bool lk_accumulate(Tape *t, Tensor *dst, const Tensor *src);

/* x itself when it is contiguous, else an unrecorded contiguous copy on the tape. */
LK_API Tensor *lk_packed(Tape *t, Tensor *x);

#endif
