/* gemm.h - the matrix product, the one kernel everything rests on: C = A B or C += A B.
 *
 * A and B have any row and column stride, so transposes and slices cost nothing. The result has
 * the same bits for every number of threads. */
#ifndef LK_GEMM_H
#define LK_GEMM_H

#include "core/tensor.h"

/* A matrix somewhere in memory, float32 or float64: element (i, j) is data[i row + j col]. A or B
 * of a product in float32 may be bfloat16, or qint8 times scales[i scale_row + j scale_col]. Its
 * elements are widened block by block, and the result has the bits that a float32 matrix of the
 * same values gives. */
typedef struct Mat {
    DType dtype;
    int64_t rows, cols;
    void *data;
    int64_t row, col; /* strides in elements */
    bool rounds;      /* an A or B in float32 whose elements are rounded to bfloat16 when read */
    const float *scales;
    int64_t scale_row, scale_col;
} Mat;

static inline Mat lk__mat_strided(DType dtype, int64_t rows, int64_t cols, void *data, int64_t row,
                                  int64_t col)
{
    return (Mat){ dtype, rows, cols, data, row, col, false, NULL, 0, 0 };
}

/* Makes a matrix whose rows follow each other without a gap. */
static inline Mat lk__mat(DType dtype, int64_t rows, int64_t cols, void *data)
{
    return lk__mat_strided(dtype, rows, cols, data, cols, 1);
}

static inline Mat lk__mat_T(Mat x)
{
    return (Mat){ x.dtype, x.cols,   x.rows,   x.data,      x.col,
                  x.row,   x.rounds, x.scales, x.scale_col, x.scale_row };
}

/* Returns the bytes of workspace for the product of (m, k) and (k, n) in dtype, that of C; 0 when
 * it needs none. */
size_t lk__gemm_workspace(DType dtype, int64_t m, int64_t n, int64_t k);

/* Computes C = A B, or C += A B with `add`: packed, cache-blocked, with OpenMP. C's columns must
 * lie side by side. The workspace has lk__gemm_workspace bytes and is 64-byte aligned. */
void lk__gemm(Mat c, Mat a, Mat b, bool add, void *workspace);

/* Computes the same with three loops and a sum in double. lk__gemm must agree with it. */
void lk__gemm_reference(Mat c, Mat a, Mat b, bool add);

#endif
