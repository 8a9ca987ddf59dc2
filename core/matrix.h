/* matrix.h - the last two dimensions of a tensor as an operand of lk__gemm. Internal: not
 * installed. */
#ifndef LK_MATRIX_H
#define LK_MATRIX_H

#include "core/kernels/gemm.h"
#include "core/quantize.h"

/* A qint8 x has whole rows, or is the transpose of such a matrix. */
static inline Mat lk__matrix(const Tensor *x)
{
    const int row = x->ndim - 2, col = x->ndim - 1;
    Mat m = lk__mat_strided(x->dtype, x->shape[row], x->shape[col], x->data, x->stride[row],
                            x->stride[col]);
    if (x->dtype != LK_QI8) return m;
    m.scales = lk__row_scales(x);
    *(lk__has_whole_rows(x) ? &m.scale_row : &m.scale_col) = -1;
    return m;
}

#endif
