/* trainer_checkpoint.h - a folder checkpoint-N with everything that a run needs to go on with the
 * same bits.
 *
 *     model.safetensors    the parameters that are trained. The frozen base is not in it: it must be loaded before, and
 *                          a few of its numbers are compared.
 *     state.safetensors    AdamW's moments and steps (NAME.exp_avg, NAME.exp_avg_sq, NAME.step), the generators
 *                          (trainer.rng: now and when the pass began; trainer.dropout)
 *     trainer_state.json   where training is, all logs, and the arguments: examples/trainer_state.h
 *
 * At every moment, also when the process is killed or the disk is full, checkpoint-N is whole or
 * not there; what is being written is called checkpoint-N.tmp. Needs jansson (LORIKEET_JANSSON);
 * without it both are LK_ESTATE. */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include "examples/trainer.h"
#include "optim/optimizer.h"

/* Writes output_dir/checkpoint-N, N the present step; one that is there already is replaced. */
bool checkpoint_save(const Trainer *tr, Optimizer *opt, Error *err);

/* Puts a checkpoint into the model, the optimizer (which has made no step), tape, rng and
 * tr->state. Errors: LK_EIO for what is no checkpoint or an incomplete one, or when the best
 * weights so far are gone, LK_EFORMAT for damaged files, LK_EVALUE for one of another model, base
 * or data, or of other arguments. On an error the model is as it was. */
bool checkpoint_load(Trainer *tr, Optimizer *opt, const char *folder, Error *err);

/* The weights of checkpoint-STEP alone: in output_dir, or beside args.resume_from if the run went
 * on after that step. */
bool checkpoint_load_weights(const Trainer *tr, int64_t step, Error *err);

#endif
