/* tensor.h - an n-dimensional array: shape, strides, and storage that views share.
 *
 * Two lifetimes, one sentence: what you made with a name that ends in `_new` you own and give back
 * with lk_tensor_free (lk_free, nn/module.h, takes modules too); what an operation made belongs to
 * its tape (core/tape.h) and lives until the tape is reset. lk_clone keeps a result longer. A
 * tensor that is used after its tape was reset is stale: operations refuse it, and the functions
 * here give a harmless value (-1, NaN, NULL, false) and leave the reason on its tape. Functions
 * whose name ends in `_` change their first argument in place, as in PyTorch; autograd does not
 * record them. */
#ifndef LK_TENSOR_H
#define LK_TENSOR_H

#include <stdio.h>

#include "core/error.h"
#include "core/rng.h"

enum { LK_MAX_DIMS = 8 };

typedef enum DType {
    LK_F32,  /* torch.float32, the default of parameters */
    LK_F64,  /* torch.float64, for gradient checks */
    LK_I64,  /* torch.int64: labels, indices */
    LK_U8,   /* torch.uint8: images, until a batch is made of them */
    LK_BOOL, /* torch.bool: comparisons, masks; one byte, 0 or 1 */
} DType;

typedef struct Tensor Tensor;
struct Node; /* the operation that made a tensor, core/op.h */
struct Tape; /* core/tape.h */

/* The memory behind one or more tensors. */
typedef struct Storage {
    void *data;
    size_t bytes;
    uint32_t version; /* raised by every write: autograd and caches notice a changed value */
    /* lk_from_blob_new: gives back memory that is not the library's; NULL: it is */
    void (*release)(void *holder);
    void *holder;
} Storage;

struct Tensor {
    void *data; /* first element; somewhere in storage->data */
    int ndim;   /* 0: a scalar */
    DType dtype;
    bool requires_grad; /* a leaf that asks for its gradient, or made from one */
    bool is_parameter;  /* torch.nn.Parameter: only printing cares */
    bool keeps_grad;    /* lk_retain_grad: backward leaves this intermediate's gradient in grad */
    int refs;           /* owners; 0: it belongs to a tape */
    Storage *storage;
    /* contiguous, same shape; NULL: none yet (torch: None). Read it, or use lk_grad */
    Tensor *grad;
    Tensor *grad_room; /* the memory of grad, kept by lk_zero_grad_ for the next backward */
    struct Node *node; /* NULL: a leaf, or nothing was recorded */
    /* lk_convert_: the block that now holds the elements; NULL: they lie behind this header */
    Tensor *owner;
    struct Tape *tape; /* the tape that made it; NULL: it is owned, or lies on the stack */
    /* the how many-th tensor of that tape: from it follows whether the tensor is still there */
    int64_t serial;
    Tensor *next;                /* the tape's list of headers */
    int64_t shape[LK_MAX_DIMS];  /* sizes of the first ndim dimensions; 0 is allowed */
    int64_t stride[LK_MAX_DIMS]; /* elements from one index to the next; 0: broadcast */
};

/* A counted array of tensors, as optimizers take it. The array is on the heap; the tensors are
 * counted references. */
typedef struct TensorList {
    Tensor **items;
    int count;
} TensorList;

/* ---- what a tensor is ----------------------------------------------------------------------- */

LK_API size_t lk_dtype_size(DType dtype);      /* bytes of one element */
LK_API const char *lk_dtype_name(DType dtype); /* "float32", … */
LK_API bool lk_is_floating(DType dtype);       /* float32 or float64: what has gradients */
/* number of elements; 1 for a scalar; -1: NULL or stale */
LK_API int64_t lk_numel(const Tensor *x);
/* x.size(d); negative d counts from the end; -1: no such dimension */
LK_API int64_t lk_size(const Tensor *x, int d);
LK_API bool lk_is_contiguous(const Tensor *x);
LK_API bool lk_same_shape(const Tensor *a, const Tensor *b);
/* x was made before the last lk_tape_reset of its tape, or given back by lk_tape_release. Known
 * for the next three resets at least, then its header serves another tensor; without a reset the
 * last 512 that were given back are known. In strict mode (core/strict.h) it is known for ever. */
LK_API bool lk_is_stale(const Tensor *x);

/* "(2, 3)" into a buffer that it returns, for messages: char s[LK_SHAPE_TEXT]; lk_shape_text(x,
 * s). */
enum { LK_SHAPE_TEXT = LK_MAX_DIMS * 22 + 1 };
LK_API const char *lk_shape_text(const Tensor *x, char text[LK_SHAPE_TEXT]);

/* ---- owned tensors -------------------------------------------------------------------------- */

/* Zeros of the given shape: lk_tensor_new(LK_F32, LK_SHAPE(2, 3), &err). Errors: LK_ESHAPE (more
 * than 8 dimensions, a negative size), LK_EMEMORY (no memory, or a product of sizes that
 * overflows). */
LK_API Tensor *lk_tensor_new(DType dtype, int ndim, const int64_t *shape, Error *err);

/* Copies values (as many as the shape has, of C type float, double, int64_t, uint8_t, bool). */
LK_API Tensor *lk_tensor_from_new(DType dtype, int ndim, const int64_t *shape, const void *values,
                                  Error *err);

/* torch::from_blob(data, shape, deleter): a contiguous tensor over memory that is somebody else's,
 * aligned for dtype and valid until release(holder) is called: when the last owner of the tensor
 * is gone or lk_convert_ has moved it, and also on failure. release NULL: the memory outlives the
 * tensor. */
LK_API Tensor *lk_from_blob_new(DType dtype, int ndim, const int64_t *shape, void *data,
                                void (*release)(void *holder), void *holder, Error *err);

/* torch.nn.Parameter(torch.zeros(shape)): a leaf with requires_grad. Floating dtypes only. */
LK_API Tensor *lk_param_new(DType dtype, int ndim, const int64_t *shape, Error *err);

/* x.clone().detach(): an owned, contiguous copy of the values; no gradient, no graph. */
LK_API Tensor *lk_clone(const Tensor *x, Error *err);

/* One more owner / one owner less; the last one frees. Tensors of a tape are left alone (their
 * tape owns them). */
LK_API Tensor *lk_tensor_retain(Tensor *x);
LK_API void lk_tensor_free(Tensor *x);
LK_API void lk_tensor_list_free(TensorList *list); /* gives back the references and the array */

/* ---- values --------------------------------------------------------------------------------- */

/* The value at index[0 … ndim-1] as a double (int64 beyond 2^53 is rounded); NaN for a bad index.
 * x.item() of a tensor with one element; NaN for any other. lk_at(x, LK_INDEX(1, 2)). */
#define LK_INDEX(...) LK_I64S(__VA_ARGS__)
LK_API double lk_at(const Tensor *x, const int64_t *index);
LK_API double lk_item(const Tensor *x);

/* dst.copy_(src) under no_grad: src is broadcast to dst and converted to its dtype. Errors:
 * LK_ESHAPE. */
LK_API LK_MUST_CHECK bool lk_copy_(Tensor *dst, const Tensor *src, Error *err);
LK_API bool lk_fill_(Tensor *x, double value);

/* nn.init.uniform_ and normal_: PyTorch's stream and rounding for the dtype; false: x is not
 * floating. */
LK_API bool lk_uniform_(Tensor *x, double low, double high, Rng *rng);
LK_API bool lk_normal_(Tensor *x, double mean, double std, Rng *rng);

/* Says that the values were written through the raw data pointer: raises the version that caches
 * and autograd see. */
LK_API void lk_touch(Tensor *x);

/* Converts an owned leaf in place (module.double()): the same Tensor, other elements; a gradient
 * is dropped. */
LK_API LK_MUST_CHECK bool lk_convert_(Tensor *x, DType dtype, Error *err);

/* torch.equal: same shape, dtype and values (NaN differs from NaN). */
LK_API bool lk_equal(const Tensor *a, const Tensor *b);
/* torch.allclose: |a - b| <= atol + rtol * |b| everywhere, shapes equal. PyTorch's defaults: 1e-5,
 * 1e-8. */
LK_API bool lk_allclose(const Tensor *a, const Tensor *b, double rtol, double atol);
/* Number of elements that are not zero: (prediction == label).sum() on a mask. -1: NULL or
 * stale. */
LK_API int64_t lk_count(const Tensor *x);

/* ---- gradients ------------------------------------------------------------------------------ */

/* x.requires_grad = on, at any time. Only a floating leaf can change: false otherwise. */
LK_API bool lk_set_requires_grad(Tensor *x, bool on);
/* x.grad: NULL before the first backward and after lk_zero_grad_. */
LK_API Tensor *lk_grad(const Tensor *x);
/* x.grad = None (PyTorch 2's zero_grad); the memory is kept for the next backward. */
LK_API void lk_zero_grad_(Tensor *x);
/* y.retain_grad(): backward leaves the gradient of this intermediate in lk_grad(y) too. Returns
 * y. */
LK_API Tensor *lk_retain_grad(Tensor *y);

/* ---- printing (core/print.c) ---------------------------------------------------------------- */

/* print(x) of PyTorch, without the newline: "tensor([[ 0.3072,  0.1348]], grad_fn=<MulBackward0>)". NULL prints "None",
 * so that lk_print(stdout, lk_grad(x)) reads like print(x.grad); a stale tensor prints
 * "<stale>". */
LK_API void lk_print(FILE *out, const Tensor *x);
/* "torch.Size([1, 3])" */
LK_API void lk_print_size(FILE *out, const Tensor *x);
/* The same text into a buffer, cut at size like snprintf; returns the length of the whole text. */
LK_API size_t lk_tensor_str(const Tensor *x, char *text, size_t size);

#endif
