/* gemm_narrow.h - operands of lk__gemm whose elements are narrower than those of C: bfloat16 or
 * qint8 in a product of float32, or float32 that is rounded to bfloat16. The kernels read float32
 * only, so a block of the operand is widened (or rounded) right before it is used, in the caches.
 * Internal, as gemm_kernels.h is. */
#ifndef LK_GEMM_NARROW_H
#define LK_GEMM_NARROW_H

#include "core/kernels/gemm.h"

static inline bool lk__is_narrow(Mat x) { return lk_only_stores(x.dtype) || x.rounds; }

/* to[i to_row + j] = x[row + i][col + j] for i < rows, j < cols, in float32. It is fast where x's
 * columns lie side by side. */
void lk__widen(Mat x, int64_t row, int64_t rows, int64_t col, int64_t cols, float *to,
               int64_t to_row);

#endif
