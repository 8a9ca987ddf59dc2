/* gemm_narrow.c - widens blocks of narrow matrices to float32. */
#include "core/kernels/gemm_narrow.h"

#include "core/bfloat16.h"

#define LK_REAL_SOURCE "core/kernels/gemm_narrow_real.h"
#include "core/real.h"

void lk__widen(Mat x, int64_t row, int64_t rows, int64_t col, int64_t cols, float *to,
               int64_t to_row)
{
    const int64_t at = row * x.row + col * x.col;
    if (x.dtype == LK_QI8) {
        x.scales += row * x.scale_row + col * x.scale_col;
        LK_OF_SET(scale_qi8_f32)(rows, cols, (const int8_t *)x.data + at, &x, to, to_row);
    } else if (x.rounds)
        LK_OF_SET(round_f32)(rows, cols, (const float *)x.data + at, x.row, x.col, to, to_row);
    else LK_OF_SET(widen_f32)(rows, cols, (const uint16_t *)x.data + at, x.row, x.col, to, to_row);
}
