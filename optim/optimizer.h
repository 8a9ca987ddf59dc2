/* optimizer.h - changes parameters: SGD, Adam, AdamW, RMSprop with PyTorch's numbers. It sees
 * tensors, never a module.
 *
 *     Optimizer *opt = lk_adam_new(lk_parameters(model, &err), 1e-3, &err);
 *     lk_optimizer_zero_grad(opt);
 *     … lk_backward(t, loss) …
 *     lk_step(opt, &err);
 *
 * The other settings are plain members that start at PyTorch's defaults; change them at any time,
 * opt->weight_decay = 0.01. A parameter with requires_grad = false is never touched, even when it
 * still has a gradient; one that has no gradient is skipped. State is made at a parameter's first
 * step; after that a step allocates nothing.
 *
 * Parameters that are trained differently form groups (torch.optim's param_groups). The optimizer
 * itself is the first group; a new group starts with the settings of the optimizer:
 *
 *     ParamGroup *rest = lk_add_param_group(opt, others, &err);
 *     opt->weight_decay = 0.01;
 *     rest->weight_decay = 0;
 *
 * Gradient accumulation needs no function of its own, since backward adds:
 *
 *     lk_optimizer_zero_grad(opt);
 *     for (int i = 0; i < n; i++) {
 *         … lk_backward(t, lk_scale(t, loss, 1.0 / n)) …
 *         lk_tape_reset(t);
 *     }
 *     lk_clip_grad_norm_(&params, 1.0);  -- optim/clip.h
 *     lk_step(opt, &err); */
#ifndef LK_OPTIMIZER_H
#define LK_OPTIMIZER_H

#include "core/tensor.h"

typedef struct Optimizer Optimizer;
typedef struct Optimizer ParamGroup; /* settings and the parameters they are for */

enum { LK_MOMENTS = 3 }; /* the most that an optimizer has for one parameter */

/* The memory of an optimizer for one parameter. */
typedef struct OptimizerState {
    int64_t step; /* updates so far */
    /* SGD: momentum; Adam: means of g and g²; RMSprop: mean of g², momentum, mean of g. Owned;
     * NULL: not needed yet */
    Tensor *moment[LK_MOMENTS];
    DType dtype; /* of the parameter at its first step */
} OptimizerState;

/* Some elements of one parameter. */
typedef struct OptimizerPiece {
    DType dtype;
    int64_t n;
    void *p;                  /* the values to change */
    const void *g;            /* their gradient */
    void *moment[LK_MOMENTS]; /* their moments */
} OptimizerPiece;

/* An optimizer is two functions and its settings; one of your own starts with lk_optimizer_new. */
typedef struct OptimizerType {
    const char *name;
    /* Makes update number `step` (from 1) of the elements of a piece, each by itself: the threads
     * share a parameter in pieces. */
    void (*update)(const ParamGroup *group, int64_t step, const OptimizerPiece *piece);
    int (*moments)(const ParamGroup *group); /* moments that update needs: the first 0, 1, 2, 3 */
    /* what PyTorch's state_dict calls them: "exp_avg", "exp_avg_sq" */
    const char *moment_name[LK_MOMENTS];
} OptimizerType;

/* The outcome of the last lk_step. */
typedef enum OptimizerStep {
    LK_STEP_NONE,        /* there was none */
    LK_STEP_MADE,        /* it updated parameters */
    LK_STEP_LR_0,        /* nothing: lr is 0 in all groups that have gradients */
    LK_STEP_NO_GRADIENT, /* nothing: no trainable parameter has a gradient */
    LK_STEP_ALL_FROZEN,  /* nothing: no parameter is trainable */
    LK_STEP_REFUSED,     /* nothing: it returned false */
} OptimizerStep;

struct Optimizer {
    const OptimizerType *type;
    double lr;
    double momentum;          /* SGD, RMSprop: 0 */
    double beta1, beta2, eps; /* Adam, AdamW: 0.9, 0.999, 1e-8; RMSprop: eps 1e-8 */
    double alpha;             /* RMSprop: 0.99 */
    double weight_decay;      /* added to the gradient, 0; AdamW: decoupled, 0.01 */
    bool nesterov;            /* SGD: false; needs momentum (dampening is 0) */
    bool centered;            /* RMSprop: false */
    TensorList params;
    OptimizerState *state; /* one for each parameter */
    ParamGroup *next;      /* for (ParamGroup *g = opt; g; g = g->next) g->lr = …; */
    OptimizerStep last_step;
    int64_t steps;   /* calls of lk_step so far */
    int64_t reusing; /* those that used a gradient which an earlier step had used */
    /* lk_print_training (nn/diagnose.h): the state at its last call */
    struct {
        TensorList params, values;
        int64_t steps, reusing;
    } seen;
};

/* Each consumes the list (on failure too). Parameters are owned, contiguous, floating leaves, each
 * listed once. Errors: LK_EVALUE for anything else, for a list without one trainable parameter,
 * and for a learning rate that is negative or not finite; LK_EMEMORY. */
LK_API Optimizer *lk_sgd_new(TensorList params, double lr, Error *err);   /* torch.optim.SGD */
LK_API Optimizer *lk_adam_new(TensorList params, double lr, Error *err);  /* torch.optim.Adam */
LK_API Optimizer *lk_adamw_new(TensorList params, double lr, Error *err); /* torch.optim.AdamW */
LK_API Optimizer *lk_rmsprop_new(TensorList params, double lr,
                                 Error *err); /* torch.optim.RMSprop */
LK_API Optimizer *lk_optimizer_new(const OptimizerType *type, TensorList params, double lr,
                                   Error *err);
LK_API void lk_optimizer_free(Optimizer *opt); /* all its groups too */

/* opt.add_param_group: consumes the list and makes it one more group, with the settings that opt
 * has now; the group belongs to opt. A parameter is in one group only. All parameters of the list
 * may be frozen. Other errors as above; on failure opt is unchanged. */
LK_API ParamGroup *lk_add_param_group(Optimizer *opt, TensorList params, Error *err);

/* Updates every trainable parameter that has a gradient. False, with nothing changed: no memory
 * for new state, a setting outside PyTorch's range, a parameter whose dtype was changed after its
 * first step. A step with nothing to update returns true; opt->last_step then says why, and
 * lk_print_training (nn/diagnose.h) says it at length. */
LK_API LK_MUST_CHECK bool lk_step(Optimizer *opt, Error *err);

/* p.grad = None for every parameter. The memory stays for the next backward. */
LK_API void lk_optimizer_zero_grad(Optimizer *opt);

/* ---- saving and restoring the state --------------------------------------------------------- */

/* Visits every parameter with its state, group after group, numbered as in PyTorch's state_dict:
 *     OptimizerIter it = lk_optimizer_states(opt);
 *     while (lk_optimizer_states_next(&it)) … it.index, it.state … */
typedef struct OptimizerIter {
    int index; /* -1 before the first */
    Tensor *param;
    OptimizerState *state;
    ParamGroup *group;
    int item; /* of the group's parameters; the iterator's own */
} OptimizerIter;
LK_API OptimizerIter lk_optimizer_states(Optimizer *opt);
LK_API bool lk_optimizer_states_next(OptimizerIter *it);

/* Gives the parameter at *it the state of another run: the number of its steps, and its moments.
 * The moments are consumed, on failure too. With the same values, settings and gradients the next
 * step has the same bits as in that run. On failure it returns false, and the state is unchanged.
 * LK_ESHAPE: a moment is not owned and contiguous, or does not have the shape and dtype of the
 * parameter. LK_EVALUE: a moment is missing although step is positive, or step is negative. */
LK_API LK_MUST_CHECK bool lk_optimizer_set_state(const OptimizerIter *it, int64_t step,
                                                 Tensor *first, Tensor *second, Error *err);
/* The same with an array of LK_MOMENTS moments, for an optimizer that has more than two. */
LK_API LK_MUST_CHECK bool lk_optimizer_set_moments(const OptimizerIter *it, int64_t step,
                                                   Tensor *const *moments, Error *err);

#endif
