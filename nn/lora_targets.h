/* lora_targets.h - the language in which a model's Linears are chosen for LoRA, everywhere in
 * Lorikeet: a list of targets with commas between them.
 *
 *     "query,value"            each Linear whose dotted name ends so, from a dot on: PEFT's
 *                              target_modules
 *     "layer.*.output.dense"   `*` stands for any text, `?` for one character
 *     "!classifier.*"          takes Linears out again; a list that begins so begins with all
 *     NULL                     all
 *
 * The last target that matches a name decides. */
#ifndef LK_LORA_TARGETS_H
#define LK_LORA_TARGETS_H

#include "nn/module.h"

/* Whether the list chooses a Linear of that name. */
LK_API bool lk_is_lora_target(const char *targets, const char *name);

/* Whether each target matches a Linear of m, in any of its places, and some Linear is left. If
 * not: LK_EVALUE, with the nearest names; `function` is what the message begins with. */
LK_API bool lk_check_lora_targets(Module *m, const char *targets, const char *function,
                                  Error *err);

#endif
