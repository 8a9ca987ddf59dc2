/* idx.h - the file format of MNIST, plain or gzip (recognised by its bytes, not by its name). */
#ifndef LK_IDX_H
#define LK_IDX_H

#include "core/tensor.h"

/* Images (magic 0x00000803): uint8 (n, rows, columns). Labels (0x00000801): uint8 (n), each 0 … 9.
 * The caller owns them. Errors: LK_EIO (cannot be opened), LK_EFORMAT (another magic, an HTML
 * page, sizes that do not fit the length, truncated or corrupt gzip, a label above 9), each with
 * what was found; LK_EMEMORY. Built without zlib, a .gz is an LK_EFORMAT that says so. */
LK_API Tensor *lk_idx_images_new(const char *path, Error *err);
LK_API Tensor *lk_idx_labels_new(const char *path, Error *err);

#endif
