/* accumulate.c - dst += src over broadcast tensors. Backward functions add gradients with it. */
#include <string.h>

#include "core/fold.h"
#include "core/internal.h"

/* y += Σ x / divisor, or y = Σ x / divisor for a fresh y. */
typedef struct Sum {
    double divisor;
    bool fresh;
} Sum;

#define LK_REAL_SOURCE "core/accumulate_real.h"
#include "core/real.h"

void lk__sum_into(Tensor *places, const Tensor *x, double divisor, bool fresh)
{
    lk__fold(LK_ROW(places->dtype, sum_fold), &(Sum){ divisor, fresh }, 1, 2,
             (const Tensor *const[]){ places, x });
}

bool lk_accumulate(Tape *t, Tensor *dst, const Tensor *src)
{
    if (!lk_check_floating(t, "lk_accumulate", 1, &dst) ||
        !lk_check_floating(t, "lk_accumulate", 1, (Tensor *const *)&src))
        return false;
    bool shared = false;
    for (int d = 0; d < dst->ndim; d++)
        shared = shared || (dst->stride[d] == 0 && dst->shape[d] > 1);
    if (shared) lk__sum_into(dst, src, 1, false);
    else lk_loop(LK_ROW(dst->dtype, add_row), NULL, 2, (const Tensor *const[]){ dst, src });
    return true;
}
