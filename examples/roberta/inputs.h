/* inputs.h - the inputs of the RoBERTa programs: the folder of a model, and the sentences of SST-2
 * as token ids. */
#ifndef INPUTS_H
#define INPUTS_H

#include "data/text.h"
#include "data/tokenizer.h"
#include "examples/shared/cli.h"

/* The options --model and --data of these programs (m: the member of T), and a line about them for
 * `about`. */
#define INPUT_MODEL(T, m) \
    CLI_TEXT("model", T, m, "DIR", \
             "folder with config.json, vocab.json, merges.txt and, if there, model.safetensors")
#define INPUT_SST2(T, m) \
    CLI_TEXT("data", T, m, "DIR", "folder that holds sst2/, with train.tsv and dev.tsv")
#define INPUT_PLACES \
    "\nWithout --model roberta-base/, without --data sst2/ is looked for in $LORIKEET_DATA, " \
    "then in ~/.cache/lorikeet."

/* Finds the folder of --model (NULL: roberta-base in the usual places). An error names the places
 * that were searched. */
bool input_model_folder(const char *model, char path[LK_PATH_MAX], Error *err);

/* Finds sst2/train.tsv or dev.tsv in --data (NULL: in the usual places). */
bool input_sst2_path(const char *data, const char *file, char path[LK_PATH_MAX], Error *err);

/* The sentences of that file as ids with <s> and </s>, at most max_length ids each: longer
 * sentences are cut, and a line on stdout says how many. rows > 0: only so many sentences from the
 * beginning. NULL: LK_EIO, LK_EFORMAT, LK_EVALUE, LK_EMEMORY. */
TextDataset *input_sentences_new(const char *data, const char *file, const Tokenizer *tok,
                                 int64_t max_length, int64_t rows, Error *err);

bool input_is_file(const char *path);

#endif
