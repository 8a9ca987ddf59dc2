/* ops_sort.c - elements along a dimension in order: all of them, or the first k.
 *
 * An element becomes a number whose unsigned order is the wanted one, and its place. So all dtypes
 * and both directions share one comparison. Equal elements keep their order. NaN is the
 * largest. */
#include <math.h>

#include "core/bfloat16.h"
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_sort_real.h"
#include "core/real.h"

/* ---- keys ----------------------------------------------------------------------------------- */

typedef struct Item {
    uint64_t key;
    int64_t place;
} Item;

static bool is_before(Item a, Item b)
{
    return a.key < b.key || (a.key == b.key && a.place < b.place);
}

static uint64_t key_of_float(double v)
{
    uint64_t bits;
    if (isnan(v)) return UINT64_MAX;
    v += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &v, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63; /* negative: the larger, the smaller */
}

static uint64_t key_of(DType dtype, const void *x, int64_t i)
{
    switch (dtype) {
    case LK_F32: return key_of_float((double)((const float *)x)[i]);
    case LK_F64: return key_of_float(((const double *)x)[i]);
    case LK_BF16: return key_of_float((double)lk__bf16_to_f32(((const uint16_t *)x)[i]));
    case LK_I64: return (uint64_t)((const int64_t *)x)[i] ^ (uint64_t)1 << 63;
    default: return ((const uint8_t *)x)[i];
    }
}

/* ---- the two ways to put them in order ------------------------------------------------------ */

static void sort_few(Item *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        Item item = a[i];
        int64_t j = i;
        for (; j > 0 && is_before(item, a[j - 1]); j--) a[j] = a[j - 1];
        a[j] = item;
    }
}

/* Sorts n items, which are in the order of their places, by one byte of the key after the other,
 * the lowest first. b is room for as many. Returns the one of a and b that has the result. */
static Item *sort_items(Item *a, Item *b, int64_t n)
{
    enum { FEW = 64, BYTES = sizeof(uint64_t), VALUES = UINT8_MAX + 1 };
    if (n <= FEW) {
        sort_few(a, n);
        return a;
    }
    int64_t count[BYTES][VALUES] = { { 0 } };
    for (int64_t i = 0; i < n; i++)
        for (int byte = 0; byte < BYTES; byte++) count[byte][a[i].key >> 8 * byte & UINT8_MAX]++;
    for (int byte = 0; byte < BYTES; byte++) {
        int64_t *next = count[byte], first = 0;
        if (next[a[0].key >> 8 * byte & UINT8_MAX] == n) continue; /* equal in all items */
        for (int value = 0; value < VALUES; value++) {
            int64_t items = next[value];
            next[value] = first;
            first += items;
        }
        for (int64_t i = 0; i < n; i++) b[next[a[i].key >> 8 * byte & UINT8_MAX]++] = a[i];
        Item *other = a;
        a = b;
        b = other;
    }
    return a;
}

/* Puts an item into place i of a heap, in which items are before their parents, or below it. */
static void sift_down(Item *heap, int64_t k, int64_t i, Item item)
{
    for (int64_t child; (child = 2 * i + 1) < k; i = child) {
        if (child + 1 < k && is_before(heap[child], heap[child + 1])) child++;
        if (!is_before(item, heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* ---- sort and topk -------------------------------------------------------------------------- */

typedef struct Order {
    Along along;
    int64_t k; /* how many are taken */
    bool is_top, descending;
} Order;

static Item item_of(const Order *o, const Tensor *x, int64_t first, int64_t i)
{
    uint64_t key = key_of(x->dtype, x->data, first + i * o->along.inner);
    return (Item){ o->descending ? ~key : key, i };
}

/* Finds the first k items of row r in order. a and b are room for k items; returns one of them. */
static Item *order_row(const Order *o, const Tensor *x, int64_t r, Item *a, Item *b)
{
    const int64_t n = o->along.n, k = o->k,
                  first = r / o->along.inner * n * o->along.inner + r % o->along.inner;
    for (int64_t i = 0; i < k; i++) a[i] = item_of(o, x, first, i);
    if (k == n) return sort_items(a, b, n);
    /* The heap has the best k so far, and the worst of them on top. */
    for (int64_t i = k / 2 - 1; i >= 0; i--) sift_down(a, k, i, a[i]);
    for (int64_t i = k; i < n; i++) {
        Item item = item_of(o, x, first, i);
        if (is_before(item, a[0])) sift_down(a, k, 0, item);
    }
    for (int64_t i = k - 1; i > 0; i--) { /* the worst goes to the end */
        Item worst = a[0];
        sift_down(a, i, 0, a[i]);
        a[i] = worst;
    }
    return a;
}

/* Each y is one element of x: dx_index += dy. */
static void order_backward(Tape *t, Node *n)
{
    const Order *o = n->state;
    Tensor *dx = lk_grad_in(t, n, 0);
    if (!dx) return;
#pragma omp parallel for schedule(static) if (o->along.outer * o->k * o->along.inner > 1 << 15)
    for (int64_t i = 0; i < o->along.outer; i++)
        LK_REAL(dx->dtype, add_at_places, i, o->k, o->along.n, o->along.inner, n->in[1]->data,
                n->grad->data, dx->data);
}

static const char *order_name(const Node *n)
{
    return ((const Order *)n->state)->is_top ? "TopkBackward0" : "SortBackward0";
}

static const NamedOp ORDER = { { NULL, order_backward, { LK_IN1 } }, order_name };

static Tensor *order(Tape *t, Tensor *x, int at, Order o, Tensor **indices)
{
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[at] = o.k; /* a scalar has no shape to change */
    Tensor *packed = lk_packed(t, x), *y = lk_empty(t, x->dtype, x->ndim, shape);
    Tensor *index = lk_empty(t, LK_I64, x->ndim, shape);
    if (!packed || !y || !index) return NULL;
    const int64_t rows = o.k ? lk_numel(y) / o.k : 0, inner = o.along.inner;
    const int threads = lk_get_num_threads();
    Item *room = lk_tape_scratch(t, (size_t)threads * 2 * (size_t)o.k * sizeof *room);
    if (!room) return NULL;
    const size_t size = lk_dtype_size(x->dtype);
#pragma omp parallel for schedule(static) if (rows * o.along.n > 1 << 13) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        Item *own = room + lk__thread() * 2 * o.k;
        const Item *item = order_row(&o, packed, r, own, own + o.k);
        const char *from = (const char *)packed->data +
                           (size_t)(r / inner * o.along.n * inner + r % inner) * size;
        for (int64_t i = 0; i < o.k; i++) {
            const int64_t to = (r / inner * o.k + i) * inner + r % inner;
            ((int64_t *)index->data)[to] = item[i].place;
            memcpy((char *)y->data + (size_t)to * size,
                   from + (size_t)(item[i].place * inner) * size, size);
        }
    }
    if (indices) *indices = index;
    return lk_record(t, &ORDER.op, y, LK_INPUTS(x, index), &o, sizeof o);
}

static Tensor *sort(Tape *t, const char *function, Tensor *x, int dim, bool descending,
                    Tensor **indices)
{
    if (indices) *indices = NULL;
    if (!lk_check_operands(t, function, 1, &x)) return NULL;
    int at = lk__check_dim(t, function, x->ndim, dim);
    if (at < 0) return NULL;
    Along a = lk__along(x, at);
    return order(t, x, at, (Order){ a, a.n, false, descending }, indices);
}

Tensor *lk_sort(Tape *t, Tensor *x, int dim, bool descending, Tensor **indices)
{
    return sort(t, "lk_sort", x, dim, descending, indices);
}

Tensor *lk_argsort(Tape *t, Tensor *x, int dim, bool descending)
{
    Tensor *index;
    if (!lk_check_operands(t, "lk_argsort", 1, &x)) return NULL;
    sort(t, "lk_argsort", lk_detach(t, x), dim, descending, &index);
    return index;
}

Tensor *lk_topk(Tape *t, Tensor *x, int64_t k, int dim, bool largest, Tensor **indices)
{
    char text[LK_SHAPE_TEXT];
    if (indices) *indices = NULL;
    if (!lk_check_operands(t, "lk_topk", 1, &x)) return NULL;
    int at = lk__check_dim(t, "lk_topk", x->ndim, dim);
    if (at < 0) return NULL;
    Along a = lk__along(x, at);
    if (k < 0 || k > a.n)
        return lk_fail(t, LK_EVALUE, "lk_topk: k %lld is outside 0 … %lld, dimension %d of %s",
                       (long long)k, (long long)a.n, at, lk_shape_text(x, text));
    if (x->ndim == 0) k = 1; /* it has no dimension that could become 0 */
    return order(t, x, at, (Order){ a, k, true, largest }, indices);
}
