/* files.h - --save and --load of digit9 and weak_digits: the base and the adapter, a
 * safetensors file each. */
#ifndef DIGITS_FILES_H
#define DIGITS_FILES_H

#include "examples/digits/lora.h"

/* Whether the files of --save can be written. Call it before the work starts, not after it. */
bool digits_can_save(const char *path, Error *err);

/* Save and load the base, as it is before LoRA: its state dict in the file `path`. */
bool digits_save_base(Module *model, const char *path, Error *err);
bool digits_load_base(Module *model, const char *path, Error *err);

/* Save and load lora_A and lora_B of every layer, in a file beside the base's:
 * net.lora.safetensors beside net.safetensors. Loading demands exactly the tensors that the
 * model's adapter has, and the same alpha. */
bool digits_save_adapter(Module *model, const char *path, Error *err);
bool digits_load_adapter(Module *model, const char *path, Error *err);

#endif
