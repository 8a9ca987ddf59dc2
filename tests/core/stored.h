/* stored.h - for the tests of dtypes that only store (bfloat16, qint8): numbers, conversions, and
 * products of every way of core/kernels/gemm.c. */
#ifndef STORED_H
#define STORED_H

#include <string.h>

#include "tests/check.h"

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* n numbers in [-1, 1), of which few are exact in bfloat16 */
static inline void draw(int64_t n, uint64_t seed, float *x)
{
    uint64_t state = seed;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state >> 40) / (1 << 23) - 1);
    }
}

static inline Tensor *drawn(uint64_t seed, int ndim, const int64_t *shape)
{
    Tensor *x = lk_tensor_new(LK_F32, ndim, shape, NULL);
    draw(lk_numel(x), seed, x->data);
    return x;
}

static inline Tensor *converted(const Tensor *x, DType dtype)
{
    Tensor *y = lk_clone(x, NULL);
    check(lk_convert_(y, dtype, NULL));
    return y;
}

/* m, n and k. Tiles in place, packed tiles, panels that stay near and more of them, dot products,
 * a single row by columns, few columns, few steps, several blocks of steps, three plain loops. */
static const int64_t product_sizes[][3] = {
    { 3, 4, 5 },     { 10, 300, 500 }, { 130, 140, 150 }, { 100, 5, 300 },
    { 1, 90, 7000 }, { 1, 900, 2500 }, { 40, 70, 2100 },  { 70, 66, 800 },
    { 20, 130, 10 }, { 300, 3, 9 },    { 150, 200, 400 },
};

#endif
