/* trainer_checkpoint.h - checkpoints of a Trainer (nn/trainer.h) in folders:
 *
 *     tr.store = &lk_checkpoints;
 *     tr.args.output_dir = "results";
 *
 * output_dir/checkpoint-N has everything that a run needs to go on with the same bits:
 *
 *     model.safetensors    the trained parameters and the buffers. The frozen base is not in it:
 *                          it must be loaded before, and a few of its numbers are compared.
 *     state.safetensors    AdamW's moments and steps (NAME.exp_avg, NAME.exp_avg_sq, NAME.step),
 *                          the generators (trainer.rng: now and when the pass began;
 *                          trainer.dropout)
 *     trainer_state.json   the progress, all logs, the arguments: data/trainer_state.h
 *
 * They are all kept, unless args.save_total_limit is set.
 *
 * At every moment, even when the process is killed, the disk is full or the power fails,
 * checkpoint-N is whole or not there; while it is written its name is checkpoint-N.tmp. It
 * replaces an older checkpoint of that step. While one run trains, no other can write into
 * output_dir (data/lock.h).
 *
 * Errors of resuming: LK_EIO for a folder that is no checkpoint or an incomplete one, or when the
 * best weights so far are gone; LK_EFORMAT for damaged files; LK_EVALUE for a checkpoint of
 * another model, base or data, or of other arguments. Of starting: LK_ESTATE when another run
 * writes into output_dir. The weights of an earlier step are looked
 * for in output_dir, or beside args.resume_from if the run went on after that step. */
#ifndef LK_TRAINER_CHECKPOINT_H
#define LK_TRAINER_CHECKPOINT_H

#include "nn/trainer.h"

LK_API_DATA const TrainerStore lk_checkpoints;

#endif
