/* digits_files.h - what digit9 and weak_digits save and load: the network and the adapter, each in a file of its own. */
#ifndef DIGITS_FILES_H
#define DIGITS_FILES_H

#include "nn/state.h"

/* --save FILE: the network as it was before LoRA to FILE, the adapter's lora_A and lora_B to FILE.lora, both safetensors. */
bool digits_save(Module *model, const StateDict *originals, const char *path, Error *err);

/* --load FILE: the weights of a network without LoRA; strict: every name and shape must fit. */
bool digits_load(Module *model, const char *path, Error *err);

#endif
