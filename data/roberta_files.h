/* roberta_files.h - the folder of a RoBERTa as the Hugging Face hub has it: config.json and
 * model.safetensors. (vocab.json and merges.txt: data/tokenizer.h.) */
#ifndef LK_ROBERTA_FILES_H
#define LK_ROBERTA_FILES_H

#include "data/safetensors.h"
#include "nn/models/roberta.h"

/* Reads and checks folder/config.json. A size that is not there has the default of transformers'
 * RobertaConfig. A setting that Lorikeet does not compute (another activation, a decoder, relative
 * positions) is refused by name. LK_EIO, LK_EFORMAT, LK_EVALUE, LK_EMEMORY. */
LK_API bool lk_roberta_config_read(RobertaConfig *c, const char *folder, Error *err);
/* Writes folder/config.json, whole or not at all; `architecture` is the class name,
 * "RobertaForMaskedLM". LK_EIO, LK_EMEMORY. */
LK_API bool lk_roberta_config_write(const RobertaConfig *c, const char *architecture,
                                    const char *folder, Error *err);

/* Maps a base model's model.safetensors into a classifier (lk_load_module_mapped: nothing is
 * copied). Other heads, the pooler and position_ids are left out, old names are understood, and a
 * classifier that is not in the file stays as it is. *report (NULL allowed, freed by the caller)
 * lists the tensors that were left out and the parameters that are not in the file. Errors,
 * nothing changed: those of lk_load_module_mapped; weights with LoRA in them are refused with
 * advice. */
LK_API bool lk_roberta_load_base(Module *classifier, const char *path, LoadReport *report,
                                 Error *err);

#endif
