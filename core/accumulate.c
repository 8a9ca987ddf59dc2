/* accumulate.c - dst += src over broadcast tensors. Backward functions add gradients with it. */
#include <string.h>

#include "core/internal.h"

#define LK_REAL_SOURCE "core/accumulate_real.h"
#include "core/real.h"

bool lk_accumulate(Tape *t, Tensor *dst, const Tensor *src)
{
    if (!lk_check_operands(t, "lk_accumulate", 1, &dst) ||
        !lk_check_operands(t, "lk_accumulate", 1, (Tensor *const *)&src))
        return false;
    bool shared = false;
    Tensor places = *dst; /* dst with size 1 where its places repeat */
    for (int d = 0; d < dst->ndim; d++)
        if (dst->stride[d] == 0 && dst->shape[d] > 1) {
            shared = true;
            places.shape[d] = 1;
        }
    if (!shared) {
        lk_loop(LK_ROW(dst->dtype, add_row), NULL, 2, (const Tensor *const[]){ dst, src });
        return true;
    }
    /* Compute all sums in double first. Then add each to dst with one rounding. */
    size_t bytes;
    if (!lk__tensor_bytes(LK_F64, places.ndim, places.shape, &bytes, NULL)) return false;
    ArenaMark mark;
    void *block = lk__tape_temporary(t, LK_HEADER + bytes, &mark);
    if (!block) return false;
    Tensor *sums = lk__tensor_place(block, LK_F64, places.ndim, places.shape, bytes);
    memset(sums->data, 0, bytes);
    Tensor spread = lk__spread(sums, dst->ndim, dst->shape);
    lk_loop_serial(LK_ROW(dst->dtype, sum_row), NULL, 2, (const Tensor *const[]){ &spread, src });
    lk_loop(LK_ROW(dst->dtype, add_sums_row), NULL, 2, (const Tensor *const[]){ &places, sums });
    lk__tape_release_temporary(t, mark);
    return true;
}
