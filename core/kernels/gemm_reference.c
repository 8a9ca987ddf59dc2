/* gemm_reference.c - the product as it is defined. The fast one must agree with it. */
#include "core/kernels/gemm.h"

static double get(const Mat *x, int64_t i, int64_t j)
{
    const int64_t at = i * x->row + j * x->col;
    return x->dtype == LK_F64 ? ((const double *)x->data)[at]
                              : (double)((const float *)x->data)[at];
}

void lk__gemm_reference(Mat c, Mat a, Mat b, bool add)
{
    for (int64_t i = 0; i < c.rows; i++) {
        for (int64_t j = 0; j < c.cols; j++) {
            double sum = add ? get(&c, i, j) : 0;
            for (int64_t p = 0; p < a.cols; p++) sum += get(&a, i, p) * get(&b, p, j);
            const int64_t at = i * c.row + j * c.col;
            if (c.dtype == LK_F64) ((double *)c.data)[at] = sum;
            else ((float *)c.data)[at] = (float)sum;
        }
    }
}
