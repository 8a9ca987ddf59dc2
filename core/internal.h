/* internal.h - hidden functions of core that its operations share with nn and data: tensors from
 * the inside, checks, temporary memory. core/tape_parts.h declares the inside of a tape. The
 * declarations are grouped by the file that defines them, the lowest file first. */
#ifndef LK_INTERNAL_H
#define LK_INTERNAL_H

#include <string.h>

#include "core/exact.h"
#include "core/op.h"
#include "core/ops.h"

/* Returns the number of the calling thread in a parallel region. It chooses the thread's piece of
 * scratch. */
#ifdef _OPENMP
#include <omp.h>
static inline int lk__thread(void) { return omp_get_thread_num(); }
#else
static inline int lk__thread(void) { return 0; }
#endif

/* ---- layout.c: how elements lie in memory --------------------------------------------------- */

/* Writes the sizes to text, such as "(2, 3)", and returns it. */
const char *lk__sizes_text(int ndim, const int64_t *shape, char text[LK_SHAPE_TEXT]);

/* A new tensor is one block: header, storage and elements, which start on a cache line. First
 * lk__tensor_bytes checks everything and computes the bytes of the elements. Then lk__tensor_place
 * lays out a contiguous tensor in a block of LK_HEADER + bytes. Its elements are uninitialised. */
enum { LK_HEADER = (sizeof(Tensor) + sizeof(Storage) + 63) / 64 * 64 };
bool lk__tensor_bytes(DType dtype, int ndim, const int64_t *shape, size_t *bytes, Error *err);
Tensor *lk__tensor_place(void *block, DType dtype, int ndim, const int64_t *shape, size_t bytes);

/* Lays out a contiguous tensor: everything in the header before `tape`, shape and strides. */
static inline void lk__tensor_lay_out(Tensor *x, Storage *storage, void *data, DType dtype,
                                      int ndim, const int64_t *shape, size_t bytes)
{
    memset(x, 0, offsetof(Tensor, tape));
    x->data = data;
    x->ndim = ndim;
    x->dtype = dtype;
    x->storage = storage;
    *storage = (Storage){ .data = data, .bytes = bytes };
    int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        x->shape[d] = shape[d];
        x->stride[d] = stride;
        if (shape[d]) stride *= shape[d];
    } /* dimensions beyond ndim are never read */
}

/* lk_numel without its checks: x is not NULL and not stale. */
static inline int64_t lk__elements(const Tensor *x)
{
    int64_t n = 1;
    for (int d = 0; d < x->ndim; d++) n *= x->shape[d];
    return n;
}

/* Returns the header of x in a larger shape that it broadcasts to. The stride is 0 wherever x is
 * repeated. */
Tensor lk__spread(const Tensor *x, int ndim, const int64_t *shape);

/* Returns the size along a dimension that lk__check_dim returned; 1 for a scalar. */
static inline int64_t lk__dim_size(const Tensor *x, int dim)
{
    return x->ndim > 0 ? x->shape[dim] : 1;
}

/* x as (outer, n, inner) around one dimension of size n. */
typedef struct Along {
    int64_t outer, n, inner;
} Along;
Along lk__along(const Tensor *x, int dim);

/* ---- recorded operations -------------------------------------------------------------------- */

/* PyTorch's name of a recorded operation. (tape.c) */
const char *lk__node_name(const Node *n);
/* The mask of what the gradient of input i needs, and the bit of input i in such a mask. */
static inline unsigned lk__needs(const Op *op, int i) { return op->needs[i < 4 ? i : 4]; }
static inline unsigned lk__in_bit(int i) { return 1u << (i < 5 ? i : 5); }

/* ---- failure.c: checks, each with its message ----------------------------------------------- */

/* Whether x is neither NULL nor stale; otherwise fills err. Functions with an Error begin with it.
 * Operations begin with lk_check_operands or lk_check_floating (core/op.h). */
bool lk__is_usable(const char *function, const Tensor *x, Error *err);
/* Fails on t with the reason why x is stale, and returns NULL. role names the operand; it is ""
 * for the only one. */
void *lk__fail_stale(Tape *t, const char *function, const char *role, const Tensor *x);
/* Fail on t because an operand only stores, or because it is a qint8 view without whole rows; they
 * return NULL. */
void *lk__fail_storage_only(Tape *t, const char *function, DType dtype);
void *lk__fail_no_whole_rows(Tape *t, const char *function);

/* Returns dimension d of an ndim-dimensional tensor; a negative d counts from the end. Returns -1,
 * with the reason on t, when it does not exist. For a scalar, 0 and -1 are allowed, as in PyTorch,
 * and the result is 0: read its size with lk__dim_size. */
int lk__check_dim(Tape *t, const char *function, int ndim, int64_t d);

/* ---- ops_loss.c: checks of losses ----------------------------------------------------------- */

bool lk__check_reduction(Tape *t, const char *function, Reduction reduction);
/* Checks a weight of a loss over x, or NULL: its dtype, and that it wants no gradient. */
bool lk__check_weight(Tape *t, const char *function, const char *name, const Tensor *weight,
                      const Tensor *x);

/* ---- ops_embedding.c ------------------------------------------------------------------------ */

/* Returns the row of n's table that gets no gradient; -1: none, or n records no lk_embedding. */
int64_t lk__embedding_padding(const Node *n);

/* ---- tensor.c ------------------------------------------------------------------------------- */

/* lk_tensor_new without the zeros. */
Tensor *lk__tensor_uninitialised(DType dtype, int ndim, const int64_t *shape, Error *err);
/* Gives x the elements and the dtype of y, a contiguous tensor of the same shape that x then owns.
 * x keeps its address and its shape. Its gradient is dropped, and its version is raised. */
void lk__tensor_take_over(Tensor *x, Tensor *y);

/* ---- elements.c ----------------------------------------------------------------------------- */

/* Convert n elements of any dtype, `step` apart, to and from double. int64 saturates at its ends,
 * and a NaN becomes 0. */
void lk__load_row(const Tensor *x, const void *data, int64_t step, int64_t n, double *values);
void lk__store_row(DType dtype, void *data, int64_t step, int64_t n, const double *values);

/* ---- tensor_values.c ------------------------------------------------------------------------ */

/* An owned copy of x in another dtype. A dimension along which one element stands for all (stride
 * 0) stays one. */
Tensor *lk__converted_new(const Tensor *x, DType dtype, Error *err);

/* Copies as lk_copy_ does. src is known to fit dst, so nothing can fail. */
void lk__copy_fitting(Tensor *dst, const Tensor *src);

/* ---- print.c -------------------------------------------------------------------------------- */

/* Writes the elements of x as lk_print does, such as "[1., 2.]", and returns their length, like
 * snprintf. Lines behind the first begin with `indent` spaces. */
size_t lk__elements_text(const Tensor *x, int indent, char *text, size_t size);

/* ---- accumulate.c --------------------------------------------------------------------------- */

/* places += Σ x / divisor, or = for fresh places. They have stride 0 along the dimensions that are
 * summed. A sum is rounded before it is divided. Nothing happens when x is empty. */
void lk__sum_into(Tensor *places, const Tensor *x, double divisor, bool fresh);

/* ---- tape_tensors.c, tape.c ----------------------------------------------------------------- */

/* Makes a view on the tape over memory that is already there. It has the dtype, shape and strides
 * of *layout, and neither gradient nor graph. */
Tensor *lk__view_of(Tape *t, const Tensor *layout, Storage *storage, void *data);

/* Takes memory of the arena for the time of one function; NULL with the reason on t. The memory
 * taken last must be released first. */
void *lk__tape_temporary(Tape *t, size_t bytes, ArenaMark *mark);
void lk__tape_release_temporary(Tape *t, ArenaMark mark);

#endif
