/* run.c - calls of the function under test: plain, with backward, and with one
 * element moved. */
#include <math.h>
#include <string.h>

#include "core/gradcheck/parts.h"
#include "core/ops.h"

/* ---- cotangents ----------------------------------------------------------------------------- */

/* Scrambles a counter as the finalizer of splitmix64 does, with shifts and multipliers of our own.
 * It has no state and nothing in common with MT19937. */
static uint64_t scramble(uint64_t z)
{
    z = (z ^ (z >> 31)) * 0x9fb21c651e98df25;
    z = (z ^ (z >> 28)) * 0xd6e8feb86659fd93;
    return z ^ (z >> 32);
}

/* No number is near 0, so that no wrong element hides behind a small cotangent. Streams 2 i and
 * 2 i + 1 have opposite signs in element 0. So a backward that uses |dy| in place of dy is found
 * even when there is only one element. */
void lk__gradcheck_cotangent(uint64_t seed, uint64_t which, int64_t n, double *v)
{
    uint64_t stream = scramble(scramble(seed + 0x6c6f72696b656574) + which);
    for (int64_t k = 0; k < n; k++) {
        uint64_t bits = scramble(stream + (uint64_t)k * 0xa0761d6478bd642f);
        double size = 0.5 + (double)(bits >> 11) * 0x1p-53;
        v[k] = bits & 1 ? size : -size;
    }
    bool is_positive = (scramble(seed + which / 2) ^ which) & 1;
    if (n > 0) v[0] = is_positive ? fabs(v[0]) : -fabs(v[0]);
}

/* ---- plain ---------------------------------------------------------------------------------- */

void lk__check_begin(Check *c, bool grad, unsigned char poison)
{
    lk_tape_clear_error(c->t);
    lk_tape_reset(c->t);
    lk_tape_seed(c->t, 0); /* as in a new tape: every call drops the same elements */
    lk_tape_set_grad(c->t, grad);
    lk__arena_fill(&c->t->arena, poison);
}

/* Handles a failure of f or its backward. With `error`, it only tells the caller. Otherwise, and
 * when memory is short, it stops the check. */
static bool refused(Check *c, Error *error, ErrorCode code, const char *message)
{
    if (!error || code == LK_EMEMORY) return lk__check_stop(c, "function", "%s", message);
    *error = (Error){ .code = code };
    return false;
}

/* Notes which inputs are read. A leaf that is not an input gets no gradient, because it belongs to
 * the user. */
static void survey(Check *c, Tensor *const *in)
{
    lk__check_mark(c);
    for (int k = 0; k < c->count; k++) {
        c->read[k] = false;
        for (int r = 0; r < c->results; r++) c->read[k] = c->read[k] || c->y[r] == in[k];
    }
    for (Node *n = c->t->last; n; n = n->prev) {
        if (!n->reached) continue;
        for (int i = 0; i < n->inputs; i++) {
            bool ours = false;
            for (int k = 0; k < c->count; k++)
                if (n->in[i] == in[k]) ours = c->read[k] = true;
            if (n->in[i] && !n->in[i]->node && !ours) n->was[i].wanted = false;
        }
    }
    lk__check_unmark(c);
}

bool lk__check_call(Check *c, Tensor *const *in, Error *error)
{
    for (int r = 0; r < c->results; r++) c->y[r] = NULL;
    bool ok = c->f(c->t, in, c->y, c->user);
    const Error *err = lk_tape_error(c->t);
    if (err->code != LK_OK) return refused(c, error, err->code, err->message);
    for (int r = 0; r < c->results; r++) ok = ok && c->y[r];
    if (!ok) return refused(c, error, LK_OK, "the function returned NULL");
    for (int r = 0; r < c->results; r++) {
        const Tensor *y = c->y[r];
        Error stale = { 0 };
        if (!lk__is_usable("the function must make its result anew in each call", y, &stale))
            return lk__check_stop(c, "function", "%s", stale.message);
        if (y->dtype != LK_F64)
            return lk__check_stop(c, "function", "the function must return float64");
        if (c->outputs < 0) {
            c->shapes[r] = *y;
            c->shapes[r].tape = NULL; /* only a layout: it is used after the tape's reset */
        } else if (!lk_same_shape(y, &c->shapes[r])) {
            if (error) return refused(c, error, LK_ESHAPE, "");
            return lk__check_stop(c, "changes",
                                  "the shape of the result changes from call to call");
        }
    }
    if (lk_tape_grad(c->t)) survey(c, in);
    /* Other calls may use the scratch memory now. A backward that relies on what its forward left
     * there must find other bytes. */
    const int fill = c->t->arena.fill;
    if (fill && c->t->scratch) memset(c->t->scratch, fill, c->t->scratch_bytes);
    return true;
}

bool lk__check_read(Check *c, double *y)
{
    for (int r = 0; r < c->results; r++) {
        const Tensor *packed = lk_packed(c->t, c->y[r]);
        if (!packed) return lk__check_no_memory(c);
        size_t n = (size_t)lk_numel(packed);
        if (n) memcpy(y, packed->data, n * sizeof *y);
        y += n;
    }
    return true;
}

/* ---- with backward -------------------------------------------------------------------------- */

void lk__check_mark(Check *c)
{
    for (int r = 0; r < c->results; r++)
        if (c->y[r]->node) c->y[r]->node->reached = true;
    for (Node *n = c->t->last; n; n = n->prev)
        for (int i = 0; n->reached && i < n->inputs; i++)
            if (n->in[i] && n->in[i]->node) n->in[i]->node->reached = true;
}

void lk__check_unmark(Check *c)
{
    for (Node *n = c->t->last; n; n = n->prev) n->reached = false;
}

static bool is_input(const Check *c, Tensor *const *in, const Tensor *x)
{
    for (int i = 0; i < c->count; i++)
        if (in[i] == x) return true;
    return false;
}

/* Runs the backward of Σ v·y, one result after the other. */
static bool run_backward(Check *c, Tensor *const *in, const double *v)
{
    for (int r = 0; r < c->results; r++) {
        Tensor *y = c->y[r];
        int64_t n = lk_numel(y);
        if (y->requires_grad && (y->node || is_input(c, in, y))) {
            Tensor *dy = lk_tensor(c->t, LK_F64, y->ndim, y->shape, v);
            if (!dy || !lk_backward_with(c->t, y, dy, true)) return false;
        }
        v += n;
    }
    return true;
}

bool lk__check_backward(Check *c, Tensor *const *in, const double *v, double *to)
{
    for (int i = 0; i < c->count; i++) {
        if (!lk__check_is_on(c, i)) continue;
        in[i]->grad = NULL; /* the input's own gradient is put aside by gradcheck.c */
        const Tensor *room = in[i]->grad_room;
        size_t bytes = room ? room->storage->bytes : 0;
        if (bytes) memset(room->data, c->t->arena.fill, bytes);
    }
    if (!run_backward(c, in, v)) return false;
    for (int i = 0; i < c->count; i++) {
        if (!lk__check_is_on(c, i)) continue;
        const Tensor *g = in[i]->grad;
        for (int64_t k = 0, n = lk_numel(in[i]); k < n; k++)
            *to++ = g ? ((const double *)g->data)[k] : 0;
    }
    return true;
}

bool lk__check_record(Check *c, Tensor *const *in, Run *run, Error *error)
{
    if (!lk__check_call(c, in, error) || !lk__check_read(c, run->y)) return false;
    for (int w = 0; w < COTANGENTS; w++) {
        if (lk__check_backward(c, in, c->v[w], run->gradient[w])) continue;
        const Error *err = lk_tape_error(c->t);
        return refused(c, error, err->code, err->message);
    }
    return true;
}

/* ---- with one element moved ----------------------------------------------------------------- */

static bool evaluate(Check *c, double *y)
{
    lk__check_begin(c, false, 0);
    return lk__check_call(c, c->in, NULL) && lk__check_read(c, y);
}

double lk__check_difference(Check *c, int i, int64_t k)
{
    Tensor *x = c->in[i];
    double *value = (double *)x->data + k, before = *value, h = c->o.eps * fmax(1, fabs(before));
    volatile double above = before + h, below = before - h; /* rounded: the step really made */
    *value = above;
    lk_touch(x);
    bool ok = evaluate(c, c->plus);
    *value = below;
    lk_touch(x);
    ok = ok && evaluate(c, c->minus); /* copies y before x is put back: y may be a view of x */
    *value = before;
    lk_touch(x);
    return ok ? above - below : 0;
}

/* ---- the inputs as they were ---------------------------------------------------------------- */

int lk__check_restore(Check *c)
{
    int first = -1;
    for (int i = c->count; c->saved && i-- > 0;) {
        Storage *s = c->in[i]->storage;
        if (!c->saved[i] || !s->bytes || memcmp(s->data, c->saved[i], s->bytes) == 0) continue;
        memcpy(s->data, c->saved[i], s->bytes);
        lk_touch(c->in[i]);
        first = i;
    }
    return first;
}
