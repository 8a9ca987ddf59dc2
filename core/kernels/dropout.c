/* dropout.c - which elements dropout keeps. core/kernels/dropout_real.h makes the random bits. */
#include "core/kernels/dropout.h"

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LK_REAL_SOURCE "core/kernels/dropout_real.h"
#include "core/real.h"

bool lk__dropout_mask(Tape *t, const char *function, double p, DropoutMask *m)
{
    if (!(p >= 0 && p <= 1)) { /* NaN too */
        lk_fail(t, LK_EVALUE, "%s: dropout probability has to be between 0 and 1, but got %g",
                function, p);
        return false;
    }
    TapeRandom at = lk_tape_random(t);
    *m = (DropoutMask){ at.seed, at.calls++, p };
    lk_tape_set_random(t, at);
    return true;
}

double lk__dropout_scale(const DropoutMask *m, DType dtype)
{
    if (m->p == 1) return 0;
    return dtype == LK_F64 ? 1 / (1 - m->p) : (double)(1 / (float)(1 - m->p));
}

enum { GROUP = 64 }; /* elements that are decided at a time */

static void keep_groups(const DropoutMask *m, int64_t group, int64_t groups, uint8_t *keep)
{
    const uint32_t threshold = (uint32_t)(m->p * 0x1p32);
    LK_OF_SET(keep_groups_f32)(m->seed, m->call, threshold, (uint64_t)group, groups, keep);
}

void lk__dropout_keep(const DropoutMask *m, int64_t first, int64_t n, uint8_t *keep)
{
    if (m->p >= 1) { /* the threshold would need 33 bits */
        memset(keep, 0, (size_t)n);
        return;
    }
    while (n > 0) {
        int64_t skip = first % GROUP, count = n / GROUP * GROUP;
        if (skip == 0 && count > 0) {
            keep_groups(m, first / GROUP, n / GROUP, keep);
        } else { /* a part of a group, at either end */
            uint8_t whole[GROUP];
            count = GROUP - skip < n ? GROUP - skip : n;
            keep_groups(m, first / GROUP, 1, whole);
            memcpy(keep, whole + skip, (size_t)count);
        }
        first += count;
        keep += count;
        n -= count;
    }
}
