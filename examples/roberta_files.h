/* roberta_files.h - the weights of a model from the hub. */
#ifndef ROBERTA_FILES_H
#define ROBERTA_FILES_H

#include "examples/roberta.h"

/* Maps a base model's model.safetensors into a classifier (lk_load_module_mapped,
 * data/safetensors.h: nothing is copied). Other heads, the pooler and position_ids are left out,
 * old names are understood, and a classifier that is not there stays as it is; a line is printed
 * about each. Errors, nothing changed: those of lk_load_module_mapped; for weights with LoRA in
 * them, as best_checkpoint has them, a message that says how to use them. */
bool roberta_load_base(Module *classifier, const char *path, Error *err);

#endif
