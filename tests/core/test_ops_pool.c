/* test_ops_pool.c - pooling and upsampling (core/ops_pool.c) against PyTorch (fixtures/ops_pool.h),
 * for every instruction set and number of threads, called wrongly. */
#include "core/kernels/for_tests.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_pool.h"

/* arg: kernel, stride, padding */
static PoolOptions options_of(const Case *c)
{
    const int64_t *a = c->arg;
    return (PoolOptions){ { a[0], a[1] }, { a[2], a[3] }, { a[4], a[5] } };
}

CALLER(max_pool2d, lk_max_pool2d(t, x[0], options_of(c)))
CALLER(max_pool1d, lk_max_pool1d(t, x[0], options_of(c)))
CALLER(avg_pool2d, lk_avg_pool2d(t, x[0], options_of(c)))
CALLER(avg_pool1d, lk_avg_pool1d(t, x[0], options_of(c)))
CALLER(adaptive_avg_pool2d, lk_adaptive_avg_pool2d(t, x[0], c->arg[0], c->arg[1]))
CALLER(upsample_nearest2d, lk_upsample_nearest2d(t, x[0], c->arg[0]))
static const Caller callers[] = { { "max_pool2d", max_pool2d },
                                  { "max_pool1d", max_pool1d },
                                  { "avg_pool2d", avg_pool2d },
                                  { "avg_pool1d", avg_pool1d },
                                  { "adaptive_avg_pool2d", adaptive_avg_pool2d },
                                  { "upsample_nearest2d", upsample_nearest2d } };

TEST_CASES(pool, pool_cases, callers)
