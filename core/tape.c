/* tape.c - the memory of operations, what they record, and the loop that runs it backwards. How an operation uses it:
 * core/op.h. */
#include "core/tape.h"

#include <stdarg.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/internal.h"
#include "core/ops.h"

/* The gradient of an intermediate lives from its first reader to its maker, then its block serves the next one of that
 * size: backward needs memory for the gradients that are alive at once, not for all of them. */
typedef struct FreeBlock FreeBlock;
struct FreeBlock {
    FreeBlock *next;
    size_t bytes;
};

struct Tape {
    Arena arena;      /* tensors, nodes, gradients of intermediates */
    void *scratch;    /* one block for temporaries */
    size_t scratch_bytes;
    Node *last;       /* the newest record; ->prev leads to the oldest: creation order is a topological order */
    FreeBlock *free;  /* blocks of gradients that are no longer needed, in the arena */
    bool grad;        /* recording is on */
    TapeRandom random; /* the stream of dropout */
    uint64_t epoch;   /* of the tensors on it */
    uint64_t kept;    /* records and backward runs: what they leave in the arena must stay there */
    Error error;
    ErrorHandler *handler;
    void *handler_user;
};

static void print_error(const Error *err, void *user)
{
    (void)user;
    fprintf(stderr, "%s\n", err->message);
}

/* Tapes of several threads share the count. */
static uint64_t next_epoch(void)
{
    static _Atomic uint64_t epochs;
    return ++epochs;
}

Tape *lk_tape_new(Error *err)
{
    Tape *t = lk_mem_calloc(1, sizeof *t);
    if (!t) {
        lk_error_set(err, LK_EMEMORY, "lk_tape_new: no memory");
        return NULL;
    }
    t->grad = true;
    t->epoch = next_epoch();
    t->handler = print_error;
    return t;
}

void lk_tape_free(Tape *t)
{
    if (!t) return;
    lk_arena_free(&t->arena);
    lk_mem_free(t->scratch);
    lk_mem_free(t);
}

uint64_t lk_tape_epoch(const Tape *t)
{
    return t->epoch;
}

void lk_tape_reset(Tape *t)
{
    t->epoch = next_epoch();
    lk_arena_reset(&t->arena);
    t->last = NULL;
    t->free = NULL;
}

bool lk_tape_set_grad(Tape *t, bool on)
{
    bool before = t->grad;
    t->grad = on;
    return before;
}

bool lk_tape_grad(const Tape *t)
{
    return t->grad;
}

void lk_tape_seed(Tape *t, uint64_t seed)
{
    t->random = (TapeRandom){ seed, 0 };
}

TapeRandom lk_tape_random(const Tape *t)
{
    return t->random;
}

void lk_tape_set_random(Tape *t, TapeRandom at)
{
    t->random = at;
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

const Error *lk_tape_error(const Tape *t)
{
    return &t->error;
}

void lk_tape_clear_error(Tape *t)
{
    t->error = (Error){ 0 };
}

void lk_tape_on_error(Tape *t, ErrorHandler *handler, void *user)
{
    t->handler = handler;
    t->handler_user = user;
}

void *lk_fail(Tape *t, ErrorCode code, const char *format, ...)
{
    if (t->error.code != LK_OK) return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(t->error.message, sizeof t->error.message, format, args);
    va_end(args);
    t->error.code = code;
    if (t->handler) t->handler(&t->error, t->handler_user);
    return NULL;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

void *lk_tape_alloc(Tape *t, size_t bytes)
{
    void *p = lk_arena_alloc(&t->arena, bytes);
    return p ? p : lk_fail(t, LK_EMEMORY, "tape: no memory for %zu bytes more than the %zu it holds", bytes,
                           lk_arena_bytes(&t->arena));
}

void *lk_tape_scratch(Tape *t, size_t bytes)
{
    if (bytes > t->scratch_bytes || !t->scratch) {
        lk_mem_free(t->scratch);
        t->scratch = lk_mem_alloc(bytes ? bytes : 1);
        t->scratch_bytes = t->scratch ? bytes : 0;
        if (!t->scratch) return lk_fail(t, LK_EMEMORY, "tape: no memory for %zu bytes of scratch", bytes);
    }
    return t->scratch;
}

void *lk_tape_temporary(Tape *t, size_t bytes, ArenaMark *mark)
{
    *mark = lk_arena_mark(&t->arena);
    return lk_tape_alloc(t, bytes);
}

void lk_tape_release_temporary(Tape *t, ArenaMark mark)
{
    lk_arena_release(&t->arena, mark);
}

Tensor *lk_empty(Tape *t, DType dtype, int ndim, const int64_t *shape)
{
    size_t bytes;
    Error err;
    err.code = LK_OK; /* the message stays as it is: clearing it would cost more than all the rest */
    if (!lk_tensor_bytes(dtype, ndim, shape, &bytes, &err)) return lk_fail(t, err.code, "%s", err.message);
    void *block = lk_tape_alloc(t, LK_HEADER + bytes);
    return block ? lk_tensor_place(block, dtype, ndim, shape, bytes) : NULL;
}

Tensor *lk_view_of(Tape *t, const Tensor *layout, Storage *storage, void *data)
{
    Tensor *y = lk_tape_alloc(t, sizeof *y);
    if (!y) return NULL;
    *y = (Tensor){ .dtype = layout->dtype, .ndim = layout->ndim, .storage = storage, .data = data };
    memcpy(y->shape, layout->shape, sizeof y->shape);
    memcpy(y->stride, layout->stride, sizeof y->stride);
    return y;
}

TapeMark lk_tape_mark(Tape *t)
{
    return (TapeMark){ lk_arena_mark(&t->arena), t->kept };
}

Tensor *lk_tape_release(Tape *t, TapeMark mark, Tensor *y)
{
    if (t->kept != mark.kept) return y;
    t->epoch = next_epoch();
    if (!y || !lk_arena_since(&t->arena, mark.memory, y)) {
        lk_arena_release(&t->arena, mark.memory);
        return y;
    }
    /* y moves down to the mark, with its elements if they lie behind it too. Its new block is not larger than what it
     * had, so there is room. */
    Tensor header = *y;
    Storage storage = *y->storage;
    bool moves = lk_arena_since(&t->arena, mark.memory, y->storage);
    char *block = lk_arena_keep(&t->arena, mark.memory, moves ? LK_HEADER : sizeof *y, storage.data,
                                moves ? storage.bytes : 0);
    Tensor *z = (Tensor *)block;
    *z = header;
    if (!moves) return z;
    z->storage = (Storage *)(z + 1);
    *z->storage = storage;
    z->storage->data = block + LK_HEADER;
    z->data = block + LK_HEADER + ((char *)header.data - (char *)storage.data);
    return z;
}

/* ---- checks that many operations begin with ----------------------------------------------------------------------- */

bool lk_check_floating(Tape *t, const char *function, int count, Tensor *const *x)
{
    for (int i = 0; i < count; i++) {
        if (!x[i]) return false; /* an earlier operation failed and said so */
        if (i > 0 && x[i]->dtype == x[0]->dtype) continue;
        if (!lk_is_floating(x[i]->dtype))
            return lk_fail(t, LK_EDTYPE, "%s: takes float32 or float64, not %s; lk_to converts", function,
                           lk_dtype_name(x[i]->dtype));
        if (i > 0)
            return lk_fail(t, LK_EDTYPE, "%s: operands are %s and %s; lk_to makes them the same", function,
                           lk_dtype_name(x[0]->dtype), lk_dtype_name(x[i]->dtype));
    }
    return true;
}

int lk_check_dim(Tape *t, const char *function, int ndim, int64_t d)
{
    if (d >= -ndim && d < ndim) return (int)(d < 0 ? d + ndim : d);
    if (ndim == 0) lk_fail(t, LK_ESHAPE, "%s: a scalar has no dimension %lld", function, (long long)d);
    else lk_fail(t, LK_ESHAPE, "%s: dimension %lld is outside %d … %d", function, (long long)d, -ndim, ndim - 1);
    return -1;
}

/* ---- recording ------------------------------------------------------------------------------------------------- */

bool lk_records(const Tape *t, int inputs, Tensor *const *in)
{
    if (!t->grad) return false;
    for (int i = 0; i < inputs; i++)
        if (in[i] && in[i]->requires_grad) return true;
    return false;
}

Tensor *lk_record(Tape *t, const Op *op, Tensor *y, int inputs, Tensor *const *in, const void *state,
                  size_t state_bytes)
{
    if (!y || !lk_records(t, inputs, in)) return y;
    /* One block: the node, its inputs, what they are now, the state. */
    size_t pointers = (size_t)inputs * sizeof(Tensor *), states = (size_t)inputs * sizeof(NodeInput);
    size_t state_at = (sizeof(Node) + pointers + states + 15) & ~(size_t)15;
    char *block = lk_tape_alloc(t, state_at + state_bytes);
    if (!block) return NULL;
    Node *n = (Node *)block;
    *n = (Node){ .op = op, .tape = t, .out = y, .prev = t->last, .inputs = inputs };
    n->in = (Tensor **)(n + 1);
    n->was = (NodeInput *)(block + sizeof *n + pointers);
    for (int i = 0; i < inputs; i++) {
        const Tensor *x = n->in[i] = in[i];
        n->was[i] = x ? (NodeInput){ x->storage->version, x->dtype, x->requires_grad } : (NodeInput){ 0 };
        if (x && x->node && x->node->tape != t)
            return lk_fail(t, LK_ESTATE, "%s: input %d was computed on another tape; lk_detach or lk_clone it first",
                           op->name, i);
    }
    n->out_version = y->storage->version;
    if (state_bytes) n->state = memcpy(block + state_at, state, state_bytes);
    y->requires_grad = true;
    y->node = n;
    t->last = n;
    t->kept++;
    return y;
}

const char *lk_grad_fn(const Tensor *y)
{
    return y && y->node ? y->node->op->name : NULL;
}

/* ---- gradients ------------------------------------------------------------------------------------------------- */

/* A contiguous tensor in the shape of x for a gradient on the tape, uninitialised. */
static Tensor *flow_new(Tape *t, const Tensor *x)
{
    size_t bytes = (size_t)lk_numel(x) * lk_dtype_size(x->dtype);
    void *block = NULL;
    for (FreeBlock **f = &t->free; *f; f = &(*f)->next)
        if ((*f)->bytes == bytes) {
            block = *f;
            *f = (*f)->next;
            break;
        }
    if (!block) block = lk_tape_alloc(t, LK_HEADER + bytes);
    return block ? lk_tensor_place(block, x->dtype, x->ndim, x->shape, bytes) : NULL;
}

static void flow_free(Tape *t, Tensor *grad)
{
    size_t bytes = grad->storage->bytes;
    FreeBlock *block = (FreeBlock *)grad;
    *block = (FreeBlock){ t->free, bytes };
    t->free = block;
}

/* Whether input i gets a gradient: it required one when it was recorded and still does. */
static bool is_wanted(const Node *n, int i)
{
    return n->in[i] && n->was[i].wanted && n->in[i]->requires_grad;
}

/* A leaf that another tape holds: a gradient kept here would be gone before it. */
static bool is_foreign_leaf(const Tape *t, const Tensor *x)
{
    return !x->node && x->refs == 0 && !x->grad_room && !lk_arena_since(&t->arena, (ArenaMark){ 0 }, x);
}

/* Whether a node is one of t's. What was made before a reset is not: its memory is not even looked at. */
static bool holds(const Tape *t, const Node *node)
{
    const Node *n = t->last;
    while (n && n != node) n = n->prev;
    return n;
}

/* Makes sure that x->grad exists; *fresh: nothing was added yet, the values are undefined. Owned leaves keep the memory
 * for good, leaves of the tape until the reset. */
static Tensor *leaf_grad(Tape *t, Tensor *x, bool *fresh)
{
    *fresh = !x->grad;
    if (x->grad) return x->grad;
    if (!x->grad_room) {
        Error err = { 0 };
        x->grad_room = x->refs ? lk_tensor_new(x->dtype, x->ndim, x->shape, &err) : lk_empty(t, x->dtype, x->ndim, x->shape);
        if (!x->grad_room) return lk_fail(t, LK_EMEMORY, "lk_backward: %s", err.message);
    }
    return x->grad = x->grad_room;
}

Tensor *lk_grad_in_fresh(Tape *t, Node *n, int i, bool *fresh)
{
    Tensor *x = n->in[i];
    *fresh = false;
    if (!is_wanted(n, i)) return NULL;
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

/* ---- backward -------------------------------------------------------------------------------------------------- */

/* Whether n can compute the gradients that are wanted: its inputs and its result are still what they were. */
static bool can_run(Tape *t, const Node *n)
{
    unsigned needs = 0;
    for (int i = 0; i < n->inputs; i++) {
        if (!is_wanted(n, i)) continue;
        if (i < (int)sizeof n->op->needs) needs |= n->op->needs[i];
        if (n->in[i]->dtype != n->was[i].dtype)
            return lk_fail(t, LK_ESTATE, "lk_backward: input %d of %s was %s in the forward and is %s now; convert it "
                           "before the forward", i, n->op->name, lk_dtype_name(n->was[i].dtype),
                           lk_dtype_name(n->in[i]->dtype));
        if (is_foreign_leaf(t, n->in[i]))
            return lk_fail(t, LK_ESTATE, "lk_backward: input %d of %s is a leaf of another tape; lk_clone it", i,
                           n->op->name);
    }
    if (needs && n->used) {
        lk_fail(t, LK_ESTATE, "lk_backward: %s was gone through before; keep the graph (lk_backward_with, keep_graph) "
                "or compute the forward again", n->op->name);
        return false;
    }
    if (!needs) return true;
    char text[LK_SHAPE_TEXT];
    for (int i = 0; i <= n->inputs; i++) {
        bool is_out = i == n->inputs;
        const Tensor *x = is_out ? n->out : n->in[i];
        if (!x || (!is_out && i >= 5) || !(needs & (is_out ? (unsigned)LK_OUT : 1u << i))) continue;
        uint32_t then = is_out ? n->out_version : n->was[i].version;
        if (x->storage->version == then) continue;
        lk_fail(t, LK_ESTATE, "lk_backward: %s needs its %s %s as it was in the forward, but it was changed in place "
                "since (version %u, expected %u); change it after the backward, or compute with a clone", n->op->name,
                is_out ? "result" : "input", lk_shape_text(x, text), x->storage->version, then);
        return false;
    }
    return true;
}

/* Marks the nodes that y depends on. False, with nothing changed, when one of them cannot run. */
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

/* y.retain_grad(): the gradient that flows through is added to y->grad, which stays on the tape. */
static void keep_gradient(Tape *t, Node *n)
{
    bool fresh;
    Tensor *kept = leaf_grad(t, n->out, &fresh);
    if (kept && fresh) lk_copy_(kept, n->grad, NULL);
    else if (kept) lk_accumulate(t, kept, n->grad);
}

static bool run_graph(Tape *t, Node *start, bool keep_graph)
{
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

bool lk_backward_with(Tape *t, Tensor *y, const Tensor *gradient, bool keep_graph)
{
    if (t->error.code != LK_OK) return false;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    if (!y) {
        lk_fail(t, LK_EVALUE, "lk_backward: the tensor is NULL");
    } else if (!y->requires_grad) {
        lk_fail(t, LK_ESTATE, "lk_backward: %s does not require a gradient and was not computed from a leaf that does "
                "(or in no-grad mode)", lk_shape_text(y, a));
    } else if (y->node ? !holds(t, y->node) : is_foreign_leaf(t, y)) {
        lk_fail(t, LK_ESTATE, "lk_backward: the tensor belongs to another tape, or was made before the last lk_tape_reset");
    } else if (!gradient && lk_numel(y) != 1) {
        lk_fail(t, LK_ESHAPE, "lk_backward: %s has %lld elements; only a scalar has an implicit gradient, give one with "
                "lk_backward_with", lk_shape_text(y, a), (long long)lk_numel(y));
    } else if (gradient && (!lk_same_shape(y, gradient) || y->dtype != gradient->dtype)) {
        lk_fail(t, LK_ESHAPE, "lk_backward_with: gradient %s of %s does not fit the tensor %s of %s",
                lk_shape_text(gradient, b), lk_dtype_name(gradient->dtype), lk_shape_text(y, a), lk_dtype_name(y->dtype));
    } else {
        if (!gradient) gradient = lk_full(t, y->dtype, LK_SCALAR, 1);
        if (!gradient || (y->node && !mark_graph(t, y->node))) return false;
        bool fresh = true;
        t->kept++;
        Tensor *seed = y->node ? flow_new(t, y) : leaf_grad(t, y, &fresh); /* dy/dy of a leaf is its own gradient */
        if (seed && fresh) lk_fill_(seed, 0);
        if (seed) lk_accumulate(t, seed, gradient);
        if (!y->node) return seed;
        y->node->grad = seed;
        return run_graph(t, y->node, keep_graph); /* without a seed, it only takes the marks away */
    }
    return false;
}

bool lk_backward(Tape *t, Tensor *y)
{
    return lk_backward_with(t, y, NULL, false);
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

#ifdef _OPENMP
void lk_set_num_threads(int n)
{
    omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
}

int lk_get_num_threads(void)
{
    return omp_get_max_threads();
}
#else
void lk_set_num_threads(int n)
{
    (void)n;
}

int lk_get_num_threads(void)
{
    return 1;
}
#endif
