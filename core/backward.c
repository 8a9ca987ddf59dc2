/* backward.c - the gradients of leaves and intermediates, and the loop that runs a record
 * backwards. */
#include <string.h>

#include "core/decimal.h"
#include "core/strict.h"
#include "core/tape_parts.h"
#include "core/ops.h"

/* ---- gradients ------------------------------------------------------------------------------ */

/* Returns an uninitialised contiguous tensor in the shape of x, for a gradient on the tape; NULL
 * when memory is short. */
static inline Tensor *flow_new(Tape *t, const Tensor *x)
{
    size_t bytes = (size_t)lk__elements(x) * lk_dtype_size(x->dtype);
    void *block = NULL;
    for (FreeBlock **f = &t->free; *f; f = &(*f)->next)
        if ((*f)->bytes == bytes) {
            block = *f;
            *f = (*f)->next;
            break;
        }
    if (!block) block = lk_tape_alloc(t, LK_HEADER + bytes);
    else if (t->arena.fill) memset(block, t->arena.fill, LK_HEADER + bytes);
    return block ? lk__tensor_place(block, x->dtype, x->ndim, x->shape, bytes) : NULL;
}

static void flow_free(Tape *t, Tensor *grad)
{
    size_t bytes = grad->storage->bytes;
    FreeBlock *block = (FreeBlock *)grad;
    *block = (FreeBlock){ t->free, bytes };
    t->free = block;
}

/* Whether x is a leaf of another tape. A gradient kept on t could be gone before the leaf is. */
static bool is_foreign_leaf(const Tape *t, const Tensor *x)
{
    return !x->node && x->refs == 0 && !x->grad_room && x->tape != t;
}

/* Makes sure that x->grad exists. *fresh is true when nothing was added to it yet; its values are
 * then undefined. An owned leaf keeps the memory for good, a leaf of the tape until the reset. */
static Tensor *leaf_grad(Tape *t, Tensor *x, bool *fresh)
{
    *fresh = !x->grad;
    if (x->grad) return x->grad;
    if (!x->grad_room) {
        Error err = { 0 };
        x->grad_room = x->refs ? lk_tensor_new(x->dtype, x->ndim, x->shape, &err)
                               : lk_empty(t, x->dtype, x->ndim, x->shape);
        if (!x->grad_room) return lk_fail(t, LK_EMEMORY, "lk_backward: %s", err.message);
    }
    return x->grad = x->grad_room;
}

Tensor *lk_grad_in_fresh(Tape *t, Node *n, int i, bool *fresh)
{
    *fresh = false;
    if (!n || !lk__is_wanted(n, i)) return NULL;
    Tensor *x = n->in[i];
    if (!x->node) return leaf_grad(t, x, fresh);
    if (!x->node->grad) {
        x->node->grad = flow_new(t, x);
        *fresh = true;
    }
    return x->node->grad;
}

Tensor *lk_grad_in(Tape *t, Node *n, int i)
{
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, n, i, &fresh);
    if (dx && fresh) memset(dx->data, 0, dx->storage->bytes);
    return dx;
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Whether n can compute the gradients that are wanted. The inputs and the result that they need
 * must be as they were in the forward, and the graph must not be used up. */
static bool can_run(Tape *t, const Node *n)
{
    unsigned needs = 0;
    for (int i = 0; i < n->inputs; i++) {
        if (!lk__is_wanted(n, i)) continue;
        needs |= lk__needs(n->op, i);
        if (n->in[i]->dtype != n->was[i].dtype)
            return lk_fail(
                t, LK_ESTATE,
                "lk_backward: input %d of %s was %s in the forward and is %s now; convert it "
                "before the forward",
                i, lk__node_name(n), lk_dtype_name(n->was[i].dtype),
                lk_dtype_name(n->in[i]->dtype));
        if (is_foreign_leaf(t, n->in[i]))
            return lk_fail(t, LK_ESTATE,
                           "lk_backward: input %d of %s is a leaf of another tape; lk_clone it", i,
                           lk__node_name(n));
    }
    if (needs && n->used) {
        lk_fail(t, LK_ESTATE,
                "lk_backward: %s was gone through before; keep the graph (lk_backward_with, "
                "keep_graph) "
                "or compute the forward again",
                lk__node_name(n));
        return false;
    }
    if (!needs) return true;
    char text[LK_SHAPE_TEXT];
    for (int i = 0; i <= n->inputs; i++) {
        bool is_out = i == n->inputs;
        const Tensor *x = is_out ? n->out : n->in[i];
        if (!x || !(needs & (is_out ? (unsigned)LK_OUT : lk__in_bit(i)))) continue;
        if (lk__is_gone(x)) { /* only a tensor of another tape can be gone */
            char role[96];
            lk_snprintf(role, sizeof role, "an input of %s", lk__node_name(n));
            lk__fail_stale(t, "lk_backward", role, x);
            return false;
        }
        uint32_t then = is_out ? n->out_version : n->was[i].version;
        if (x->storage->version == then) continue;
        lk_fail(t, LK_ESTATE,
                "lk_backward: %s needs its %s %s as it was in the forward, but it was changed in "
                "place "
                "since (version %u, expected %u); change it after the backward, or compute with a "
                "clone",
                lk__node_name(n), is_out ? "result" : "input", lk_shape_text(x, text),
                x->storage->version, then);
        return false;
    }
    return true;
}

/* Marks `start` and the nodes that it depends on. Returns false, with nothing changed, when one of
 * them cannot run. */
static bool mark_graph(Tape *t, Node *start)
{
    start->reached = true;
    for (Node *n = start; n; n = n->prev) {
        if (!n->reached) continue;
        if (!can_run(t, n)) {
            for (n = start; n; n = n->prev) n->reached = false;
            return false;
        }
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i] && n->in[i]->node) n->in[i]->node->reached = true;
    }
    return true;
}

/* Adds the gradient of the result to n->out->grad, which stays on the tape, as y.retain_grad()
 * does in PyTorch. */
static void keep_gradient(Tape *t, Node *n)
{
    bool fresh;
    Tensor *gradient = leaf_grad(t, n->out, &fresh);
    if (gradient && fresh) lk__copy_fitting(gradient, n->grad);
    else if (gradient) lk_accumulate(t, gradient, n->grad);
}

/* While the tape is annotated, all results on the way keep their gradients. */
static void keep_gradients(Node *start)
{
    for (Node *n = start; n; n = n->prev)
        if (n->reached) n->out->keeps_grad = true;
}

static bool run_graph(Tape *t, Node *start, bool keep_graph)
{
    if (t->notes.on) keep_gradients(start);
    for (Node *n = start; n; n = n->prev) {
        if (!n->reached) continue;
        n->reached = false;
        if (!n->grad) continue;
        if (t->error.code == LK_OK && n->out->keeps_grad) keep_gradient(t, n);
        if (t->error.code == LK_OK) n->op->backward(t, n);
        flow_free(t, n->grad);
        n->grad = NULL;
        n->used = n->used || !keep_graph;
    }
    return t->error.code == LK_OK;
}

bool lk__run_backward(Tape *t, Tensor *y, const Tensor *dy, bool keep_graph)
{
    if (y->node && !mark_graph(t, y->node)) return false;
    bool fresh = true;
    t->pins++;
    /* when y is a leaf, the seed goes straight to its own gradient */
    Tensor *seed = y->node ? flow_new(t, y) : leaf_grad(t, y, &fresh);
    if (seed && fresh) lk__copy_fitting(seed, dy);
    else if (seed) lk_accumulate(t, seed, dy);
    if (!y->node) return seed;
    y->node->grad = seed;
    return run_graph(t, y->node, keep_graph); /* without a seed, this only removes the marks */
}

/* Reports a forgotten lk_tape_reset in strict mode: nothing but the memory shows it. A few graphs
 * may be used up between two resets, as parts of one batch. */
static bool count_graph(Tape *t)
{
    enum { MANY = 16 };
    if (++t->graphs_used == MANY && lk_strict())
        lk_strict_report(LK_ESTATE,
                         "lk_backward: %d graphs are used up, and the tape still holds all of "
                         "their results; lk_tape_reset(t) belongs at the end of each step",
                         MANY);
    return true;
}

bool lk_backward_with(Tape *t, Tensor *y, const Tensor *gradient, bool keep_graph)
{
    if (!t || t->error.code != LK_OK) return false;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    if (!y) {
        lk_fail(t, LK_EVALUE, "lk_backward: the tensor is NULL");
    } else if (lk__is_gone(y)) {
        lk__fail_stale(t, "lk_backward", "", y);
    } else if (gradient && lk__is_gone(gradient)) {
        lk__fail_stale(t, "lk_backward_with", "gradient", gradient);
    } else if (!y->requires_grad) {
        lk_fail(t, LK_ESTATE,
                "lk_backward: %s does not require a gradient and was not computed from a leaf "
                "that does "
                "(or in no-grad mode)",
                lk_shape_text(y, a));
    } else if (y->node ? y->tape != t : is_foreign_leaf(t, y)) {
        lk_fail(t, LK_ESTATE, "lk_backward: the tensor belongs to another tape");
    } else if (!gradient && lk_numel(y) != 1) {
        lk_fail(t, LK_ESHAPE,
                "lk_backward: %s has %lld elements; only a scalar has an implicit gradient, give "
                "one with "
                "lk_backward_with",
                lk_shape_text(y, a), (long long)lk_numel(y));
    } else if (gradient && (!lk_same_shape(y, gradient) || y->dtype != gradient->dtype)) {
        lk_fail(t, LK_ESHAPE,
                "lk_backward_with: gradient %s of %s does not fit the tensor %s of %s",
                lk_shape_text(gradient, b), lk_dtype_name(gradient->dtype), lk_shape_text(y, a),
                lk_dtype_name(y->dtype));
    } else {
        if (!gradient) gradient = lk_full(t, y->dtype, LK_SCALAR, 1);
        return gradient && lk__run_backward(t, y, gradient, keep_graph) &&
               (keep_graph || count_graph(t));
    }
    return false;
}

bool lk_backward(Tape *t, Tensor *y) { return lk_backward_with(t, y, NULL, false); }
