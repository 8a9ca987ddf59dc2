/* lora_targets.h - the language for choosing a model's matrices for LoRA, everywhere in Lorikeet:
 * a list of targets with commas between them.
 *
 *     "query,value"            each Linear whose dotted name is one of these, or ends with
 *                              one after a dot: PEFT's target_modules
 *     "layer.*.output.dense"   `*` stands for any text, `?` for one character
 *     "!classifier.*"          excludes; a list that begins with `!` starts with all Linears
 *     NULL                     all Linears
 *
 * The last target that matches a name decides. For lk_add_lora targets also name each Conv1d,
 * Conv2d and Embedding, and the matrices of an LSTM, GRU or MultiheadAttention:
 * "conv1,lstm.weight_hh_l0,in_proj_weight". For lk_wrap_lora a target that matches no Linear names
 * each Conv1d, Conv2d and Embedding. */
#ifndef LK_LORA_TARGETS_H
#define LK_LORA_TARGETS_H

#include "nn/module.h"

/* Whether the list chooses a Linear of that name. */
LK_API bool lk_is_lora_target(const char *targets, const char *name);

/* Whether each target matches a Linear of m, in any of its places, and the list leaves some
 * Linear. If not, sets LK_EVALUE with the nearest names; the message begins with `function`. */
LK_API bool lk_check_lora_targets(Module *m, const char *targets, const char *function,
                                  Error *err);

#endif
