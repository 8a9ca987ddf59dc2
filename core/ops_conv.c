/* ops_conv.c - convolutions and transposed convolutions. The arithmetic is in
 * core/kernels/conv.h. This file has the shapes, gradients and PyTorch's names.
 *
 * Three products are made of one weight W: `down` computes small from large (the forward of
 * conv2d), `up` computes large from small (its gradient dx), and `weight` computes dW from both.
 * The transposed convolution is the same with the roles of the tensors exchanged: its forward is
 * `up`, its dx is `down`. */
#include "core/internal.h"
#include "core/kernels/conv.h"
#include "core/kernels/gemm.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_conv_real.h"
#include "core/real.h"

enum { X, WEIGHT, BIAS, INPUTS };

/* The sizes of a convolution. `large` is what a window of the kernel slides over: x of conv2d, y
 * of conv_transpose2d. Index 0 is down, 1 across; one-dimensional: down has size 1. */
typedef struct ConvShape {
    DType dtype;
    bool batched;
    int dims;         /* 1 or 2 */
    int64_t n, outer; /* images; channels of `small` in a group */
    int64_t inner;    /* channels of `large` in a group */
    int64_t large[2], small[2], kernel[2];
    ConvOptions o; /* without defaults */
} ConvShape;

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }
static int64_t positions(const int64_t size[2]) { return size[0] * size[1]; }
static int64_t taps(const ConvShape *s) { return positions(s->kernel); }

/* Whether each position of `small` is a product of W with one position of `large`. */
static bool is_pointwise(const ConvShape *s)
{
    bool is = true;
    for (int d = 0; d < 2; d++)
        is = is && s->kernel[d] == 1 && s->o.stride[d] == 1 && s->o.padding[d] == 0 &&
             s->large[d] == s->small[d];
    return is;
}

/* ---- the three products --------------------------------------------------------------------- */

/* The axis of `down` and of dW. */
static ConvAxis axis_down(const ConvShape *s, int d)
{
    return (ConvAxis){ .in = s->large[d],
                       .out = s->small[d],
                       .stride = s->o.stride[d],
                       .taps = s->kernel[d],
                       .offset = -s->o.padding[d],
                       .offset_step = s->o.dilation[d],
                       .kernel_step = 1,
                       .out_step = 1 };
}

/* The axis of `up` for the positions i = phase, phase + stride, … of `large`. There tap k reads
 * position (i + padding - k dilation) / stride of `small`. It does so for each k for which that is
 * a whole number: one in so many steps. */
static ConvAxis axis_up(const ConvShape *s, int d, int64_t phase)
{
    const int64_t stride = s->o.stride[d], dilation = s->o.dilation[d];
    const int64_t step = stride / gcd(stride, dilation), at = phase + s->o.padding[d];
    int64_t k = 0;
    while (k < step && (at - k * dilation) % stride != 0) k++;
    const bool any = k < step && k < s->kernel[d];
    return (ConvAxis){ .in = s->small[d],
                       .out = phase < s->large[d] ? (s->large[d] - phase - 1) / stride + 1 : 0,
                       .stride = 1,
                       .taps = any ? (s->kernel[d] - k - 1) / step + 1 : 0,
                       .offset = (at - k * dilation) / stride,
                       .offset_step = -step * dilation / stride,
                       .kernel = k,
                       .kernel_step = step,
                       .out_first = phase,
                       .out_step = stride };
}

static bool run(Tape *t, const Conv *c, bool weight)
{
    if (c->y.taps * c->x.taps * c->y.out * c->x.out * c->n == 0) return true;
    const int threads = lk_get_num_threads();
    void *workspace = lk_tape_scratch(t, weight ? lk__conv_weight_workspace(c, threads)
                                                : lk__conv_workspace(c, threads));
    if (!workspace) return false;
    if (weight) lk__conv_weight(c, threads, workspace);
    else lk__conv(c, threads, workspace);
    return true;
}

/* Fills x (n, channels, …) with the bias, or with zeros. */
static void fill(Tensor *x, const ConvShape *s, const Tensor *bias)
{
    if (!bias) {
        memset(x->data, 0, (size_t)lk__elements(x) * lk_dtype_size(x->dtype));
        return;
    }
    Tensor b = *bias;
    b.ndim = s->dims + 1;
    for (int d = 1; d <= s->dims; d++) b.shape[d] = 1, b.stride[d] = 0;
    lk__copy_fitting(x, &b);
}

/* A matrix for each image and group, and the elements from one to the next. */
typedef struct Mats {
    Mat first;
    int64_t image, group;
} Mats;

static Mats transposed(Mats m)
{
    m.first = lk__mat_T(m.first);
    return m;
}

/* The planes of `large` or `small`, or W. */
static Mats planes(const ConvShape *s, int64_t channels, void *x)
{
    const int64_t size = channels * positions(s->small);
    return (Mats){ lk__mat(s->dtype, channels, positions(s->small), x), s->o.groups * size, size };
}

static Mats weights(const ConvShape *s, void *w)
{
    return (Mats){ lk__mat(s->dtype, s->outer, s->inner, w), 0, s->outer * s->inner };
}

static Mat mat_at(Mats m, int64_t image, int64_t group)
{
    m.first.data = (char *)m.first.data +
                   (image * m.image + group * m.group) * (int64_t)lk_dtype_size(m.first.dtype);
    return m.first;
}

/* Computes C = A B or C += A B for every image and group of a pointwise convolution. When C is the
 * same for all images, the products are summed. */
static bool pointwise(Tape *t, const ConvShape *s, Mats c, Mats a, Mats b, bool add)
{
    const int threads = lk_get_num_threads();
    const int64_t products = s->n * s->o.groups;
    const Mat shape = c.first;
    const bool sum = c.image == 0, shared = !sum && threads > 1 && products >= 2 * threads;
    const size_t bytes =
        (lk__gemm_workspace(s->dtype, shape.rows, shape.cols, a.first.cols) + 63) / 64 * 64;
    char *workspace = lk_tape_scratch(t, bytes * (shared ? (size_t)threads : 1) + 64);
    if (!workspace) return false;
#pragma omp parallel for schedule(static) num_threads(threads) if (shared)
    for (int64_t i = 0; i < products; i++) {
        const int64_t image = i / s->o.groups, group = i % s->o.groups;
        lk__gemm(mat_at(c, image, group), mat_at(a, image, group), mat_at(b, image, group),
                 add || (sum && image > 0),
                 workspace + (shared ? bytes * (size_t)lk__thread() : 0));
    }
    return true;
}

/* The convolution that takes windows of `large` for the positions of `small`. */
static Conv windows_of(const ConvShape *s, const Tensor *large, const Tensor *small,
                       const Tensor *w, bool add)
{
    return (Conv){ .dtype = s->dtype,
                   .n = s->n,
                   .groups = s->o.groups,
                   .channels = s->inner,
                   .rows = s->outer,
                   .y = axis_down(s, 0),
                   .x = axis_down(s, 1),
                   .source = large->data,
                   .out = small->data,
                   .out_height = s->small[0],
                   .out_width = s->small[1],
                   .weight = w->data,
                   .add = add };
}

/* small = W * large + bias, or small += W * large. */
static bool down(Tape *t, const ConvShape *s, Tensor *small, const Tensor *large, const Tensor *w,
                 const Tensor *bias, bool add)
{
    if (is_pointwise(s)) {
        if (bias) fill(small, s, bias);
        return pointwise(t, s, planes(s, s->outer, small->data), weights(s, w->data),
                         planes(s, s->inner, large->data), add || bias);
    }
    Conv c = windows_of(s, large, small, w, add);
    c.w_row = s->inner * taps(s);
    c.w_group = s->outer * c.w_row;
    c.w_channel = taps(s);
    c.w_down = s->kernel[1];
    c.bias = bias ? bias->data : NULL;
    return run(t, &c, false);
}

/* Whether every position of `large` is computed from a tap, which writes it. */
static bool is_covered(const ConvShape *s)
{
    bool is = positions(s->small) > 0;
    for (int d = 0; d < 2; d++)
        for (int64_t i = 0; i < s->o.stride[d] && i < s->large[d]; i++)
            is = is && axis_up(s, d, i).taps > 0;
    return is;
}

/* large = Wᵀ * small + bias, or large += Wᵀ * small: one convolution for each phase. */
static bool up(Tape *t, const ConvShape *s, Tensor *large, const Tensor *small, const Tensor *w,
               const Tensor *bias, bool add)
{
    if (is_pointwise(s)) {
        if (bias) fill(large, s, bias);
        return pointwise(t, s, planes(s, s->inner, large->data), transposed(weights(s, w->data)),
                         planes(s, s->outer, small->data), add || bias);
    }
    const int64_t k = s->inner * taps(s);
    const bool whole = is_covered(s);
    if (!add && !whole) fill(large, s, bias);
    Conv c = { .dtype = s->dtype,
               .n = s->n,
               .groups = s->o.groups,
               .channels = s->outer,
               .rows = s->inner,
               .source = small->data,
               .out = large->data,
               .out_height = s->large[0],
               .out_width = s->large[1],
               .weight = w->data,
               .w_group = s->outer * k,
               .w_row = taps(s),
               .w_channel = k,
               .w_down = s->kernel[1],
               .bias = bias && whole ? bias->data : NULL,
               .add = add || !whole };
    for (int64_t y = 0; y < s->o.stride[0] && y < s->large[0]; y++) {
        for (int64_t x = 0; x < s->o.stride[1] && x < s->large[1]; x++) {
            c.y = axis_up(s, 0, y);
            c.x = axis_up(s, 1, x);
            if (!run(t, &c, false)) return false;
        }
    }
    return true;
}

/* dW = Σ small large, or dW += the same. */
static bool weight_gradient(Tape *t, const ConvShape *s, Tensor *dw, const Tensor *small,
                            const Tensor *large, bool add)
{
    if (!add && s->n * positions(s->small) == 0) fill(dw, s, NULL);
    if (is_pointwise(s))
        return pointwise(t, s, weights(s, dw->data), planes(s, s->outer, small->data),
                         transposed(planes(s, s->inner, large->data)), add);
    Conv c = windows_of(s, large, small, dw, add);
    return run(t, &c, true);
}

/* db[c] += the sum of dy over the images and positions of channel c. */
static void bias_gradient(const ConvShape *s, Tensor *db, const Tensor *dy, int64_t n)
{
    const int64_t channels = db->shape[0], size = (int64_t)lk_dtype_size(s->dtype);
#pragma omp parallel for schedule(static) if (s->n * channels * n > 1 << 15)
    for (int64_t c = 0; c < channels; c++)
        LK_REAL(s->dtype, channel_sum, s->n, n, (const char *)dy->data + c * n * size,
                channels * n, (char *)db->data + c * size);
}

/* ---- checks --------------------------------------------------------------------------------- */

/* Puts defaults where options are 0. */
static ConvOptions with_defaults(ConvOptions o)
{
    if (o.stride[0] == 0) o.stride[0] = 1;
    if (o.stride[1] == 0) o.stride[1] = o.stride[0];
    if (o.dilation[0] == 0) o.dilation[0] = 1;
    if (o.dilation[1] == 0) o.dilation[1] = o.dilation[0];
    if (o.groups == 0) o.groups = 1;
    return o;
}

static bool options_ok(Tape *t, const char *f, const ConvOptions *o, bool up_way)
{
    enum { MOST = 1 << 20 };
    bool ok = o->groups >= 1;
    for (int d = 0; d < 2; d++) {
        ok = ok && o->stride[d] >= 1 && o->dilation[d] >= 1 && o->padding[d] >= 0;
        ok = ok && o->stride[d] <= MOST && o->dilation[d] <= MOST && o->padding[d] <= MOST;
    }
    if (!ok)
        return lk_fail(t, LK_EVALUE,
                       "%s: stride (%lld, %lld), padding (%lld, %lld), dilation (%lld, %lld), "
                       "groups %lld: stride, dilation and groups must be positive, padding not "
                       "negative, and none above %d",
                       f, (long long)o->stride[0], (long long)o->stride[1],
                       (long long)o->padding[0], (long long)o->padding[1],
                       (long long)o->dilation[0], (long long)o->dilation[1], (long long)o->groups,
                       MOST);
    for (int d = 0; d < 2; d++) {
        int64_t more = o->output_padding[d], limit = o->stride[d];
        if (o->dilation[d] > limit) limit = o->dilation[d];
        if (more == 0 || (up_way && more > 0 && more < limit)) continue;
        return lk_fail(t, LK_EVALUE,
                       up_way ? "%s: output_padding (%lld, %lld) must be smaller than stride or "
                                "dilation, and not negative"
                              : "%s: output_padding (%lld, %lld) is an option of "
                                "lk_conv_transpose2d only",
                       f, (long long)o->output_padding[0], (long long)o->output_padding[1]);
    }
    return true;
}

/* The size of `small` for conv2d, of `large` for conv_transpose2d. */
static int64_t size_down(const ConvShape *s, int d)
{
    int64_t reach = s->o.dilation[d] * (s->kernel[d] - 1) + 1,
            room = s->large[d] + 2 * s->o.padding[d] - reach;
    return room < 0 ? 0 : room / s->o.stride[d] + 1;
}

static int64_t size_up(const ConvShape *s, int d)
{
    return (s->small[d] - 1) * s->o.stride[d] - 2 * s->o.padding[d] +
           s->o.dilation[d] * (s->kernel[d] - 1) + s->o.output_padding[d] + 1;
}

/* The last dimensions of x as a size down and across. */
static void read_size(const Tensor *x, int dims, int64_t size[2])
{
    size[0] = dims == 2 ? x->shape[x->ndim - 2] : 1;
    size[1] = x->shape[x->ndim - 1];
}

static bool sizes_ok(Tape *t, const char *f, ConvShape *s, bool up_way)
{
    enum { MOST = 1 << 30 };
    for (int d = 0; d < 2; d++) {
        if (up_way) s->large[d] = size_up(s, d);
        else s->small[d] = size_down(s, d);
    }
    const int64_t *result = up_way ? s->large : s->small;
    if (!up_way && (result[0] <= 0 || result[1] <= 0))
        return lk_fail(t, LK_ESHAPE,
                       "%s: the kernel (%lld, %lld) with dilation (%lld, %lld) is larger than "
                       "the padded image (%lld, %lld)",
                       f, (long long)s->kernel[0], (long long)s->kernel[1],
                       (long long)s->o.dilation[0], (long long)s->o.dilation[1],
                       (long long)(s->large[0] + 2 * s->o.padding[0]),
                       (long long)(s->large[1] + 2 * s->o.padding[1]));
    if (result[0] <= 0 || result[1] <= 0)
        return lk_fail(t, LK_ESHAPE,
                       "%s: the result would have (%lld, %lld) positions; the padding (%lld, "
                       "%lld) is too large",
                       f, (long long)result[0], (long long)result[1], (long long)s->o.padding[0],
                       (long long)s->o.padding[1]);
    if ((double)(s->large[0] + 2 * s->o.padding[0]) * (double)(s->large[1] + 2 * s->o.padding[1]) >
        MOST)
        return lk_fail(t, LK_ESHAPE, "%s: an image of (%lld, %lld) with its padding is too large",
                       f, (long long)s->large[0], (long long)s->large[1]);
    return true;
}

static bool refuse_channels(Tape *t, const char *f, const ConvShape *s, const Tensor *x,
                            const Tensor *w, int64_t channels, int64_t wanted)
{
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT], groups[48] = "";
    const char *hint = "";
    if (s->o.groups != 1)
        snprintf(groups, sizeof groups, " with groups %lld", (long long)s->o.groups);
    if (!s->batched) hint = "; x is read as one sample without a batch dimension";
    if (!s->batched && wanted == 1)
        hint = "; x is read as one sample: a batch of one channel is lk_unsqueeze(t, x, 1)";
    return lk_fail(t, LK_ESHAPE, "%s: x %s has %lld channels, but weight %s%s takes %lld%s", f,
                   lk_shape_text(x, sx), (long long)channels, lk_shape_text(w, sw), groups,
                   (long long)wanted, hint);
}

/* Checks all operands and sets *s. */
static bool shape_of(Tape *t, const char *f, int dims, bool up_way, Tensor *const in[INPUTS],
                     ConvOptions options, ConvShape *s)
{
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    const Tensor *x = in[X], *w = in[WEIGHT], *bias = in[BIAS];
    if (!lk_check_floating(t, f, bias ? INPUTS : BIAS, in) ||
        !lk_check_optional(t, f, "bias", bias))
        return false;
    if (dims == 1) options.stride[1] = options.dilation[1] = 1, options.padding[1] = 0;
    *s = (ConvShape){ .dtype = x->dtype, .dims = dims, .n = 1, .o = with_defaults(options) };
    if (!options_ok(t, f, &s->o, up_way)) return false;
    if (dims == 1) { /* the options are those of the only dimension, which is across */
        s->o.stride[1] = s->o.stride[0], s->o.stride[0] = 1;
        s->o.dilation[1] = s->o.dilation[0], s->o.dilation[0] = 1;
        s->o.padding[1] = s->o.padding[0], s->o.padding[0] = 0;
    }
    const char *order = dims == 1 ? "L" : "H, W";
    if ((x->ndim != dims + 2 && x->ndim != dims + 1) || w->ndim != dims + 2)
        return lk_fail(t, LK_ESHAPE,
                       "%s: x %s must be (N, C, %s) or (C, %s), and weight %s %d-dimensional", f,
                       lk_shape_text(x, sx), order, order, lk_shape_text(w, sw), dims + 2);
    const int64_t groups = s->o.groups, first = w->shape[0], second = w->shape[1];
    for (int d = 0; d < w->ndim; d++)
        if (w->shape[d] == 0)
            return lk_fail(t, LK_ESHAPE, "%s: weight %s must not be empty", f,
                           lk_shape_text(w, sw));
    s->batched = x->ndim == dims + 2;
    if (s->batched) s->n = x->shape[0];
    const int64_t channels = x->shape[s->batched], wanted = up_way ? first : second * groups;
    if (first % groups != 0)
        return lk_fail(t, LK_ESHAPE, "%s: groups %lld does not divide the %lld %s of weight %s", f,
                       (long long)groups, (long long)first, up_way ? "inputs" : "outputs",
                       lk_shape_text(w, sw));
    if (channels != wanted) return refuse_channels(t, f, s, x, w, channels, wanted);
    s->outer = first / groups;
    s->inner = second;
    if (bias && (bias->ndim != 1 || bias->shape[0] != (up_way ? second * groups : first)))
        return lk_fail(t, LK_ESHAPE,
                       "%s: bias %s does not fit weight %s: it needs one value for each of %lld "
                       "outputs",
                       f, lk_shape_text(bias, sb), lk_shape_text(w, sw),
                       (long long)(up_way ? second * groups : first));
    read_size(w, dims, s->kernel);
    read_size(x, dims, up_way ? s->small : s->large);
    return sizes_ok(t, f, s, up_way);
}

/* ---- the operations ------------------------------------------------------------------------- */

/* y = W * x + b with the product `down`, so dx = `up` of dy, and dW is made of dy and x; db_c is
 * the sum of dy_c. For the transposed convolution, `large` and `small` change places. */
static void conv_gradients(Tape *t, Node *n, bool up_way)
{
    const ConvShape *s = n->state;
    Tensor *x = n->in[X], *w = n->in[WEIGHT], *dy = n->grad;
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, n, X, &fresh);
    if (dx) {
        w = lk_packed(t, w);
        if (!w || !(up_way ? down : up)(t, s, dx, dy, w, NULL, !fresh)) return;
    }
    Tensor *dw = lk_grad_in_fresh(t, n, WEIGHT, &fresh);
    if (dw) {
        x = lk_packed(t, x);
        if (!x || !weight_gradient(t, s, dw, up_way ? x : dy, up_way ? dy : x, !fresh)) return;
    }
    Tensor *db = lk_grad_in(t, n, BIAS);
    if (db) bias_gradient(s, db, dy, positions(up_way ? s->large : s->small));
}

static void conv_backward(Tape *t, Node *n) { conv_gradients(t, n, false); }
static void conv_transpose_backward(Tape *t, Node *n) { conv_gradients(t, n, true); }

/* PyTorch adds a batch of one to a single image, and takes it away again. */
static const char *conv_name(const Node *n)
{
    return ((const ConvShape *)n->state)->batched ? "ConvolutionBackward0" : "SqueezeBackward1";
}

static const NamedOp CONV = { { NULL, conv_backward, { LK_IN1, LK_IN0, 0 } }, conv_name };
static const NamedOp CONV_TRANSPOSE = {
    { NULL, conv_transpose_backward, { LK_IN1, LK_IN0, 0 } },
    conv_name,
};

static Tensor *convolve(Tape *t, const char *f, int dims, bool up_way, Tensor *const in[INPUTS],
                        ConvOptions options)
{
    ConvShape s;
    if (!shape_of(t, f, dims, up_way, in, options, &s)) return NULL;
    int64_t shape[LK_MAX_DIMS];
    int ndim = 0;
    if (s.batched) shape[ndim++] = s.n;
    shape[ndim++] = (up_way ? s.inner : s.outer) * s.o.groups;
    for (int d = 2 - dims; d < 2; d++) shape[ndim++] = up_way ? s.large[d] : s.small[d];
    Tensor *y = lk_empty(t, s.dtype, ndim, shape), *x = lk_packed(t, in[X]),
           *w = lk_packed(t, in[WEIGHT]), *bias = in[BIAS] ? lk_packed(t, in[BIAS]) : NULL;
    if (!y || !x || !w || (in[BIAS] && !bias)) return NULL;
    if (!(up_way ? up : down)(t, &s, y, x, w, bias, false)) return NULL;
    return lk_record(t, up_way ? &CONV_TRANSPOSE.op : &CONV.op, y, INPUTS, in, &s, sizeof s);
}

Tensor *lk_conv1d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options)
{
    return convolve(t, "lk_conv1d", 1, false, (Tensor *[]){ x, weight, bias }, options);
}

Tensor *lk_conv2d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options)
{
    return convolve(t, "lk_conv2d", 2, false, (Tensor *[]){ x, weight, bias }, options);
}

Tensor *lk_conv_transpose2d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options)
{
    return convolve(t, "lk_conv_transpose2d", 2, true, (Tensor *[]){ x, weight, bias }, options);
}
