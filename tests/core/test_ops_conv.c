/* test_ops_conv.c - convolutions (core/ops_conv.c) against PyTorch (fixtures/ops_conv.h) and, with
 * larger sizes, against their formula: for every instruction set and number of threads, called
 * wrongly. */
#include "core/kernels/for_tests.h"
#include "core/op.h"
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

/* ---- larger sizes --------------------------------------------------------------------------- */

/* A convolution of images (channels, height, width); one-dimensional when kh is 0. */
typedef struct Size {
    int64_t n, in, out, height, width, kh, kw;
    ConvOptions o;
} Size;

/* Several blocks of positions, parts of channels, tiles of rows, pieces of images; few rows, with
 * and without packing; long rows; steps and phases. */
#define OPTIONS(s0, s1, p0, p1, d0, d1, groups) \
    { \
        { s0, s1 }, { p0, p1 }, { d0, d1 }, groups, { 0, 0 } \
    }
static const Size sizes[] = {
    { 2, 33, 20, 30, 31, 3, 3, OPTIONS(0, 0, 1, 1, 0, 0, 0) },
    { 1, 3, 7, 90, 150, 5, 3, OPTIONS(0, 0, 2, 0, 0, 0, 0) },
    { 3, 6, 16, 14, 14, 5, 5, OPTIONS(0, 0, 0, 0, 0, 0, 0) },
    { 3, 1, 6, 28, 28, 5, 5, OPTIONS(0, 0, 2, 2, 0, 0, 0) },
    { 2, 150, 3, 9, 17, 3, 3, OPTIONS(2, 1, 1, 1, 1, 2, 0) },
    { 17, 5, 6, 9, 8, 3, 2, OPTIONS(2, 1, 1, 1, 1, 2, 0) },
    { 2, 40, 100, 4, 5, 3, 3, OPTIONS(0, 0, 1, 1, 0, 0, 0) },
    { 2, 24, 24, 13, 12, 3, 3, OPTIONS(2, 3, 1, 2, 2, 1, 24) },
    { 2, 12, 24, 20, 45, 3, 5, OPTIONS(1, 1, 1, 2, 1, 1, 12) },
    { 1, 70, 1, 17, 40, 3, 3, OPTIONS(0, 0, 1, 1, 0, 0, 0) },
    { 3, 12, 9, 20, 21, 4, 3, OPTIONS(3, 2, 2, 1, 2, 3, 3) },
    { 2, 20, 12, 1, 2500, 0, 7, OPTIONS(1, 0, 3, 0, 0, 0, 0) },
    { 1, 3, 9, 1, 6001, 0, 25, OPTIONS(4, 0, 5, 0, 2, 0, 3) },
    { 4, 30, 50, 7, 9, 1, 1, OPTIONS(0, 0, 0, 0, 0, 0, 0) },
    { 2, 12, 20, 11, 10, 1, 1, OPTIONS(2, 0, 0, 0, 0, 0, 2) },
    { 1, 2, 3, 40, 40, 25, 22, OPTIONS(0, 0, 3, 9, 0, 0, 0) },
};

enum { X, WEIGHT, BIAS, LEAVES };

typedef struct Run {
    Tensor *leaf[LEAVES], *y, *dy, *grad[LEAVES];
} Run;

static Tensor *random_new(int ndim, const int64_t *shape, Rng *rng)
{
    Tensor *x = lk_param_new(LK_F64, ndim, shape, NULL);
    lk_normal_(x, 0, 1, rng);
    return x;
}

static Tensor *convolve(Tape *t, const Size *s, Tensor *const *x)
{
    return s->kh ? lk_conv2d(t, x[X], x[WEIGHT], x[BIAS], s->o)
                 : lk_conv1d(t, x[X], x[WEIGHT], x[BIAS], s->o);
}

static void run(Tape *t, const Size *s, Run *r)
{
    Tensor *y = convolve(t, s, r->leaf);
    check(y, "%s", lk_tape_error(t)->message);
    r->y = lk_clone(y, NULL);
    check(lk_backward_with(t, y, lk_to(t, r->dy, y->dtype), false));
    for (int i = 0; i < LEAVES; i++) {
        r->grad[i] = lk_clone(lk_grad(r->leaf[i]), NULL);
        lk_zero_grad_(r->leaf[i]);
    }
    lk_tape_reset(t);
}

static void results_free(Run *r)
{
    lk_free(r->y);
    for (int i = 0; i < LEAVES; i++) lk_free(r->grad[i]);
}

/* Product by product: y and the gradients in double. */
static void by_definition(const Size *s, Run *r)
{
    const bool flat = s->kh == 0;
    const int64_t kh = flat ? 1 : s->kh, groups = s->o.groups ? s->o.groups : 1;
    int64_t stride[2], padding[2], dilation[2];
    for (int d = 0; d < 2; d++) {
        const int from = flat ? 0 : d;
        const bool none = flat && d == 0;
        stride[d] = s->o.stride[from] ? s->o.stride[from] : s->o.stride[0];
        dilation[d] = s->o.dilation[from] ? s->o.dilation[from] : s->o.dilation[0];
        if (none || stride[d] == 0) stride[d] = 1;
        if (none || dilation[d] == 0) dilation[d] = 1;
        padding[d] = none ? 0 : s->o.padding[from];
    }
    const int64_t oh = (s->height + 2 * padding[0] - dilation[0] * (kh - 1) - 1) / stride[0] + 1;
    const int64_t ow = (s->width + 2 * padding[1] - dilation[1] * (s->kw - 1) - 1) / stride[1] + 1;
    const int64_t inner = s->in / groups, outer = s->out / groups;
    if (flat) r->y = lk_tensor_new(LK_F64, LK_SHAPE(s->n, s->out, ow), NULL);
    else r->y = lk_tensor_new(LK_F64, LK_SHAPE(s->n, s->out, oh, ow), NULL);
    for (int i = 0; i < LEAVES; i++)
        r->grad[i] = lk_tensor_new(LK_F64, r->leaf[i]->ndim, r->leaf[i]->shape, NULL);
    const double *x = r->leaf[X]->data, *w = r->leaf[WEIGHT]->data, *b = r->leaf[BIAS]->data;
    Rng rng;
    lk_manual_seed(&rng, 4);
    r->dy = random_new(r->y->ndim, r->y->shape, &rng);
    double *y = r->y->data, *dy = r->dy->data, *dx = r->grad[X]->data, *dw = r->grad[WEIGHT]->data,
           *db = r->grad[BIAS]->data;
    for (int64_t i = 0; i < lk_numel(r->y); i++) {
        const int64_t n = i / ow / oh / s->out, o = i / ow / oh % s->out;
        const int64_t down = i / ow % oh * stride[0] - padding[0],
                      right = i % ow * stride[1] - padding[1];
        y[i] = b[o];
        db[o] += dy[i];
        for (int64_t q = 0; q < inner * kh * s->kw; q++) {
            const int64_t c = o / outer * inner + q / s->kw / kh;
            const int64_t iy = down + q / s->kw % kh * dilation[0],
                          ix = right + q % s->kw * dilation[1];
            if (iy < 0 || iy >= s->height || ix < 0 || ix >= s->width) continue;
            const int64_t at = ((n * s->in + c) * s->height + iy) * s->width + ix,
                          k = o * inner * kh * s->kw + q;
            y[i] += x[at] * w[k];
            dx[at] += dy[i] * w[k];
            dw[k] += dy[i] * x[at];
        }
    }
}

static void check_like(const Tensor *x, const Tensor *expected, double tol)
{
    check(lk_same_shape(x, expected));
    for (int64_t i = 0; i < lk_numel(x); i++) {
        const double want = ((const double *)expected->data)[i];
        const double got = x->dtype == LK_F64 ? ((const double *)x->data)[i]
                                              : (double)((const float *)x->data)[i];
        check(fabs(got - want) <= tol, "element %d: expected %.17g, got %.17g", (int)i, want, got);
    }
}

/* Every size for every set and dtype, with the same bits for one, two and three threads. Where
 * tests are slow, the dtypes take turns, with one and three threads. */
Test(conv, larger_sizes_are_their_formula)
{
    Tape *t = lk_tape_new(NULL);
    for (int i = 0; i < LENGTH(sizes); i++) {
        const Size *s = &sizes[i];
        const int64_t inner = s->in / (s->o.groups ? s->o.groups : 1);
        Rng rng;
        lk_manual_seed(&rng, 3);
        Run exact;
        if (s->kh) {
            exact.leaf[X] = random_new(LK_SHAPE(s->n, s->in, s->height, s->width), &rng);
            exact.leaf[WEIGHT] = random_new(LK_SHAPE(s->out, inner, s->kh, s->kw), &rng);
        } else {
            exact.leaf[X] = random_new(LK_SHAPE(s->n, s->in, s->width), &rng);
            exact.leaf[WEIGHT] = random_new(LK_SHAPE(s->out, inner, s->kw), &rng);
        }
        exact.leaf[BIAS] = random_new(LK_SHAPE(s->out), &rng);
        by_definition(s, &exact);
        for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
            if (!lk__kernels_use(set)) continue;
            for (DType d = LK_F32; d <= LK_F64; d++) {
                if (CHECK_EVERY > 1 && (d == LK_F32) != (i % 2 == 0)) continue;
                Run r = exact, first = exact;
                for (int l = 0; l < LEAVES; l++) {
                    r.leaf[l] = lk_param_new(d, exact.leaf[l]->ndim, exact.leaf[l]->shape, NULL);
                    check(lk_copy_(r.leaf[l], exact.leaf[l], NULL));
                }
                for (int threads = 1; threads <= 3; threads += CHECK_EVERY > 1 ? 2 : 1) {
                    lk_set_num_threads(threads);
                    run(t, s, &r);
                    if (threads == 1) {
                        first = r;
                        /* the number of terms of a sum, and their size */
                        check_like(r.y, exact.y, d == LK_F64 ? 1e-12 : 2e-4);
                        for (int l = 0; l < LEAVES; l++)
                            check_like(r.grad[l], exact.grad[l], d == LK_F64 ? 2e-12 : 5e-4);
                        continue;
                    }
                    check_equal(r.y, first.y);
                    for (int l = 0; l < LEAVES; l++) check_equal(r.grad[l], first.grad[l]);
                    results_free(&r);
                }
                results_free(&first);
                for (int l = 0; l < LEAVES; l++) lk_free(r.leaf[l]);
            }
        }
        results_free(&exact);
        lk_free(exact.dy);
        for (int l = 0; l < LEAVES; l++) lk_free(exact.leaf[l]);
    }
    lk_tape_free(t);
}

/* Infinity and NaN stay where a window reads them. */
Test(conv, numbers_that_are_not_finite_do_not_spread)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(1, 3, 6, 20)),
           *w = lk_ones(t, LK_F32, LK_SHAPE(4, 3, 3, 3));
    ((float *)x->data)[45] = INFINITY; /* row 2, column 5 of the first channel */
    Tensor *y = lk_conv2d(t, x, w, NULL, (ConvOptions){ .padding = { 1, 1 } });
    for (int64_t i = 0; i < 6; i++)
        for (int64_t j = 0; j < 20; j++) {
            const double v = lk_at(y, LK_INDEX(0, 2, i, j));
            const bool near = i >= 1 && i <= 3 && j >= 4 && j <= 6;
            check(near ? isinf(v) : v == 0, "%d, %d: %g", (int)i, (int)j, v);
        }
    lk_tape_free(t);
}

static size_t largest; /* block since it was set to 0 */
static int blocks;

static void *measure(size_t bytes)
{
    if (bytes > largest) largest = bytes;
    blocks++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

/* The patches of this layer take 3.6 MB. A thread copies few of them at a time, however many
 * images there are, and later steps allocate nothing. */
Test(conv, no_matrix_of_patches_exists)
{
    lk_set_allocator(measure, free);
    lk_set_num_threads(2);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(2, 64, 28, 28), NULL),
           *w = lk_param_new(LK_F32, LK_SHAPE(64, 64, 3, 3), NULL);
    lk_tape_alloc(t, 20 << 20); /* room for all results */
    lk_tape_reset(t);
    largest = 0;
    for (int step = 0; step < 3; step++) {
        if (step == 2) blocks = 0;
        Tensor *y = lk_conv2d(t, x, w, NULL, (ConvOptions){ .padding = { 1, 1 } });
        y = lk_max_pool2d(t, y, (PoolOptions){ .kernel = { 2 } });
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)), "%s", lk_tape_error(t)->message);
        lk_tape_reset(t);
    }
    check(largest < 2 << 20, "a block of %zu bytes", largest);
    check(blocks == 0, "%d allocations in a step", blocks);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
    lk_set_allocator(NULL, NULL);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(conv, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 4, 5, 6)),
           *w = lk_ones(t, LK_F32, LK_SHAPE(6, 4, 3, 3)), *b = lk_ones(t, LK_F32, LK_SHAPE(6)),
           *line = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4)),
           *none = lk_ones(t, LK_F32, LK_SHAPE(6, 0, 3, 3)),
           *wide = lk_ones(t, LK_F64, LK_SHAPE(6, 4, 3, 3)),
           *four = lk_ones(t, LK_F32, LK_SHAPE(4));
    const ConvOptions plain = { 0 };
    PASSES_NULL(lk_conv2d(t, NULL, w, b, plain));
    PASSES_NULL(lk_conv2d(t, x, NULL, b, plain));
    PASSES_NULL(lk_conv1d(t, NULL, w, b, plain));
    PASSES_NULL(lk_conv_transpose2d(t, x, NULL, NULL, plain));
    REFUSES(lk_conv2d(t, x, wide, b, plain), LK_EDTYPE,
            "lk_conv2d: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_conv2d(t, b, w, b, plain), LK_ESHAPE,
            "lk_conv2d: x (6,) must be (N, C, H, W) or (C, H, W), and weight (6, 4, 3, 3) "
            "4-dimensional");
    REFUSES(lk_conv1d(t, x, line, NULL, plain), LK_ESHAPE,
            "lk_conv1d: x (2, 4, 5, 6) must be (N, C, L) or (C, L), and weight (2, 3, 4) "
            "3-dimensional");
    REFUSES(lk_conv2d(t, x, none, b, plain), LK_ESHAPE,
            "lk_conv2d: weight (6, 0, 3, 3) must not be empty");
    REFUSES(lk_conv2d(t, line, w, b, plain), LK_ESHAPE,
            "lk_conv2d: x (2, 3, 4) has 2 channels, but weight (6, 4, 3, 3) takes 4; x is read as "
            "one sample without a batch dimension");
    REFUSES(lk_conv2d(t, line, lk_ones(t, LK_F32, LK_SHAPE(6, 1, 2, 2)), b, plain), LK_ESHAPE,
            "lk_conv2d: x (2, 3, 4) has 2 channels, but weight (6, 1, 2, 2) takes 1; x is read "
            "as one sample: a batch of one channel is lk_unsqueeze(t, x, 1)");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .groups = 4 }), LK_ESHAPE,
            "lk_conv2d: groups 4 does not divide the 6 outputs of weight (6, 4, 3, 3)");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .groups = 2 }), LK_ESHAPE,
            "lk_conv2d: x (2, 4, 5, 6) has 4 channels, but weight (6, 4, 3, 3) with groups 2 "
            "takes 8");
    REFUSES(lk_conv_transpose2d(t, x, w, NULL, plain), LK_ESHAPE,
            "lk_conv_transpose2d: x (2, 4, 5, 6) has 4 channels, but weight (6, 4, 3, 3) takes "
            "6");
    REFUSES(lk_conv_transpose2d(t, x, w, NULL, (ConvOptions){ .groups = 5 }), LK_ESHAPE,
            "lk_conv_transpose2d: groups 5 does not divide the 6 inputs of weight (6, 4, 3, 3)");
    REFUSES(lk_conv2d(t, x, w, four, plain), LK_ESHAPE,
            "lk_conv2d: bias (4,) does not fit weight (6, 4, 3, 3): it needs one value for each "
            "of 6 outputs");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .dilation = { 3, 1 } }), LK_ESHAPE,
            "lk_conv2d: the kernel (3, 3) with dilation (3, 1) is larger than the padded image "
            "(5, 6)");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .stride = { -1, 2 } }), LK_EVALUE,
            "lk_conv2d: stride (-1, 2), padding (0, 0), dilation (1, 1), groups 1: stride, "
            "dilation and groups must be positive, padding not negative, and none above 1048576");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .padding = { 0, -1 } }), LK_EVALUE,
            "lk_conv2d: stride (1, 1), padding (0, -1), dilation (1, 1), groups 1: stride, "
            "dilation and groups must be positive, padding not negative, and none above 1048576");
    REFUSES(lk_conv2d(t, x, w, b, (ConvOptions){ .output_padding = { 1, 0 } }), LK_EVALUE,
            "lk_conv2d: output_padding (1, 0) is an option of lk_conv_transpose2d only");
    Tensor *up = lk_ones(t, LK_F32, LK_SHAPE(4, 2, 1, 1));
    REFUSES(lk_conv_transpose2d(t, x, up, NULL, (ConvOptions){ .output_padding = { 0, 1 } }),
            LK_EVALUE,
            "lk_conv_transpose2d: output_padding (0, 1) must be smaller than stride or dilation, "
            "and not negative");
    REFUSES(lk_conv_transpose2d(t, x, up, NULL, (ConvOptions){ .padding = { 3, 0 } }), LK_ESHAPE,
            "lk_conv_transpose2d: the result would have (-1, 6) positions; the padding (3, 0) is "
            "too large");
    check(lk_conv2d(t, x, w, b, plain) && lk_tape_error(t)->code == LK_OK);
    lk_tape_free(t);
}
