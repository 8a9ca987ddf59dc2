/* sampler.h - in which order the samples of a pass come; shared by data/loader.c and data/text.c,
 * no part of the interface. */
#ifndef LK_SAMPLER_H
#define LK_SAMPLER_H

#include "core/rng.h"

/* torch.utils.data.RandomSampler: one seed of rng, and from it a permutation of 0 … n-1. */
void lk_sample_random(Rng *rng, int64_t n, int64_t *order);

/* Hugging Face's LengthGroupedSampler without a generator of its own: a permutation drawn from rng
 * itself, cut into mega-batches of 50 batches (fewer when that would make less than 4 of them),
 * each sorted by falling length; then the longest of all changes places with the very first, so
 * that memory runs out at once or never. Sample i is offset[i + 1] - offset[i] long. room: as
 * large as order. */
void lk_sample_by_length(Rng *rng, int64_t n, const int64_t *offset, int64_t batch_size,
                         int64_t *order, int64_t *room);

#endif
