/* ops_view.c - other shapes and strides over the same elements; nothing is copied.
 *
 * A view changes shape, strides and offset. Each view below is computed twice: for the result,
 * from the strides of x, and for backward, from the strides of a contiguous tensor in the shape of
 * x, because dx is contiguous. The second is the recipe for backward: it gives the same view of
 * dx, to which dy is added. So one backward serves all views. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

typedef struct Layout {
    int ndim;
    int64_t shape[LK_MAX_DIMS], stride[LK_MAX_DIMS], offset;
} Layout;

/* A view in both forms: v[OF_X] makes the result, v[OF_DX] is the recipe. */
enum { OF_X, OF_DX, LAYOUTS };

static void contiguous_strides(Layout *l)
{
    int64_t stride = 1;
    for (int d = l->ndim - 1; d >= 0; d--) {
        l->stride[d] = stride;
        stride *= l->shape[d] ? l->shape[d] : 1;
    }
}

/* Starts both forms of a view with x as it is. */
static void start(Layout v[LAYOUTS], const Tensor *x)
{
    v[OF_X] = (Layout){ .ndim = x->ndim };
    memcpy(v[OF_X].shape, x->shape, sizeof x->shape);
    memcpy(v[OF_X].stride, x->stride, sizeof x->stride);
    v[OF_DX] = v[OF_X];
    contiguous_strides(&v[OF_DX]);
}

static Tensor header_of(const Layout *l, DType dtype)
{
    Tensor x = { .dtype = dtype, .ndim = l->ndim };
    memcpy(x.shape, l->shape, sizeof x.shape);
    memcpy(x.stride, l->stride, sizeof x.stride);
    return x;
}

static void *at(void *data, DType dtype, int64_t offset)
{
    return (char *)data + offset * (int64_t)lk_dtype_size(dtype);
}

/* y shows some elements of x in another arrangement, so dy is added to the same elements of dx. */
static void view_backward(Tape *t, Node *n)
{
    const Layout *l = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
    Tensor part = header_of(l, dx->dtype);
    part.data = at(dx->data, dx->dtype, l->offset);
    lk_accumulate(t, &part, n->grad);
}

static Tensor *finish(Tape *t, const Op *op, Tensor *x, const Layout v[LAYOUTS])
{
    Tensor layout = header_of(&v[OF_X], x->dtype);
    Tensor *y = lk__view_of(t, &layout, x->storage, at(x->data, x->dtype, v[OF_X].offset));
    return lk_record(t, op, y, LK_INPUTS(x), &v[OF_DX], sizeof v[OF_DX]);
}

/* Whether the sizes fit into memory. A view of few elements, or of none, could be given sizes
 * whose product overflows. */
static bool check_extent(Tape *t, const char *function, DType dtype, const Layout *l)
{
    char text[LK_SHAPE_TEXT];
    Tensor wanted = header_of(l, dtype);
    size_t bytes;
    const DType element = dtype == LK_QI8 ? LK_U8 : dtype; /* a view needs no scales of its own */
    if (lk__tensor_bytes(element, l->ndim, l->shape, &bytes, NULL)) return true;
    return lk_fail(t, LK_EMEMORY, "%s: %s of %s is larger than any memory", function,
                   lk_shape_text(&wanted, text), lk_dtype_name(dtype));
}

/* ---- dimensions in another order ------------------------------------------------------------ */

/* Each view is a function of its own in PyTorch, with its own name, so each has an Op. */
static const Op PERMUTE = { "PermuteBackward0", view_backward, { 0 } };
static const Op TRANSPOSE = { "TransposeBackward0", view_backward, { 0 } };

static Tensor *permute(Tape *t, const Op *op, Tensor *x, const int *dims)
{
    Layout from[LAYOUTS], to[LAYOUTS];
    start(from, x);
    for (int i = 0; i < LAYOUTS; i++) {
        to[i] = from[i];
        for (int d = 0; d < x->ndim; d++) {
            to[i].shape[d] = from[i].shape[dims[d]];
            to[i].stride[d] = from[i].stride[dims[d]];
        }
    }
    return finish(t, op, x, to);
}

Tensor *lk_permute(Tape *t, Tensor *x, int ndim, const int64_t *dims)
{
    char text[LK_SHAPE_TEXT];
    int order[LK_MAX_DIMS];
    bool seen[LK_MAX_DIMS] = { false };
    if (!lk_check_operands(t, "lk_permute", 1, &x)) return NULL;
    bool is_permutation = ndim == x->ndim && (dims || ndim == 0);
    for (int d = 0; d < x->ndim && is_permutation; d++) {
        int64_t from = dims[d] < 0 ? dims[d] + x->ndim : dims[d];
        is_permutation = from >= 0 && from < x->ndim && !seen[from];
        if (is_permutation) seen[order[d] = (int)from] = true;
    }
    if (!is_permutation)
        return lk_fail(t, LK_ESHAPE,
                       "lk_permute: the dimensions given must be all %d of %s, each once", x->ndim,
                       lk_shape_text(x, text));
    return permute(t, &PERMUTE, x, order);
}

Tensor *lk_T(Tape *t, Tensor *x)
{
    int order[LK_MAX_DIMS];
    if (!lk_check_operands(t, "lk_T", 1, &x)) return NULL;
    for (int d = 0; d < x->ndim; d++) order[d] = x->ndim - 1 - d;
    return permute(t, &PERMUTE, x, order);
}

Tensor *lk_transpose(Tape *t, Tensor *x, int d0, int d1)
{
    if (!lk_check_operands(t, "lk_transpose", 1, &x)) return NULL;
    int a = lk__check_dim(t, "lk_transpose", x->ndim, d0),
        b = lk__check_dim(t, "lk_transpose", x->ndim, d1);
    if (a < 0 || b < 0) return NULL;
    int order[LK_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) order[d] = d;
    order[a] = b;
    order[b] = a;
    return permute(t, &TRANSPOSE, x, order);
}

/* ---- parts of a dimension ------------------------------------------------------------------- */

static const Op SLICE = { "SliceBackward0", view_backward, { 0 } };
static const Op SELECT = { "SelectBackward0", view_backward, { 0 } };

/* Applies Python's rule: negative positions count from the end, and positions outside are moved to
 * the nearest end. */
static int64_t clamp_position(int64_t i, int64_t size)
{
    if (i < 0) i += size;
    if (i < 0) return 0;
    return i > size ? size : i;
}

/* Does lk__check_dim for a part of a dimension. It refuses a part of a scalar, as PyTorch does. */
static int dim_with_places(Tape *t, const char *function, const Tensor *x, int dim)
{
    if (x->ndim > 0) return lk__check_dim(t, function, x->ndim, dim);
    lk_fail(t, LK_ESHAPE, "%s: a scalar has no dimension %d", function, dim);
    return -1;
}

Tensor *lk_slice(Tape *t, Tensor *x, int dim, int64_t begin, int64_t end, int64_t step)
{
    if (!lk_check_operands(t, "lk_slice", 1, &x)) return NULL;
    int d = dim_with_places(t, "lk_slice", x, dim);
    if (d < 0) return NULL;
    if (step < 1)
        return lk_fail(t, LK_EVALUE, "lk_slice: step %lld must be at least 1", (long long)step);
    int64_t first = clamp_position(begin, x->shape[d]), after = clamp_position(end, x->shape[d]);
    Layout v[LAYOUTS];
    start(v, x);
    for (Layout *l = v; l < v + LAYOUTS; l++) {
        l->shape[d] = after > first ? (after - first - 1) / step + 1 : 0;
        l->offset = l->shape[d] ? first * l->stride[d] : 0;
        l->stride[d] *= l->shape[d] > 1 ? step : 1; /* a step past the end is never made */
    }
    return finish(t, &SLICE, x, v);
}

static void drop_dim(Layout *l, int d)
{
    size_t behind = (size_t)(--l->ndim - d);
    memmove(l->shape + d, l->shape + d + 1, behind * sizeof *l->shape);
    memmove(l->stride + d, l->stride + d + 1, behind * sizeof *l->stride);
}

Tensor *lk_select(Tape *t, Tensor *x, int dim, int64_t index)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_select", 1, &x)) return NULL;
    int d = dim_with_places(t, "lk_select", x, dim);
    if (d < 0) return NULL;
    int64_t i = index < 0 ? index + x->shape[d] : index;
    if (i < 0 || i >= x->shape[d])
        return lk_fail(t, LK_EVALUE,
                       "lk_select: index %lld is out of range for dimension %d of %s",
                       (long long)index, d, lk_shape_text(x, text));
    Layout v[LAYOUTS];
    start(v, x);
    for (Layout *l = v; l < v + LAYOUTS; l++) {
        l->offset = i * l->stride[d];
        drop_dim(l, d);
    }
    return finish(t, &SELECT, x, v);
}

/* ---- all parts of a dimension --------------------------------------------------------------- */

static const Op SPLIT = { "SplitBackward0", view_backward, { 0 } };
static const Op UNBIND = { "UnbindBackward0", view_backward, { 0 } };

/* Clears the room for the parts, and checks the operands. Returns the dimension, or -1. */
static int begin_parts(Tape *t, const char *function, Tensor *x, int dim, int room, Tensor **parts)
{
    for (int i = 0; parts && i < room; i++) parts[i] = NULL;
    if (!lk_check_operands(t, function, 1, &x)) return -1;
    if (parts) return dim_with_places(t, function, x, dim);
    lk_fail(t, LK_EVALUE, "%s: the array of the parts is NULL", function);
    return -1;
}

/* Writes the parts: `size` places of dimension d each, and the last what is left. UNBIND drops
 * the dimension. Returns the count, or -1. */
static int cut(Tape *t, const char *function, const Op *op, Tensor *x, int d, int64_t size,
               int64_t count, int room, Tensor **parts)
{
    char text[LK_SHAPE_TEXT];
    if (count > room) {
        lk_fail(t, LK_EVALUE, "%s: dimension %d of %s has %lld parts, but there is room for %d",
                function, d, lk_shape_text(x, text), (long long)count, room);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        int64_t first = i * size, left = x->shape[d] - first;
        Layout v[LAYOUTS];
        start(v, x);
        for (Layout *l = v; l < v + LAYOUTS; l++) {
            l->shape[d] = left < size ? left : size;
            l->offset = first * l->stride[d];
            if (op == &UNBIND) drop_dim(l, d);
        }
        parts[i] = finish(t, op, x, v);
        if (parts[i]) continue;
        while (i > 0) parts[--i] = NULL;
        return -1;
    }
    return (int)count;
}

int lk_split(Tape *t, Tensor *x, int64_t size, int dim, int room, Tensor **parts)
{
    int d = begin_parts(t, "lk_split", x, dim, room, parts);
    if (d < 0) return -1;
    if (size < 1) {
        lk_fail(t, LK_EVALUE, "lk_split: size %lld must be at least 1", (long long)size);
        return -1;
    }
    int64_t n = x->shape[d], count = n > 0 ? (n - 1) / size + 1 : 1;
    return cut(t, "lk_split", &SPLIT, x, d, size, count, room, parts);
}

int lk_chunk(Tape *t, Tensor *x, int chunks, int dim, Tensor **parts)
{
    int d = begin_parts(t, "lk_chunk", x, dim, chunks, parts);
    if (d < 0) return -1;
    if (chunks < 1) {
        lk_fail(t, LK_EVALUE, "lk_chunk: %d chunks; there must be one at least", chunks);
        return -1;
    }
    int64_t n = x->shape[d], size = n > 0 ? (n - 1) / chunks + 1 : 0;
    return cut(t, "lk_chunk", &SPLIT, x, d, size, n > 0 ? (n - 1) / size + 1 : chunks, chunks,
               parts);
}

int lk_unbind(Tape *t, Tensor *x, int dim, int room, Tensor **parts)
{
    int d = begin_parts(t, "lk_unbind", x, dim, room, parts);
    return d < 0 ? -1 : cut(t, "lk_unbind", &UNBIND, x, d, 1, x->shape[d], room, parts);
}

/* ---- dimensions of size 1, and broadcasting ------------------------------------------------- */

static const Op UNSQUEEZE = { "UnsqueezeBackward0", view_backward, { 0 } };
static const Op SQUEEZE = { "SqueezeBackward1", view_backward, { 0 } };
static const Op EXPAND = { "ExpandBackward0", view_backward, { 0 } };

Tensor *lk_unsqueeze(Tape *t, Tensor *x, int dim)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_unsqueeze", 1, &x)) return NULL;
    if (x->ndim == LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_unsqueeze: %s already has %d dimensions",
                       lk_shape_text(x, text), LK_MAX_DIMS);
    int d = lk__check_dim(t, "lk_unsqueeze", x->ndim + 1, dim);
    if (d < 0) return NULL;
    Layout v[LAYOUTS];
    start(v, x);
    for (Layout *l = v; l < v + LAYOUTS; l++) {
        memmove(l->shape + d + 1, l->shape + d, (size_t)(l->ndim - d) * sizeof *l->shape);
        memmove(l->stride + d + 1, l->stride + d, (size_t)(l->ndim - d) * sizeof *l->stride);
        l->ndim++;
        l->shape[d] = l->stride[d] = 1;
    }
    return finish(t, &UNSQUEEZE, x, v);
}

Tensor *lk_squeeze(Tape *t, Tensor *x, int dim)
{
    if (!lk_check_operands(t, "lk_squeeze", 1, &x)) return NULL;
    int d = lk__check_dim(t, "lk_squeeze", x->ndim, dim);
    if (d < 0) return NULL;
    Layout v[LAYOUTS];
    start(v, x);
    for (Layout *l = v; x->ndim > 0 && x->shape[d] == 1 && l < v + LAYOUTS; l++) drop_dim(l, d);
    return finish(t, &SQUEEZE, x, v);
}

Tensor *lk_expand(Tape *t, Tensor *x, int ndim, const int64_t *shape)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_expand", 1, &x)) return NULL;
    if (ndim > 0 && !shape) return lk_fail(t, LK_EVALUE, "lk_expand: the shape is NULL");
    if (ndim < x->ndim || ndim > LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_expand: %s cannot be expanded to %d dimensions",
                       lk_shape_text(x, text), ndim);
    Layout from[LAYOUTS], v[LAYOUTS] = { { .ndim = ndim }, { .ndim = ndim } };
    start(from, x);
    for (int d = ndim - 1; d >= 0; d--) {
        int own = d - (ndim - x->ndim);
        int64_t size = shape[d] == -1 && own >= 0 ? x->shape[own] : shape[d];
        if (size < 0 || (own >= 0 && x->shape[own] != 1 && x->shape[own] != size))
            return lk_fail(
                t, LK_ESHAPE,
                "lk_expand: size %lld of dimension %d does not fit %s: only dimensions of size 1 "
                "expand",
                (long long)shape[d], d, lk_shape_text(x, text));
        bool repeated = own < 0 || x->shape[own] != size;
        for (int i = 0; i < LAYOUTS; i++) {
            v[i].shape[d] = size;
            v[i].stride[d] = repeated ? 0 : from[i].stride[own];
        }
    }
    if (!check_extent(t, "lk_expand", x->dtype, &v[OF_X])) return NULL;
    return finish(t, &EXPAND, x, v);
}

/* ---- another shape for the same elements ---------------------------------------------------- */

static const Op VIEW = { "ViewBackward0", view_backward, { 0 } };
static const Op RESHAPE = { "ReshapeAliasBackward0", view_backward, { 0 } };
static const Op RESHAPE_COPY = { "UnsafeViewBackward0", view_backward, { 0 } };

/* Fills *l with the wanted shape, with -1 replaced. Returns false, with the error kept, when x
 * cannot have it. */
static bool complete_shape(Tape *t, const char *function, const Tensor *x, int ndim,
                           const int64_t *shape, Layout *l)
{
    char text[LK_SHAPE_TEXT], wanted[LK_SHAPE_TEXT];
    int64_t known = 1, numel = lk_numel(x);
    int unknown = -1;
    if (ndim < 0 || ndim > LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "%s: %s cannot become %d dimensions; 0 to %d are possible",
                       function, lk_shape_text(x, text), ndim, LK_MAX_DIMS);
    if (ndim > 0 && !shape) return lk_fail(t, LK_EVALUE, "%s: the shape is NULL", function);
    *l = (Layout){ .ndim = ndim };
    bool fits = true;
    for (int d = 0; d < ndim; d++) {
        l->shape[d] = shape[d];
        if (shape[d] == -1 && unknown < 0) unknown = d;
        else if (shape[d] < 0) fits = false;
        /* unless a 0 follows */
        else if (__builtin_mul_overflow(known, shape[d], &known)) known = INT64_MAX;
    }
    if (unknown >= 0) {
        fits = fits && known > 0 && numel % known == 0;
        if (fits) l->shape[unknown] = numel / known;
    } else {
        fits = fits && known == numel;
    }
    if (fits) return check_extent(t, function, x->dtype, l);
    Tensor target = header_of(l, x->dtype);
    return lk_fail(t, LK_ESHAPE, "%s: %s has %lld elements and cannot become %s", function,
                   lk_shape_text(x, text), (long long)numel, lk_shape_text(&target, wanted));
}

/* Finds strides that show x in the shape of *l; false when there are none. Each group of x's
 * dimensions that one stride runs through is cut anew. A new dimension must not cross the border
 * of a group. */
static bool find_strides(const Tensor *x, Layout *l)
{
    int d = l->ndim - 1;
    int64_t group = 1; /* elements of the current group so far, from its last dimension on */
    if (lk_numel(x) == 0 || x->ndim == 0) {
        contiguous_strides(l);
        return true;
    }
    int64_t base = x->stride[x->ndim - 1];
    for (int s = x->ndim - 1; s >= 0; s--) {
        group *= x->shape[s];
        bool ends = s == 0 || (x->shape[s - 1] != 1 && x->stride[s - 1] != group * base);
        if (!ends) continue;
        int64_t taken = 1;
        for (; d >= 0 && (taken < group || l->shape[d] == 1); d--) {
            l->stride[d] = taken * base;
            taken *= l->shape[d];
        }
        if (taken != group) return false;
        group = 1;
        if (s > 0) base = x->stride[s - 1];
    }
    return d < 0;
}

static Tensor *reshape(Tape *t, const char *function, Tensor *x, int ndim, const int64_t *shape,
                       const Op *op, const Op *copying)
{
    char text[LK_SHAPE_TEXT], target[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, function, 1, &x)) return NULL;
    Layout v[LAYOUTS];
    if (!complete_shape(t, function, x, ndim, shape, &v[OF_X])) return NULL;
    v[OF_DX] = v[OF_X];
    /* dx is contiguous: any shape of as many elements is a view of it */
    contiguous_strides(&v[OF_DX]);
    if (find_strides(x, &v[OF_X])) return finish(t, op, x, v);
    Tensor wanted = header_of(&v[OF_X], x->dtype);
    if (!copying)
        return lk_fail(t, LK_ESHAPE,
                       "%s: the strides of %s allow no view as %s; lk_reshape copies", function,
                       lk_shape_text(x, text), lk_shape_text(&wanted, target));
    Tensor *packed = lk_packed(t, x); /* contiguous now: any shape fits */
    if (!packed) return NULL;
    Tensor *y = lk__view_of(t, &wanted, packed->storage, packed->data);
    if (y) memcpy(y->stride, v[OF_DX].stride, sizeof y->stride);
    return lk_record(t, copying, y, LK_INPUTS(x), &v[OF_DX], sizeof v[OF_DX]);
}

Tensor *lk_view(Tape *t, Tensor *x, int ndim, const int64_t *shape)
{
    return reshape(t, "lk_view", x, ndim, shape, &VIEW, NULL);
}

Tensor *lk_reshape(Tape *t, Tensor *x, int ndim, const int64_t *shape)
{
    return reshape(t, "lk_reshape", x, ndim, shape, &RESHAPE, &RESHAPE_COPY);
}

/* ---- the same, cut from the graph ----------------------------------------------------------- */

Tensor *lk_detach(Tape *t, Tensor *x)
{
    return lk_check_operands(t, "lk_detach", 1, &x) ? lk__view_of(t, x, x->storage, x->data)
                                                    : NULL;
}
