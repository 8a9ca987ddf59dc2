/* gemm.h - the matrix product, the one kernel everything rests on.
 *
 *     C = A B  or  C += A B        A is (m, k), B is (k, n), C is (m, n)
 *
 * A and B have any row and column stride (in elements), so transposes and slices cost nothing; C
 * has rows `ldc` apart and columns side by side. The same bits come out for every number of
 * threads. */
#ifndef LK_GEMM_H
#define LK_GEMM_H

#include "core/tensor.h"

typedef struct Mat { /* a matrix operand somewhere in memory */
    const void *data;
    int64_t row, col; /* strides in elements */
} Mat;

/* Bytes of workspace that lk_gemm needs for these sizes; 0 for none. */
size_t lk_gemm_workspace(DType dtype, int64_t m, int64_t n, int64_t k);

/* The fast one: packed, cache-blocked, OpenMP. workspace: lk_gemm_workspace bytes, 64-byte
 * aligned. Floating dtypes. accumulate: add to C, else overwrite it. k = 0 gives zeros (or leaves
 * C). */
void lk_gemm(DType dtype, int64_t m, int64_t n, int64_t k, Mat a, Mat b, bool accumulate, void *c,
             int64_t ldc, void *workspace);

/* Three loops and a sum in double: what lk_gemm must agree with. */
void lk_gemm_reference(DType dtype, int64_t m, int64_t n, int64_t k, Mat a, Mat b, bool accumulate,
                       void *c, int64_t ldc);

#endif
