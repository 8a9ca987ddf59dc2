/* loader.h - torch.utils.data.DataLoader: batches, in PyTorch's order for the same generator.
 *
 *     DataLoader *loader = lk_loader_new(dataset, 64, true, &rng, &err);
 *     lk_loader_begin(loader);                        -- for features, targets in loader:
 *     for (Batch b; lk_loader_next(loader, &b);) …    -- b.x (n, …) float32, b.y (n) int64
 *     if (loader->error.code != LK_OK) …              -- the loop ended before the pass did
 *
 * Bytes and floats of x, and floats of y, come in the loader's dtype, float32 unless one asks for
 * another. int64 and bool stay what they are; bytes of y, labels, become int64.
 *
 * Each pass draws the same numbers from the generator as PyTorch: a base seed (2 words) at its
 * beginning and, with shuffle, the seed of the sampler (2 words) at its first batch. Later batches
 * draw nothing. A pass allocates nothing. */
#ifndef LK_LOADER_H
#define LK_LOADER_H

#include "data/dataset.h"

typedef struct Batch {
    Tensor *x, *y; /* owned by the loader; the last batch may be smaller */
    int64_t first; /* position of its first sample in the order of this pass */
} Batch;

/* collate_fn: makes the batch of n samples, whose rows of d->x and d->y these are: samples of
 * several lengths padded, pictures turned, … Bytes of d->x are what the dataset holds: its
 * transform is made by the loader alone. It sets b->x, b->y or both. Tensors that it owns go over
 * to the loader, which frees them before the next batch; those of a tape stay the tape's. False,
 * with the reason in err, ends the pass; the loader keeps the reason in its `error`. */
typedef bool CollateFn(const Dataset *d, const int64_t *rows, int64_t n, Batch *b, void *user,
                       Error *err);

typedef struct DataLoader {
    const Dataset *dataset; /* borrowed */
    int64_t batch_size;
    bool shuffle;
    bool drop_last;     /* skip a last batch that is not full; false at first */
    Rng *rng;           /* borrowed: the global generator of PyTorch */
    int64_t *order;     /* samples in the order of this pass; NULL: as they come */
    bool begun;         /* a pass has begun, and it is not over */
    bool ordered;       /* the order of this pass has been drawn */
    int64_t next;       /* position of the next batch's first sample */
    Tensor *x, *y;      /* room for a full batch */
    CollateFn *collate; /* NULL: samples are copied one behind the other */
    void *user;         /* for collate */
    int64_t *rows;      /* room for the rows of a batch, for collate */
    Error error;        /* why lk_loader_next gave no batch; LK_OK: the pass is over */
} DataLoader;

/* Errors: LK_EVALUE for a batch size that is not positive or an empty dataset, LK_EDTYPE,
 * LK_EMEMORY. */
LK_API DataLoader *lk_loader_new(const Dataset *dataset, int64_t batch_size, bool shuffle,
                                 Rng *rng, Error *err);
/* The same with batches of LK_F32 or LK_F64; the transform is made in float32 in both. */
LK_API DataLoader *lk_loader_as_new(const Dataset *dataset, int64_t batch_size, bool shuffle,
                                    DType dtype, Rng *rng, Error *err);
/* The same with batches that a function makes. Errors: LK_EVALUE for a NULL function too. */
LK_API DataLoader *lk_loader_collate_new(const Dataset *dataset, int64_t batch_size, bool shuffle,
                                         CollateFn *collate, void *user, Rng *rng, Error *err);
LK_API void lk_loader_free(DataLoader *l);
LK_API int64_t lk_loader_len(const DataLoader *l); /* len(loader): batches in a pass */

LK_API void
lk_loader_begin(DataLoader *l); /* iter(loader): before every pass, the first one too */
/* False: the pass is over. Or l->error has the reason: collate failed, or no pass has begun
 * (LK_ESTATE). */
LK_API bool lk_loader_next(DataLoader *l, Batch *batch);

#endif
