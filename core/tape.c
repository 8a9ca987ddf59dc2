/* tape.c - the memory of operations, errors, and what they record. How an operation uses it: core/op.h; the loop
 * that runs the record backwards: core/backward.c. */
#include "core/tape.h"

#include <stdarg.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/graph.h"

static void print_error(const Error *err, void *user)
{
    (void)user;
    fprintf(stderr, "%s\n", err->message);
}

uint64_t lk_next_epoch(void)
{
    static _Atomic uint64_t epochs; /* tapes of several threads share the count */
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
    t->epoch = lk_next_epoch();
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
    t->epoch = lk_next_epoch();
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
    if (p && t->poison) memset(p, t->poison, bytes);
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
    if (t->poison) memset(t->scratch, t->poison, bytes);
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
    t->epoch = lk_next_epoch();
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
