/* tape.h - the record of a computation, and the memory of everything that operations make.
 *
 *     Tape *t = lk_tape_new(&err);
 *     Tensor *loss = lk_mse_loss(t, lk_linear(t, x, W, b), y);
 *     if (!lk_backward(t, loss)) puts(lk_tape_error(t)->message);
 *     lk_tape_reset(t);  -- all tensors of t are gone; the next step gets their memory
 *
 * A tape is explicit: every operation takes it first, nothing is hidden in globals, one thread
 * uses one tape. Leaves (parameters, inputs) must outlive the results that were computed from
 * them, until the tape is reset. */
#ifndef LK_TAPE_H
#define LK_TAPE_H

#include "core/memory.h"
#include "core/tensor.h"

typedef struct Tape Tape;

/* NULL without memory, and when LORIKEET_KERNELS is refused (core/kernels.h). */
LK_API Tape *lk_tape_new(Error *err);
/* A tape that prints nothing: check it with lk_tape_ok. A tape of lk_tape_new prints its first
 * failure. */
LK_API Tape *lk_tape_quiet_new(Error *err);
/* The same in no-grad mode, for values that are computed once. NULL without memory. */
LK_API Tape *lk_tape_no_grad_new(Error *err);
LK_API void lk_tape_free(Tape *t);

/* Forgets the graph and every tensor made with t; keeps the memory, the error and the grad mode.
 * Operations refuse a tensor that is used after the reset, and their message names it. lk_clone
 * keeps a tensor longer. */
LK_API void lk_tape_reset(Tape *t);

/* A number that changes whenever tensors of t may have been given back (reset, release), and that
 * two tapes never share. A cache that holds a tensor of a tape remembers the number beside it, and
 * uses the tensor only while the number is the same. */
LK_API uint64_t lk_tape_epoch(const Tape *t);

/* torch.set_grad_enabled: false is torch.no_grad(), nothing is recorded or saved. Returns the
 * mode before. */
LK_API bool lk_tape_set_grad(Tape *t, bool on);
LK_API bool lk_tape_grad(const Tape *t);

/* torch.autocast(dtype=torch.bfloat16) for the products of lk_matmul, lk_linear and lk_linear_lora
 * in float32, forward and backward: LK_BF16 rounds both operands to bfloat16 and sums in float32;
 * LK_F32, the default, rounds nothing. It shows what a processor with bfloat16 products would
 * compute; it is not faster here, since no instructions for bfloat16 are used yet. A qint8 weight
 * is not rounded. False, with the reason on the tape (LK_EDTYPE): another dtype. */
LK_API bool lk_tape_set_matmul_precision(Tape *t, DType dtype);
LK_API DType lk_tape_matmul_precision(const Tape *t);

/* Gives back everything made since the mark except y, whose elements move; returns y. Inference
 * thus needs the memory of one layer. Nothing is given back in two cases. After a record since the
 * mark, backward needs the intermediates. After a backward since the mark, gradients may lie there
 * (of leaves of the tape, of intermediates with lk_retain_grad). */
typedef struct TapeMark {
    ArenaMark memory;
    uint64_t pins;  /* records and backward runs so far: each pins what was made before it */
    int64_t serial; /* of the next tensor */
    Tensor *last;   /* the last tensor before the mark */
} TapeMark;
LK_API TapeMark lk_tape_mark(Tape *t);
LK_API Tensor *lk_tape_release(Tape *t, TapeMark mark, Tensor *y);

/* ---- dropout -------------------------------------------------------------------------------- */

/* The stream that dropout draws from. A mask is a function of the seed, the number of the call and
 * the index of an element. A reset of the tape leaves the stream alone, so that the next step
 * drops other elements. */
typedef struct TapeRandom {
    uint64_t seed, calls; /* calls of dropout so far */
} TapeRandom;
LK_API void lk_tape_seed(Tape *t, uint64_t seed); /* from the beginning; a new tape has seed 0 */
LK_API TapeRandom lk_tape_random(const Tape *t);  /* the place of the stream */
LK_API void lk_tape_set_random(Tape *t, TapeRandom at); /* goes on at this place */

/* ---- errors --------------------------------------------------------------------------------- */

/* The first failure since the last lk_tape_clear_error; code LK_OK when there is none. One check
 * per step is enough: an operation that fails, or is given NULL, returns NULL, and lk_backward
 * then returns false. A tape that is NULL has failed. */
LK_API const Error *lk_tape_error(const Tape *t);
/* Checks a whole chain of constructors and operations at its end: `return lk_tape_ok(t, err);`. It
 * is false when one of them failed, and err then has the reason. With t NULL only err is looked
 * at. */
LK_API bool lk_tape_ok(const Tape *t, Error *err);
LK_API void lk_tape_clear_error(Tape *t);

/* Sets the handler that is called once, with the first failure. The default prints the message to
 * stderr; NULL silences. */
LK_API void lk_tape_on_error(Tape *t, ErrorHandler *handler, void *user);

/* Keeps a failure on the tape; returns NULL, for `return lk_fail(t, LK_ESHAPE, "lk_name: …");`. */
LK_API void *lk_fail(Tape *t, ErrorCode code, const char *format, ...) LK_PRINTF(3, 4);

/* ---- backward ------------------------------------------------------------------------------- */

/* y.backward(): adds dy/dx to the grad of every leaf x that requires it. y is a floating tensor
 * with one element. False, with the reason on the tape and no gradient touched, when y has no
 * graph, the graph was used before, a value that the graph needs was changed in place, or the tape
 * already has an error. (When memory runs out in the middle it returns false too; the gradients
 * are then incomplete: zero them.) */
LK_API LK_MUST_CHECK bool lk_backward(Tape *t, Tensor *y);

/* y.backward(gradient, retain_graph): gradient has the shape and dtype of y (NULL: 1, for a single
 * element); keep_graph allows another backward through the same graph. */
LK_API LK_MUST_CHECK bool lk_backward_with(Tape *t, Tensor *y, const Tensor *gradient,
                                           bool keep_graph);

/* The name PyTorch prints for the operation that made y, "AddmmBackward0"; NULL for a leaf. */
LK_API const char *lk_grad_fn(const Tensor *y);

/* ---- recomputation (core/recompute.c) ------------------------------------------------------- */

/* torch.utils.checkpoint: y = fn(t, state, x). Only x and y stay in memory, and backward computes
 * the rest again. So a deep net needs the activations of one segment at a time. The results have
 * the bits of fn(t, state, x):
 *
 *     typedef struct Call { Layer *layer; Tensor *mask; } Call;
 *     static Tensor *layer_forward(Tape *t, const void *state, Tensor *x)
 *     {
 *         const Call *c = state; …
 *     }
 *     x = lk_recompute(t, layer_forward, &(Call){ layer, mask }, sizeof(Call), x);
 *
 * `bytes` of state are copied; the objects that they point to must live until the tape is reset.
 * Dropout in fn is the same both times. Every tensor that fn reads gets its gradient: x (it may be
 * frozen), parameters, and tensors that it reaches through state. fn may call lk_recompute itself.
 * fn returns one tensor, computed with t; it makes no backward and changes nothing in place. In
 * no-grad mode fn just runs, and the intermediates between x and y are given back. Backward fails
 * with LK_ESTATE when a tensor that fn reads was changed in place since, or when fn gives another
 * result. */
typedef Tensor *RecomputeFn(Tape *t, const void *state, Tensor *x);
LK_API Tensor *lk_recompute(Tape *t, RecomputeFn *fn, const void *state, size_t bytes, Tensor *x);

/* ---- threads -------------------------------------------------------------------------------- */

/* torch.set_num_threads: OpenMP uses n threads from now on (n < 1: one a processor). Results have
 * the same bits for any n. A child of fork() gets as many threads of its own. */
LK_API void lk_set_num_threads(int n);
LK_API int lk_get_num_threads(void);

#endif
