/* gradcheck.h - lk_gradcheck of a whole module: its trainable parameters and its input. */
#ifndef LK_NN_GRADCHECK_H
#define LK_NN_GRADCHECK_H

#include "core/gradcheck.h"
#include "nn/module.h"

/* Compares the gradients of every trainable parameter of m (float64: lk_module_to(m, LK_F64, &err)
 * first), and of x if it requires one, with central differences. The report names the parameter:
 * "layers.0.lora.A". If the wrong factor is one of the module's own numbers (LK_INT, LK_DOUBLE:
 * alpha, rank, …), the report names it too: "1 / lora.rank".
 * The row padding_idx of an Embedding has no gradient by design. It is left out if the input has
 * that id, and report->notice says so. */
LK_API bool lk_gradcheck_module(Module *m, Tensor *x, const GradcheckOptions *options,
                                GradcheckReport *report);

#endif
