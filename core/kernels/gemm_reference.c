/* gemm_reference.c - the product as it is defined. The fast one must agree with it. */
#include "core/bfloat16.h"
#include "core/kernels/gemm.h"

static double get(const Mat *x, int64_t i, int64_t j)
{
    const int64_t at = i * x->row + j * x->col;
    if (x->dtype == LK_BF16) return (double)lk__bf16_to_f32(((const uint16_t *)x->data)[at]);
    if (x->dtype == LK_QI8)
        return (double)(x->scales[i * x->scale_row + j * x->scale_col] *
                        (float)((const int8_t *)x->data)[at]);
    if (x->rounds) return (double)lk__bf16_to_f32(lk__bf16_of_f32(((const float *)x->data)[at]));
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
