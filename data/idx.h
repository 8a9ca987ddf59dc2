/* idx.h - the file format of MNIST, plain or gzip (recognised by its bytes, not by its name). */
#ifndef LK_IDX_H
#define LK_IDX_H

#include "core/tensor.h"

/* Read images (magic 0x00000803) as uint8 (n, rows, columns), labels (0x00000801) as uint8 (n),
 * each 0 … 9. The caller owns them. Errors: LK_EIO (cannot be opened), LK_EMEMORY, and LK_EFORMAT
 * for another magic, an HTML page, sizes that do not fit the length, truncated or corrupt gzip, a
 * label above 9, or gzip in a build without zlib; the message says what was found. */
LK_API Tensor *lk_idx_images_new(const char *path, Error *err);
LK_API Tensor *lk_idx_labels_new(const char *path, Error *err);

#endif
