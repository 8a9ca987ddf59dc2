/* tensor.h - an n-dimensional array: shape, strides, and storage that views share.
 *
 * There are two lifetimes. You own a tensor that you made with a name that ends in `_new`, and
 * give it back with lk_tensor_free (lk_free, nn/module.h, takes modules too). A tensor that an
 * operation made belongs to its tape (core/tape.h) and lives until the tape is reset; lk_clone
 * keeps it longer. A tensor that is used after its tape was reset is stale: operations refuse it,
 * and the functions here give a harmless value (-1, NaN, NULL, false) and leave the reason on its
 * tape.
 *
 * Functions whose name ends in `_` change their first argument in place, as in PyTorch; autograd
 * does not record them. */
#ifndef LK_TENSOR_H
#define LK_TENSOR_H

#include <stdio.h>

#include "core/error.h"
#include "core/rng.h"

enum { LK_MAX_DIMS = 8 }; /* the dimensions of a tensor; more are LK_ESHAPE */

typedef enum DType {
    LK_F32,  /* torch.float32, the default of parameters */
    LK_F64,  /* torch.float64, for gradient checks */
    LK_I64,  /* torch.int64: labels, indices */
    LK_U8,   /* torch.uint8: images, until a batch is made of them */
    LK_BOOL, /* torch.bool: comparisons, masks; one byte, 0 or 1 */
    /* These two store frozen weights and have no arithmetic: see lk_linear and nn/frozen.h. */
    LK_BF16, /* torch.bfloat16: half the memory */
    LK_QI8,  /* torch.qint8: a quarter; matrices whose row i is scale i times integers to 127 */
} DType;

typedef struct Tensor Tensor;
struct Node; /* the operation that made a tensor, core/op.h */
struct Tape; /* core/tape.h */

/* The memory behind one or more tensors. */
typedef struct Storage {
    void *data;
    size_t bytes;
    uint32_t version; /* raised by every write: autograd and caches notice a changed value */
    uint32_t row;     /* LK_QI8: the elements of a row; its scales lie before data, backwards */
    void (*release)(void *holder); /* lk_from_blob_new: gives back the memory; NULL: it is ours */
    void *holder;
} Storage;

struct Tensor {
    void *data; /* first element; somewhere in storage->data */
    int ndim;   /* 0: a scalar */
    DType dtype;
    bool requires_grad; /* a leaf that asks for its gradient, or made from one */
    bool is_parameter;  /* torch.nn.Parameter: for printing, and for warnings in nn/forward.c */
    bool keeps_grad;    /* lk_retain_grad: backward leaves this intermediate's gradient in grad */
    bool is_used;       /* of a gradient: an optimizer's step has read it */
    int refs;           /* owners; 0: it belongs to a tape */
    Storage *storage;
    Tensor *grad;      /* contiguous, same shape; NULL: none yet. Read it, or use lk_grad */
    Tensor *grad_room; /* the memory of grad, which lk_zero_grad_ leaves for the next backward */
    struct Node *node; /* NULL: a leaf, or nothing was recorded */
    Tensor *owner;     /* after lk_convert_: the tensor that has the memory; NULL: this one */
    struct Tape *tape; /* the tape that made it; NULL: it is owned, or lies on the stack */
    int64_t serial;    /* its number among the tensors of the tape: tells whether it is stale */
    Tensor *next;      /* the tape's list of headers */
    int64_t shape[LK_MAX_DIMS];  /* sizes of the first ndim dimensions; 0 is allowed */
    int64_t stride[LK_MAX_DIMS]; /* elements from one index to the next; 0: broadcast */
};

/* A counted array of tensors, as optimizers take it. The array is on the heap; the tensors are
 * counted references. */
typedef struct TensorList {
    Tensor **items;
    int count;
} TensorList;

/* ---- properties ----------------------------------------------------------------------------- */

LK_API size_t lk_dtype_size(DType dtype);       /* bytes of one element */
LK_API const char *lk_dtype_name(DType dtype);  /* "float32", … */
LK_API bool lk_is_floating(DType dtype);        /* float32 or float64: arithmetic, gradients */
LK_API bool lk_only_stores(DType dtype);        /* bfloat16 or qint8: no arithmetic */
LK_API int64_t lk_numel(const Tensor *x);       /* elements; 1 for a scalar; -1: NULL or stale */
LK_API int64_t lk_size(const Tensor *x, int d); /* x.size(d), d from the end too; -1: none */
LK_API bool lk_is_contiguous(const Tensor *x);  /* row after row without gaps; false: NULL too */
LK_API bool lk_same_shape(const Tensor *a, const Tensor *b); /* a.shape == b.shape */
/* Whether x was made before the last lk_tape_reset of its tape, or given back by lk_tape_release.
 * The answer is right for three more resets at least; later the header may serve another tensor.
 * Without a reset it is right for the last 512 tensors that were given back. In strict mode
 * (core/strict.h) it is always right. */
LK_API bool lk_is_stale(const Tensor *x);

/* Writes "(2, 3)" into text, and returns it, for messages. */
enum { LK_SHAPE_TEXT = LK_MAX_DIMS * 22 + 1 };
LK_API const char *lk_shape_text(const Tensor *x, char text[LK_SHAPE_TEXT]);

/* ---- owned tensors -------------------------------------------------------------------------- */

/* Zeros of the given shape: lk_tensor_new(LK_F32, LK_SHAPE(2, 3), &err). Errors: LK_ESHAPE (more
 * than 8 dimensions, a negative size), LK_EMEMORY (no memory, or a product of sizes that
 * overflows). */
LK_API Tensor *lk_tensor_new(DType dtype, int ndim, const int64_t *shape, Error *err);

/* Copies the values: an array of float, double, int64_t, uint8_t, bool or uint16_t (the bits of a
 * bfloat16), as dtype says, with as many elements as the shape has. Errors as for lk_tensor_new;
 * LK_EVALUE for NULL. */
LK_API Tensor *lk_tensor_from_new(DType dtype, int ndim, const int64_t *shape, const void *values,
                                  Error *err);

/* torch::from_blob(data, shape, deleter): a contiguous tensor over memory of yours, aligned for
 * dtype. release(holder) is called when the tensor needs the memory no more: its last owner is
 * gone, lk_convert_ has moved the elements, or this call failed. release NULL: the memory outlives
 * the tensor. */
LK_API Tensor *lk_from_blob_new(DType dtype, int ndim, const int64_t *shape, void *data,
                                void (*release)(void *holder), void *holder, Error *err);

/* torch.nn.Parameter(torch.zeros(shape)): a leaf with requires_grad. Errors as for lk_tensor_new;
 * LK_EDTYPE for a dtype that is not floating. */
LK_API Tensor *lk_param_new(DType dtype, int ndim, const int64_t *shape, Error *err);

/* x.clone().detach(): an owned, contiguous copy of the values; no gradient, no graph. NULL
 * for a NULL x (LK_EVALUE), a stale one (LK_ESTATE), and without memory (LK_EMEMORY). */
LK_API Tensor *lk_clone(const Tensor *x, Error *err);

/* lk_tensor_retain adds an owner and returns x. lk_tensor_free removes one; without owners the
 * tensor is freed. Both leave tensors of a tape alone, since their tape owns them. */
LK_API Tensor *lk_tensor_retain(Tensor *x);
LK_API void lk_tensor_free(Tensor *x);
LK_API void lk_tensor_list_free(TensorList *list); /* gives back the references and the array */

/* ---- values --------------------------------------------------------------------------------- */

/* The value at index[0 … ndim-1] as a double, lk_at(x, LK_INDEX(1, 2)); NaN for a bad index. int64
 * beyond 2^53 is rounded. */
#define LK_INDEX(...) LK_I64S(__VA_ARGS__)
LK_API double lk_at(const Tensor *x, const int64_t *index);
LK_API double lk_item(const Tensor *x); /* x.item() of one element; NaN: x has more or fewer */

/* dst.copy_(src) under no_grad: src is broadcast to dst and converted to its dtype (bfloat16:
 * rounded to the nearest, ties to even). Error: LK_ESHAPE. */
LK_API LK_MUST_CHECK bool lk_copy_(Tensor *dst, const Tensor *src, Error *err);
LK_API bool lk_fill_(Tensor *x, double value);
/* x.add_(y, alpha), x.mul_(y), x.mul_(c), x.lerp_(end, weight) under no_grad: x += alpha y, x *=
 * y, x *= c, x += weight (end - x), an average of weights (EMA) with weight 1 - decay. y and end
 * are broadcast to x. Errors: LK_EDTYPE (not one floating dtype), LK_ESHAPE, LK_EVALUE (x is
 * expanded: its elements share memory). */
LK_API LK_MUST_CHECK bool lk_add_(Tensor *x, const Tensor *y, double alpha, Error *err);
LK_API LK_MUST_CHECK bool lk_mul_(Tensor *x, const Tensor *y, Error *err);
LK_API LK_MUST_CHECK bool lk_scale_(Tensor *x, double c, Error *err);
LK_API LK_MUST_CHECK bool lk_lerp_(Tensor *x, const Tensor *end, double weight, Error *err);

/* nn.init.uniform_ and normal_, with PyTorch's stream and rounding for the dtype. False: x is not
 * floating. */
LK_API bool lk_uniform_(Tensor *x, double low, double high, Rng *rng);
LK_API bool lk_normal_(Tensor *x, double mean, double std, Rng *rng);

/* Call it after writing through the raw data pointer: raises the version that caches and autograd
 * look at. */
LK_API void lk_touch(Tensor *x);

/* Converts an owned leaf in place (module.double()): the Tensor stays, its elements are new, its
 * gradient is dropped; a dimension along which one element stands for all (stride 0) stays one.
 * False, with x unchanged: LK_ESTATE (not an owned leaf), LK_EDTYPE (one with requires_grad would
 * no longer be floating), LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_convert_(Tensor *x, DType dtype, Error *err);

/* torch.equal: same shape, dtype and values (NaN differs from NaN). */
LK_API bool lk_equal(const Tensor *a, const Tensor *b);
/* torch.allclose: |a - b| <= atol + rtol * |b| everywhere, and equal shapes. PyTorch's defaults
 * are rtol 1e-5, atol 1e-8. */
LK_API bool lk_allclose(const Tensor *a, const Tensor *b, double rtol, double atol);
/* Counts the elements that are not zero: mask.sum(). -1: NULL or stale. */
LK_API int64_t lk_count(const Tensor *x);

/* ---- gradients ------------------------------------------------------------------------------ */

/* x.requires_grad = on, at any time. False: x is no floating leaf. */
LK_API bool lk_set_requires_grad(Tensor *x, bool on);
/* x.grad: NULL before the first backward and after lk_zero_grad_. */
LK_API Tensor *lk_grad(const Tensor *x);
/* x.grad = None (PyTorch 2's zero_grad). The memory stays for the next backward. */
LK_API void lk_zero_grad_(Tensor *x);
/* y.retain_grad(): backward leaves the gradient of this intermediate in lk_grad(y); returns y. */
LK_API Tensor *lk_retain_grad(Tensor *y);

/* ---- printing (core/print.c) ---------------------------------------------------------------- */

/* print(x) of PyTorch, without the newline: "tensor([0.3072, 0.1348], grad_fn=<MulBackward0>)".
 * NULL prints "None", so that lk_print(stdout, lk_grad(x)) reads like print(x.grad); a stale
 * tensor prints "<stale>". */
LK_API void lk_print(FILE *out, const Tensor *x);
/* The text of lk_print in a buffer, cut at size like snprintf; returns the whole text's length. */
LK_API size_t lk_tensor_str(const Tensor *x, char *text, size_t size);
LK_API void lk_print_size(FILE *out, const Tensor *x); /* "torch.Size([1, 3])" */

#endif
