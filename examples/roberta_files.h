/* roberta_files.h - a model's weights from a file of the hub: mapped into memory, not copied. */
#ifndef ROBERTA_FILES_H
#define ROBERTA_FILES_H

#include "data/safetensors.h"
#include "examples/roberta.h"

/* Makes the parameters of the model the tensors of that name in the file; its pages are read when they are used, shared by
 * all who map the file, and never written: who trains them changes copies of single pages. The model must be freed before
 * the returned file is closed.
 *
 * strict: the names of file and model are the same. Else it is a base model to build on: the model's head may be missing
 * and is left as it is, heads of other models, the pooler and position_ids are left out; one line each is printed. The
 * old names LayerNorm.gamma and beta are understood, and names without "roberta.".
 *
 * NULL, the model unchanged: LK_EIO, LK_EFORMAT, LK_EMEMORY; LK_EVALUE when other names are missing or left over (the
 * message lists them), LK_ESHAPE and LK_EDTYPE for a tensor that does not fit. */
SafeTensors *roberta_load(Module *model, const char *path, bool strict, Error *err);

/* Whether path is a file. */
bool roberta_file_exists(const char *path);

#endif
