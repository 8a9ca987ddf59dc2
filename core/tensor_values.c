/* tensor_values.c - the values of a tensor: read, copied, converted, compared, drawn at random.
 * core/layout.c tells how they lie in memory, core/elements.c which number an element is. */
#include "core/tensor.h"

#include <math.h>
#include <string.h>

#include "core/quantize.h"
#include "core/tape_parts.h"

/* ---- reading, copying, filling -------------------------------------------------------------- */

double lk_at(const Tensor *x, const int64_t *index)
{
    if (!lk__is_readable("lk_at", x) || (!index && x->ndim > 0)) return NAN;
    int64_t offset = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (index[d] < 0 || index[d] >= x->shape[d]) return NAN;
        offset += index[d] * x->stride[d];
    }
    double value = NAN;
    lk__load_row(x, (const char *)x->data + offset * (int64_t)lk_dtype_size(x->dtype), 1, 1,
                 &value);
    return value;
}

double lk_item(const Tensor *x)
{
    static const int64_t zeros[LK_MAX_DIMS];
    return lk__is_readable("lk_item", x) && lk_numel(x) == 1 ? lk_at(x, zeros) : NAN;
}

void lk_touch(Tensor *x)
{
    if (lk__is_readable("lk_touch", x)) x->storage->version++;
}

enum { PIECE = 256 }; /* elements converted at a time, on the stack */

static void *element(void *data, DType dtype, int64_t index)
{
    return (char *)data + index * (int64_t)lk_dtype_size(dtype);
}

typedef struct Copy {
    const Tensor *dst, *src;
} Copy;

static void copy_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Copy *copy = arg;
    const DType to = copy->dst->dtype, from = copy->src->dtype;
    double values[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t count = n - i < PIECE ? n - i : PIECE;
        lk__load_row(copy->src, element(p[1], from, i * step[1]), step[1], count, values);
        lk__store_row(to, element(p[0], to, i * step[0]), step[0], count, values);
    }
}

/* Without a conversion, the bits are moved. So an int64 keeps all of its 64 bits, and a NaN its
 * payload. */
static void move_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    size_t size = *(const size_t *)arg;
    if (step[0] == 1 && step[1] == 1) {
        memcpy(p[0], p[1], (size_t)n * size);
    } else if (size == 2) {
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)p[0])[i * step[0]] = ((const uint16_t *)p[1])[i * step[1]];
    } else if (size == 4) {
        for (int64_t i = 0; i < n; i++)
            ((uint32_t *)p[0])[i * step[0]] = ((const uint32_t *)p[1])[i * step[1]];
    } else if (size == 8) {
        for (int64_t i = 0; i < n; i++)
            ((uint64_t *)p[0])[i * step[0]] = ((const uint64_t *)p[1])[i * step[1]];
    } else {
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)p[0])[i * step[0]] = ((const uint8_t *)p[1])[i * step[1]];
    }
}

/* Converts without double, which would round an int64 beyond 2^53 twice. */
static void int_to_float_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)arg;
    for (int64_t i = 0; i < n; i++)
        ((float *)p[0])[i * step[0]] = (float)((const int64_t *)p[1])[i * step[1]];
}

/* Whether a qint8 dst can take the values of src, which fits its shape. */
static bool can_take(const Tensor *dst, const Tensor *src, Error *err)
{
    if (!lk__has_whole_rows(dst))
        return lk_error_set(err, LK_ESTATE,
                            "lk_copy_: dst is a view of a qint8 matrix that has no whole rows; a "
                            "row has one scale, so copy whole rows");
    Tensor from = lk__spread(src, dst->ndim, dst->shape);
    return src->dtype == LK_QI8 || lk__can_quantize("lk_copy_", &from, err);
}

bool lk_copy_(Tensor *dst, const Tensor *src, Error *err)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    if (!dst || !src)
        return lk_error_set(err, LK_EVALUE, "lk_copy_: %s is NULL", dst ? "src" : "dst");
    if (!lk__is_usable("lk_copy_", dst, err) || !lk__is_usable("lk_copy_", src, err)) return false;
    if (!lk_broadcast_shape(dst, src, &ndim, shape) || ndim != dst->ndim ||
        memcmp(shape, dst->shape, (size_t)ndim * sizeof *shape) != 0)
        return lk_error_set(err, LK_ESHAPE, "lk_copy_: src %s cannot be broadcast to dst %s",
                            lk_shape_text(src, b), lk_shape_text(dst, a));
    if (dst->dtype == LK_QI8 && !can_take(dst, src, err)) return false;
    lk__copy_fitting(dst, src);
    return true;
}

void lk__copy_fitting(Tensor *dst, const Tensor *src)
{
    const Tensor *x[] = { dst, src };
    if (dst->dtype == LK_QI8) {
        const Tensor from = lk__spread(src, dst->ndim, dst->shape);
        lk__quantize(dst, &from);
    } else if (dst->dtype == src->dtype)
        lk_loop(move_row, &(size_t){ lk_dtype_size(dst->dtype) }, 2, x);
    else if (dst->dtype == LK_F32 && src->dtype == LK_I64) lk_loop(int_to_float_row, NULL, 2, x);
    else lk_loop(copy_row, &(Copy){ dst, src }, 2, x);
    lk_touch(dst);
}

bool lk_fill_(Tensor *x, double value)
{
    if (!lk__is_readable("lk_fill_", x) || x->dtype == LK_QI8) return false;
    uint64_t room; /* of one element: converted once, then only copied */
    Tensor v = { .data = &room, .dtype = x->dtype };
    lk__store_row(x->dtype, &room, 1, 1, &value);
    return lk_copy_(x, &v, NULL);
}

Tensor *lk_clone(const Tensor *x, Error *err)
{
    if (!lk__is_usable("lk_clone", x, err)) return NULL;
    if (x->dtype == LK_QI8 && !lk__has_whole_rows(x)) {
        lk_error_set(err, LK_ESTATE,
                     "lk_clone: a view of a qint8 matrix that has no whole rows; lk_to(t, x, "
                     "LK_F32) has its values");
        return NULL;
    }
    Tensor *y = lk__tensor_uninitialised(x->dtype, x->ndim, x->shape, err);
    if (y) lk__copy_fitting(y, x);
    return y;
}

Tensor *lk__converted_new(const Tensor *x, DType dtype, Error *err)
{
    Tensor once = *x; /* each of its elements once */
    for (int d = 0; d < x->ndim; d++)
        if (x->stride[d] == 0 && x->shape[d] > 1) once.shape[d] = 1;
    Tensor *y = lk__tensor_uninitialised(dtype, x->ndim, once.shape, err);
    if (!y) return NULL;
    if (dtype == LK_QI8 && !lk__can_quantize("tensor", &once, err)) {
        lk_tensor_free(y);
        return NULL;
    }
    lk__copy_fitting(y, &once);
    for (int d = 0; d < x->ndim; d++) {
        if (y->shape[d] != x->shape[d]) y->stride[d] = 0;
        y->shape[d] = x->shape[d];
    }
    return y;
}

bool lk_convert_(Tensor *x, DType dtype, Error *err)
{
    if (!lk__is_usable("lk_convert_", x, err)) return false;
    if (x->refs == 0 || x->node)
        return lk_error_set(err, LK_ESTATE,
                            "lk_convert_: only an owned leaf can change its dtype");
    if (x->dtype == dtype) return true;
    if (x->requires_grad && !lk_is_floating(dtype))
        return lk_error_set(err, LK_EDTYPE,
                            "lk_convert_: a tensor with requires_grad cannot become %s",
                            lk_dtype_name(dtype));
    Tensor *y = lk__converted_new(x, dtype, err);
    if (y) lk__tensor_take_over(x, y);
    return y;
}

/* ---- comparing ------------------------------------------------------------------------------ */

typedef struct Comparison {
    const Tensor *a, *b;
    double rtol, atol;
    bool *holds;
    int64_t *count;
} Comparison;

static void equal_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Comparison *c = arg;
    double a[PIECE], b[PIECE];
    for (int64_t i = 0; i < n && *c->holds; i += PIECE) {
        int64_t count = n - i < PIECE ? n - i : PIECE;
        lk__load_row(c->a, element(p[0], c->a->dtype, i * step[0]), step[0], count, a);
        lk__load_row(c->b, element(p[1], c->a->dtype, i * step[1]), step[1], count, b);
        for (int64_t j = 0; j < count; j++) {
            /* NaN is close to nothing, and infinity only to the same infinity */
            double error = fabs(a[j] - b[j]);
            if (!(a[j] == b[j] || (isfinite(error) && error <= c->atol + c->rtol * fabs(b[j]))))
                *c->holds = false;
        }
    }
}

/* Compares int64 without double, which does not hold all of them beyond 2^53. */
static void equal_int_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Comparison *c = arg;
    const int64_t *a = p[0], *b = p[1];
    for (int64_t i = 0; i < n; i++)
        if (a[i * step[0]] != b[i * step[1]]) *c->holds = false;
}

static bool compare(RowFn *row, const Tensor *a, const Tensor *b, double rtol, double atol)
{
    /* a stale tensor has no shape */
    if (!a || !b || a->dtype != b->dtype || !lk_same_shape(a, b)) return false;
    bool holds = true;
    lk_loop_serial(row, &(Comparison){ a, b, rtol, atol, &holds, NULL }, 2,
                   (const Tensor *const[]){ a, b });
    return holds;
}

bool lk_equal(const Tensor *a, const Tensor *b)
{
    return compare(a && a->dtype == LK_I64 ? equal_int_row : equal_row, a, b, 0, 0);
}

bool lk_allclose(const Tensor *a, const Tensor *b, double rtol, double atol)
{
    return compare(equal_row, a, b, rtol, atol);
}

static void count_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Comparison *c = arg;
    double a[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t count = n - i < PIECE ? n - i : PIECE;
        lk__load_row(c->a, element(p[0], c->a->dtype, i * step[0]), step[0], count, a);
        for (int64_t j = 0; j < count; j++) *c->count += a[j] != 0;
    }
}

int64_t lk_count(const Tensor *x)
{
    int64_t count = 0;
    if (!lk__is_readable("lk_count", x)) return -1;
    lk_loop_serial(count_row, &(Comparison){ .a = x, .count = &count }, 1, &x);
    return count;
}

/* ---- random values -------------------------------------------------------------------------- */

typedef struct Draw {
    DType dtype;
    Rng *rng;
    double a, b; /* low and high, or mean and std */
} Draw;

static void uniform_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Draw *d = arg;
    float low = (float)d->a, range = (float)d->b - low;
    for (int64_t i = 0; i < n; i++) /* 1 rounding */
        if (d->dtype == LK_F32)
            ((float *)p[0])[i * step[0]] = fmaf(lk_random_f32(d->rng), range, low);
        else ((double *)p[0])[i * step[0]] = fma(lk_random_f64(d->rng), d->b - d->a, d->a);
}

static void normal_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    const Draw *d = arg;
    for (int64_t i = 0; i < n; i++) {
        double value = fma(lk_random_normal(d->rng), d->b, d->a); /* 1 rounding, as in PyTorch */
        lk__store_row(d->dtype, element(p[0], d->dtype, i * step[0]), 1, 1, &value);
    }
}

/* Returns x with its dimensions by falling stride. PyTorch fills a tensor that is not contiguous
 * in this order, the order of its memory. */
static Tensor memory_order(const Tensor *x)
{
    Tensor y = *x;
    for (int i = 1; i < y.ndim; i++)
        for (int j = i; j > 0 && y.stride[j] > y.stride[j - 1]; j--) {
            int64_t shape = y.shape[j], stride = y.stride[j];
            y.shape[j] = y.shape[j - 1];
            y.stride[j] = y.stride[j - 1];
            y.shape[j - 1] = shape;
            y.stride[j - 1] = stride;
        }
    return y;
}

static bool draw(RowFn *row, Tensor *x, Rng *rng, double a, double b)
{
    Tensor ordered = memory_order(x);
    lk_loop_serial(row, &(Draw){ x->dtype, rng, a, b }, 1, (const Tensor *const[]){ &ordered });
    lk_touch(x);
    return true;
}

bool lk_uniform_(Tensor *x, double low, double high, Rng *rng)
{
    return rng && lk__is_readable("lk_uniform_", x) && lk_is_floating(x->dtype) &&
           draw(uniform_row, x, rng, low, high);
}

bool lk_normal_(Tensor *x, double mean, double std, Rng *rng)
{
    if (!rng || !lk__is_readable("lk_normal_", x) || !lk_is_floating(x->dtype)) return false;
    if (!lk_is_contiguous(x)) return draw(normal_row, x, rng, mean, std);
    if (x->dtype == LK_F32) lk_random_normals_f32(rng, x->data, lk_numel(x), mean, std);
    else lk_random_normals_f64(rng, x->data, lk_numel(x), mean, std);
    lk_touch(x);
    return true;
}
