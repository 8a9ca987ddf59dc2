/* checkpoint_folders.h - the folders checkpoint-N in a Trainer's output_dir: their names, and how
 * many stay. Hidden; what is in them: data/trainer_checkpoint.h. */
#ifndef LK_CHECKPOINT_FOLDERS_H
#define LK_CHECKPOINT_FOLDERS_H

#include "data/path.h"
#include "nn/trainer.h"

/* Writes DIR/checkpoint-N into path. Error: LK_EIO when it is too long. */
bool lk__checkpoint_path(const char *dir, int64_t step, char path[LK_PATH_MAX], Error *err);

/* Removes old checkpoints as args.save_total_limit says, once that of the present step is there.
 * At every moment each folder checkpoint-N is whole or not there. Errors: LK_EIO, LK_EMEMORY. */
bool lk__checkpoints_limit(const Trainer *tr, Error *err);

#endif
