/* gradcheck.c - the gradient check: its arguments, and the table of checks in their order. The
 * checks themselves are in core/gradcheck/; core/gradcheck/parts.h lists its files. */
#include "core/gradcheck.h"

#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

/* ---- before the checks ---------------------------------------------------------------------- */

static bool check_arguments(Check *c)
{
    bool any = false;
    if (!c->f) return lk__check_stop(c, "arguments", "the function is NULL");
    if (c->results < 1)
        return lk__check_stop(c, "arguments", "%d results; a function has at least one",
                              c->results);
    if (c->count < 0) return lk__check_stop(c, "arguments", "%d inputs", c->count);
    if (c->count > 0 && !c->in)
        return lk__check_stop(c, "arguments", "the array of inputs is NULL");
    for (int i = 0; i < c->count; i++) {
        const Tensor *x = c->in[i];
        char name[96];
        if (!x)
            return lk__check_stop(c, "arguments",
                                  "%s is NULL; did making it fail? A function leaves an optional "
                                  "input out of the array",
                                  lk__check_name(c, i, name));
        Error stale = { 0 };
        if (!lk__is_usable(lk__check_name(c, i, name), x, &stale))
            return lk__check_stop(c, "arguments", "%s", stale.message);
        if (!x->requires_grad) continue;
        if (x->dtype != LK_F64 || x->node || !lk_is_contiguous(x))
            return lk__check_stop(c, "arguments",
                                  "%s requires a gradient and must be a contiguous float64 leaf "
                                  "(float32 is too coarse for differences)",
                                  lk__check_name(c, i, name));
        c->total += lk_numel(x);
        any = true;
    }
    return any ? true
               : lk__check_stop(c, "arguments",
                                "no input requires a gradient: lk_set_requires_grad(x, true)");
}

/* Saves the bytes of every input, to notice when something writes to it. */
static bool save_inputs(Check *c)
{
    c->saved = lk_mem_calloc((size_t)c->count, sizeof *c->saved);
    for (int i = 0; c->saved && i < c->count; i++) {
        const Storage *s = c->in[i]->storage;
        c->saved[i] = lk_mem_alloc(s->bytes + 1);
        if (!c->saved[i]) return lk__check_no_memory(c);
        if (s->bytes) memcpy(c->saved[i], s->data, s->bytes);
    }
    return c->saved ? true : lk__check_no_memory(c);
}

/* Learns the shapes from a first call. Then makes room for all numbers, in one block that begins
 * at c->first.y. */
static bool make_room(Check *c)
{
    c->read = lk_mem_calloc((size_t)c->count, sizeof *c->read);
    c->y = lk_mem_calloc((size_t)c->results, sizeof(Tensor *));
    c->shapes = lk_mem_calloc((size_t)c->results, sizeof *c->shapes);
    if (!c->read || !c->y || !c->shapes) return lk__check_no_memory(c);
    lk__check_begin(c, false, POISON);
    c->outputs = -1;
    if (!lk__check_call(c, c->in, NULL)) return false;
    c->outputs = 0;
    for (int r = 0; r < c->results; r++) c->outputs += lk_numel(c->y[r]);
    size_t m = (size_t)c->outputs, n = (size_t)c->total;
    double *p = lk_mem_calloc(6 * m + 6 * n + 1, sizeof *p);
    if (!p) return lk__check_no_memory(c);
    double **of_outputs[] = { &c->first.y, &c->again.y, &c->v[0], &c->v[1], &c->plus, &c->minus };
    double **of_inputs[] = { &c->first.gradient[0], &c->first.gradient[1], &c->again.gradient[0],
                             &c->again.gradient[1], &c->numeric[0],        &c->numeric[1] };
    for (int i = 0; i < 6; i++, p += m) *of_outputs[i] = p;
    for (int i = 0; i < 6; i++, p += n) *of_inputs[i] = p;
    for (int w = 0; w < COTANGENTS; w++) {
        double *v = c->v[w];
        for (int r = 0; r < c->results; v += lk_numel(&c->shapes[r++]))
            lk__gradcheck_cotangent(c->o.seed, (uint64_t)(COTANGENTS * r + w),
                                    lk_numel(&c->shapes[r]), v);
    }
    return true;
}

/* ---- the checks ----------------------------------------------------------------------------- */

/* When a check with `ends` finds a mistake, the checks behind it would only see the consequences.
 * They are left out. */
static const struct {
    void (*check)(Check *c);
    bool ends;
} checks[] = {
    { lk__check_writing, true },   /* input written */
    { lk__check_changes, true },   /* changes */
    { lk__check_unwritten, true }, /* unwritten */
    { lk__check_adding, false },   /* overwritten, first use, input written */
    { lk__check_views, true },     /* strided */
    { lk__check_values, true },    /* not connected, values */
    { lk__check_needs, true },     /* frozen, needs */
};

static void run_checks(Check *c)
{
    if (!save_inputs(c) || !make_room(c)) return;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        checks[i].check(c);
        if (c->stopped || (c->report->mistake && checks[i].ends)) return;
    }
}

/* The gradient that an input had before. While backward runs, an owned tensor takes its place:
 * otherwise a leaf of a tape would keep its gradient on c->t, which is reset. */
typedef struct OwnGradient {
    Tensor *grad, *room;
} OwnGradient;

static bool put_aside(Check *c, OwnGradient *own)
{
    bool ready = true;
    for (int i = 0; i < c->count; i++) {
        Tensor *x = c->in[i];
        own[i] = (OwnGradient){ x->grad, x->grad_room };
        if (!lk__check_is_on(c, i)) continue;
        x->grad = NULL;
        x->grad_room = lk_tensor_new(LK_F64, x->ndim, x->shape, NULL);
        ready = ready && x->grad_room;
    }
    return ready;
}

static void put_back(Check *c, const OwnGradient *own)
{
    for (int i = c->count; i-- > 0;) { /* backwards: an input may be given twice */
        if (!lk__check_is_on(c, i)) continue;
        lk_tensor_free(c->in[i]->grad_room);
        c->in[i]->grad = own[i].grad;
        c->in[i]->grad_room = own[i].room;
    }
}

static void run(Check *c)
{
    OwnGradient *own = lk_mem_calloc((size_t)c->count, sizeof *own);
    c->t = lk_tape_quiet_new(NULL);
    if (own && c->t) {
        if (put_aside(c, own)) run_checks(c);
        else lk__check_no_memory(c);
        lk__check_restore(c);
        put_back(c, own);
    } else {
        lk__check_no_memory(c);
    }
    for (int i = 0; c->saved && i < c->count; i++) lk_mem_free(c->saved[i]);
    lk_mem_free(c->saved);
    lk_mem_free(c->first.y);
    lk_mem_free(c->shapes);
    lk_mem_free(c->y);
    lk_mem_free(c->read);
    lk_mem_free(own);
    lk_tape_free(c->t);
}

bool lk_gradcheck_many(GradcheckManyFn *f, int results, void *user, int count, Tensor *const *in,
                       const char *const *names, const GradcheckOptions *options,
                       GradcheckReport *report)
{
    if (!report) return false;
    *report = (GradcheckReport){ 0 };
    Check c = { .f = f,
                .user = user,
                .results = results,
                .count = count,
                .in = in,
                .names = names,
                .report = report };
    if (options) c.o = *options;
    if (!(c.o.eps > 0)) c.o.eps = 1e-6;
    if (!(c.o.atol > 0)) c.o.atol = 1e-5;
    if (!(c.o.rtol > 0)) c.o.rtol = 1e-3;
    if (check_arguments(&c)) run(&c);
    report->ok = !report->mistake;
    if (report->ok)
        lk_snprintf(report->message, sizeof report->message,
                    "%lld elements agree within %g + %g |gradient|%s%s",
                    (long long)report->checked, c.o.atol, c.o.rtol, report->notice[0] ? "; " : "",
                    report->notice);
    return report->ok;
}

/* A function with one result, to be called as one with several. */
typedef struct Single {
    GradcheckFn *f;
    void *user;
} Single;

static bool call_single(Tape *t, Tensor *const *in, Tensor **out, void *user)
{
    const Single *s = user;
    out[0] = s->f(t, in, s->user);
    return out[0];
}

bool lk_gradcheck(GradcheckFn *f, void *user, int count, Tensor *const *in,
                  const char *const *names, const GradcheckOptions *options,
                  GradcheckReport *report)
{
    Single single = { f, user };
    return lk_gradcheck_many(f ? call_single : NULL, 1, &single, count, in, names, options,
                             report);
}
