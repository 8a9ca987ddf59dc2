/* quantize.c - rows of float32 become integers with a scale. Products read them in
 * core/kernels/gemm_narrow.c; core/tensor_values.c converts them back. */
#include "core/quantize.h"

#include <math.h>
#include <string.h>

#include "core/internal.h"

enum { LIMIT = 127, PIECE = 256 };

bool lk__has_whole_rows(const Tensor *x)
{
    const int64_t row = x->storage->row;
    if (x->ndim != 2 || x->shape[1] != row) return false;
    if (row == 0 || x->shape[0] == 0) return true;
    int64_t offset = (const int8_t *)x->data - (const int8_t *)x->storage->data;
    return offset % row == 0 && (x->stride[1] == 1 || row == 1) &&
           (x->stride[0] == row || x->shape[0] == 1);
}

/* Reads elements j to j + count of row i. */
static void load(const Tensor *x, int64_t i, int64_t j, int64_t count, double *values)
{
    const int64_t at = i * x->stride[0] + j * x->stride[1];
    lk__load_row(x, (const char *)x->data + at * (int64_t)lk_dtype_size(x->dtype), x->stride[1],
                 count, values);
}

/* Returns max |x_i|; NaN if one is infinite or NaN, since 0 times that is NaN. */
static double largest(const Tensor *x, int64_t i)
{
    double values[PIECE], most = 0, sum = 0;
    for (int64_t j = 0; j < x->shape[1]; j += PIECE) {
        int64_t count = x->shape[1] - j < PIECE ? x->shape[1] - j : PIECE;
        load(x, i, j, count, values);
        for (int64_t k = 0; k < count; k++) {
            if (fabs(values[k]) > most) most = fabs(values[k]);
            sum += 0 * values[k];
        }
    }
    return most + sum;
}

/* Multiplies by the inverse, as PyTorch does. If the inverse overflows, the row is too small for
 * the numbers of float32 and becomes zeros. */
static void quantize_row(const Tensor *x, int64_t i, int8_t *y, float *scale)
{
    double values[PIECE];
    *scale = (float)largest(x, i) / LIMIT;
    float inverse = 1 / *scale;
    if (!isfinite(inverse)) inverse = *scale = 0;
    for (int64_t j = 0; j < x->shape[1]; j += PIECE) {
        int64_t count = x->shape[1] - j < PIECE ? x->shape[1] - j : PIECE;
        load(x, i, j, count, values);
        for (int64_t k = 0; k < count; k++)
            y[j + k] = (int8_t)lrintf(fmaxf(fminf((float)values[k] * inverse, LIMIT), -LIMIT));
    }
}

void lk__quantize(Tensor *y, const Tensor *x)
{
    const int64_t rows = y->shape[0], row = y->shape[1];
    float *scales = lk__row_scales(y);
    int8_t *to = y->data;
    if (x->dtype == LK_QI8 && lk__has_whole_rows(x)) {
        memmove(to, x->data, (size_t)(rows * row));
        memmove(scales + 1 - rows, lk__row_scales(x) + 1 - rows, (size_t)rows * sizeof *scales);
        return;
    }
#pragma omp parallel for schedule(static) if (rows * row > 1 << 15)
    for (int64_t i = 0; i < rows; i++) quantize_row(x, i, to + i * row, &scales[-i]);
}

bool lk__can_quantize(const char *caller, const Tensor *x, Error *err)
{
    for (int64_t i = 0; i < x->shape[0]; i++)
        if (!isfinite((float)largest(x, i) / LIMIT * LIMIT))
            return lk_error_set(err, LK_EVALUE,
                                "%s: row %lld has an element that is infinite or NaN; qint8 "
                                "stores finite numbers only",
                                caller, (long long)i);
    return true;
}
