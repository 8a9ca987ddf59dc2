/* trainer_batches.c - the passes and batches of both loaders. The Trainer: nn/trainer.c. */
#include "data/trainer_batches.h"

static bool loader_begin(void *loader, Error *err)
{
    (void)err;
    lk_loader_begin(loader);
    return true;
}

static bool loader_next(void *loader, TrainerBatch *b, Error *err)
{
    Batch batch;
    if (!lk_loader_next(loader, &batch))
        return lk_error_pass(err, &((const DataLoader *)loader)->error);
    *b = (TrainerBatch){ .x = batch.x, .labels = batch.y };
    return true;
}

TrainerBatches lk_loader_batches(DataLoader *loader)
{
    if (!loader) return (TrainerBatches){ 0 };
    int64_t batches = lk_loader_len(loader), all = loader->dataset->count,
            full = batches * loader->batch_size;
    return (TrainerBatches){ loader, full < all ? full : all, batches, loader_begin, loader_next };
}

static bool text_begin(void *loader, Error *err)
{
    (void)err;
    lk_text_loader_begin(loader);
    return true;
}

static bool text_next(void *loader, TrainerBatch *b, Error *err)
{
    TextBatch batch;
    if (!lk_text_loader_next(loader, &batch))
        return lk_error_pass(err, &((const TextLoader *)loader)->error);
    *b = (TrainerBatch){ batch.ids, batch.mask, batch.labels };
    return true;
}

TrainerBatches lk_text_batches(TextLoader *loader)
{
    if (!loader) return (TrainerBatches){ 0 };
    return (TrainerBatches){ loader, loader->dataset->count, lk_text_loader_len(loader),
                             text_begin, text_next };
}
