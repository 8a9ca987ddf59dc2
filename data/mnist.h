/* mnist.h - torchvision.datasets.MNIST. data/digits.h needs no files. */
#ifndef LK_MNIST_H
#define LK_MNIST_H

#include "data/dataset.h"

/* Reads two of the four IDX files in a folder: train-… or t10k-…, `-idx3-ubyte` or `.idx3-ubyte`,
 * with or without .gz. The caller owns the dataset: x (n, 28, 28) uint8, y (n) uint8. A batch for
 * a Conv2d is lk_unsqueeze(t, b.x, 1), (n, 1, 28, 28); for a Linear lk_view. Errors:
 * LK_EIO (no such folder, or no such file: the message lists the names tried), LK_EFORMAT (see
 * data/idx.h; different numbers of images and labels; images that are not 28 x 28), LK_EMEMORY. */
LK_API Dataset *lk_mnist_new(const char *folder, bool train, Transform transform, Error *err);

/* Whether the folder holds a file with one of the names of MNIST's training images. */
LK_API bool lk_mnist_exists(const char *folder);

#endif
