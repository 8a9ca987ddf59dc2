/* views.c - calls f with every input as a view with other strides. One is a transposed view of the
 * same values (in one dimension: every second element), the other an expanded view of the first
 * slice. An operation may refuse a view. */
#include <string.h>

#include "core/gradcheck/parts.h"

static int first_long(const Tensor *x)
{
    int d = 0;
    while (d < x->ndim && x->shape[d] < 2) d++;
    return d;
}

/* Makes a view of the values of x as a leaf on the tape. It lies in room for twice its elements,
 * so that reading it as if it were contiguous is wrong, but never out of bounds. */
static Tensor *make_view(Check *c, const Tensor *x, bool expanded)
{
    Tensor *room = lk_empty(c->t, x->dtype, 1, (int64_t[]){ 2 * lk_numel(x) });
    Tensor from = *x, layout = *x;
    int d = first_long(x);
    if (expanded) from.shape[d] = layout.shape[d] = 1;
    for (int64_t e = 0, stride = x->ndim == 1 ? 2 : 1; e < x->ndim; e++) {
        layout.stride[e] = stride;
        stride *= layout.shape[e];
    }
    Tensor *y = room ? lk__view_of(c->t, &layout, room->storage, room->data) : NULL;
    if (!y || !lk_copy_(y, &from, NULL)) return NULL;
    if (expanded) {
        y->shape[d] = x->shape[d];
        y->stride[d] = 0;
    }
    y->requires_grad = x->requires_grad;
    return y;
}

static Tensor *make_copy(Check *c, const Tensor *x, bool requires_grad)
{
    Tensor *y = x ? lk_empty(c->t, x->dtype, x->ndim, x->shape) : NULL;
    if (!y || !lk_copy_(y, x, NULL)) return NULL;
    y->requires_grad = requires_grad;
    return y;
}

static void compare(Check *c, int i, const char *kind, const Run *view, const Run *plain)
{
    char name[96], shape[LK_SHAPE_TEXT];
    Difference d = lk__check_compare(c, view, plain, c->o.atol, c->o.rtol);
    if (d.of == NOTHING) return;
    bool forward = d.of == RESULT;
    lk__check_found(c, "strided",
                    "%.60s %.40s as %s %s %g where a contiguous copy %s %g: the %s reads it as if "
                    "it were contiguous (lk_packed, or lk_contiguous in a module)",
                    lk__check_name(c, i, name), lk_shape_text(c->in[i], shape), kind,
                    forward ? "gives" : "has gradient", lk__check_shown(d.a),
                    forward ? "gives" : "has", lk__check_shown(d.b),
                    forward ? "forward" : "backward");
}

/* Whether the record has this tensor as an input. */
static bool is_recorded(const Check *c, const Tensor *x)
{
    for (const Node *n = c->t->last; n; n = n->prev)
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i] == x) return true;
    return false;
}

/* Calls f with x in the place of in[i]; was_read tells whether f read in[i]. Returns false when
 * the check stopped, when f refused x, or when f reads that input from elsewhere, as a module
 * reads its parameters. */
static bool try_input(Check *c, Tensor **in, int i, Tensor *x, const char *kind, bool was_read,
                      Run *run)
{
    if (!x) return lk__check_no_memory(c);
    Error refusal = { 0 };
    for (int j = 0; j < c->count; j++)
        in[j] = c->in[j] == c->in[i] ? x : c->in[j]; /* an input may be given twice */
    bool ok = lk__check_record(c, in, run, &refusal), read = c->read[i] || !x->requires_grad;
    if (!ok && !c->stopped && refusal.code == LK_OK) {
        char name[96];
        lk__check_found(
            c, "strided",
            "%s as %s gives NULL without a reason; refuse it with lk_fail, or take lk_packed",
            lk__check_name(c, i, name), kind);
    }
    if (ok && !read && was_read && !is_recorded(c, c->in[i])) {
        char name[96];
        lk__check_found(
            c, "strided",
            "%s as %s gets no gradient: the forward records a copy (lk_packed) instead "
            "of its input; pass the input itself to lk_record",
            lk__check_name(c, i, name), kind);
    }
    return ok && read;
}

static void check_input(Check *c, Tensor **in, int i)
{
    const Tensor *x = c->in[i];
    const bool was_read = c->read[i];
    const char *transposed = x->ndim == 1 ? "every second element" : "a transposed view";
    lk__check_begin(c, true, POISON);
    if (try_input(c, in, i, make_view(c, x, false), transposed, was_read, &c->again))
        compare(c, i, transposed, &c->again, &c->first);
    else if (c->stopped || !c->read[i]) return;

    if (first_long(x) == x->ndim) return;
    const char *expanded = "an expanded view";
    Run plain = { c->plus, { c->numeric[0], c->numeric[1] } }; /* not used yet */
    lk__check_begin(c, true, POISON);
    Tensor *view = make_view(c, x, true);
    if (!try_input(c, in, i, make_copy(c, view, x->requires_grad), "a contiguous copy", was_read,
                   &plain))
        return;
    lk__check_begin(c, true, POISON);
    if (try_input(c, in, i, make_view(c, x, true), expanded, was_read, &c->again))
        compare(c, i, expanded, &c->again, &plain);
}

void lk__check_views(Check *c)
{
    Tensor **in = lk_mem_alloc((size_t)c->count * sizeof(Tensor *));
    if (!in) {
        lk__check_no_memory(c);
        return;
    }
    for (int i = 0; i < c->count && !c->stopped; i++)
        if (c->in[i]->ndim > 0 && lk_numel(c->in[i]) > 0) check_input(c, in, i);
    lk_mem_free(in);
}
