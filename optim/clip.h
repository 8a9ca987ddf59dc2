/* clip.h - gradients that are too long are shortened, between backward and step.
 *
 *     TensorList params = lk_trainable_parameters(model, &err);
 *     … lk_backward(t, loss) … double norm = lk_clip_grad_norm_(&params, 1.0); … lk_step(opt, &err); */
#ifndef LK_CLIP_H
#define LK_CLIP_H

#include "core/tensor.h"

/* torch.nn.utils.clip_grad_norm_: with the norm √Σ g² over all gradients in the list, every g is
 * multiplied by min(1, max_norm / (norm + 1e-6)). Returns the norm before. Counted are the
 * gradients that a step would use: those of parameters with requires_grad. The sum is made in
 * double and in one order: the same bits for any number of threads. As in PyTorch, a norm that is
 * infinite makes every finite gradient 0, and one that is NaN makes all NaN: look at the norm
 * before the step. max_norm INFINITY only measures. Allocates nothing. */
LK_API double lk_clip_grad_norm_(const TensorList *params, double max_norm);

#endif
