/* test_convs.c - convolutions and pooling as modules: what they print and start with is PyTorch's
 * (fixtures/convs.h); forward is the operation; gradients; copies; bad sizes. */
#include "core/ops.h"
#include "nn/conv.h"
#include "nn/gradcheck.h"
#include "nn/pool.h"

#include "tests/fixtures/convs.h"
#include "tests/shared/nets.h"

/* The modules of make_convs.py. */
static Module *convs_new(Rng *rng, Error *err)
{
    Module *m[17];
    int n = 0;
    m[n++] = lk_conv2d_new(3, 16, 3, 3, (ConvOptions){ .padding = { 1, 1 } }, true, rng, err);
    m[n++] = lk_conv2d_new(1, 6, 5, 4, (ConvOptions){ .stride = { 2, 1 } }, true, rng, err);
    m[n++] = lk_conv2d_new(6, 12, 3, 3, (ConvOptions){ .groups = 3, .dilation = { 2 } }, false,
                           rng, err);
    m[n++] = lk_conv2d_new(48, 200, 1, 1, (ConvOptions){ 0 }, true, rng, err);
    m[n++] = lk_conv1d_new(4, 8, 5, (ConvOptions){ .padding = { 2 } }, true, rng, err);
    m[n++] =
        lk_conv1d_new(3, 3, 2, (ConvOptions){ .stride = { 2 }, .dilation = { 3 }, .groups = 3 },
                      false, rng, err);
    m[n++] = lk_conv_transpose2d_new(
        6, 4, 3, 3,
        (ConvOptions){ .stride = { 2 }, .padding = { 1, 1 }, .output_padding = { 1, 1 } }, true,
        rng, err);
    m[n++] = lk_conv_transpose2d_new(4, 6, 2, 3, (ConvOptions){ .groups = 2 }, false, rng, err);
    m[n++] = lk_max_pool1d_new((PoolOptions){ .kernel = { 3 }, .stride = { 2 }, .padding = { 1 } },
                               err);
    m[n++] = lk_max_pool2d_new((PoolOptions){ .kernel = { 2 } }, err);
    m[n++] = lk_max_pool2d_new(
        (PoolOptions){ .kernel = { 3, 2 }, .stride = { 2, 1 }, .padding = { 1, 0 } }, err);
    m[n++] = lk_avg_pool2d_new(
        (PoolOptions){ .kernel = { 3 }, .stride = { 1 }, .padding = { 1, 1 } }, err);
    m[n++] = lk_adaptive_avg_pool2d_new(1, 2, err);
    m[n++] = lk_avg_pool1d_new((PoolOptions){ .kernel = { 3 }, .stride = { 2 } }, err);
    m[n++] = lk_upsample_new(2, err);
    m[n++] = lk_max_pool1d_new((PoolOptions){ .kernel = { 2 }, .dilation = { 2 } }, err);
    m[n++] = lk_max_pool2d_new(
        (PoolOptions){ .kernel = { 3 }, .dilation = { 2, 1 }, .ceil_mode = true }, err);
    return lk_sequential_new(n, m, err);
}

Test(convs, print_and_start_as_pytorchs)
{
    Rng rng;
    lk_manual_seed(&rng, 3);
    Module *net = convs_new(&rng, NULL), *copy = lk_deepcopy(net, NULL);
    check_text(tree_of(net), convs_tree);
    check_text(tree_of(copy), convs_tree);
    int i = 0;
    for (ParamIter it = lk_params(net); lk_params_next(&it); i++) {
        check(strcmp(it.name, convs_params[i].name) == 0, "%s", it.name);
        check(checksum(it.tensor) == convs_params[i].checksum, "%s", it.name);
    }
    check(i == (int)(sizeof convs_params / sizeof *convs_params));
    lk_free(net), lk_free(copy);
}

/* Every option reaches the operation. */
Test(convs, forward_is_the_operation)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    const ConvOptions o = { { 2, 3 }, { 1, 2 }, { 2, 1 }, 2, { 0 } },
                      up = { { 3, 2 }, { 1, 2 }, { 2, 1 }, 2, { 2, 1 } },
                      line = { .stride = { 2 }, .padding = { 3 }, .dilation = { 2 }, .groups = 2 };
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 4, 9, 11)),
           *row = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 4, 15));
    Module *a = lk_conv2d_new(4, 6, 3, 2, o, true, &rng, NULL),
           *b = lk_conv_transpose2d_new(4, 6, 3, 2, up, true, &rng, NULL),
           *c = lk_conv1d_new(4, 6, 3, line, false, &rng, NULL);
    Conv2d *m = lk_as_conv2d(a);
    ConvTranspose2d *n = lk_as_conv_transpose2d(b);
    check(m && n && lk_as_conv1d(c) && !lk_as_conv1d(a) && !lk_as_conv2d(b));
    check_equal(lk_forward(t, a, x), lk_conv2d(t, x, m->weight, m->bias, o));
    check_equal(lk_forward(t, b, x), lk_conv_transpose2d(t, x, n->weight, n->bias, up));
    check_equal(lk_forward(t, c, row), lk_conv1d(t, row, lk_as_conv1d(c)->weight, NULL, line));
    const PoolOptions p = { .kernel = { 3, 2 }, .stride = { 2, 1 }, .padding = { 1, 0 } },
                      q = { .kernel = { 3 }, .stride = { 2 }, .padding = { 1 } };
    const PoolOptions d = { .kernel = { 3 }, .dilation = { 2, 1 }, .ceil_mode = true }, e = {
        .kernel = { 4 }, .padding = { 2 }, .ceil_mode = true, .exclude_padding = true
    };
    Module *pool[] = { lk_max_pool2d_new(p, NULL), lk_avg_pool2d_new(p, NULL),
                       lk_max_pool1d_new(q, NULL), lk_adaptive_avg_pool2d_new(2, 3, NULL),
                       lk_max_pool2d_new(d, NULL), lk_avg_pool1d_new(e, NULL),
                       lk_upsample_new(3, NULL) };
    check_equal(lk_forward(t, pool[0], x), lk_max_pool2d(t, x, p));
    check_equal(lk_forward(t, pool[1], x), lk_avg_pool2d(t, x, p));
    check_equal(lk_forward(t, pool[2], row), lk_max_pool1d(t, row, q));
    check_equal(lk_forward(t, pool[3], x), lk_adaptive_avg_pool2d(t, x, 2, 3));
    check_equal(lk_forward(t, pool[4], x), lk_max_pool2d(t, x, d));
    check_equal(lk_forward(t, pool[5], row), lk_avg_pool1d(t, row, e));
    check_equal(lk_forward(t, pool[6], x), lk_upsample_nearest2d(t, x, 3));
    for (int i = 0; i < 7; i++) lk_free(pool[i]);
    lk_free(a), lk_free(b), lk_free(c);
    lk_tape_free(t);
}

/* The same numbers down and across, and the same draws. */
Test(convs, a_square_kernel_is_short_to_write)
{
    Rng rng;
    const ConvOptions o = { .stride = { 2, 2 }, .padding = { 1, 1 } };
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    Module *a = lk_conv2d_new(4, 6, 3, 3, o, true, &rng, NULL);
    lk_manual_seed(&rng, 0);
    Module *b = lk_conv2d_square_new(4, 6, 3, 2, 1, true, &rng, NULL);
    check_text(tree_of(b), "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))");
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 4, 9, 11));
    check_equal(lk_forward(t, a, x), lk_forward(t, b, x));
    Error err = { 0 };
    check(!lk_conv2d_square_new(4, 6, 3, 2, -1, true, &rng, &err));
    check_error(&err, LK_EVALUE, "lk_conv2d_square_new: an option is negative");
    lk_free(a), lk_free(b);
    lk_tape_free(t);
}

Test(convs, gradients_are_right)
{
    static const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    Module *m[6];
    int n = 0;
    m[n++] = lk_conv2d_new(2, 4, 3, 3, (ConvOptions){ .padding = { 1, 1 }, .groups = 2 }, true,
                           &rng, NULL);
    m[n++] =
        lk_conv_transpose2d_new(4, 3, 3, 2, (ConvOptions){ .stride = { 2 } }, true, &rng, NULL);
    m[n++] = lk_avg_pool2d_new((PoolOptions){ .kernel = { 2 } }, NULL);
    m[n++] = lk_conv2d_new(3, 3, 1, 1, (ConvOptions){ 0 }, false, &rng, NULL);
    m[n++] = lk_max_pool2d_new((PoolOptions){ .kernel = { 2 } }, NULL);
    m[n++] = lk_adaptive_avg_pool2d_new(1, 1, NULL);
    Module *net = lk_sequential_new(n, m, NULL);
    check(lk_module_to(net, LK_F64, NULL));
    Tensor *x = lk_randn(t, &rng, LK_F64, LK_SHAPE(2, 2, 5, 6));
    GradcheckReport report;
    check(lk_gradcheck_module(net, x, &strict, &report), "%s", report.message);
    lk_free(net);
    lk_tape_free(t);
}

#define REFUSED(call, text) \
    do { \
        Error err = { 0 }; \
        check(!(call)); \
        check_error(&err, LK_EVALUE, text); \
    } while (0)

Test(convs, bad_sizes_are_errors_and_draw_nothing)
{
    Rng rng, before;
    lk_manual_seed(&rng, 0);
    before = rng;
    const ConvOptions o = { 0 };
    REFUSED(lk_conv2d_new(0, 6, 5, 3, o, true, &rng, &err),
            "lk_conv2d_new: in_channels 0, out_channels 6, kh 5, kw 3; all must be positive");
    REFUSED(lk_conv1d_new(1, 6, -5, o, true, &rng, &err),
            "lk_conv1d_new: in_channels 1, out_channels 6, kernel -5; all must be positive");
    REFUSED(lk_conv2d_new(4, 6, 5, 3, (ConvOptions){ .groups = 4 }, true, &rng, &err),
            "lk_conv2d_new: groups 4 must divide out_channels 6");
    REFUSED(
        lk_conv_transpose2d_new(4, 6, 5, 3, (ConvOptions){ .stride = { -1 } }, true, &rng, &err),
        "lk_conv_transpose2d_new: an option is negative");
    REFUSED(lk_conv2d_new(4, 6, 5, 3, o, true, NULL, &err),
            "lk_conv2d_new: the generator is NULL");
    REFUSED(lk_upsample_new(0, &err), "lk_upsample_new: the scale 0 must be positive");
    REFUSED(lk_max_pool1d_new((PoolOptions){ .kernel = { 3 }, .dilation = { -1 } }, &err),
            "lk_max_pool1d_new: the dilation -1 must be positive");
    REFUSED(lk_avg_pool2d_new((PoolOptions){ .kernel = { 3 }, .dilation = { 2 } }, &err),
            "lk_avg_pool2d_new: the dilation 2 must be positive, and 1 for a mean");
    REFUSED(lk_max_pool2d_new((PoolOptions){ .kernel = { 3 }, .padding = { 2, 0 } }, &err),
            "lk_max_pool2d_new: kernel (3, 3), stride (3, 3), padding (2, 0): kernel and stride "
            "must be positive, padding not negative and at most half of the kernel");
    REFUSED(lk_adaptive_avg_pool2d_new(0, 2, &err),
            "lk_adaptive_avg_pool2d_new: output_size (0, 2) must be positive");
    check(memcmp(&rng, &before, sizeof rng) == 0);
}
