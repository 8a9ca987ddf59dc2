/* test_ops_pool.c - pooling and upsampling (core/ops_pool.c) against PyTorch
 * (fixtures/ops_pool.h), for every instruction set and number of threads, called wrongly. */
#include "core/kernels/for_tests.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_pool.h"

/* arg: kernel, stride, padding; then dilation, ceil_mode, exclude_padding, if there are any */
static PoolOptions options_of(const Case *c)
{
    const int64_t *a = c->arg;
    return (PoolOptions){ .kernel = { a[0], a[1] },
                          .stride = { a[2], a[3] },
                          .padding = { a[4], a[5] },
                          .dilation = { a[6], a[7] },
                          .ceil_mode = a[8],
                          .exclude_padding = a[9] };
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

/* ---- beyond the table ----------------------------------------------------------------------- */

static Tensor *pooled(Tape *t, Tensor *x, int which)
{
    const PoolOptions even = { .kernel = { 2 } },
                      odd = { .kernel = { 3, 3 }, .stride = { 2, 1 }, .padding = { 1, 1 } };
    switch (which) {
    case 0: return lk_max_pool2d(t, x, even);
    case 1: return lk_max_pool2d(t, x, odd);
    case 2: return lk_avg_pool2d(t, x, even);
    case 3: return lk_avg_pool2d(t, x, odd);
    case 4: return lk_adaptive_avg_pool2d(t, x, 5, 3);
    default: return lk_upsample_nearest2d(t, x, 2);
    }
}

/* Every set and number of threads gives the same bits. */
Test(pool, sets_and_threads_agree)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int which = 0; which < 6; which++) {
            lk_manual_seed(&rng, 1);
            Tensor *x = lk_param_new(d, LK_SHAPE(3, 20, 30, 39), NULL);
            lk_normal_(x, 0, 1, &rng);
            Tensor *y0 = NULL, *dx0 = NULL;
            for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
                if (!lk__kernels_use(set)) continue;
                for (int threads = 1; threads <= 3; threads++) {
                    lk_set_num_threads(threads);
                    Tensor *y = pooled(t, x, which);
                    check(lk_backward_with(t, y, y, false), "%s", lk_tape_error(t)->message);
                    if (!y0) {
                        y0 = lk_clone(y, NULL);
                        dx0 = lk_clone(lk_grad(x), NULL);
                    }
                    check_equal(y, y0);
                    check_equal(lk_grad(x), dx0);
                    lk_zero_grad_(x);
                    lk_tape_reset(t);
                }
            }
            lk_free(x), lk_free(y0), lk_free(dx0);
        }
    lk_tape_free(t);
}

Test(pool, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4, 5)),
           *flat = lk_ones(t, LK_F32, LK_SHAPE(4, 5)),
           *whole = lk_ones(t, LK_I64, LK_SHAPE(1, 2, 2)),
           *none = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 0, 5));
    const PoolOptions two = { .kernel = { 2 } };
    PASSES_NULL(lk_max_pool2d(t, NULL, two));
    PASSES_NULL(lk_max_pool1d(t, NULL, two));
    PASSES_NULL(lk_avg_pool2d(t, NULL, two));
    PASSES_NULL(lk_avg_pool1d(t, NULL, two));
    PASSES_NULL(lk_adaptive_avg_pool2d(t, NULL, 1, 1));
    PASSES_NULL(lk_upsample_nearest2d(t, NULL, 2));
    REFUSES(lk_max_pool2d(t, flat, two), LK_ESHAPE,
            "lk_max_pool2d: x (4, 5) must be (N, C, H, W) or (C, H, W)");
    REFUSES(lk_avg_pool1d(t, x, two), LK_ESHAPE,
            "lk_avg_pool1d: x (2, 3, 4, 5) must be (N, C, L) or (C, L)");
    REFUSES(lk_max_pool2d(t, whole, two), LK_EDTYPE,
            "lk_max_pool2d: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_max_pool2d(t, x, (PoolOptions){ .kernel = { 5, 2 } }), LK_ESHAPE,
            "lk_max_pool2d: the kernel (5, 2) is larger than the padded image (4, 5)");
    REFUSES(lk_max_pool2d(t, x, (PoolOptions){ .kernel = { 0 } }), LK_EVALUE,
            "lk_max_pool2d: kernel (0, 0), stride (0, 0), padding (0, 0): kernel and stride must "
            "be positive and at most 1048576, padding not negative and at most half of the "
            "kernel");
    REFUSES(
        lk_avg_pool2d(
            t, x, (PoolOptions){ .kernel = { 3, 3 }, .stride = { -1, 1 }, .padding = { 0, 2 } }),
        LK_EVALUE,
        "lk_avg_pool2d: kernel (3, 3), stride (-1, 1), padding (0, 2): kernel and stride must "
        "be positive and at most 1048576, padding not negative and at most half of the "
        "kernel");
    REFUSES(lk_max_pool2d(t, x, (PoolOptions){ .kernel = { 2 }, .dilation = { 1, -2 } }),
            LK_EVALUE, "lk_max_pool2d: the dilation -2 must be from 1 to 1048576");
    REFUSES(lk_max_pool2d(t, x, (PoolOptions){ .kernel = { 2, 3 }, .dilation = { 2, 3 } }),
            LK_ESHAPE,
            "lk_max_pool2d: the dilated kernel (3, 7) is larger than the padded image (4, 5)");
    REFUSES(lk_max_pool2d(
                t, x, (PoolOptions){ .kernel = { 2, 1 }, .padding = { 1 }, .dilation = { 5 } }),
            LK_EVALUE,
            "lk_max_pool2d: a window has no element of x: with padding 1, the dilation 5 is too "
            "large for 4 elements");
    REFUSES(lk_avg_pool2d(t, x, (PoolOptions){ .kernel = { 2 }, .dilation = { 2 } }), LK_EVALUE,
            "lk_avg_pool2d: the dilation must be 1; only max_pool has one");
    REFUSES(lk_adaptive_avg_pool2d(t, x, 0, 3), LK_ESHAPE,
            "lk_adaptive_avg_pool2d: from (4, 5) to (0, 3): sizes must be positive");
    REFUSES(lk_adaptive_avg_pool2d(t, none, 1, 1), LK_ESHAPE,
            "lk_adaptive_avg_pool2d: from (0, 5) to (1, 1): sizes must be positive");
    REFUSES(lk_upsample_nearest2d(t, x, 0), LK_EVALUE,
            "lk_upsample_nearest2d: (4, 5) times 0: sizes and scale must be positive, and the "
            "scale at most 1048576");
    check(lk_max_pool2d(t, x, two) && lk_tape_error(t)->code == LK_OK);
    lk_tape_free(t);
}
