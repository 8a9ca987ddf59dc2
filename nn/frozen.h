/* frozen.h - frozen weights in a half or a quarter of the memory, for LoRA on a large base.
 *
 *     lk_require_grad(net, "*", false);
 *     lk_store_frozen(net, LK_BF16, &err);     -- the base: 2 bytes a weight instead of 4
 *     lk_wrap_lora(net, NULL, 8, 16, &rng, &err);     -- or lk_add_lora
 *
 * LK_BF16 changes a weight by at most 1/256 of it. LK_QI8 has a byte a weight and a float32 a row,
 * as torch.quantize_per_channel(w, max|w_i| / 127, 0, axis=0): row i = scale_i times integers from
 * -127 to 127, so a weight changes by at most 1/254 of the largest of its row.
 *
 * Products widen the weights block by block in the caches (core/ops.h); everything else is float32
 * as before: activations, gradients, LoRA's A and B, biases, normalizations. A weight that is
 * stored so stays frozen: lk_require_grad does not reach it, and lk_module_to(net, LK_F32, &err)
 * makes it float32 again (with the rounded values). lk_merge computes merged weights in float32, 4
 * bytes a weight, and rounds nothing. A model that is stored so before its file is loaded is never
 * there in float32. */
#ifndef LK_FROZEN_H
#define LK_FROZEN_H

#include "nn/module.h"

/* Replaces the weight of every Linear and Embedding of m that is frozen (requires_grad is false)
 * and float32, parametrized ones too, in all its places in m; gives their number. Other owners
 * keep the old tensor. dtype: LK_BF16 or LK_QI8. -1, with the weights before it replaced:
 * LK_EMEMORY; LK_EVALUE for LK_QI8: a weight is infinite or NaN. LK_EVALUE: m is NULL; LK_EDTYPE:
 * another dtype. */
LK_API int lk_store_frozen(Module *m, DType dtype, Error *err);

#endif
