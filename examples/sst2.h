/* sst2.h - what the RoBERTa programs share: the folder of a model, sentences of SST-2 as token ids. */
#ifndef SST2_H
#define SST2_H

#include "data/text.h"
#include "data/tokenizer.h"
#include "examples/cli.h"

/* The options --model and --data of these programs. */
#define CLI_MODEL(T) \
    CLI_TEXT("model", T, model, "DIR", \
             "folder with config.json, vocab.json, merges.txt; else roberta-base beside the data")
#define CLI_SST2(T) CLI_TEXT("data", T, data, "DIR", "folder that holds sst2/; else $LORIKEET_DATA, ~/.cache/lorikeet")

/* The folder of --model (NULL: roberta-base in the usual places), or an error that says where it was looked for. */
bool sst2_model_folder(const char *model, char path[CLI_PATH_MAX], Error *err);

/* Where sst2/train.tsv or dev.tsv of --data (NULL: of the usual places) is, or an error. */
enum { SST2_PATH_MAX = CLI_PATH_MAX + 32 };
bool sst2_path(const char *data, const char *file, char path[SST2_PATH_MAX], Error *err);

/* The sentences of that file as ids with <s> and </s>, at most max_length of them;
 * rows > 0: only so many from the beginning. NULL: LK_EIO, LK_EFORMAT, LK_EVALUE, LK_EMEMORY. */
TextDataset *sst2_new(const char *data, const char *file, const Tokenizer *tok, int64_t max_length, int64_t rows,
                      Error *err);

bool sst2_is_file(const char *path);
double sst2_seconds(void); /* a clock that only goes forward */

#endif
