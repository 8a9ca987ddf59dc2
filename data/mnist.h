/* mnist.h - torchvision.datasets.MNIST. Where it is not at hand: data/digits.h. */
#ifndef LK_MNIST_H
#define LK_MNIST_H

#include "data/dataset.h"

/* Two of the four IDX files in a folder: train-… or t10k-…, `-idx3-ubyte` or `.idx3-ubyte`, with
 * or without .gz. The caller owns the dataset: x (n, 28, 28) uint8, y (n) uint8. Errors: LK_EIO
 * (no such folder, no such file: all names tried are listed), LK_EFORMAT (see data/idx.h; image
 * and label counts that differ; images that are not 28 x 28). */
LK_API Dataset *lk_mnist_new(const char *folder, bool train, Transform transform, Error *err);

/* Whether the folder holds a file with one of the names of MNIST's training images. */
LK_API bool lk_mnist_exists(const char *folder);

#endif
