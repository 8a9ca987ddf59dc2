/* diagnose.h - finds out why a training does not move the parameters.
 *
 *     for (int step = 0; step < 200; step++) {
 *         … lk_optimizer_zero_grad(opt) … lk_backward(t, loss) … lk_step(opt, &err) …
 *         if (step % 100 == 0) lk_print_training(stdout, net, opt);
 *     }
 *
 *     parameter  shape   trainable  optimizer  gradient     moved
 *     0.weight   (3, 6)  yes        yes            8.49         0
 *     0.bias     (3,)    frozen     no             none         0
 *     ! The learning rate is 0: set opt->lr, or look at its schedule.
 */
#ifndef LK_DIAGNOSE_H
#define LK_DIAGNOSE_H

#include "nn/module.h"
#include "optim/optimizer.h"

/* Prints a line for each parameter of net, under its first name: whether it is trainable, whether
 * opt has it, the norm √Σ g² of its gradient, and how far it moved, √Σ (p - before)², since the
 * last call for this opt ("-" in the first one). Then prints a line that begins with "! " for each
 * cause that keeps the parameters from moving, with its remedy: everything frozen; trainable
 * parameters that opt lacks, because it was made before them or has older versions of them; a
 * parameter that no table of fields lists; adapters that are merged, switched off or scaled to 0;
 * a factor of LoRA that is 0 and frozen; no backward; gradients cleared before the step; no step;
 * a step that returned false; lr 0; gradients that are all 0, not finite, or too small; parameters
 * that the forward does not read. Such a line is also printed for gradients that were never
 * cleared, and for modules with buffers, as BatchNorm, that are frozen but in training mode: their
 * running statistics move. Call it after lk_step. Without such a line no cause was found.
 *
 * opt (may be NULL) owns a copy of each parameter for the next call. Only this function makes the
 * copies. */
LK_API void lk_print_training(FILE *out, Module *net, Optimizer *opt);

#endif
