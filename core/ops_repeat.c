/* ops_repeat.c - tensors whose elements are repeated: each one several times in place, or the
 * whole.
 *
 * A repetition is a broadcast. The result is seen in more dimensions than it has: some go along x,
 * and along the others x has stride 0. Backward sums over these. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

/* The dimensions of the result, cut into those of x and repetitions. Dimensions of size 1 are left
 * out. */
typedef struct Repetition {
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    int64_t x[LK_MAX_DIMS], dx[LK_MAX_DIMS]; /* strides of x, and of its contiguous gradient */
} Repetition;

/* Appends a dimension; false when there are too many. */
static bool append(Repetition *r, int64_t size, int64_t stride, int64_t gradient_stride)
{
    if (size == 1) return true;
    if (r->ndim == LK_MAX_DIMS) return false;
    r->shape[r->ndim] = size;
    r->x[r->ndim] = stride;
    r->dx[r->ndim++] = gradient_stride;
    return true;
}

/* Returns x with the dimensions of r. Without strides it is contiguous. */
static Tensor seen(const Tensor *x, const Repetition *r, const int64_t *strides)
{
    Tensor y = { .data = x->data, .storage = x->storage, .dtype = x->dtype, .ndim = r->ndim };
    int64_t stride = 1;
    for (int d = r->ndim - 1; d >= 0; d--) {
        y.shape[d] = r->shape[d];
        y.stride[d] = strides ? strides[d] : stride;
        stride *= r->shape[d];
    }
    return y;
}

/* y repeats x, so dx += the sum of dy over the repetitions. */
static void repeat_backward(Tape *t, Node *n)
{
    const Repetition *r = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor to = seen(dx, r, r->dx), from = seen(n->grad, r, NULL);
    lk_accumulate(t, &to, &from);
}

static const Op REPEAT = { "RepeatBackward0", repeat_backward, { 0 } };
static const Op REPEAT_INTERLEAVE = { "IndexSelectBackward0", repeat_backward, { 0 } };

static Tensor *repeat(Tape *t, const Op *op, Tensor *x, int ndim, const int64_t *shape,
                      const Repetition *r)
{
    Tensor *y = lk_empty(t, x->dtype, ndim, shape);
    if (!y) return NULL;
    Tensor to = seen(y, r, NULL), from = seen(x, r, r->x);
    lk__copy_fitting(&to, &from);
    return lk_record(t, op, y, LK_INPUTS(x), r, sizeof *r);
}

static Tensor *fail_dims(Tape *t, const char *function, const Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    return lk_fail(t, LK_ESHAPE,
                   "%s: %s has too many dimensions to repeat: those with more than one element, "
                   "and the repetitions, may be %d together",
                   function, lk_shape_text(x, text), LK_MAX_DIMS);
}

Tensor *lk_repeat_interleave(Tape *t, Tensor *x, int64_t repeats, int dim)
{
    if (!lk_check_operands(t, "lk_repeat_interleave", 1, &x)) return NULL;
    if (x->ndim == 0)
        return lk_fail(t, LK_ESHAPE, "lk_repeat_interleave: a scalar has no dimension %d", dim);
    int at = lk__check_dim(t, "lk_repeat_interleave", x->ndim, dim);
    if (at < 0) return NULL;
    if (repeats < 0)
        return lk_fail(t, LK_EVALUE, "lk_repeat_interleave: %lld repeats; 0 is the least",
                       (long long)repeats);
    int64_t shape[LK_MAX_DIMS], own[LK_MAX_DIMS], stride = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        own[d] = stride;
        stride *= x->shape[d];
        shape[d] = x->shape[d];
    }
    Repetition r = { .ndim = 0 };
    bool fits = true;
    for (int d = 0; d < x->ndim; d++) {
        fits = fits && append(&r, x->shape[d], x->stride[d], own[d]);
        if (d == at) fits = fits && append(&r, repeats, 0, 0);
    }
    if (!fits) return fail_dims(t, "lk_repeat_interleave", x);
    if (__builtin_mul_overflow(shape[at], repeats, &shape[at]))
        return lk_fail(t, LK_EMEMORY,
                       "lk_repeat_interleave: dimension %d is larger than any memory", at);
    return repeat(t, &REPEAT_INTERLEAVE, x, x->ndim, shape, &r);
}

Tensor *lk_repeat(Tape *t, Tensor *x, int ndim, const int64_t *repeats)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_repeat", 1, &x)) return NULL;
    if (ndim < x->ndim || ndim > LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_repeat: %d repeats for %s: %d to %d are possible", ndim,
                       lk_shape_text(x, text), x->ndim, LK_MAX_DIMS);
    if (ndim > 0 && !repeats) return lk_fail(t, LK_EVALUE, "lk_repeat: the repeats are NULL");
    int64_t shape[LK_MAX_DIMS], own[LK_MAX_DIMS], stride = 1;
    const int new = ndim - x->ndim; /* dimensions in front of those of x */
    for (int d = ndim - 1; d >= 0; d--) {
        const int64_t size = d < new ? 1 : x->shape[d - new];
        own[d] = stride;
        stride *= size;
        if (repeats[d] < 0)
            return lk_fail(t, LK_EVALUE, "lk_repeat: %lld repeats of dimension %d; 0 is the least",
                           (long long)repeats[d], d);
        if (__builtin_mul_overflow(size, repeats[d], &shape[d]))
            return lk_fail(t, LK_EMEMORY, "lk_repeat: dimension %d is larger than any memory", d);
    }
    Repetition r = { .ndim = 0 };
    bool fits = true;
    for (int d = 0; d < ndim; d++) {
        fits = fits && append(&r, repeats[d], 0, 0);
        if (d >= new) fits = fits && append(&r, x->shape[d - new], x->stride[d - new], own[d]);
    }
    return fits ? repeat(t, &REPEAT, x, ndim, shape, &r) : fail_dims(t, "lk_repeat", x);
}
