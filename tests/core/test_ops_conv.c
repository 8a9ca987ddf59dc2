/* test_ops_conv.c - convolutions (core/ops_conv.c) against PyTorch (fixtures/ops_conv.h) and, with
 * larger sizes, against their formula: for every instruction set and number of threads, called
 * wrongly. */
#include "core/kernels/for_tests.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_conv.h"

/* arg: stride, padding, dilation, groups, output_padding */
static ConvOptions options_of(const Case *c)
{
    const int64_t *a = c->arg;
    return (ConvOptions){
        { a[0], a[1] }, { a[2], a[3] }, { a[4], a[5] }, a[6], { a[7], a[8] },
    };
}

CALLER(conv1d, lk_conv1d(t, x[0], x[1], x[2], options_of(c)))
CALLER(conv2d, lk_conv2d(t, x[0], x[1], x[2], options_of(c)))
CALLER(conv_transpose2d, lk_conv_transpose2d(t, x[0], x[1], x[2], options_of(c)))
static const Caller callers[] = { { "conv1d", conv1d },
                                  { "conv2d", conv2d },
                                  { "conv_transpose2d", conv_transpose2d } };

TEST_CASES(conv, conv_cases, callers)
