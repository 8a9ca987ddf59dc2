/* ops_rearrange.c - the elements of a tensor at other places: with a border, in another order,
 * repeated, or only a triangle of them. Views cannot show these. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_rearrange_real.h"
#include "core/real.h"

/* ---- boxes ---------------------------------------------------------------------------------- */

/* A block of x and the block of y, of the same sizes, that it is copied to. */
typedef struct Boxes {
    int64_t x[LK_MAX_DIMS], y[LK_MAX_DIMS]; /* their first elements */
    int64_t size[LK_MAX_DIMS];
} Boxes;

static Tensor box_of(const Tensor *x, const int64_t *first, const int64_t *size)
{
    Tensor box = *x;
    int64_t offset = 0;
    for (int d = 0; d < x->ndim; d++) {
        box.shape[d] = size[d];
        offset += first[d] * x->stride[d];
    }
    box.data = (char *)x->data + offset * (int64_t)lk_dtype_size(x->dtype);
    return box;
}

static void copy_box(const Boxes *b, const Tensor *y, const Tensor *x)
{
    Tensor to = box_of(y, b->y, b->size), from = box_of(x, b->x, b->size);
    lk__copy_fitting(&to, &from);
}

static void add_box(Tape *t, const Boxes *b, const Tensor *dx, const Tensor *dy)
{
    Tensor to = box_of(dx, b->x, b->size), from = box_of(dy, b->y, b->size);
    lk_accumulate(t, &to, &from);
}

/* ---- pad ------------------------------------------------------------------------------------ */

/* y is x with a border, so dx += the inner part of dy. */
static void pad_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    if (dx) add_box(t, n->state, dx, n->grad);
}

static const Op PAD = { "ConstantPadNdBackward0", pad_backward, { 0 } };

Tensor *lk_pad(Tape *t, Tensor *x, int count, const int64_t *pads, double value)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_pad", 1, &x)) return NULL;
    if (count > 0 && !pads) return lk_fail(t, LK_EVALUE, "lk_pad: the list of pads is NULL");
    if (count < 0 || count % 2 || count / 2 > x->ndim)
        return lk_fail(t, LK_ESHAPE,
                       "lk_pad: %d pads for %s: two for each dimension, the last dimension first",
                       count, lk_shape_text(x, text));
    int64_t shape[LK_MAX_DIMS];
    Boxes b = { .x = { 0 } };
    memcpy(b.size, x->shape, sizeof b.size);
    memcpy(shape, x->shape, sizeof shape);
    for (int i = 0; i < count; i += 2) {
        const int d = x->ndim - 1 - i / 2;
        const int64_t before = pads[i], after = pads[i + 1], n = x->shape[d];
        /* A negative pad cuts; the two must leave something to cut from. */
        if (before < -n || after < -n ||
            n + (before < 0 ? before : 0) + (after < 0 ? after : 0) < 0)
            return lk_fail(t, LK_ESHAPE,
                           "lk_pad: pads %lld and %lld cut more than dimension %d of %s has",
                           (long long)before, (long long)after, d, lk_shape_text(x, text));
        if (__builtin_add_overflow(n, before, &shape[d]) ||
            __builtin_add_overflow(shape[d], after, &shape[d]))
            return lk_fail(t, LK_EMEMORY, "lk_pad: dimension %d is larger than any memory", d);
        b.x[d] = before < 0 ? -before : 0;
        b.y[d] = before > 0 ? before : 0;
        b.size[d] = n - b.x[d] + (after < 0 ? after : 0);
    }
    Tensor *y = lk_empty(t, x->dtype, x->ndim, shape);
    if (!y) return NULL;
    lk_fill_(y, value);
    copy_box(&b, y, x);
    return lk_record(t, &PAD, y, LK_INPUTS(x), &b, sizeof b);
}

/* ---- flip ----------------------------------------------------------------------------------- */

/* A bit for each dimension in a list; LK_ALL names all. -1, with the reason on t, for a bad
 * list. */
static int bits_of_dims(Tape *t, const char *function, const Tensor *x, int ndims,
                        const int64_t *dims)
{
    int bits = 0;
    if (ndims == 0) return (1 << x->ndim) - 1;
    if (ndims > 0 && !dims) lk_fail(t, LK_EVALUE, "%s: the list of dimensions is NULL", function);
    if (ndims < 0)
        lk_fail(t, LK_ESHAPE, "%s: %d dimensions: name them, or LK_ALL", function, ndims);
    if (ndims < 0 || !dims) return -1;
    for (int i = 0; i < ndims; i++) {
        int d = lk__check_dim(t, function, x->ndim, dims[i]);
        if (d >= 0 && bits >> d & 1)
            lk_fail(t, LK_ESHAPE, "%s: dimension %d is named twice", function, d);
        if (d < 0 || bits >> d & 1) return -1;
        bits |= 1 << d;
    }
    return bits;
}

/* The header of x read backwards: each of the dimensions has a negative stride. */
static Tensor flipped(const Tensor *x, int bits)
{
    Tensor y = *x;
    int64_t offset = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (!(bits >> d & 1) || x->shape[d] < 2) continue;
        offset += (x->shape[d] - 1) * x->stride[d];
        y.stride[d] = -x->stride[d];
    }
    y.data = (char *)x->data + offset * (int64_t)lk_dtype_size(x->dtype);
    return y;
}

/* y is x read backwards, so dx read backwards += dy. */
static void flip_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor backwards = flipped(dx, *(const int *)n->state);
    lk_accumulate(t, &backwards, n->grad);
}

static const Op FLIP = { "FlipBackward0", flip_backward, { 0 } };

Tensor *lk_flip(Tape *t, Tensor *x, int ndims, const int64_t *dims)
{
    if (!lk_check_operands(t, "lk_flip", 1, &x)) return NULL;
    int bits = bits_of_dims(t, "lk_flip", x, ndims, dims);
    Tensor *y = bits < 0 ? NULL : lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!y) return NULL;
    Tensor backwards = flipped(x, bits);
    lk__copy_fitting(y, &backwards);
    return lk_record(t, &FLIP, y, LK_INPUTS(x), &bits, sizeof bits);
}

/* ---- roll ----------------------------------------------------------------------------------- */

/* Element i of a dimension goes to (i + shift) mod its size, with 0 <= shift < size. LK_ALL rolls
 * the elements as one row. */
typedef struct Roll {
    int ndim;
    int64_t shape[LK_MAX_DIMS], shift[LK_MAX_DIMS];
} Roll;

/* Every rolled dimension has two pieces: the first goes on, and the last returns to the start.
 * Bit d of `piece` chooses between them. Returns false for a piece without elements. */
static bool piece_of(const Roll *r, int piece, Boxes *b)
{
    for (int d = 0; d < r->ndim; d++) {
        const int64_t going = r->shape[d] - r->shift[d];
        const bool returns = piece >> d & 1;
        b->x[d] = returns ? going : 0;
        b->y[d] = returns ? 0 : r->shift[d];
        b->size[d] = returns ? r->shift[d] : going;
        if (b->size[d] == 0) return false;
    }
    return true;
}

/* The header of a contiguous tensor in the shape that is rolled, or of any tensor in its own. */
static Tensor rolled(const Tensor *x, const Roll *r)
{
    Tensor y = *x;
    if (x->ndim == r->ndim) return y;
    y.ndim = 1;
    y.shape[0] = r->shape[0];
    y.stride[0] = 1;
    return y;
}

/* y is x in pieces, so each piece of dx += the piece of dy. */
static void roll_backward(Tape *t, Node *n)
{
    const Roll *r = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor to = rolled(dx, r), from = rolled(n->grad, r);
    Boxes b;
    for (int piece = 0; piece < 1 << r->ndim; piece++)
        if (piece_of(r, piece, &b)) add_box(t, &b, &to, &from);
}

static const Op ROLL = { "RollBackward0", roll_backward, { 0 } };

Tensor *lk_roll(Tape *t, Tensor *x, int nshifts, const int64_t *shifts, int ndims,
                const int64_t *dims)
{
    if (!lk_check_operands(t, "lk_roll", 1, &x)) return NULL;
    if (nshifts < 1 || !shifts || nshifts != (ndims ? ndims : 1))
        return lk_fail(t, LK_EVALUE,
                       "lk_roll: %d shifts for %d dimensions: one for each dimension, or one and "
                       "LK_ALL",
                       shifts ? nshifts : 0, ndims);
    if (bits_of_dims(t, "lk_roll", x, ndims, dims) < 0) return NULL;
    Roll r = { .ndim = ndims ? x->ndim : 1, .shape = { lk__elements(x) } };
    if (ndims) memcpy(r.shape, x->shape, sizeof r.shape);
    for (int i = 0; i < nshifts; i++) {
        const int d = ndims ? lk__check_dim(t, "lk_roll", x->ndim, dims[i]) : 0;
        const int64_t size = ndims ? lk__dim_size(x, d) : r.shape[0];
        if (size > 0) r.shift[d] = (shifts[i] % size + size) % size;
    }
    Tensor *source = ndims ? x : lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!source || !y) return NULL;
    Tensor to = rolled(y, &r), from = rolled(source, &r);
    Boxes b;
    for (int piece = 0; piece < 1 << r.ndim; piece++)
        if (piece_of(&r, piece, &b)) copy_box(&b, &to, &from);
    return lk_record(t, &ROLL, y, LK_INPUTS(x), &r, sizeof r);
}

/* ---- triangles ------------------------------------------------------------------------------ */

typedef struct Triangle {
    int64_t m, n, diagonal; /* rows and columns of a matrix */
    bool is_upper;
} Triangle;

/* Row i of a matrix keeps the columns *from … *to - 1. */
static void kept_columns(const Triangle *a, int64_t i, int64_t *from, int64_t *to)
{
    int64_t border = i + a->diagonal + (a->is_upper ? 0 : 1);
    if (border < 0) border = 0;
    if (border > a->n) border = a->n;
    *from = a->is_upper ? border : 0;
    *to = a->is_upper ? a->n : border;
}

/* y is x in the triangle and 0 elsewhere, so dx += dy in the triangle. */
static void triangle_backward(Tape *t, Node *n)
{
    const Triangle *a = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    const int64_t rows = dx && a->n ? lk_numel(dx) / a->n : 0;
#pragma omp parallel for schedule(static) if (rows * a->n > 1 << 15)
    for (int64_t r = 0; r < rows; r++) {
        int64_t from, to;
        kept_columns(a, r % a->m, &from, &to);
        LK_REAL(dx->dtype, add, r * a->n + from, to - from, n->grad->data, dx->data);
    }
}

static const char *triangle_name(const Node *n)
{
    return ((const Triangle *)n->state)->is_upper ? "TriuBackward0" : "TrilBackward0";
}

static const NamedOp TRIANGLE = { { NULL, triangle_backward, { 0 } }, triangle_name };

static Tensor *triangle(Tape *t, const char *function, Tensor *x, int64_t diagonal, bool is_upper)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, function, 1, &x)) return NULL;
    if (x->ndim < 2)
        return lk_fail(t, LK_ESHAPE, "%s: %s must have at least 2 dimensions", function,
                       lk_shape_text(x, text));
    Triangle a = { x->shape[x->ndim - 2], x->shape[x->ndim - 1], diagonal, is_upper };
    if (diagonal < -a.m) a.diagonal = -a.m; /* outside of the matrix all diagonals are alike */
    if (diagonal > a.n) a.diagonal = a.n;
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!packed || !y) return NULL;
    const int64_t rows = a.n ? lk_numel(x) / a.n : 0;
    const size_t size = lk_dtype_size(x->dtype), row = (size_t)a.n * size;
    for (int64_t r = 0; r < rows; r++) {
        int64_t from, to;
        kept_columns(&a, r % a.m, &from, &to);
        const size_t first = (size_t)from * size, kept = (size_t)(to - from) * size;
        char *out = memset((char *)y->data + (size_t)r * row, 0, row);
        memcpy(out + first, (const char *)packed->data + (size_t)r * row + first, kept);
    }
    return lk_record(t, &TRIANGLE.op, y, LK_INPUTS(x), &a, sizeof a);
}

Tensor *lk_tril(Tape *t, Tensor *x, int64_t diagonal)
{
    return triangle(t, "lk_tril", x, diagonal, false);
}

Tensor *lk_triu(Tape *t, Tensor *x, int64_t diagonal)
{
    return triangle(t, "lk_triu", x, diagonal, true);
}
