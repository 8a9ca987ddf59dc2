/* sampler.h - the order of the samples in a pass. data/loader.c and data/text.c share it; no part
 * of the interface. */
#ifndef LK_SAMPLER_H
#define LK_SAMPLER_H

#include "core/rng.h"

/* torch.utils.data.RandomSampler: draws one seed from rng, and from it a permutation of 0 …
 * n-1. */
void lk__sample_random(Rng *rng, int64_t n, int64_t *order);

/* Hugging Face's LengthGroupedSampler without a generator of its own. It draws a permutation from
 * rng itself, cuts it into mega-batches of 50 batches (of fewer batches when there would be less
 * than 4 mega-batches), and sorts each by decreasing length. Then the longest sample of all
 * changes places with the very first, so that memory runs out at once or never. Sample i is
 * offset[i + 1] - offset[i] long. room is scratch memory as large as order. */
void lk__sample_by_length(Rng *rng, int64_t n, const int64_t *offset, int64_t batch_size,
                          int64_t *order, int64_t *room);

#endif
