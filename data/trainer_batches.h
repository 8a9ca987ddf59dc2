/* trainer_batches.h - loaders as a Trainer takes them (nn/trainer.h). */
#ifndef LK_TRAINER_BATCHES_H
#define LK_TRAINER_BATCHES_H

#include "data/loader.h"
#include "data/text.h"
#include "nn/trainer_data.h"

/* The loader is borrowed; its batch size is the Trainer's. x and labels are those of its batches;
 * a text loader gives ids, mask and labels. */
LK_API TrainerBatches lk_loader_batches(DataLoader *loader);
LK_API TrainerBatches lk_text_batches(TextLoader *loader);

#endif
