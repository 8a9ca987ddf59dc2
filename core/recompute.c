/* recompute.c - segments whose inside is forgotten after the forward and computed again in
 * backward (Chen et al. 2016).
 *
 * Forward runs the segment as it is, with its records, since an operation may compute in another
 * way when it is recorded. Then the records tell which tensors of the outside the segment reads.
 * Everything inside is released, also the records. One node stays, with those tensors as its
 * inputs. So gradients reach parameters even where x wants none, and a change in place is noticed.
 * Backward runs the segment on a record of its own, and then runs that record backwards. */
#include <stdalign.h>
#include <string.h>

#include "core/tape_parts.h"
#include "core/ops.h"

typedef struct Recompute {
    RecomputeFn *fn;
    TapeRandom random; /* the stream of dropout at the beginning */
    const TapeScope *scope;
    bool reads_x; /* an operation reads x itself, not only the stand-in */
    alignas(max_align_t) char state[];
} Recompute;

/* Makes a leaf with the values of x. It takes the place of x inside. */
static Tensor *stand_in_for(Tape *t, const Tensor *x, bool wanted)
{
    Tensor *y = lk__view_of(t, x, x->storage, x->data);
    if (y) y->requires_grad = wanted;
    return y;
}

/* Calls the segment. Its records are forgotten, so nothing is noted about them: notes made inside
 * would lie in memory that is given back. */
static Tensor *run_segment(Tape *t, RecomputeFn *fn, const void *state, Tensor *x)
{
    const TapeNotes notes = t->notes;
    t->notes.on = false;
    Tensor *y = fn(t, state, x);
    t->notes = notes;
    return y;
}

/* Takes the tape back to where it was before the segment. y stays: it is moved and becomes a
 * leaf. */
static Tensor *forget(Tape *t, TapeMark mark, Node *last, Tensor *y)
{
    if (y && lk__made_since(t, mark, y)) {
        y->node = NULL;
        y->requires_grad = false;
    }
    t->last = last;
    t->pins = mark.pins;
    return lk_tape_release(t, mark, y);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Whether y has the shape and the bits of forward's result. The bits are only compared when that
 * result was not changed since. */
static bool is_same(Tape *t, Tensor *y, const Node *n)
{
    if (!lk_same_shape(y, n->out) || y->dtype != n->out->dtype) return false;
    if (n->out->storage->version != n->out_version) return true;
    Tensor *a = lk_packed(t, y), *b = lk_packed(t, n->out);
    return a && b && memcmp(a->data, b->data, (size_t)lk_numel(y) * lk_dtype_size(y->dtype)) == 0;
}

/* Gives no gradient to inputs that were frozen in the forward. Other tensors of the tape get
 * none either: it would lie in memory that is released with the inside. */
static void keep_frozen(const Tape *t, const Node *n, TapeMark mark)
{
    for (Node *m = t->last; m; m = m->prev)
        for (int i = 0; i < m->inputs; i++) {
            const Tensor *x = m->in[i];
            if (!x || lk__made_since(t, mark, x)) continue;
            int j = 0;
            while (j < n->inputs && n->in[j] != x) j++;
            if (j < n->inputs ? !n->was[j].wanted : x->refs == 0) m->was[i].wanted = false;
        }
}

/* Runs the segment once more from x, the stand-in, and then runs it backwards from n->grad. */
static void run_again(Tape *t, const Node *n, Tensor *x, TapeMark mark)
{
    const Recompute *r = n->state;
    char text[LK_SHAPE_TEXT];
    Tensor *y = run_segment(t, r->fn, r->state, x);
    if (y && lk__made_since(t, mark, y) && is_same(t, y, n)) {
        keep_frozen(t, n, mark);
        if (y->requires_grad) lk__run_backward(t, y, n->grad, false);
        return;
    }
    lk_fail(t, LK_ESTATE,
            "lk_backward: the segment that gave %s to lk_recompute gave something else when it "
            "was computed again; the tensors that it reads must not change until then, and random "
            "numbers must come from the tape (lk_dropout)",
            lk_shape_text(n->out, text));
}

/* y = fn(x, …) in one node: the gradients of all inputs are those of its inside. */
static void recompute_backward(Tape *t, Node *n)
{
    const Recompute *r = n->state;
    bool fresh = false;
    /* Gradients must outlive the memory of the segment. Those of owned leaves lie on the heap;
     * those of the tape's tensors get their place here. */
    for (int i = 1; i < n->inputs; i++)
        if (n->in[i]->refs == 0) lk_grad_in(t, n, i);
    Tensor *dx = r->reads_x ? lk_grad_in(t, n, 0) : lk_grad_in_fresh(t, n, 0, &fresh);
    if (t->error.code != LK_OK) return;

    const Tape outside = *t;
    TapeMark mark = lk_tape_mark(t);
    t->notes.on = false; /* the results inside keep no gradients */
    t->last = NULL;      /* the record inside ends where the segment begins */
    t->free = NULL;      /* blocks of the inside must not be used outside */
    t->grad = true;
    t->random = r->random;
    t->scope = r->scope;
    t->epoch = lk__next_epoch(); /* caches with tensors of the outside are not read inside */
    Tensor *x = stand_in_for(t, n->in[0], dx);
    if (x) {
        if (fresh) x->grad_room = dx;
        else x->grad = dx;
        run_again(t, n, x, mark);
        if (fresh && dx && !x->grad) memset(dx->data, 0, dx->storage->bytes);
    }
    lk__tape_rewind(t, mark, NULL);
    t->last = outside.last;
    t->free = outside.free;
    t->grad = outside.grad;
    t->random = outside.random;
    t->scope = outside.scope;
    t->notes = outside.notes;
}

static const Op RECOMPUTE = { "CheckpointFunctionBackward",
                              recompute_backward,
                              { LK_IN_ALL, LK_IN_ALL, LK_IN_ALL, LK_IN_ALL, LK_IN_ALL } };

/* ---- forward -------------------------------------------------------------------------------- */

/* Collects x and every tensor made before the mark that a record after `last` reads, each once.
 * Writes them to *in, which has room, and returns their number. */
static int find_inputs(const Tape *t, TapeMark mark, const Node *last, Tensor *x, Tensor **in,
                       bool *reads_x)
{
    int count = 1;
    in[0] = x;
    for (const Node *n = t->last; n != last; n = n->prev)
        for (int i = 0; i < n->inputs; i++) {
            if (!n->in[i] || lk__made_since(t, mark, n->in[i])) continue;
            int j = 0;
            while (j < count && in[j] != n->in[i]) j++;
            if (j == 0) *reads_x = true;
            if (j == count) in[count++] = n->in[i];
        }
    return count;
}

/* Copies the present scopes to the tape, since those on the C stack disappear. Returns NULL when
 * there are none, or no memory. */
static const TapeScope *keep_scopes(Tape *t)
{
    TapeScope *innermost = NULL, *inner = NULL;
    for (const TapeScope *s = t->scope; s; s = s->outer) {
        TapeScope *copy = lk_tape_alloc(t, sizeof *copy);
        if (!copy) return NULL;
        *copy = *s;
        if (inner) inner->outer = copy;
        else innermost = copy;
        inner = copy;
    }
    return innermost;
}

Tensor *lk_recompute(Tape *t, RecomputeFn *fn, const void *state, size_t bytes, Tensor *x)
{
    if (!fn || !lk_check_operands(t, "lk_recompute", 1, &x)) return NULL;
    TapeMark mark = lk_tape_mark(t);
    if (!t->grad) return lk_tape_release(t, mark, fn(t, state, x));
    const TapeRandom random = t->random;
    Node *last = t->last;
    Tensor *inside = stand_in_for(t, x, x->requires_grad),
           *y = inside ? run_segment(t, fn, state, inside) : NULL;
    if (!y)
        lk_fail(
            t, LK_ESTATE,
            "lk_recompute: the function returned NULL without a reason; keep one with lk_fail");
    if (y == inside) { /* or both are NULL, without memory */
        forget(t, mark, last, NULL);
        return y ? x : NULL;
    }
    if (!y || !y->requires_grad || !lk__made_since(t, mark, y)) return forget(t, mark, last, y);

    size_t most = 1;
    for (const Node *n = t->last; n != last; n = n->prev) most += (size_t)n->inputs;
    size_t state_bytes = sizeof(Recompute) + bytes, word = sizeof(Tensor *);
    size_t at = (state_bytes + word - 1) / word * word;
    char *room = lk_tape_scratch(t, at + most * word);
    if (!room) return forget(t, mark, last, NULL);
    Recompute *r = (Recompute *)room;
    Tensor **in = (Tensor **)(room + at);
    *r = (Recompute){ .fn = fn, .random = random };
    if (bytes) memcpy(r->state, state, bytes);
    int count = find_inputs(t, mark, last, x, in, &r->reads_x);
    y = forget(t, mark, last, y);
    r->scope = keep_scopes(t);
    return lk_record(t, &RECOMPUTE, y, count, in, r, state_bytes);
}
