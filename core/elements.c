/* elements.c - elements of any dtype as numbers in double, and back. */
#include <math.h>

#include "core/bfloat16.h"
#include "core/internal.h"

#define EACH(T, p, expression) \
    for (int64_t i = 0; i < n; i++) { \
        T *p = (T *)data + i * step; \
        expression; \
    }

void lk__load_row(const Tensor *x, const void *data, int64_t step, int64_t n, double *values)
{
    const Storage *s = x->storage;
    switch (x->dtype) {
    case LK_F32: EACH(const float, p, values[i] = (double)*p) break;
    case LK_F64: EACH(const double, p, values[i] = *p) break;
    case LK_I64: EACH(const int64_t, p, values[i] = (double)*p) break;
    case LK_U8: EACH(const uint8_t, p, values[i] = *p) break;
    case LK_BOOL: EACH(const bool, p, values[i] = *p) break;
    case LK_BF16: EACH(const uint16_t, p, values[i] = (double)lk__bf16_to_f32(*p)) break;
    case LK_QI8:
        EACH(const int8_t, p,
             values[i] =
                 (double)(((float *)s->data)[-1 - (p - (int8_t *)s->data) / (int64_t)s->row] *
                          (float)*p))
        break;
    }
}

/* Converts v to an integer from low to high, because C does not define the conversion of a double
 * beyond the ends of an integer type. */
static int64_t to_int(double v, int64_t low, int64_t high)
{
    if (isnan(v)) return 0;
    if (v <= (double)low) return low;
    return v >= (double)high ? high : (int64_t)v;
}

void lk__store_row(DType dtype, void *data, int64_t step, int64_t n, const double *values)
{
    switch (dtype) {
    case LK_F32: EACH(float, p, *p = (float)values[i]) break;
    case LK_F64: EACH(double, p, *p = values[i]) break;
    case LK_I64: EACH(int64_t, p, *p = to_int(values[i], INT64_MIN, INT64_MAX)) break;
    case LK_U8: EACH(uint8_t, p, *p = (uint8_t)to_int(values[i], 0, UINT8_MAX)) break;
    case LK_BOOL: EACH(bool, p, *p = values[i] != 0) break;
    case LK_BF16: EACH(uint16_t, p, *p = lk__bf16_of_f32((float)values[i])) break;
    case LK_QI8: break; /* rows only: lk__quantize */
    }
}
