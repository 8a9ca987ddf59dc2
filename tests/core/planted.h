/* planted.h - the frame of planted_ops.h: an operation has a right backward and several wrong
 * ones, by number, and can have each fault of the kinds that all operations share. */
#ifndef PLANTED_H
#define PLANTED_H

#include <math.h>
#include <string.h>

#include "core/gradcheck/parts.h" /* lk__gradcheck_cotangent */
#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

typedef enum Fault {
    NONE,
    ASSIGNS,      /* backward: = for += */
    WRITES_INPUT, /* forward */
    WRITES_BACK,  /* backward writes to its input 0 */
    RAW_FORWARD,  /* strides ignored */
    RAW_BACKWARD,
    UNWRITTEN,       /* forward adds to lk_empty */
    UNWRITTEN_BACK,  /* backward adds what scratch holds */
    IGNORES_FRESH,   /* backward adds to what lk_grad_in_fresh did not clear */
    KEPT_IN_SCRATCH, /* forward leaves in scratch what backward needs */
    FEW_NEEDS,
    UNRECORDED,
    DETACHED,   /* input 0 is recorded behind lk_detach */
    FIRST_USE,  /* backward: an input that is input 0 too gets nothing */
    GIVES_UP,   /* backward: nothing at all when input 0 is frozen */
    DRAWS,      /* forward: an Rng that nothing sets back */
    RESEEDS,    /* forward: another seed for the tape in each call */
    DRAWS_BACK, /* backward: a count that goes on */
} Fault;

enum { OPERANDS = 3 };
typedef struct Planted {
    int bug; /* 0: the right backward */
    Fault fault;
    double alpha, rank;
} Planted;

/* A call, forward or backward: all operands packed. */
typedef struct Call {
    Planted p;
    int inputs;
    const double *x[OPERANDS];
    const double *dy;
    double *y, *dx[OPERANDS]; /* dx: NULL for a frozen one */
    int64_t n, rows,
        columns; /* elements of the result; the shape of input 0, one row for one dimension */
} Call;

typedef struct Spec {
    const Op *op, *few; /* few: without needs */
    int inputs;
    int (*shape)(Tensor *const *in, int64_t *shape); /* of the result; NULL: that of input 0 */
    void (*forward)(Call *c);
    void (*backward)(Call *c);
} Spec;

typedef struct State {
    const Spec *spec;
    Planted p;
    double *kept;
} State;

static void set(const Call *c, int64_t at, double value)
{
    if (c->p.fault == UNWRITTEN) c->y[at] += value;
    else c->y[at] = value;
}

static void add(const Call *c, int input, int64_t at, double value)
{
    if (!c->dx[input]) return;
    if (c->p.fault == ASSIGNS) c->dx[input][at] = value;
    else c->dx[input][at] += value;
}

static void fill_sizes(Call *c, const Tensor *x, const Tensor *y)
{
    c->n = lk_numel(y);
    c->columns = x->ndim > 0 ? x->shape[x->ndim - 1] : 1;
    c->rows = c->columns ? lk_numel(x) / c->columns : 0;
}

static void run_backward(Tape *t, Node *n)
{
    static int drawn; /* for DRAWS_BACK */
    const State *s = n->state;
    Call c = { .p = s->p, .inputs = n->inputs, .y = n->out->data, .dy = n->grad->data };
    fill_sizes(&c, n->in[0], n->out);
    for (int i = 0; i < n->inputs; i++) {
        Tensor *x = s->p.fault == RAW_BACKWARD ? n->in[i] : lk_packed(t, n->in[i]);
        bool fresh;
        Tensor *dx =
            s->p.fault == IGNORES_FRESH ? lk_grad_in_fresh(t, n, i, &fresh) : lk_grad_in(t, n, i);
        c.x[i] = x ? x->data : NULL;
        c.dx[i] =
            dx && !(s->p.fault == FIRST_USE && i > 0 && n->in[i] == n->in[0]) ? dx->data : NULL;
    }
    if (s->p.fault == KEPT_IN_SCRATCH) c.x[0] = s->kept;
    if (s->p.fault == GIVES_UP && !c.dx[0]) return;
    s->spec->backward(&c);
    int64_t size = lk_numel(n->in[0]);
    double *room = lk_tape_scratch(t, (size_t)(size + 1) * sizeof *room);
    for (int64_t i = 0; room && c.dx[0] && i < size; i++) {
        if (s->p.fault == UNWRITTEN_BACK) c.dx[0][i] += room[i];
        if (s->p.fault == DRAWS_BACK) c.dx[0][i] += ++drawn * 1e-3;
        if (s->p.fault == WRITES_BACK) ((double *)n->in[0]->data)[i] = 7;
    }
}

/* Room in scratch, filled with x, as an operation does that means to save a copy. */
static double *keep_in_scratch(Tape *t, const Tensor *x)
{
    size_t bytes = (size_t)lk_numel(x) * sizeof(double);
    double *kept = lk_tape_scratch(t, bytes);
    return kept ? memcpy(kept, x->data, bytes) : NULL;
}

static Tensor *run_op(Tape *t, const Spec *spec, Tensor *const *in, const Planted *p)
{
    static Rng rng; /* for DRAWS */
    static uint64_t calls;
    int64_t shape[LK_MAX_DIMS] = { 0 };
    int ndim = in[0]->ndim;
    if (spec->shape) ndim = spec->shape(in, shape);
    else memcpy(shape, in[0]->shape, sizeof shape);
    Tensor *y = lk_empty(t, LK_F64, ndim, shape), *recorded[OPERANDS] = { NULL };
    if (!y) return NULL;
    if (calls++ == 0) lk_manual_seed(&rng, 0);
    if (p->fault == RESEEDS) lk_tape_seed(t, calls);
    if (p->fault == WRITES_INPUT) ((double *)in[0]->data)[0] *= 2;
    State s = { spec, *p, NULL };
    Call c = { .p = *p, .inputs = spec->inputs, .y = y->data };
    fill_sizes(&c, in[0], y);
    for (int i = 0; i < spec->inputs; i++) {
        const Tensor *x = p->fault == RAW_FORWARD ? in[i] : lk_packed(t, in[i]);
        if (!x) return NULL;
        c.x[i] = x->data;
        recorded[i] = in[i];
    }
    spec->forward(&c);
    if (p->fault == DRAWS) c.y[0] += 1e-3 * lk_random_f64(&rng);
    if (p->fault == RESEEDS)
        return lk_dropout(t, lk_record(t, spec->op, y, spec->inputs, recorded, &s, sizeof s), 0.5);
    if (p->fault == UNRECORDED) return y;
    if (p->fault == DETACHED) recorded[0] = lk_detach(t, in[0]);
    if (p->fault == KEPT_IN_SCRATCH) s.kept = keep_in_scratch(t, lk_packed(t, in[0]));
    return lk_record(t, p->fault == FEW_NEEDS ? spec->few : spec->op, y, spec->inputs, recorded,
                     &s, sizeof s);
}

/* Defines the GradcheckFn `name` from name_forward and name_backward. needs: a brace list. */
#define OPERATION(name, inputs, shape, ...) \
    static const Op name##_op = { #name "Backward", run_backward, __VA_ARGS__ }; \
    static const Op name##_few = { #name "Backward", run_backward, { 0 } }; \
    static const Spec name##_spec = { &name##_op, &name##_few,    inputs, \
                                      shape,      name##_forward, name##_backward }; \
    static Tensor *name(Tape *t, Tensor *const *in, void *user) \
    { \
        return run_op(t, &name##_spec, in, user); \
    }

#endif
