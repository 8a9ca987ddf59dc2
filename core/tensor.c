/* tensor.c - owned tensors and their gradients. What is in them: core/tensor_values.c. Tensors
 * that operations make: core/tape.c. */
#include "core/tensor.h"

#include <string.h>

#include "core/graph.h"
#include "core/memory.h"
#include "core/strict.h"

/* ---- element types -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    /* clang-format off */
    [LK_F32] = { "float32", sizeof(float) },  [LK_F64] = { "float64", sizeof(double) },
    [LK_I64] = { "int64", sizeof(int64_t) },  [LK_U8] = { "uint8", sizeof(uint8_t) },
    [LK_BOOL] = { "bool", sizeof(bool) },
    /* clang-format on */
};

size_t lk_dtype_size(DType dtype) { return dtypes[dtype].size; }

const char *lk_dtype_name(DType dtype) { return dtypes[dtype].name; }

bool lk_is_floating(DType dtype) { return dtype == LK_F32 || dtype == LK_F64; }

/* ---- shape ---------------------------------------------------------------------------------- */

int64_t lk_numel(const Tensor *x) { return lk_is_readable("lk_numel", x) ? lk_elements(x) : -1; }

int64_t lk_size(const Tensor *x, int d)
{
    if (!lk_is_readable("lk_size", x)) return -1;
    if (d < 0) d += x->ndim;
    return d >= 0 && d < x->ndim ? x->shape[d] : -1;
}

bool lk_is_contiguous(const Tensor *x)
{
    if (!lk_is_readable("lk_is_contiguous", x)) return false;
    int64_t expected = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (x->shape[d] == 0) return true;
        /* a single element has no next one */
        if (x->shape[d] != 1 && x->stride[d] != expected) return false;
        expected *= x->shape[d];
    }
    return true;
}

bool lk_same_shape(const Tensor *a, const Tensor *b)
{
    if (!lk_is_readable("lk_same_shape", a) || !lk_is_readable("lk_same_shape", b)) return false;
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

const char *lk_sizes_text(int ndim, const int64_t *shape, char text[LK_SHAPE_TEXT])
{
    int n = snprintf(text, LK_SHAPE_TEXT, "(");
    for (int d = 0; d < ndim; d++)
        n += snprintf(text + n, (size_t)(LK_SHAPE_TEXT - n), d ? ", %lld" : "%lld",
                      (long long)shape[d]);
    snprintf(text + n, (size_t)(LK_SHAPE_TEXT - n), ndim == 1 ? ",)" : ")");
    return text;
}

const char *lk_shape_text(const Tensor *x, char text[LK_SHAPE_TEXT])
{
    if (!text) return "";
    if (x && !lk_is_gone(x)) return lk_sizes_text(x->ndim, x->shape, text);
    return strcpy(text, x ? "<stale>" : "NULL");
}

bool lk_tensor_bytes(DType dtype, int ndim, const int64_t *shape, size_t *bytes, Error *err)
{
    if (ndim < 0 || ndim > LK_MAX_DIMS)
        return lk_error_set(err, LK_ESHAPE, "tensor: %d dimensions; 0 to %d are possible", ndim,
                            LK_MAX_DIMS);
    if (!shape && ndim > 0)
        return lk_error_set(err, LK_EVALUE, "tensor: the shape of %d dimensions is NULL", ndim);
    /* Strides come from the sizes with 0 taken as 1, as in PyTorch; their product bounds every
     * later index. */
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
    if (extent > PTRDIFF_MAX / 2)
        return lk_error_set(err, LK_EMEMORY, "tensor: shape %s of %s is larger than any memory",
                            lk_sizes_text(ndim, shape, text), lk_dtype_name(dtype));
    *bytes = is_empty ? 0 : (size_t)extent;
    return true;
}

Tensor *lk_tensor_place(void *block, DType dtype, int ndim, const int64_t *shape, size_t bytes)
{
    Tensor *x = block;
    lk_tensor_lay_out(x, (Storage *)(x + 1), (char *)block + LK_HEADER, dtype, ndim, shape, bytes);
    x->tape = NULL;
    return x;
}

/* ---- owned tensors -------------------------------------------------------------------------- */

/* A header, and room for the elements behind it unless they are elsewhere already. One block: one
 * allocation to fail, one to free. */
static Tensor *header_alloc(DType dtype, int ndim, const int64_t *shape, bool with_elements,
                            Error *err)
{
    size_t bytes;
    if (!lk_tensor_bytes(dtype, ndim, shape, &bytes, err)) return NULL;
    void *block = lk_mem_alloc(LK_HEADER + (with_elements ? bytes : 0));
    if (!block) {
        char text[LK_SHAPE_TEXT];
        lk_error_set(err, LK_EMEMORY, "tensor: no memory for %s of %s (%zu bytes)",
                     lk_sizes_text(ndim, shape, text), lk_dtype_name(dtype), bytes);
        return NULL;
    }
    Tensor *x = lk_tensor_place(block, dtype, ndim, shape, bytes);
    x->refs = 1;
    return x;
}

/* Uninitialised. */
static Tensor *tensor_alloc(DType dtype, int ndim, const int64_t *shape, Error *err)
{
    return header_alloc(dtype, ndim, shape, true, err);
}

Tensor *lk_tensor_new(DType dtype, int ndim, const int64_t *shape, Error *err)
{
    Tensor *x = tensor_alloc(dtype, ndim, shape, err);
    if (x) memset(x->data, 0, x->storage->bytes);
    return x;
}

Tensor *lk_tensor_from_new(DType dtype, int ndim, const int64_t *shape, const void *values,
                           Error *err)
{
    Tensor *x = tensor_alloc(dtype, ndim, shape, err);
    if (x && x->storage->bytes && !values) {
        lk_error_set(err, LK_EVALUE, "lk_tensor_from_new: the values are NULL");
        lk_tensor_free(x);
        return NULL;
    }
    if (x && x->storage->bytes) memcpy(x->data, values, x->storage->bytes);
    return x;
}

Tensor *lk_from_blob_new(DType dtype, int ndim, const int64_t *shape, void *data,
                         void (*release)(void *holder), void *holder, Error *err)
{
    Tensor *x = header_alloc(dtype, ndim, shape, false, err);
    if (!x) {
        if (release) release(holder);
        return NULL;
    }
    x->data = x->storage->data = data;
    x->storage->release = release;
    x->storage->holder = holder;
    return x;
}

Tensor *lk_param_new(DType dtype, int ndim, const int64_t *shape, Error *err)
{
    if (!lk_is_floating(dtype)) {
        lk_error_set(err, LK_EDTYPE, "lk_param_new: a parameter is float32 or float64, not %s",
                     lk_dtype_name(dtype));
        return NULL;
    }
    Tensor *x = lk_tensor_new(dtype, ndim, shape, err);
    if (x) x->requires_grad = x->is_parameter = true;
    return x;
}

Tensor *lk_clone(const Tensor *x, Error *err)
{
    if (!lk_is_usable("lk_clone", x, err)) return NULL;
    Tensor *y = tensor_alloc(x->dtype, x->ndim, x->shape, err);
    if (y) lk_copy_fitting(y, x);
    return y;
}

Tensor *lk_tensor_retain(Tensor *x)
{
    if (!lk_is_readable("lk_retain", x)) return NULL;
    if (x->refs > 0) x->refs++;
    return x;
}

/* Gives back the elements that do not lie behind the header. */
static void free_elements(Tensor *x)
{
    if (x->storage->release) x->storage->release(x->storage->holder);
    lk_mem_free(x->owner);
}

/* Strict mode's free: the elements become NaN, the block stays, on the tape where everything is
 * stale. */
static void bury(Tensor *x)
{
    /* memory that is not the library's: as it is */
    if (x->storage->release) x->storage->release(x->storage->holder);
    else memset(x->storage->data, 0xff, x->storage->bytes);
    x->tape = &lk_graveyard;
    x->refs = LK_BURIED;
    lk_bury(x);
}

void lk_tensor_free(Tensor *x)
{
    if (!x || x->refs == 0) return;
    if (x->refs == LK_BURIED) {
        lk_fail_stale(x->tape, "lk_free", "", x);
        return;
    }
    if (--x->refs > 0) return;
    lk_tensor_free(x->grad_room);
    if (lk_strict()) {
        bury(x);
        return;
    }
    free_elements(x);
    lk_mem_free(x);
}

bool lk_convert_(Tensor *x, DType dtype, Error *err)
{
    if (!lk_is_usable("lk_convert_", x, err)) return false;
    if (x->refs == 0 || x->node)
        return lk_error_set(err, LK_ESTATE,
                            "lk_convert_: only an owned leaf can change its dtype");
    if (x->dtype == dtype) return true;
    if (x->requires_grad && !lk_is_floating(dtype))
        return lk_error_set(err, LK_EDTYPE,
                            "lk_convert_: a tensor with requires_grad cannot become %s",
                            lk_dtype_name(dtype));
    Tensor *y = tensor_alloc(dtype, x->ndim, x->shape, err);
    if (!y) return false;
    lk_copy_fitting(y, x);
    /* Others hold x by its address, so x stays and takes over y's block. */
    uint32_t version = x->storage->version + 1;
    lk_tensor_free(x->grad_room);
    free_elements(x);
    x->owner = y;
    x->grad = x->grad_room = NULL;
    x->dtype = dtype;
    memcpy(x->stride, y->stride, sizeof x->stride);
    x->storage = y->storage;
    x->storage->version = version;
    x->data = y->data;
    return true;
}

void lk_tensor_list_free(TensorList *list)
{
    if (!list) return;
    for (int i = 0; i < list->count; i++) lk_tensor_free(list->items[i]);
    lk_mem_free(list->items);
    *list = (TensorList){ 0 };
}

/* ---- gradients ------------------------------------------------------------------------------ */

bool lk_set_requires_grad(Tensor *x, bool on)
{
    if (!lk_is_readable("lk_set_requires_grad", x) || x->node || !lk_is_floating(x->dtype))
        return false;
    x->requires_grad = on;
    if (!on && !x->grad && x->refs > 0) { /* the room for a gradient that will not come */
        lk_tensor_free(x->grad_room);
        x->grad_room = NULL;
    }
    return true;
}

Tensor *lk_grad(const Tensor *x) { return lk_is_readable("lk_grad", x) ? x->grad : NULL; }

void lk_zero_grad_(Tensor *x)
{
    if (lk_is_readable("lk_zero_grad_", x)) x->grad = NULL;
}

Tensor *lk_retain_grad(Tensor *y)
{
    if (!lk_is_readable("lk_retain_grad", y)) return NULL;
    y->keeps_grad = true;
    return y;
}
