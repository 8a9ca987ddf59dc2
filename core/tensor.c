/* tensor.c - shapes, owned tensors, gradients. core/layout.c tells how elements lie in memory.
 * core/tensor_values.c has their values, core/tape_tensors.c the tensors that operations make. */
#include "core/tensor.h"

#include <string.h>

#include "core/memory.h"
#include "core/report.h"
#include "core/strict.h"
#include "core/tape_parts.h"

/* ---- shape ---------------------------------------------------------------------------------- */

int64_t lk_numel(const Tensor *x) { return lk__is_readable("lk_numel", x) ? lk__elements(x) : -1; }

int64_t lk_size(const Tensor *x, int d)
{
    if (!lk__is_readable("lk_size", x)) return -1;
    if (d < 0) d += x->ndim;
    return d >= 0 && d < x->ndim ? x->shape[d] : -1;
}

bool lk_is_contiguous(const Tensor *x)
{
    if (!lk__is_readable("lk_is_contiguous", x)) return false;
    int64_t expected = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (x->shape[d] == 0) return true;
        /* the stride of a size of 1 is never used */
        if (x->shape[d] != 1 && x->stride[d] != expected) return false;
        expected *= x->shape[d];
    }
    return true;
}

bool lk_same_shape(const Tensor *a, const Tensor *b)
{
    if (!lk__is_readable("lk_same_shape", a) || !lk__is_readable("lk_same_shape", b)) return false;
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

const char *lk_shape_text(const Tensor *x, char text[LK_SHAPE_TEXT])
{
    if (!text) return "";
    if (x && !lk__is_gone(x)) return lk__sizes_text(x->ndim, x->shape, text);
    return strcpy(text, x ? "<stale>" : "NULL");
}

bool lk_broadcast_shape(const Tensor *a, const Tensor *b, int *ndim, int64_t shape[LK_MAX_DIMS])
{
    if (!lk__is_readable("lk_broadcast_shape", a) || !lk__is_readable("lk_broadcast_shape", b) ||
        !ndim || !shape)
        return false;
    /* Aligned at the last dimension, two sizes fit when they are equal or one of them is 1. */
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 1; d <= *ndim; d++) {
        int64_t sa = d <= a->ndim ? a->shape[a->ndim - d] : 1,
                sb = d <= b->ndim ? b->shape[b->ndim - d] : 1;
        if (sa != sb && sa != 1 && sb != 1) return false;
        shape[*ndim - d] = sa == 1 ? sb : sa;
    }
    return true;
}

/* ---- owned tensors -------------------------------------------------------------------------- */

/* Allocates a header, with room for the elements behind it unless they are elsewhere already. It
 * is one block, so there is one allocation to fail and one to free. */
static Tensor *header_alloc(DType dtype, int ndim, const int64_t *shape, bool with_elements,
                            Error *err)
{
    size_t bytes;
    if (!lk__tensor_bytes(dtype, ndim, shape, &bytes, err)) return NULL;
    void *block = lk_mem_alloc(LK_HEADER + (with_elements ? bytes : 0));
    if (!block) {
        char text[LK_SHAPE_TEXT];
        lk_error_set(err, LK_EMEMORY, "tensor: no memory for %s of %s (%zu bytes)",
                     lk__sizes_text(ndim, shape, text), lk_dtype_name(dtype), bytes);
        return NULL;
    }
    Tensor *x = lk__tensor_place(block, dtype, ndim, shape, bytes);
    x->refs = 1;
    return x;
}

Tensor *lk__tensor_uninitialised(DType dtype, int ndim, const int64_t *shape, Error *err)
{
    return header_alloc(dtype, ndim, shape, true, err);
}

Tensor *lk_tensor_new(DType dtype, int ndim, const int64_t *shape, Error *err)
{
    Tensor *x = lk__tensor_uninitialised(dtype, ndim, shape, err);
    if (!x) return NULL;
    char *first = (char *)x + LK_HEADER; /* scales lie before the elements */
    memset(first, 0, (size_t)((char *)x->data - first) + x->storage->bytes);
    return x;
}

/* Elements alone are no qint8 matrix. */
static Tensor *refuse_elements(const char *caller, Error *err)
{
    lk_error_set(err, LK_EDTYPE,
                 "%s: qint8 has scales beside its elements; lk_copy_ makes them from float32",
                 caller);
    return NULL;
}

Tensor *lk_tensor_from_new(DType dtype, int ndim, const int64_t *shape, const void *values,
                           Error *err)
{
    if (dtype == LK_QI8) return refuse_elements("lk_tensor_from_new", err);
    Tensor *x = lk__tensor_uninitialised(dtype, ndim, shape, err);
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
    Tensor *x = dtype == LK_QI8 ? refuse_elements("lk_from_blob_new", err)
                                : header_alloc(dtype, ndim, shape, false, err);
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

Tensor *lk_tensor_retain(Tensor *x)
{
    if (!lk__is_readable("lk_retain", x)) return NULL;
    if (x->refs > 0) x->refs++;
    return x;
}

/* Gives back the elements that do not lie behind the header. */
static void free_elements(Tensor *x)
{
    if (x->storage->release) x->storage->release(x->storage->holder);
    lk_mem_free(x->owner);
}

/* Frees x in strict mode. The elements become NaN. The block stays, on the tape where everything
 * is stale. */
static void bury(Tensor *x)
{
    /* memory that is not the library's is released as it is */
    if (x->storage->release) x->storage->release(x->storage->holder);
    else memset(x->storage->data, 0xff, x->storage->bytes);
    x->tape = &lk__graveyard;
    x->refs = LK_BURIED;
    lk__bury(x);
}

void lk_tensor_free(Tensor *x)
{
    if (!x || x->refs == 0) return;
    if (x->refs == LK_BURIED) {
        lk__fail_stale(x->tape, "lk_free", "", x);
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

void lk__tensor_take_over(Tensor *x, Tensor *y)
{
    uint32_t version = x->storage->version + 1;
    lk_tensor_free(x->grad_room);
    free_elements(x);
    x->owner = y;
    x->grad = x->grad_room = NULL;
    x->dtype = y->dtype;
    memcpy(x->stride, y->stride, sizeof x->stride);
    x->storage = y->storage;
    x->storage->version = version;
    x->data = y->data;
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
    if (!lk__is_readable("lk_set_requires_grad", x) || x->node || !lk_is_floating(x->dtype))
        return false;
    x->requires_grad = on;
    if (!on && !x->grad && x->refs > 0) { /* free the room for a gradient that will not come */
        lk_tensor_free(x->grad_room);
        x->grad_room = NULL;
    }
    return true;
}

Tensor *lk_grad(const Tensor *x) { return lk__is_readable("lk_grad", x) ? x->grad : NULL; }

void lk_zero_grad_(Tensor *x)
{
    if (!lk__is_readable("lk_zero_grad_", x)) return;
    if (x->grad) x->grad->is_used = false; /* its memory serves the next gradient */
    x->grad = NULL;
}

Tensor *lk_retain_grad(Tensor *y)
{
    if (!lk__is_readable("lk_retain_grad", y)) return NULL;
    y->keeps_grad = true;
    return y;
}
