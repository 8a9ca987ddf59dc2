/* ops_pool.c - pooling and upsampling. Each plane (H, W) of x is computed by itself; index 0 of
 * the sizes is down, 1 across. One-dimensional operations have planes of one row. */
#include "core/internal.h"
#include "core/ops.h"

typedef struct Pool {
    DType dtype;
    int dims;
    int64_t planes, in[2], out[2];
    int64_t kernel[2], stride[2], padding[2]; /* upsampling: stride is the scale */
    int64_t dilation[2];
    bool exclude_padding, even; /* even: every mean is of a whole kernel */
    bool inside;                /* no window reaches out of x, or skips elements of it */
    int32_t *index; /* the place of each maximum in its plane; NULL when backward will not ask */
} Pool;

/* A range of positions. */
typedef struct Taps {
    int64_t first, end;
} Taps;

static int64_t size_of(Taps t) { return t.end - t.first; }

/* The positions of x that window o covers, a dilation apart, padding left out. */
static Taps taps_of(const Pool *p, int d, int64_t o)
{
    const int64_t each = p->dilation[d];
    int64_t first = o * p->stride[d] - p->padding[d], end = first + (p->kernel[d] - 1) * each + 1;
    if (first < 0) first += (each - 1 - first) / each * each;
    return (Taps){ first, end < p->in[d] ? end : p->in[d] };
}

/* The positions that a mean counts: those in x, or those in the padded x. */
static int64_t counted(const Pool *p, int d, int64_t o)
{
    if (p->exclude_padding) return size_of(taps_of(p, d, o));
    const int64_t rest = p->in[d] + 2 * p->padding[d] - o * p->stride[d];
    return rest < p->kernel[d] ? rest : p->kernel[d];
}

/* The windows of a row whose tap k lies in x: mostly all, which takes no division. */
static Taps windows_of(const Pool *p, int64_t k)
{
    const int64_t before = p->padding[1] - k * p->dilation[1], after = p->in[1] + before,
                  step = p->stride[1];
    int64_t first = before > 0 ? (before + step - 1) / step : 0, end = p->out[1];
    if ((end - 1) * step >= after) end = after > 0 ? (after + step - 1) / step : 0;
    return (Taps){ first < end ? first : end, end };
}

/* Part o of x, when x is cut into out parts that may overlap by one, as PyTorch does. */
static Taps share_of(const Pool *p, int d, int64_t o)
{
    return (Taps){ o * p->in[d] / p->out[d], ((o + 1) * p->in[d] + p->out[d] - 1) / p->out[d] };
}

#define LK_REAL_SOURCE "core/ops_pool_real.h"
#include "core/real.h"

static int64_t in_size(const Pool *p) { return p->in[0] * p->in[1]; }
static int64_t out_size(const Pool *p) { return p->out[0] * p->out[1]; }

/* For each plane of x and of y; `call` reads their pointers `in` and `out`, and the number i. */
#define FOR_PLANES(p, x, y, call) \
    do { \
        const int64_t size_ = (int64_t)lk_dtype_size((p)->dtype), planes_ = (p)->planes; \
        const bool large_ = planes_ * (in_size(p) + out_size(p)) > 1 << 15; \
        (void)large_; /* without OpenMP it is not read */ \
        char *x_ = (x)->data, *y_ = (y)->data; \
        _Pragma("omp parallel for schedule(static) if (large_)") for (int64_t i = 0; i < planes_; \
                                                                      i++) \
        { \
            char *in = x_ + i * in_size(p) * size_, *out = y_ + i * out_size(p) * size_; \
            call; \
        } \
    } while (0)

/* The same in a backward: `in` is a plane of dx, cleared before the first sum, and `out` of dy. */
#define FOR_GRADIENTS(t, n, call) \
    do { \
        const Pool *p = (n)->state; \
        bool fresh_; \
        Tensor *dx_ = lk_grad_in_fresh(t, n, 0, &fresh_); \
        if (dx_) \
            FOR_PLANES(p, dx_, (n)->grad, \
                       if (fresh_) memset(in, 0, (size_t)(in_size(p) * size_)); \
                       call); \
    } while (0)

/* ---- checks --------------------------------------------------------------------------------- */

/* Checks x (N, C, H, W) or (C, H, W), and reads its sizes. */
static bool read_planes(Tape *t, const char *f, Tensor *x, int dims, Pool *p)
{
    char sx[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, f, LK_INPUTS(x))) return false;
    if (x->ndim != dims + 1 && x->ndim != dims + 2)
        return lk_fail(t, LK_ESHAPE, "%s: x %s must be %s", f, lk_shape_text(x, sx),
                       dims == 1 ? "(N, C, L) or (C, L)" : "(N, C, H, W) or (C, H, W)");
    *p = (Pool){ .dtype = x->dtype, .dims = dims, .planes = 1 };
    for (int d = 0; d < x->ndim - dims; d++) p->planes *= x->shape[d];
    p->in[0] = dims == 2 ? x->shape[x->ndim - 2] : 1;
    p->in[1] = x->shape[x->ndim - 1];
    return true;
}

/* The size of a dilated kernel. */
static int64_t reach(const Pool *p, int d) { return (p->kernel[d] - 1) * p->dilation[d] + 1; }

/* Computes the sizes of the result. A window that rounding up adds begins in x or before it. */
static bool read_sizes(Tape *t, const char *f, bool ceil_mode, Pool *p)
{
    p->even = p->inside = true;
    for (int d = 0; d < 2; d++) {
        const int64_t padded = p->in[d] + 2 * p->padding[d], step = p->stride[d];
        const int64_t room = padded - reach(p, d) + (ceil_mode ? step - 1 : 0);
        if (room < 0)
            return lk_fail(t, LK_ESHAPE,
                           "%s: the %skernel (%lld, %lld) is larger than the padded image (%lld, "
                           "%lld)",
                           f, p->dilation[0] * p->dilation[1] > 1 ? "dilated " : "",
                           (long long)reach(p, 0), (long long)reach(p, 1),
                           (long long)(p->in[0] + 2 * p->padding[0]),
                           (long long)(p->in[1] + 2 * p->padding[1]));
        p->out[d] = room / step + 1;
        if (ceil_mode && (p->out[d] - 1) * step >= p->in[d] + p->padding[d]) p->out[d]--;
        if (p->exclude_padding && p->padding[d] > 0) p->even = false;
        const bool cut = (p->out[d] - 1) * step + p->kernel[d] > padded;
        if (cut) p->even = false;
        if (cut || p->padding[d] > 0 || p->dilation[d] > 1) p->inside = false;
        for (int64_t o = 0; p->dilation[d] > 1 && o < p->out[d]; o++)
            if (size_of(taps_of(p, d, o)) < 1)
                return lk_fail(t, LK_EVALUE,
                               "%s: a window has no element of x: with padding %lld, the dilation "
                               "%lld is too large for %lld elements",
                               f, (long long)p->padding[d], (long long)p->dilation[d],
                               (long long)p->in[d]);
    }
    return true;
}

/* Checks x and the options, and computes the sizes of the result. */
static bool read_pool(Tape *t, const char *f, Tensor *x, int dims, PoolOptions o, Pool *p)
{
    enum { MOST = 1 << 20 };
    if (!read_planes(t, f, x, dims, p)) return false;
    bool ok = true;
    for (int d = 0; d < 2; d++) {
        const int from = dims == 1 ? 0 : d; /* the only option is that of the row */
        const bool single = dims == 1 && d == 0;
        p->kernel[d] = o.kernel[from] ? o.kernel[from] : o.kernel[0];
        p->stride[d] = o.stride[from] ? o.stride[from] : o.stride[0];
        if (p->stride[d] == 0) p->stride[d] = p->kernel[d];
        p->padding[d] = o.padding[from];
        p->dilation[d] = o.dilation[from] ? o.dilation[from] : o.dilation[0];
        if (p->dilation[d] == 0) p->dilation[d] = 1;
        if (single) p->kernel[0] = p->stride[0] = p->dilation[0] = 1, p->padding[0] = 0;
        ok = ok && p->kernel[d] >= 1 && p->stride[d] >= 1 && p->padding[d] >= 0 &&
             2 * p->padding[d] <= p->kernel[d] && p->kernel[d] <= MOST && p->stride[d] <= MOST;
    }
    if (!ok)
        return lk_fail(t, LK_EVALUE,
                       "%s: kernel (%lld, %lld), stride (%lld, %lld), padding (%lld, %lld): "
                       "kernel and stride must be positive and at most %d, padding not negative "
                       "and at most half of the kernel",
                       f, (long long)p->kernel[0], (long long)p->kernel[1],
                       (long long)p->stride[0], (long long)p->stride[1], (long long)p->padding[0],
                       (long long)p->padding[1], MOST);
    for (int d = 0; d < 2; d++)
        if (p->dilation[d] < 1 || p->dilation[d] > MOST)
            return lk_fail(t, LK_EVALUE, "%s: the dilation %lld must be from 1 to %d", f,
                           (long long)p->dilation[d], MOST);
    p->exclude_padding = o.exclude_padding;
    if (!read_sizes(t, f, o.ceil_mode, p)) return false;
    if (in_size(p) > INT32_MAX)
        return lk_fail(t, LK_ESHAPE, "%s: a plane of %lld elements is too large", f,
                       (long long)in_size(p));
    return true;
}

/* An uninitialised result. */
static Tensor *result_of(Tape *t, const Tensor *x, const Pool *p)
{
    int64_t shape[LK_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) shape[d] = x->shape[d];
    if (p->dims == 2) shape[x->ndim - 2] = p->out[0];
    shape[x->ndim - 1] = p->out[1];
    return lk_empty(t, x->dtype, x->ndim, shape);
}

/* PyTorch computes 1-D pooling as 2-D. */
static const char *pool_name(const Node *n, const char *name)
{
    return ((const Pool *)n->state)->dims == 1 ? "SqueezeBackward1" : name;
}

/* ---- maximum -------------------------------------------------------------------------------- */

/* dx[the place of the maximum] += dy. */
static void max_pool_backward(Tape *t, Node *n)
{
    FOR_GRADIENTS(
        t, n,
        LK_REAL(p->dtype, max_plane_backward, out_size(p), out, p->index + i * out_size(p), in));
}

static const char *max_pool_name(const Node *n)
{
    return pool_name(n, "MaxPool2DWithIndicesBackward0");
}

static const NamedOp MAX_POOL = { { NULL, max_pool_backward, { 0 } }, max_pool_name };

static Tensor *max_pool(Tape *t, const char *f, int dims, Tensor *x, PoolOptions options)
{
    Pool p;
    if (!read_pool(t, f, x, dims, options, &p)) return NULL;
    Tensor *y = result_of(t, x, &p), *from = lk_packed(t, x);
    if (!y || !from) return NULL;
    if (lk_records(t, LK_INPUTS(x))) {
        p.index = lk_tape_alloc(t, (size_t)(p.planes * out_size(&p) + 1) * sizeof *p.index);
        if (!p.index) return NULL;
    }
    FOR_PLANES(
        &p, from, y,
        LK_REAL(p.dtype, max_plane, &p, in, out, p.index ? p.index + i * out_size(&p) : NULL));
    return lk_record(t, &MAX_POOL.op, y, LK_INPUTS(x), &p, sizeof p);
}

Tensor *lk_max_pool1d(Tape *t, Tensor *x, PoolOptions options)
{
    return max_pool(t, "lk_max_pool1d", 1, x, options);
}

Tensor *lk_max_pool2d(Tape *t, Tensor *x, PoolOptions options)
{
    return max_pool(t, "lk_max_pool2d", 2, x, options);
}

/* ---- average -------------------------------------------------------------------------------- */

/* dx += dy / the size of the window. */
static void avg_pool_backward(Tape *t, Node *n)
{
    FOR_GRADIENTS(t, n, LK_REAL(p->dtype, avg_plane_backward, p, out, in));
}

static const char *avg_pool_name(const Node *n) { return pool_name(n, "AvgPool2DBackward0"); }
static const NamedOp AVG_POOL = { { NULL, avg_pool_backward, { 0 } }, avg_pool_name };

static Tensor *avg_pool(Tape *t, const char *f, int dims, Tensor *x, PoolOptions options)
{
    Pool p;
    if (!read_pool(t, f, x, dims, options, &p)) return NULL;
    if (p.dilation[0] * p.dilation[1] > 1)
        return lk_fail(t, LK_EVALUE, "%s: the dilation must be 1; only max_pool has one", f);
    Tensor *y = result_of(t, x, &p), *from = lk_packed(t, x);
    if (!y || !from) return NULL;
    FOR_PLANES(&p, from, y, LK_REAL(p.dtype, avg_plane, &p, in, out));
    return lk_record(t, &AVG_POOL.op, y, LK_INPUTS(x), &p, sizeof p);
}

Tensor *lk_avg_pool1d(Tape *t, Tensor *x, PoolOptions options)
{
    return avg_pool(t, "lk_avg_pool1d", 1, x, options);
}

Tensor *lk_avg_pool2d(Tape *t, Tensor *x, PoolOptions options)
{
    return avg_pool(t, "lk_avg_pool2d", 2, x, options);
}

/* dx += dy / the size of its part. */
static void adaptive_backward(Tape *t, Node *n)
{
    FOR_GRADIENTS(t, n, LK_REAL(p->dtype, adaptive_plane_backward, p, out, in));
}

/* One mean of all is a mean in PyTorch. */
static const char *adaptive_name(const Node *n)
{
    return out_size(n->state) == 1 ? "MeanBackward1" : "AdaptiveAvgPool2DBackward0";
}

static const NamedOp ADAPTIVE = { { NULL, adaptive_backward, { 0 } }, adaptive_name };

Tensor *lk_adaptive_avg_pool2d(Tape *t, Tensor *x, int64_t height, int64_t width)
{
    Pool p;
    if (!read_planes(t, "lk_adaptive_avg_pool2d", x, 2, &p)) return NULL;
    if (height < 1 || width < 1 || in_size(&p) == 0)
        return lk_fail(t, LK_ESHAPE,
                       "lk_adaptive_avg_pool2d: from (%lld, %lld) to (%lld, %lld): sizes must be "
                       "positive",
                       (long long)p.in[0], (long long)p.in[1], (long long)height,
                       (long long)width);
    p.out[0] = height, p.out[1] = width;
    Tensor *y = result_of(t, x, &p), *from = lk_packed(t, x);
    if (!y || !from) return NULL;
    FOR_PLANES(&p, from, y, LK_REAL(p.dtype, adaptive_plane, &p, in, out));
    return lk_record(t, &ADAPTIVE.op, y, LK_INPUTS(x), &p, sizeof p);
}

/* ---- upsampling ----------------------------------------------------------------------------- */

/* dx += the sum of dy over the square. */
static void upsample_backward(Tape *t, Node *n)
{
    FOR_GRADIENTS(t, n, LK_REAL(p->dtype, upsample_plane_backward, p, out, in));
}

static const Op UPSAMPLE = { "UpsampleNearest2DBackward1", upsample_backward, { 0 } };

Tensor *lk_upsample_nearest2d(Tape *t, Tensor *x, int64_t scale)
{
    enum { MOST = 1 << 20 };
    Pool p;
    if (!read_planes(t, "lk_upsample_nearest2d", x, 2, &p)) return NULL;
    if (scale < 1 || scale > MOST || p.in[0] == 0 || p.in[1] == 0)
        return lk_fail(t, LK_EVALUE,
                       "lk_upsample_nearest2d: (%lld, %lld) times %lld: sizes and scale must be "
                       "positive, and the scale at most %d",
                       (long long)p.in[0], (long long)p.in[1], (long long)scale, MOST);
    for (int d = 0; d < 2; d++) p.stride[d] = scale, p.out[d] = scale * p.in[d];
    Tensor *y = result_of(t, x, &p), *from = lk_packed(t, x);
    if (!y || !from) return NULL;
    FOR_PLANES(&p, from, y, LK_REAL(p.dtype, upsample_plane, &p, in, out));
    return lk_record(t, &UPSAMPLE, y, LK_INPUTS(x), &p, sizeof p);
}
