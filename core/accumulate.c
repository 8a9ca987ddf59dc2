/* accumulate.c - dst += src over broadcast tensors: backwards add gradients with it. */
#ifndef real
#include <string.h>

#include "core/internal.h"

#define LK_REAL_SOURCE "core/accumulate.c"
#include "core/real.h"

bool lk_accumulate(Tape *t, Tensor *dst, const Tensor *src)
{
    if (!lk_check_operands(t, "lk_accumulate", 1, &dst) ||
        !lk_check_operands(t, "lk_accumulate", 1, (Tensor *const *)&src))
        return false;
    bool shared = false;
    Tensor places = *dst; /* dst without its repeated places: they have size 1 */
    for (int d = 0; d < dst->ndim; d++)
        if (dst->stride[d] == 0 && dst->shape[d] > 1) {
            shared = true;
            places.shape[d] = 1;
        }
    if (!shared) {
        lk_loop(LK_ROW(dst->dtype, add_row), NULL, 2, (const Tensor *const[]){ dst, src });
        return true;
    }
    /* First all sums are made in double, then each is added with one rounding. */
    size_t bytes;
    if (!lk_tensor_bytes(LK_F64, places.ndim, places.shape, &bytes, NULL)) return false;
    ArenaMark mark;
    void *block = lk_tape_temporary(t, LK_HEADER + bytes, &mark);
    if (!block) return false;
    Tensor *sums = lk_tensor_place(block, LK_F64, places.ndim, places.shape, bytes);
    memset(sums->data, 0, bytes);
    Tensor spread = lk_spread(sums, dst->ndim, dst->shape);
    lk_loop_serial(LK_ROW(dst->dtype, sum_row), NULL, 2, (const Tensor *const[]){ &spread, src });
    lk_loop(LK_ROW(dst->dtype, add_sums_row), NULL, 2, (const Tensor *const[]){ &places, sums });
    lk_tape_release_temporary(t, mark);
    return true;
}

#else /* ---- rows in real: float, then double ------------------------------------------------- */

/* dst += src */
static void F(add_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const real *src = p[1];
    if (step[0] == 1 && step[1] == 1)
        for (int64_t i = 0; i < n; i++) dst[i] += src[i];
    else
        for (int64_t i = 0; i < n; i++) dst[i * step[0]] += src[i * step[1]];
}

/* dst += (real)sum */
static void F(add_sums_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    real *dst = p[0];
    const double *sum = p[1];
    for (int64_t i = 0; i < n; i++) dst[i * step[0]] += (real)sum[i * step[1]];
}

/* sum += src. A row that ends in one place keeps four sums at a time, so that additions do not
 * wait for each other. */
static void F(sum_row)(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    double *sum = p[0];
    const real *src = p[1];
    if (step[0] != 0) {
        for (int64_t i = 0; i < n; i++) sum[i * step[0]] += (double)src[i * step[1]];
        return;
    }
    double part[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) part[j] += (double)src[(i + j) * step[1]];
    for (; i < n; i++) part[0] += (double)src[i * step[1]];
    *sum += (part[0] + part[1]) + (part[2] + part[3]);
}
#endif
