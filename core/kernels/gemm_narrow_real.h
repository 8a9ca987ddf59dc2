/* gemm_narrow_real.h - blocks of bfloat16 as float32, and of float32 rounded to bfloat16, in the
 * vectors of each instruction set (core/real.h). There are no such products in float64. */
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
