/* digits.h - rendered digits: a data set like MNIST that needs no file. */
#ifndef LK_DIGITS_H
#define LK_DIGITS_H

#include "data/dataset.h"

/* Digits drawn by strokes with random shape, slant, thickness, position and noise: MNIST's shape
 * and format, all ten classes in random order. The same seed gives the same digits on every
 * machine; they have a generator of their own. A two-layer MLP reaches 95 to 99 % on them. */
LK_API Dataset *lk_rendered_digits_new(int64_t count, uint64_t seed, Transform transform,
                                       Error *err);

#endif
