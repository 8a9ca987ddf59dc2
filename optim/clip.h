/* clip.h - shortens gradients that are too long or cuts their elements, between backward and step.
 *
 *     TensorList params = lk_trainable_parameters(model, &err);
 *     … lk_backward(t, loss) …
 *     double norm = lk_clip_grad_norm_(&params, 1.0);
 *     … lk_step(opt, &err) …
 *
 * &opt->params is such a list too, without those of other groups. */
#ifndef LK_CLIP_H
#define LK_CLIP_H

#include "core/tensor.h"

/* torch.nn.utils.clip_grad_norm_: with the norm √Σ g² over all gradients in the list, multiplies
 * every g by min(1, max_norm / (norm + 1e-6)). Returns the norm before that. The gradients that
 * count are those that a step would use: those of parameters with requires_grad. The sum is made
 * in double and in one order, so that it has the same bits for any number of threads. As in
 * PyTorch, an infinite norm makes every finite gradient 0, and a NaN norm makes all gradients NaN.
 * So look at the norm before the step. With max_norm INFINITY, the function only measures. It
 * allocates nothing. */
LK_API double lk_clip_grad_norm_(const TensorList *params, double max_norm);

/* torch.nn.utils.clip_grad_value_: every element of these gradients becomes at least -value and at
 * most value; NaN stays NaN. False, with nothing changed: value is negative or NaN, or params is
 * NULL. It allocates nothing. */
LK_API bool lk_clip_grad_value_(const TensorList *params, double value);

#endif
