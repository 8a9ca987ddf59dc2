/* layout.c - how elements lie in memory: types, sizes, strides. These functions know no tape and
 * do not check whether a tensor is stale; core/tensor.c does. */
#include <stdio.h>

#include "core/internal.h"

/* ---- element types -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    /* clang-format off */
    [LK_F32] = { "float32", sizeof(float) },  [LK_F64] = { "float64", sizeof(double) },
    [LK_I64] = { "int64", sizeof(int64_t) },  [LK_U8] = { "uint8", sizeof(uint8_t) },
    [LK_BOOL] = { "bool", sizeof(bool) },     [LK_BF16] = { "bfloat16", sizeof(uint16_t) },
    [LK_QI8] = { "qint8", sizeof(int8_t) },
    /* clang-format on */
};

size_t lk_dtype_size(DType dtype) { return dtypes[dtype].size; }

const char *lk_dtype_name(DType dtype) { return dtypes[dtype].name; }

bool lk_is_floating(DType dtype) { return dtype == LK_F32 || dtype == LK_F64; }

bool lk_only_stores(DType dtype) { return dtype == LK_BF16 || dtype == LK_QI8; }

/* ---- shape ---------------------------------------------------------------------------------- */

const char *lk__sizes_text(int ndim, const int64_t *shape, char text[LK_SHAPE_TEXT])
{
    int n = snprintf(text, LK_SHAPE_TEXT, "(");
    for (int d = 0; d < ndim; d++)
        n += snprintf(text + n, (size_t)(LK_SHAPE_TEXT - n), d ? ", %lld" : "%lld",
                      (long long)shape[d]);
    snprintf(text + n, (size_t)(LK_SHAPE_TEXT - n), ndim == 1 ? ",)" : ")");
    return text;
}

/* The room for the scales of a qint8 matrix, before its elements: those stay on a cache line. */
static size_t scales_bytes(int64_t rows) { return (size_t)(rows + 15) / 16 * 64; }

static bool add_scales(int ndim, const int64_t *shape, size_t *bytes, Error *err)
{
    if (ndim != 2)
        return lk_error_set(err, LK_ESHAPE,
                            "tensor: qint8 has a scale for each row, so it needs 2 dimensions, "
                            "not %d",
                            ndim);
    if (shape[1] > UINT32_MAX)
        return lk_error_set(err, LK_ESHAPE,
                            "tensor: a row of qint8 has %lld elements; fewer than 2^32 are "
                            "possible",
                            (long long)shape[1]);
    *bytes += scales_bytes(shape[0]);
    return true;
}

bool lk__tensor_bytes(DType dtype, int ndim, const int64_t *shape, size_t *bytes, Error *err)
{
    if (ndim < 0 || ndim > LK_MAX_DIMS)
        return lk_error_set(err, LK_ESHAPE, "tensor: %d dimensions; 0 to %d are possible", ndim,
                            LK_MAX_DIMS);
    if (!shape && ndim > 0)
        return lk_error_set(err, LK_EVALUE, "tensor: the shape of %d dimensions is NULL", ndim);
    /* Strides come from the sizes with 0 taken as 1, as in PyTorch. The product of these sizes
     * bounds every later index. */
    int64_t extent = (int64_t)lk_dtype_size(dtype);
    bool is_empty = false;
    for (int d = ndim - 1; d >= 0; d--) {
        if (shape[d] < 0)
            return lk_error_set(err, LK_ESHAPE, "tensor: size %lld of dimension %d is negative",
                                (long long)shape[d], d);
        if (shape[d] == 0) is_empty = true;
        else if (__builtin_mul_overflow(extent, shape[d], &extent)) extent = INT64_MAX;
    }
    char text[LK_SHAPE_TEXT];
    /* With 32-bit addresses the room that an operation takes beside the elements, up to eight
     * times theirs, must not overflow. */
    if (extent > (sizeof(size_t) < 8 ? PTRDIFF_MAX / 8 : PTRDIFF_MAX / 2))
        return lk_error_set(err, LK_EMEMORY, "tensor: shape %s of %s is larger than any memory",
                            lk__sizes_text(ndim, shape, text), lk_dtype_name(dtype));
    *bytes = is_empty ? 0 : (size_t)extent;
    return dtype != LK_QI8 || add_scales(ndim, shape, bytes, err);
}

Tensor *lk__tensor_place(void *block, DType dtype, int ndim, const int64_t *shape, size_t bytes)
{
    Tensor *x = block;
    const size_t scales = dtype == LK_QI8 ? scales_bytes(shape[0]) : 0;
    lk__tensor_lay_out(x, (Storage *)(x + 1), (char *)block + LK_HEADER + scales, dtype, ndim,
                       shape, bytes - scales);
    if (dtype == LK_QI8) x->storage->row = (uint32_t)shape[1];
    x->tape = NULL;
    return x;
}

Tensor lk__spread(const Tensor *x, int ndim, const int64_t *shape)
{
    Tensor y = { .data = x->data, .storage = x->storage, .dtype = x->dtype, .ndim = ndim };
    for (int d = 0; d < ndim; d++) {
        int own = d - (ndim - x->ndim); /* the same dimension of x */
        y.shape[d] = shape[d];
        y.stride[d] = own < 0 || x->shape[own] != shape[d] ? 0 : x->stride[own];
    }
    return y;
}

Along lk__along(const Tensor *x, int dim)
{
    Along a = { 1, lk__dim_size(x, dim), 1 };
    for (int d = 0; d < dim; d++) a.outer *= x->shape[d];
    for (int d = dim + 1; d < x->ndim; d++) a.inner *= x->shape[d];
    return a;
}
