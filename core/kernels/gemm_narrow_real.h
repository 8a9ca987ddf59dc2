/* gemm_narrow_real.h - blocks of bfloat16 and qint8 as float32, and of float32 rounded to
 * bfloat16, in the vectors of each instruction set (core/real.h). There are no such products in
 * float64. */
#if LK_REAL_IS_FLOAT

/* to[i to_row + j] = from[i row + j col] */
static void LK_F(widen)(int64_t rows, int64_t cols, const uint16_t *from, int64_t row, int64_t col,
                        float *to, int64_t to_row)
{
    for (int64_t i = 0; i < rows; i++, from += row, to += to_row) {
        if (col == 1)
            for (int64_t j = 0; j < cols; j++) to[j] = lk__bf16_to_f32(from[j]);
        else
            for (int64_t j = 0; j < cols; j++) to[j] = lk__bf16_to_f32(from[j * col]);
    }
}

/* to[i to_row + j] = from[i row + j col] times its scale, with the strides and scales of x */
static void LK_F(scale_qi8)(int64_t rows, int64_t cols, const int8_t *from, const Mat *x,
                            float *to, int64_t to_row)
{
    for (int64_t i = 0; i < rows; i++, from += x->row, to += to_row) {
        const float *scale = x->scales + i * x->scale_row;
        if (x->col == 1 && x->scale_col == 0)
            for (int64_t j = 0; j < cols; j++) to[j] = *scale * (float)from[j];
        else
            for (int64_t j = 0; j < cols; j++)
                to[j] = scale[j * x->scale_col] * (float)from[j * x->col];
    }
}

static void LK_F(round)(int64_t rows, int64_t cols, const float *from, int64_t row, int64_t col,
                        float *to, int64_t to_row)
{
    for (int64_t i = 0; i < rows; i++, from += row, to += to_row) {
        if (col == 1)
            for (int64_t j = 0; j < cols; j++) to[j] = lk__bf16_to_f32(lk__bf16_of_f32(from[j]));
        else
            for (int64_t j = 0; j < cols; j++)
                to[j] = lk__bf16_to_f32(lk__bf16_of_f32(from[j * col]));
    }
}

#endif
