/* optimizer.h - what changes parameters: SGD, Adam, AdamW with PyTorch's numbers. Sees tensors, never a module.
 *
 *     Optimizer *opt = lk_adam_new(lk_parameters(model, &err), 1e-3, &err);
 *     lk_optimizer_zero_grad(opt);  … lk_backward(t, loss) …  lk_step(opt, &err);
 *
 * The other settings start at PyTorch's defaults and are plain members, opt->weight_decay = 0.01, changed at any time.
 * A parameter with requires_grad = false is never touched, even when it still carries a gradient; one that has no
 * gradient is skipped. State is made at a parameter's first step; after that a step allocates nothing. */
#ifndef LK_OPTIMIZER_H
#define LK_OPTIMIZER_H

#include "core/tensor.h"

typedef struct Optimizer Optimizer;

typedef struct OptimizerState { /* what one parameter has gathered */
    int64_t step;    /* updates so far */
    void *moment[2]; /* SGD: momentum; Adam: mean of g, mean of g². NULL: not needed yet */
    DType dtype;     /* of the moments, which have as many elements as the parameter */
} OptimizerState;

typedef struct OptimizerPiece { /* some elements of one parameter */
    DType dtype;
    int64_t n;
    void *p;         /* the values to change */
    const void *g;   /* their gradient */
    void *moment[2]; /* what was gathered for them */
} OptimizerPiece;

/* An optimizer is two functions and its settings; one of your own starts with lk_optimizer_new. */
typedef struct OptimizerType {
    const char *name;
    /* Update number `step` (from 1) of a piece, element by element: large parameters come in pieces, on all threads. */
    void (*update)(const Optimizer *opt, int64_t step, const OptimizerPiece *piece);
    int (*moments)(const Optimizer *opt); /* how many of moment[] update needs with these settings: 0, 1 or 2 */
} OptimizerType;

struct Optimizer {
    const OptimizerType *type;
    double lr;
    double momentum;          /* SGD: 0 */
    double beta1, beta2, eps; /* Adam, AdamW: 0.9, 0.999, 1e-8 */
    double weight_decay;      /* SGD, Adam: times the parameter, added to the gradient, 0; AdamW: decoupled, 0.01 */
    TensorList params;
    OptimizerState *state;    /* one for each parameter */
};

/* Each consumes the list (on failure too). Parameters are owned, contiguous, floating leaves, each listed once. Errors:
 * LK_EVALUE for anything else, for a list without one trainable parameter, and for a learning rate that is negative or
 * not finite; LK_EMEMORY. */
LK_API Optimizer *lk_sgd_new(TensorList params, double lr, Error *err);   /* torch.optim.SGD */
LK_API Optimizer *lk_adam_new(TensorList params, double lr, Error *err);  /* torch.optim.Adam */
LK_API Optimizer *lk_adamw_new(TensorList params, double lr, Error *err); /* torch.optim.AdamW */
LK_API Optimizer *lk_optimizer_new(const OptimizerType *type, TensorList params, double lr, Error *err);
LK_API void lk_optimizer_free(Optimizer *opt);

/* One update of every trainable parameter that has a gradient. False, with nothing changed: no memory for new state, a
 * setting outside PyTorch's range, a parameter whose dtype was changed after its first step. */
LK_API bool lk_step(Optimizer *opt, Error *err);

/* p.grad = None for every parameter; the memory is kept for the next backward. */
LK_API void lk_optimizer_zero_grad(Optimizer *opt);

#endif
