/* ema.h - averages of parameters over the steps, which often do better than the last values:
 * torch.optim.swa_utils.AveragedModel with an exponential moving average. It sees tensors, never a
 * module.
 *
 *     Ema *ema = lk_ema_new(lk_parameters(model, &err), 0.999, &err);
 *     for (each step) { … lk_step(opt, &err); lk_ema_update(ema, &err); }
 *     lk_ema_swap(ema, &err);      -- the model has the averages now
 *     … evaluate or save it …
 *     lk_ema_swap(ema, &err);      -- and its own values again, to train on */
#ifndef LK_EMA_H
#define LK_EMA_H

#include "core/tensor.h"

typedef struct Ema {
    double decay;        /* may be changed between updates; 0 … 1 */
    int64_t updates;     /* so far; AveragedModel's n_averaged */
    bool swapped;        /* the parameters hold the averages, and averages the parameters */
    TensorList params;   /* the list given */
    TensorList averages; /* owned, one for each parameter, of its shape and dtype */
} Ema;

/* Consumes the list, on failure too. The averages start as copies of the parameters. Frozen
 * parameters may be among them, and floating buffers (use_buffers). Errors: LK_EVALUE for an empty
 * list, a decay outside 0 … 1, and a tensor that is no owned, contiguous, floating leaf, or is
 * there twice; LK_EMEMORY. */
LK_API Ema *lk_ema_new(TensorList params, double decay, Error *err);
LK_API void lk_ema_free(Ema *ema); /* NULL allowed; does not swap back */

/* update_parameters: the first update copies the parameters, as PyTorch does; after that
 * average = decay average + (1 - decay) parameter. Errors, with nothing changed: LK_ESTATE while
 * it is swapped, or when a parameter was converted; LK_EVALUE for a decay outside 0 … 1. It
 * allocates nothing. */
LK_API LK_MUST_CHECK bool lk_ema_update(Ema *ema, Error *err);

/* Exchanges the values of parameters and averages; a second call undoes the first. Error, with
 * nothing changed: LK_ESTATE when a parameter was converted. It allocates nothing. */
LK_API LK_MUST_CHECK bool lk_ema_swap(Ema *ema, Error *err);

#endif
