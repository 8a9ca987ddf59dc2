/* nodes.c - checks every recorded operation on its own. Its backward runs again and again with the
 * same dy. Between the runs, only things change that a right backward ignores. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

/* The place of a gradient as it was before a run. */
typedef struct Place {
    Tensor *grad, *room;
} Place;

typedef struct NodeCheck {
    Check *c;
    Node *n;
    double rounding; /* of the operation's dtype */
    int64_t *offset; /* where the gradient of input i begins; offset[inputs]: all elements */
    double *dy;
    double *plain, *other, *third; /* gradients of all inputs, one after the other */
    Place *place;
    bool *wanted; /* as recorded */
    bool writes;  /* the backward writes to memory that is not its own; it does not run again */
} NodeCheck;

static bool is_asked(const Node *n, int i)
{
    return n->in[i] && n->was[i].wanted && n->in[i]->requires_grad;
}

/* Whether no earlier input is the same tensor as input i. */
static bool is_first(const Node *n, int i)
{
    for (int j = 0; j < i; j++)
        if (n->in[j] == n->in[i]) return false;
    return true;
}

/* ---- one run -------------------------------------------------------------------------------- */

/* Returns the size of the gradients that a run presets. It is about the size of the new gradients,
 * so that rounding does not hide them. */
static double preset_scale(const double *plain, int64_t n)
{
    int exponent;
    frexp(fmax(1, lk__check_largest(plain, n)), &exponent);
    return ldexp(1, exponent);
}

static double preset(double scale, int64_t k)
{
    return scale * (1 + (double)(k % 7) / 4); /* exact in float32 too */
}

/* Makes the place to which the gradient of input i is added. It is empty, or holds the presets
 * that fit k->plain. */
static bool put_place(NodeCheck *k, int i, bool presets)
{
    Tape *t = k->c->t;
    Tensor *x = k->n->in[i], *g = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!g) return false;
    int64_t n = lk_numel(x);
    double scale = preset_scale(k->plain + k->offset[i], n);
    for (int64_t e = 0; presets && e < n; e++) {
        double value = preset(scale, e);
        lk__store_row(x->dtype, (char *)g->data + (size_t)e * lk_dtype_size(x->dtype), 1, 1,
                      &value);
    }
    if (x->node) {
        k->place[i].grad = x->node->grad;
        x->node->grad = presets ? g : NULL;
    } else {
        k->place[i] = (Place){ x->grad, x->grad_room };
        x->grad = presets ? g : NULL;
        x->grad_room = g;
    }
    return true;
}

/* Reads the gradient of input i (0 if there is none) and puts the old place back. */
static void take_place(NodeCheck *k, int i, double *to)
{
    Tensor *x = k->n->in[i], **at = x->node ? &x->node->grad : &x->grad;
    int64_t n = lk_numel(x);
    if (*at) lk__load_row(*at, (*at)->data, 1, n, to);
    else memset(to, 0, (size_t)n * sizeof *to);
    *at = k->place[i].grad;
    if (!x->node) x->grad_room = k->place[i].room;
}

/* Runs the backward of the node on dy and reads the gradients into `to`. Returns false when it
 * failed and the check has stopped. */
static bool run_node(NodeCheck *k, bool presets, double *to)
{
    Tape *t = k->c->t;
    Node *n = k->n;
    FreeBlock *blocks = t->free;
    TapeMark mark = lk_tape_mark(t);
    t->free = NULL; /* the blocks of this run are released with it */
    n->grad = lk_empty(t, n->out->dtype, n->out->ndim, n->out->shape);
    bool ok = n->grad;
    if (ok) lk__store_row(n->out->dtype, n->grad->data, 1, lk_numel(n->out), k->dy);
    int placed = 0;
    for (; ok && placed < n->inputs; placed++)
        if (is_asked(n, placed) && is_first(n, placed)) ok = put_place(k, placed, presets);
    if (!ok) placed--; /* the last one has no place */
    if (ok) n->op->backward(t, n);
    for (int i = 0; i < placed; i++)
        if (is_asked(n, i) && is_first(n, i)) take_place(k, i, to + k->offset[i]);
    n->grad = NULL;
    t->free = blocks;
    lk_tape_release(t, mark, NULL);
    if (t->error.code != LK_OK) return lk__check_stop(k->c, "function", "%s", t->error.message);
    return true;
}

static bool differ(const NodeCheck *k, const double *a, const double *b, int64_t n)
{
    return lk__check_unequal(a, b, n, 0, k->rounding) >= 0;
}

static int64_t elements_of(const NodeCheck *k, int i) { return k->offset[i + 1] - k->offset[i]; }

/* ---- input written -------------------------------------------------------------------------- */

/* Returns input i, or the result for i = n->inputs. */
static Tensor *operand(const Node *n, int i) { return i < n->inputs ? n->in[i] : n->out; }

static const char *operand_name(const Node *n, int i, char text[32])
{
    if (i == n->inputs) return "its result";
    lk_snprintf(text, 32, "its input %d", i);
    return text;
}

static void find_writing(NodeCheck *k)
{
    Node *n = k->n;
    char text[32];
    void **bytes = lk_mem_calloc((size_t)n->inputs + 1, sizeof *bytes);
    bool ok = bytes;
    for (int i = 0; ok && i <= n->inputs; i++) {
        const Tensor *x = operand(n, i);
        if (!x) continue;
        bytes[i] = lk_mem_alloc(x->storage->bytes + 1);
        ok = bytes[i];
        if (ok && x->storage->bytes) memcpy(bytes[i], x->storage->data, x->storage->bytes);
    }
    if (!ok) lk__check_no_memory(k->c);
    else run_node(k, false, k->plain);
    for (int i = 0; ok && i <= n->inputs; i++) {
        Tensor *x = operand(n, i);
        if (!x || !x->storage->bytes || memcmp(x->storage->data, bytes[i], x->storage->bytes) == 0)
            continue;
        memcpy(x->storage->data, bytes[i], x->storage->bytes);
        lk_touch(x);
        k->writes = true;
        lk__check_found(k->c, "input written",
                        "the backward of %.60s writes to %s; it may write to lk_grad_in and to "
                        "memory of its own",
                        lk__node_name(n), operand_name(n, i, text));
    }
    for (int i = 0; bytes && i <= n->inputs; i++) lk_mem_free(bytes[i]);
    lk_mem_free(bytes);
}

/* ---- overwritten ---------------------------------------------------------------------------- */

/* Each gradient must be the old value plus the new one. The report shows the wrong element with
 * the largest new value. */
static void find_overwriting(NodeCheck *k)
{
    const Node *n = k->n;
    if (!run_node(k, true, k->other)) return;
    for (int i = 0; i < n->inputs; i++) {
        if (!is_asked(n, i) || !is_first(n, i)) continue;
        const double *plain = k->plain + k->offset[i], *sum = k->other + k->offset[i];
        int64_t worst = -1, count = elements_of(k, i);
        double scale = preset_scale(plain, count);
        for (int64_t e = 0; e < count; e++) {
            double old = preset(scale, e), right = old + plain[e];
            if (lk__check_same(right, sum[e]) || fabs(right - sum[e]) <= k->rounding * old)
                continue;
            if (worst < 0 || fabs(plain[e]) > fabs(plain[worst])) worst = e;
        }
        if (worst < 0) continue;
        char index[LK_SHAPE_TEXT];
        double old = preset(scale, worst);
        lk__check_found(k->c, "overwritten",
                        "the backward of %.60s does not add (= for +=): the gradient of its input "
                        "%d at %.40s was %g, must become %g, is %g",
                        lk__node_name(n), i, lk__check_index(n->in[i], worst, index), old,
                        old + plain[worst], lk__check_shown(sum[worst]));
    }
}

/* ---- first use ------------------------------------------------------------------------------ */

/* Checks the inputs that are given twice. For comparison, the second place gets another tensor of
 * the same values. The gradient of the input must be the sum of what the two tensors then get. */
static void find_first_use(NodeCheck *k)
{
    Node *n = k->n;
    for (int j = 1; j < n->inputs; j++) {
        if (!is_asked(n, j) || is_first(n, j)) continue;
        int i = 0;
        while (n->in[i] != n->in[j]) i++;
        Tensor *x = n->in[j], *alias = lk__view_of(k->c->t, x, x->storage, x->data);
        if (!alias) {
            lk__check_no_memory(k->c);
            return;
        }
        alias->requires_grad = true;
        n->in[j] = alias;
        bool ok = run_node(k, false, k->other);
        n->in[j] = x;
        if (!ok) return;
        int64_t count = elements_of(k, i);
        double *sum = k->third;
        const double *both = k->plain + k->offset[i], *first = k->other + k->offset[i],
                     *second = k->other + k->offset[j];
        for (int64_t e = 0; e < count; e++) sum[e] = first[e] + second[e];
        if (!differ(k, both, sum, count)) continue;
        if (!differ(k, both, first, count))
            lk__check_found(k->c, "first use",
                            "the backward of %.60s is right for the first use of an input only: "
                            "input %d is input %d too, and nothing is added for it",
                            lk__node_name(n), j, i);
        else
            lk__check_found(k->c, "first use",
                            "the backward of %.60s gives a tensor that is input %d and input %d "
                            "another gradient than the sum of both",
                            lk__node_name(n), i, j);
    }
}

/* ---- frozen, needs -------------------------------------------------------------------------- */

/* Leaves input i as the only one that wants a gradient. */
static void freeze_others(NodeCheck *k, int i)
{
    for (int j = 0; j < k->n->inputs; j++)
        k->n->was[j].wanted = k->wanted[j] && k->n->in[j] == k->n->in[i];
}

static void thaw(NodeCheck *k)
{
    for (int j = 0; j < k->n->inputs; j++) k->n->was[j].wanted = k->wanted[j];
}

static unsigned needs_of(const Node *n, int i)
{
    unsigned needs = 0;
    for (int j = i; j < n->inputs; j++)
        if (n->in[j] == n->in[i]) needs |= lk__needs(n->op, j);
    return needs;
}

/* Whether operand u may change before backward: `needs` lists neither it nor another operand in
 * the same storage. */
static bool may_change(const Node *n, int u, unsigned needs)
{
    const Tensor *x = operand(n, u);
    if (!x || x->storage->release || !x->storage->bytes) return false;
    for (int j = 0; j <= n->inputs; j++) {
        bool listed = needs & (j < n->inputs ? lk__in_bit(j) : (unsigned)LK_OUT);
        if (operand(n, j) && operand(n, j)->storage == x->storage && listed) return false;
    }
    return true;
}

/* Overwrites x: with NaN, or indices and masks with their own values in reverse order, which are
 * all valid. */
static void spoil(Tensor *x)
{
    Storage *s = x->storage;
    size_t size = lk_dtype_size(x->dtype), count = s->bytes / size;
    char *data = s->data, swap[8];
    if (lk_is_floating(x->dtype)) memset(data, POISON, s->bytes);
    for (size_t a = 0; !lk_is_floating(x->dtype) && a < count / 2; a++) {
        char *p = data + a * size, *q = data + (count - 1 - a) * size;
        memcpy(swap, p, size);
        memcpy(p, q, size);
        memcpy(q, swap, size);
    }
    s->version++;
}

/* Runs the backward with operand u spoiled and reads the gradients into k->third. */
static bool run_spoiled(NodeCheck *k, int u)
{
    Tensor *x = operand(k->n, u);
    Storage *s = x->storage;
    void *bytes = lk_mem_alloc(s->bytes);
    if (!bytes) return lk__check_no_memory(k->c);
    memcpy(bytes, s->data, s->bytes);
    spoil(x);
    bool ok = run_node(k, false, k->third);
    memcpy(s->data, bytes, s->bytes);
    s->version++;
    lk_mem_free(bytes);
    return ok;
}

static void try_needs(NodeCheck *k, int i)
{
    const Node *n = k->n;
    char text[32];
    unsigned needs = needs_of(n, i);
    for (int u = 0; u <= n->inputs; u++) {
        if (!may_change(n, u, needs)) continue;
        if (!run_spoiled(k, u)) return;
        bool same = true;
        for (int64_t e = k->offset[i]; same && e < k->offset[i + 1]; e++)
            same = lk__check_same(k->other[e], k->third[e]);
        if (same) continue;
        lk__check_found(k->c, "needs",
                        "the backward of %.60s reads %s for the gradient of input %d, and "
                        "needs[%d] does not list it: a change in place would not be noticed",
                        lk__node_name(n), operand_name(n, u, text), i, i);
        return;
    }
}

/* Computes each input's gradient alone. It must not depend on whether the other inputs want
 * gradients, nor on operands that its needs do not list. Inputs from 4 on share one entry of
 * needs, so only input 4 and the last one are tried. */
static void find_needs(NodeCheck *k)
{
    Node *n = k->n;
    for (int i = 0; i < n->inputs && !k->c->stopped; i++) {
        if (!is_asked(n, i) || !is_first(n, i) || (i > 4 && i < n->inputs - 1)) continue;
        freeze_others(k, i);
        bool ok = run_node(k, false, k->other);
        if (ok && differ(k, k->other + k->offset[i], k->plain + k->offset[i], elements_of(k, i)))
            lk__check_found(k->c, "frozen",
                            "the backward of %.60s gives its input %d another gradient when the "
                            "other inputs are frozen (lk_grad_in is NULL for them)",
                            lk__node_name(n), i);
        else if (ok) try_needs(k, i);
        thaw(k);
    }
}

/* ---- all of them ---------------------------------------------------------------------------- */

typedef void Look(NodeCheck *k);

static void check_node(Check *c, Node *n, Look *const *looks)
{
    NodeCheck k = { .c = c, .n = n };
    size_t inputs = (size_t)n->inputs;
    int64_t total = 0, outputs = lk_numel(n->out);
    for (int i = 0; i < n->inputs; i++) total += n->in[i] ? lk_numel(n->in[i]) : 0;
    k.offset = lk_mem_calloc(inputs + 1, sizeof *k.offset);
    k.place = lk_mem_calloc(inputs + 1, sizeof *k.place);
    k.wanted = lk_mem_calloc(inputs + 1, sizeof *k.wanted);
    k.dy = lk_mem_calloc((size_t)outputs + 3 * (size_t)total + 1, sizeof *k.dy);
    if (k.offset && k.place && k.wanted && k.dy) {
        k.plain = k.dy + outputs;
        k.other = k.plain + total;
        k.third = k.other + total;
        k.rounding = n->out->dtype == LK_F64 ? 1e-10 : 1e-5;
        for (int i = 0; i < n->inputs; i++) {
            k.offset[i + 1] = k.offset[i] + (n->in[i] ? lk_numel(n->in[i]) : 0);
            k.wanted[i] = n->was[i].wanted;
            if (n->in[i] && n->in[i]->dtype == LK_F32) k.rounding = 1e-5;
        }
        uint64_t own = COTANGENTS * (uint64_t)c->results; /* a stream that no result has */
        lk__gradcheck_cotangent(c->o.seed, own, outputs, k.dy);
        find_writing(&k); /* fills k.plain */
        for (; *looks && !c->stopped && !k.writes; looks++) (*looks)(&k);
    } else {
        lk__check_no_memory(c);
    }
    lk_mem_free(k.dy);
    lk_mem_free(k.wanted);
    lk_mem_free(k.place);
    lk_mem_free(k.offset);
}

static void check_nodes(Check *c, Look *const *looks)
{
    lk__check_begin(c, true, POISON);
    if (!lk__check_call(c, c->in, NULL)) return;
    lk__check_mark(c);
    for (Node *n = c->t->last; n && !c->stopped; n = n->prev)
        if (n->reached && n->op->backward) check_node(c, n, looks);
    lk__check_unmark(c);
}

void lk__check_adding(Check *c)
{
    check_nodes(c, (Look *const[]){ find_overwriting, find_first_use, NULL });
}

void lk__check_needs(Check *c) { check_nodes(c, (Look *const[]){ find_needs, NULL }); }
