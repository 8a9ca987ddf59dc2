/* text.h - sentences as token ids, and batches of them: padded, masked, in the order of PyTorch or
 * of Hugging Face.
 *
 *     TextDataset *data = lk_text_dataset_new(&err);
 *     for (each sentence) lk_text_add(data, ids, count, label, &err);
 *     TextOptions options = { .batch_size = 32, .order = LK_GROUPED, .pad = 1 };
 *     TextLoader *loader = lk_text_loader_new(data, &options, &rng, &err);
 *     lk_text_loader_begin(loader);                          -- before every pass
 *     for (TextBatch b; lk_text_loader_next(loader, &b);) …  -- b.ids, b.mask (B, S), b.labels (B)
 *
 * data/tokenizer.h makes the ids from text. */
#ifndef LK_TEXT_H
#define LK_TEXT_H

#include "core/tensor.h"

/* ---- the sentences -------------------------------------------------------------------------- */

typedef struct TextDataset {
    int64_t *ids;    /* all of them, one sentence after the other */
    int64_t *offset; /* sentence i is ids[offset[i]] … ids[offset[i + 1] - 1] */
    int64_t *labels;
    int64_t count;          /* sentences */
    int64_t room, ids_room; /* how many the arrays have space for */
} TextDataset;

LK_API TextDataset *lk_text_dataset_new(Error *err); /* without a sentence */
LK_API void lk_text_dataset_free(TextDataset *d);    /* NULL allowed */
/* Appends a copy of one sentence. Errors, with nothing changed: LK_EVALUE for a sentence without
 * ids, LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_text_add(TextDataset *d, const int64_t *ids, int64_t count,
                                      int64_t label, Error *err);
/* dataset.select(range(n)): forgets all sentences after the first n. No loader may be reading
 * it. */
LK_API void lk_text_keep(TextDataset *d, int64_t n);
LK_API int64_t lk_text_length(const TextDataset *d, int64_t i); /* ids of sentence i; -1: bad i */

/* ---- batches of them ------------------------------------------------------------------------ */

typedef enum TextOrder {
    LK_IN_ORDER, /* torch's SequentialSampler: for evaluation */
    LK_SHUFFLED, /* torch's RandomSampler */
    LK_GROUPED,  /* transformers' LengthGroupedSampler: similar lengths together, little padding */
} TextOrder;

typedef struct TextOptions {
    int64_t batch_size;
    TextOrder order;
    int64_t length; /* S of every batch; 0: the longest sentence of the batch */
    int64_t pad;    /* the id that fills up shorter sentences; RoBERTa's is 1 */
    int64_t group;  /* LK_GROUPED: samples of one optimizer step; 0: batch_size */
} TextOptions;

/* A batch belongs to the loader, and is valid until the next one. */
typedef struct TextBatch {
    Tensor *ids;         /* (B, S) int64, padded on the right */
    Tensor *mask;        /* (B, S) bool: true where there is a token */
    Tensor *labels;      /* (B) int64 */
    const int64_t *rows; /* B numbers of sentences in the dataset */
    int64_t first;       /* position of the first one in the order of this pass */
} TextBatch;

/* The position of a loader: plain bytes, which may be written to a file and read again. */
typedef struct TextPosition {
    Rng rng;      /* the state of the generator when the order of the pass was drawn */
    bool ordered; /* it has been drawn */
    int64_t next; /* position of the next batch's first sentence */
} TextPosition;

typedef struct TextLoader {
    const TextDataset *dataset; /* borrowed */
    TextOptions options;
    Rng *rng;              /* borrowed: the global generator of PyTorch */
    int64_t *order, *room; /* sentences in the order of this pass; memory for sorting them */
    TextPosition at;
    bool begun;                  /* a pass has begun, and it is not over */
    Tensor *ids, *mask, *labels; /* room for the largest batch */
    Error error; /* why lk_text_loader_next gave no batch; LK_OK: the pass is over */
} TextLoader;

/* The loader draws the same numbers as PyTorch's DataLoader (data/loader.h); LK_GROUPED draws its
 * permutation from rng itself. The last batch may be smaller. No pass allocates anything. Errors:
 * LK_EVALUE for an empty dataset, a batch size that is not positive, a negative length or group, a
 * sentence longer than length; LK_EMEMORY. */
LK_API TextLoader *lk_text_loader_new(const TextDataset *dataset, const TextOptions *options,
                                      Rng *rng, Error *err);
LK_API void lk_text_loader_free(TextLoader *l);         /* NULL allowed */
LK_API int64_t lk_text_loader_len(const TextLoader *l); /* batches in a pass */
LK_API void lk_text_loader_begin(TextLoader *l);        /* iter(loader): before every pass */
/* False: the pass is over. Or l->error has the reason: no pass has begun (LK_ESTATE). */
LK_API bool lk_text_loader_next(TextLoader *l, TextBatch *b);

/* For resuming: lk_text_loader_restore puts a loader at the position of another one with the same
 * dataset and options, and it goes on with the same batches. Restoring draws nothing from the
 * generator, so save the generator's state beside the position. Error, with nothing changed:
 * LK_EVALUE for a position that no such loader can have. */
LK_API TextPosition lk_text_loader_position(const TextLoader *l);
LK_API LK_MUST_CHECK bool lk_text_loader_restore(TextLoader *l, const TextPosition *at,
                                                 Error *err);

#endif
