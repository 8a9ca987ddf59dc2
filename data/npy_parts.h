/* npy_parts.h - arrays of NumPy in memory, for data/npy.c and data/npz.c; hidden. */
#ifndef LK_NPY_PARTS_H
#define LK_NPY_PARTS_H

#include "core/tensor.h"
#include "data/file_report.h"

/* The tensor of a whole .npy file. entry: its name in an archive, for messages; NULL: none. */
Tensor *lk__npy_tensor_new(const char *bytes, size_t size, const char *entry,
                           const FileReport *report);

/* Writes what stands before the elements; returns its length. */
enum { LK_NPY_HEADER = 512 };
int lk__npy_header(const Tensor *x, char header[LK_NPY_HEADER]);

/* x itself with one more owner, or a copy where its elements do not lie one behind the other. NULL
 * for a stale tensor, bfloat16 and qint8. Free it with lk_tensor_free. */
Tensor *lk__npy_contiguous(const Tensor *x, Error *err);

#endif
