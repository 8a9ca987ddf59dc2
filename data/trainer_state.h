/* trainer_state.h - trainer_state.json of a checkpoint: the progress, the best metric, all logs, a
 * number for the frozen base, and the arguments that decide the run's bits. A run goes on only
 * with the arguments that it began with; the intervals of logs, evaluations and checkpoints may
 * change. */
#ifndef LK_TRAINER_STATE_H
#define LK_TRAINER_STATE_H

#include "nn/trainer.h"

#define LK_TRAINER_STATE_FILE "trainer_state.json"

/* Writes folder/trainer_state.json, whole or not at all. Errors: LK_EMEMORY, LK_EIO. */
bool lk__trainer_state_write(const Trainer *tr, const char *folder, Error *err);

/* Fills *s, whose history the caller frees even after an error; pass_rng is not in the file.
 * Errors: LK_EFORMAT for a damaged file (or one of an older Trainer, without its arguments),
 * LK_EVALUE for a run with other arguments, base or data: the message has the first argument that
 * differs, old and new. */
bool lk__trainer_state_read(const Trainer *tr, const char *folder, TrainerState *s, Error *err);

#endif
