/* trainer_batches.h - lets a Trainer (nn/trainer.h) read its batches from a loader. */
#ifndef LK_TRAINER_BATCHES_H
#define LK_TRAINER_BATCHES_H

#include "data/loader.h"
#include "data/text.h"
#include "nn/trainer_data.h"

/* Borrow a loader, whose batch size becomes the Trainer's. A DataLoader gives x and labels, a
 * TextLoader ids, mask and labels. */
LK_API TrainerBatches lk_loader_batches(DataLoader *loader);
LK_API TrainerBatches lk_text_batches(TextLoader *loader);

#endif
