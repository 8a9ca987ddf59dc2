/* tape_tensors.c - the tensors of a tape: made and given back.
 *
 * Using a result after lk_tape_reset is the most natural mistake there is. So headers lie apart
 * from the elements, and a header whose tensor is gone waits before it serves another one. Until
 * then the old pointer leads to a header that tells so, and core/failure.c refuses it. Each tensor
 * of a tape has a serial number. The tensor is there while its number is not below that of the
 * first tensor since the last reset. A tensor that lk_tape_release gave back has a negative
 * number. */
#include <string.h>

#include "core/tape_parts.h"
#include "core/report.h"

typedef struct Header {
    Tensor tensor;
    Storage storage; /* of its elements; a view uses the storage of another header */
} Header;

/* A long inference never resets its tape. At least the last RELEASED_WAIT / 2 headers that it has
 * released wait before they serve again. */
enum { RELEASED_WAIT = 1024 };

uint64_t lk__next_epoch(void)
{
    static _Atomic uint64_t epochs; /* tapes of several threads share the count */
    return ++epochs;
}

uint64_t lk_tape_epoch(const Tape *t) { return t ? t->epoch : 0; }

/* ---- headers: live, waiting, free ----------------------------------------------------------- */

static void push(HeaderList *list, Tensor *x)
{
    if (!list->newest) list->oldest = x;
    x->next = list->newest;
    list->newest = x;
}

/* Puts all of `from` before the newest of `list`. */
static void join(HeaderList *list, HeaderList *from)
{
    if (!from->newest) return;
    from->oldest->next = list->newest;
    if (!list->newest) list->oldest = from->oldest;
    list->newest = from->newest;
    *from = (HeaderList){ NULL, NULL };
}

static Tensor *header_new(Tape *t)
{
    Headers *h = &t->headers;
    Tensor *x = h->free.newest;
    if (x) h->free.newest = x->next;
    else if (!(x = lk__arena_alloc(&h->memory, sizeof(Header))))
        return lk_fail(t, LK_EMEMORY, "tape: no memory for the header of a tensor");
    push(&h->live, x);
    x->tape = t;
    x->serial = h->next_serial++;
    return x;
}

void lk__headers_reset(Headers *h)
{
    join(&h->live, &h->released[0]);
    join(&h->live, &h->released[1]);
    h->released_count = 0;
    if (!h->never_again) join(&h->free, &h->waiting[LK_RESETS_KNOWN - 2]);
    for (int i = LK_RESETS_KNOWN - 2; i > 0; i--) join(&h->waiting[i], &h->waiting[i - 1]);
    join(&h->waiting[0], &h->live);
    memmove(h->since + 1, h->since, (LK_RESETS_KNOWN - 1) * sizeof *h->since);
    h->since[0] = h->next_serial;
}

void lk__headers_bury(Headers *h)
{
    /* moves all headers into one list of waiting ones */
    for (int i = 0; i < LK_RESETS_KNOWN; i++) lk__headers_reset(h);
    for (Tensor *x = h->waiting[LK_RESETS_KNOWN - 2].newest; x; x = x->next)
        x->tape = &lk__graveyard;
    lk__bury(h->memory.first);
}

/* Releases all tensors that were made after `last`, except `survivor`. Their headers wait in two
 * halves: when the newer half is full, the older half is free. */
static void headers_release(Headers *h, const Tensor *last, Tensor *survivor)
{
    while (h->live.newest && h->live.newest != last) {
        Tensor *x = h->live.newest;
        h->live.newest = x->next;
        if (x == survivor) continue;
        x->serial = -x->serial;
        push(&h->released[0], x);
        if (++h->released_count <= RELEASED_WAIT / 2) continue;
        if (!h->never_again) join(&h->free, &h->released[1]);
        join(&h->released[1], &h->released[0]);
        h->released_count = 0;
    }
    if (survivor) push(&h->live, survivor);
}

/* ---- tensors of a tape ---------------------------------------------------------------------- */

/* Fails with the reason why a shape is refused. */
static void *refuse_shape(Tape *t, DType dtype, int ndim, const int64_t *shape)
{
    size_t bytes;
    Error err = { 0 };
    lk__tensor_bytes(dtype, ndim, shape, &bytes, &err);
    return lk_fail(t, err.code, "%s", err.message);
}

Tensor *lk_empty(Tape *t, DType dtype, int ndim, const int64_t *shape)
{
    size_t bytes;
    if (!lk__tensor_bytes(dtype, ndim, shape, &bytes, NULL))
        return refuse_shape(t, dtype, ndim, shape);
    if (dtype == LK_QI8) return lk__fail_storage_only(t, "lk_empty", dtype);
    void *data = t ? lk__arena_alloc(&t->arena, bytes) : NULL;
    if (!data) return lk__fail_memory(t, bytes);
    Tensor *x = header_new(t);
    if (x) lk__tensor_lay_out(x, &((Header *)x)->storage, data, dtype, ndim, shape, bytes);
    return x;
}

Tensor *lk__view_of(Tape *t, const Tensor *layout, Storage *storage, void *data)
{
    Tensor *y = header_new(t);
    if (!y) return NULL;
    memset(y, 0, offsetof(Tensor, tape));
    y->data = data;
    y->ndim = layout->ndim;
    y->dtype = layout->dtype;
    y->storage = storage;
    memcpy(y->shape, layout->shape, sizeof y->shape);
    memcpy(y->stride, layout->stride, sizeof y->stride);
    return y;
}

TapeMark lk_tape_mark(Tape *t)
{
    if (!t) return (TapeMark){ .serial = 0 };
    return (TapeMark){ lk__arena_mark(&t->arena), t->pins, t->headers.next_serial,
                       t->headers.live.newest };
}

void lk__tape_rewind(Tape *t, TapeMark mark, Tensor *y)
{
    t->epoch = lk__next_epoch();
    headers_release(&t->headers, mark.last, y);
    if (!y || !lk__arena_since(&t->arena, mark.memory, y->storage->data)) {
        lk__arena_release(&t->arena, mark.memory);
        return;
    }
    /* The elements move down to the mark, where there is room: their new block is not larger than
     * the old one behind it. If y is a view, the header of its storage is released, so y gets a
     * storage of its own. */
    Storage *own = &((Header *)y)->storage;
    const char *from = y->storage->data;
    *own = *y->storage;
    own->data = lk__arena_keep(&t->arena, mark.memory, from, own->bytes);
    y->data = (char *)own->data + ((char *)y->data - from);
    y->storage = own;
}

/* Whether everything made before the mark is still there. */
static bool is_current(const Tape *t, TapeMark mark)
{
    bool there = !mark.last || (mark.last->serial > 0 && mark.last->serial < mark.serial);
    return there && (mark.memory.chunk != t->arena.current || mark.memory.used <= t->arena.used);
}

Tensor *lk_tape_release(Tape *t, TapeMark mark, Tensor *y)
{
    if (t && y && lk__is_gone(y)) return lk__fail_stale(t, "lk_tape_release", "", y);
    if (!t || t->pins != mark.pins || mark.serial < t->headers.since[0]) return y;
    if (!is_current(t, mark))
        return lk_fail(t, LK_ESTATE,
                       "lk_tape_release: this mark lies behind an earlier one that was released "
                       "since; release the inner marks first");
    lk__tape_rewind(t, mark, y && lk__made_since(t, mark, y) ? y : NULL);
    return y;
}

Tensor *lk_packed(Tape *t, Tensor *x)
{
    if (!x) return NULL; /* an operand that was left out */
    if (!lk_check_operands(t, "lk_packed", 1, &x)) return NULL;
    if (lk_is_contiguous(x)) return x;
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (y) lk__copy_fitting(y, x);
    return y;
}
