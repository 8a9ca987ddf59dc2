/* ops_samples.h - the samples of ops.c: cases of the gradient table, changed, and their runs. */
#ifndef TRUST_OPS_SAMPLES_H
#define TRUST_OPS_SAMPLES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/own/gradients/rows.h"
#include "nn/module.h" /* lk_free */

enum { MAX_NUMEL = 1 << 18 }; /* of an input */

/* ---- memory --------------------------------------------------------------------------------- */

static int64_t allocations, refusals, live;

/* Refuses large blocks: such a sample takes too long. */
static void *counting_alloc(size_t bytes)
{
    enum { LARGEST = 1 << 26 };
    void *block = bytes <= LARGEST ? aligned_alloc(64, bytes) : NULL;
    allocations++;
    live += block != NULL;
    refusals += block == NULL;
    return block;
}

static void counting_free(void *block)
{
    live--;
    free(block);
}

/* ---- samples -------------------------------------------------------------------------------- */

typedef struct Leaf {
    char form; /* how the operation sees it: 't' transposed, 's' stepped, 'e' expanded, or 0 */
    int ndim;
    int64_t shape[LK_MAX_DIMS]; /* as the operation sees it */
} Leaf;

typedef struct Sample {
    const GradientRow *row;
    const char *text; /* the case */
    char how[48];     /* the change */
    int leaves;
    Leaf leaf[MAX_INPUTS];
    double magnitude;
    uint64_t seed;
} Sample;

typedef enum Change {
    UNCHANGED,
    LONG,      /* one size, wherever it stands, becomes 600 … */
    LONGER,    /* … 4100 … */
    WIDE,      /* … or so large that threads share the work */
    SINGLE,    /* … or 1 */
    NONE,      /* … or 0 */
    TRANSPOSE, /* all inputs seen through views */
    STEP,
    EXPAND,
    DIMS_5, /* dimensions of size 1 and 2 in front of the first input, up to 5 … */
    DIMS_8, /* … or 8 … */
    ALL_8,  /* … or of all inputs, up to 8 */
    HUGE_,
    TINY,
    CHANGES
} Change;
static const char *const change_names[CHANGES] = {
    "as it is",        "long",       "longer",     "wide",       "size 1",
    "size 0",          "transposed", "stepped",    "expanded",   "first input 5-D",
    "first input 8-D", "all 8-D",    "times 2^30", "times 2^-30"
};

static int64_t numel_of(const Leaf *l)
{
    int64_t n = 1;
    for (int d = 0; d < l->ndim; d++) n *= l->shape[d];
    return n;
}

static int64_t largest_input(const Sample *s)
{
    int64_t largest = 0;
    for (int i = 0; i < s->leaves; i++) {
        const int64_t n = numel_of(&s->leaf[i]);
        largest = n > largest ? n : largest;
    }
    return largest;
}

/* In a convolution each element of a plane meets each one of the weight. */
static bool takes_too_long(const Sample *s)
{
    if (largest_input(s) > MAX_NUMEL) return true;
    return strncmp(s->row->op, "conv", 4) == 0 && s->leaves > 1 &&
           numel_of(&s->leaf[0]) * numel_of(&s->leaf[1]) > 1 << 25;
}

/* Reads the inputs of a case: "2,3 3,4t .". */
static Sample read_case(const GradientRow *row, const char *text)
{
    Sample s = { .row = row, .text = text, .magnitude = 1 };
    for (const char *at = text; *at && s.leaves < MAX_INPUTS; s.leaves++) {
        Leaf *l = &s.leaf[s.leaves];
        for (; *at && *at != ' '; at++) {
            char *end;
            if (*at == 't' || *at == 's') l->form = *at;
            if (*at < '0' || *at > '9') continue;
            l->shape[l->ndim++] = strtol(at, &end, 10);
            at = end - 1;
        }
        at += *at == ' ';
    }
    return s;
}

/* Every size `from` becomes `to`, in all inputs. Returns whether one did. */
static bool resize(Sample *s, int64_t from, int64_t to)
{
    bool changed = false;
    for (int i = 0; i < s->leaves; i++)
        for (int d = 0; d < s->leaf[i].ndim; d++)
            if (s->leaf[i].shape[d] == from) {
                s->leaf[i].shape[d] = to;
                changed = true;
            }
    return changed && from != to;
}

static bool add_dims(Leaf *l, int ndim)
{
    const int more = ndim - l->ndim;
    if (more <= 0) return false;
    memmove(l->shape + more, l->shape, (size_t)l->ndim * sizeof *l->shape);
    for (int d = 0; d < more; d++) l->shape[d] = d == 0 ? 2 : 1;
    l->ndim = ndim;
    return true;
}

static bool all_forms(Sample *s, char form)
{
    for (int i = 0; i < s->leaves; i++) s->leaf[i].form = s->leaf[i].ndim > 0 ? form : 0;
    return s->leaf[0].ndim > 0;
}

/* Changes the sample; false: there is no such change of this case. `from` is a size of it. */
static bool change(Sample *s, Change c, int64_t from)
{
    snprintf(s->how, sizeof s->how, "%s%.0lld", change_names[c], (long long)from);
    bool all = true;
    int64_t to = 1;
    switch (c) {
    case UNCHANGED: return true;
    case LONG: return resize(s, from, 600 + from);
    case LONGER: return resize(s, from, 4100 + from);
    case WIDE:
        while (to < 70000 && largest_input(s) < 70000) {
            if (!resize(s, to == 1 ? from : to, 2 * to + from)) return false;
            to = 2 * to + from;
        }
        return true;
    case SINGLE: return resize(s, from, 1);
    case NONE: return resize(s, from, 0);
    case TRANSPOSE: return all_forms(s, 't');
    case STEP: return all_forms(s, 's');
    case EXPAND: return all_forms(s, 'e');
    case DIMS_5: return add_dims(&s->leaf[0], 5);
    case DIMS_8: return add_dims(&s->leaf[0], 8);
    case ALL_8:
        for (int i = 0; i < s->leaves; i++) all = add_dims(&s->leaf[i], 8) && all;
        return all && s->leaves > 1;
    case HUGE_: s->magnitude = 0x1p30; return s->row->domain != EXACT;
    case TINY: s->magnitude = 0x1p-30; return s->row->domain != EXACT;
    case CHANGES: break;
    }
    return false;
}

/* ---- one run -------------------------------------------------------------------------------- */

typedef struct Inputs {
    DType dtype;
    Tensor *leaf[MAX_INPUTS];
} Inputs;

/* The results of an operation, in float64. */
typedef struct Outcome {
    Tensor *y, *grad[MAX_INPUTS]; /* owned; grad NULL: frozen */
    double inner[MAX_INPUTS];     /* the largest gradient of an expanded input before its sum */
} Outcome;

static void free_outcome(Outcome *o)
{
    lk_free(o->y);
    for (int i = 0; i < MAX_INPUTS; i++) lk_free(o->grad[i]);
    *o = (Outcome){ .y = NULL };
}

/* Values of input i in the domain of the row, which float32 holds exactly. */
static Tensor *values_of(const Sample *s, int i)
{
    const Leaf *l = &s->leaf[i];
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, l->shape, sizeof shape);
    if (l->form == 's') shape[l->ndim - 1] *= 2;
    if (l->form == 'e') shape[0] = l->shape[0] > 0;
    for (int d = 0; l->form == 't' && d < l->ndim; d++) shape[d] = l->shape[l->ndim - 1 - d];
    Tensor *x = lk_param_new(LK_F64, l->ndim, shape, NULL);
    Rng rng;
    lk_manual_seed(&rng, s->seed + (uint64_t)i);
    const int64_t n = lk_numel(x);
    double *v = x->data;
    if (s->row->domain == POSITIVE) lk_uniform_(x, 0.5, 2, &rng);
    else lk_normal_(x, 0, 1, &rng);
    if (s->row->domain == APART) {
        int64_t *order = malloc(((size_t)n + 1) * sizeof *order);
        lk_random_perm(&rng, n, order);
        for (int64_t k = 0; k < n; k++) v[k] = 0.3 * ((double)(order[k] - n / 2) + 0.5);
        free(order);
    }
    for (int64_t k = 0; k < n; k++) {
        if (s->row->domain == EXACT) v[k] = fmax(-1, fmin(1, floor(4 * v[k]) / 4));
        v[k] = (double)(float)(v[k] * s->magnitude);
    }
    return x;
}

static Inputs make_inputs(const Sample *s, DType dtype)
{
    Inputs in = { .dtype = dtype };
    for (int i = 0; i < s->leaves; i++) {
        in.leaf[i] = values_of(s, i);
        Tape *t = lk_tape_new(NULL);
        Tensor *same = lk_clone(lk_to(t, lk_detach(t, in.leaf[i]), dtype), NULL);
        lk_tape_free(t);
        lk_free(in.leaf[i]);
        in.leaf[i] = same;
        lk_set_requires_grad(same, true);
    }
    return in;
}

static void free_inputs(Inputs *in)
{
    for (int i = 0; i < MAX_INPUTS; i++) lk_free(in->leaf[i]);
}

/* The leaf as the operation sees it. */
static Tensor *seen(Tape *t, const Leaf *l, Tensor *leaf)
{
    if (l->form == 't') return lk_T(t, leaf);
    if (l->form == 's') return lk_slice(t, leaf, -1, 0, INT64_MAX, 2);
    if (l->form == 'e') return lk_expand(t, leaf, l->ndim, l->shape);
    return leaf;
}

static Tensor *call(Tape *t, const Sample *s, const Inputs *in, Tensor **x)
{
    memset(x, 0, MAX_INPUTS * sizeof *x); /* a row may read more inputs than it has */
    for (int i = 0; i < s->leaves; i++) x[i] = seen(t, &s->leaf[i], in->leaf[i]);
    return s->row->call(t, x, NULL);
}

static double value_at(const Tensor *x, int64_t i)
{
    if (!x) return 0; /* the gradient of an input that is not read */
    return x->dtype == LK_F64 ? ((const double *)x->data)[i] : (double)((const float *)x->data)[i];
}

static double largest(const Tensor *x)
{
    double most = 0;
    for (int64_t i = 0; x && i < lk_numel(x); i++) most = fmax(most, fabs(value_at(x, i)));
    return most;
}

/* Moves each element of x, float64, by half a unit in the last place of float32, up or down. */
static void move(Tensor *x, uint64_t seed)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    double *v = x->data;
    for (int64_t k = 0; k < lk_numel(x); k++)
        v[k] *= 1 + (lk_random_int(&rng, 0, 2) ? 0x1p-24 : -0x1p-24);
    lk_touch(x);
}

/* The gradient of the result, with strides as `form` says: 't', 's', 'e' (a row that is repeated),
 * or 'r', the same values as 'e' without strides. '1', '2', '3': moved by half a unit in the last
 * place of float32. */
static Tensor *cotangent(Tape *t, const Tensor *y, char form)
{
    Rng rng;
    lk_manual_seed(&rng, 77);
    Tensor *dy = lk_zeros(t, LK_F64, y->ndim, y->shape);
    lk_normal_(dy, 0, 1, &rng);
    dy = lk_to(t, lk_to(t, dy, LK_F32), y->dtype);
    if (form >= '1' && form <= '3') move(dy, (uint64_t)form);
    const bool rows = y->ndim > 0 && lk_numel(y) > 0;
    if (form == 't') return lk_T(t, lk_contiguous(t, lk_T(t, dy)));
    if (form == 's' && rows)
        return lk_slice(t, lk_repeat_interleave(t, dy, 2, -1), -1, 1, INT64_MAX, 2);
    if ((form == 'e' || form == 'r') && rows)
        dy = lk_expand(t, lk_slice(t, dy, 0, 0, 1, 1), y->ndim, y->shape);
    return form == 'r' ? lk_contiguous(t, dy) : dy;
}

/* Runs forward, and backward for the leaves in `wanted`. False: refused, or a failure. */
static bool run(Tape *t, const Sample *s, const Inputs *in, unsigned wanted, char form, Outcome *o)
{
    bool any = false;
    for (int i = 0; i < s->leaves; i++) {
        lk_zero_grad_(in->leaf[i]);
        in->leaf[i]->requires_grad = wanted >> i & 1;
    }
    Tensor *x[MAX_INPUTS], *y = call(t, s, in, x);
    for (int i = 0; o && i < s->leaves; i++)
        if (x[i] && x[i]->node && s->leaf[i].form == 'e') lk_retain_grad(x[i]);
    bool ok = y;
    if (ok && y->requires_grad) ok = any = lk_backward_with(t, y, cotangent(t, y, form), false);
    if (!ok || !o) return ok;
    o->y = lk_clone(y, NULL);
    for (int i = 0; any && i < s->leaves; i++) {
        if (!(wanted >> i & 1) || !lk_grad(in->leaf[i])) continue;
        o->grad[i] = lk_clone(lk_grad(in->leaf[i]), NULL);
        if (s->leaf[i].form == 'e') o->inner[i] = largest(lk_grad(x[i]));
    }
    return ok;
}

#endif
