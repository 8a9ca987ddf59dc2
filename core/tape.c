/* tape.c - a tape: its modes, the memory of operations, the record of them, and threads. core/op.h
 * tells how an operation uses it. Its tensors are in core/tape_tensors.c, its errors in
 * core/failure.c, and the loop that runs the record backwards in core/backward.c. */
#include "core/tape.h"

#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif

#include "core/report.h"
#include "core/strict.h"
#include "core/tape_parts.h"

/* Whether LORIKEET_KERNELS is accepted. Without an Error, the reason goes to the handler of
 * lk_on_strict. */
static bool kernels_fit(Error *err)
{
    Error own = { 0 };
    if (lk_kernels(err ? err : &own)) return true;
    if (!err) lk_strict_report(own.code, "%s", own.message);
    return false;
}

Tape *lk_tape_new(Error *err)
{
    if (!kernels_fit(err)) return NULL;
    Tape *t = lk_mem_calloc(1, sizeof *t);
    if (!t) {
        lk_error_set(err, LK_EMEMORY, "lk_tape_new: no memory");
        return NULL;
    }
    t->grad = true;
    t->headers.next_serial = 1;
    for (int i = 0; i < LK_RESETS_KNOWN; i++) t->headers.since[i] = 1;
    t->headers.never_again = lk_strict();
    t->arena.fill = lk_strict() ? 0xff : 0; /* NaN */
    t->epoch = lk__next_epoch();
    t->handler = lk__print_error;
    return t;
}

Tape *lk_tape_quiet_new(Error *err)
{
    Tape *t = lk_tape_new(err);
    lk_tape_on_error(t, NULL, NULL);
    return t;
}

Tape *lk_tape_no_grad_new(Error *err)
{
    Tape *t = lk_tape_quiet_new(err);
    lk_tape_set_grad(t, false);
    return t;
}

void lk_tape_free(Tape *t)
{
    if (!t) return;
    /* strict mode keeps the headers, so that a tensor of t can still be refused */
    if (t->headers.never_again) {
        lk__headers_bury(&t->headers);
    } else {
        lk__arena_free(&t->headers.memory);
    }
    lk__arena_free(&t->arena);
    lk_mem_free(t->scratch);
    lk_mem_free(t);
}

void lk_tape_reset(Tape *t)
{
    if (!t) return;
    t->epoch = lk__next_epoch();
    lk__headers_reset(&t->headers);
    lk__arena_reset(&t->arena);
    t->last = NULL;
    t->free = NULL;
    t->graphs_used = 0;
    t->notes = (TapeNotes){ .on = t->notes.on };
}

bool lk_tape_set_grad(Tape *t, bool on)
{
    if (!t) return false;
    bool before = t->grad;
    t->grad = on;
    return before;
}

bool lk_tape_grad(const Tape *t) { return t && t->grad; }

bool lk_tape_set_matmul_precision(Tape *t, DType dtype)
{
    if (!t) return false;
    if (dtype != LK_F32 && dtype != LK_BF16)
        return lk_fail(t, LK_EDTYPE,
                       "lk_tape_set_matmul_precision: the precision is LK_F32 or LK_BF16, not %s",
                       lk_dtype_name(dtype));
    t->products = dtype;
    return true;
}

DType lk_tape_matmul_precision(const Tape *t) { return t ? t->products : LK_F32; }

void lk_tape_seed(Tape *t, uint64_t seed)
{
    if (t) t->random = (TapeRandom){ seed, 0 };
}

TapeRandom lk_tape_random(const Tape *t) { return t ? t->random : (TapeRandom){ 0 }; }

void lk_tape_set_random(Tape *t, TapeRandom at)
{
    if (t) t->random = at;
}

/* ---- memory --------------------------------------------------------------------------------- */

void *lk_tape_alloc(Tape *t, size_t bytes)
{
    void *p = t ? lk__arena_alloc(&t->arena, bytes) : NULL;
    return p ? p : lk__fail_memory(t, bytes);
}

void *lk_tape_scratch(Tape *t, size_t bytes)
{
    if (!t) return NULL;
    if (bytes > t->scratch_bytes || !t->scratch) {
        lk_mem_free(t->scratch);
        t->scratch = lk_mem_alloc(bytes ? bytes : 1);
        t->scratch_bytes = t->scratch ? bytes : 0;
        if (!t->scratch)
            return lk_fail(t, LK_EMEMORY, "tape: no memory for %zu bytes of scratch", bytes);
    }
    if (t->arena.fill) memset(t->scratch, t->arena.fill, bytes);
    return t->scratch;
}

void *lk__tape_temporary(Tape *t, size_t bytes, ArenaMark *mark)
{
    *mark = lk__arena_mark(&t->arena);
    return lk_tape_alloc(t, bytes);
}

void lk__tape_release_temporary(Tape *t, ArenaMark mark) { lk__arena_release(&t->arena, mark); }

/* ---- recording ------------------------------------------------------------------------------ */

bool lk_records(const Tape *t, int inputs, Tensor *const *in)
{
    if (!t || !t->grad || !in) return false;
    for (int i = 0; i < inputs; i++)
        if (in[i] && in[i]->requires_grad) return true;
    return false;
}

Tensor *lk_record(Tape *t, const Op *op, Tensor *y, int inputs, Tensor *const *in,
                  const void *state, size_t state_bytes)
{
    bool wanted = false;
    if (!t || !op || !y || !in) return y;
    for (int i = 0; i < inputs; i++) {
        if (!in[i]) continue;
        if (lk__is_gone(in[i])) /* the operation did not check it */
            return lk__fail_operand(t, op->name ? op->name : "lk_record", i, inputs, in[i]);
        wanted |= in[i]->requires_grad;
    }
    if (!wanted || !t->grad) return y;
    /* One block holds the node, its inputs, their state now and the state of the operation. */
    size_t pointers = (size_t)inputs * sizeof(Tensor *),
           states = (size_t)inputs * sizeof(NodeInput);
    size_t state_at = (sizeof(Node) + pointers + states + 15) & ~(size_t)15;
    char *block = lk_tape_alloc(t, state_at + state_bytes);
    if (!block) return NULL;
    Node *n = (Node *)block;
    *n = (Node){ .op = op, .out = y, .prev = t->last, .inputs = inputs };
    n->in = (Tensor **)(n + 1);
    n->was = (NodeInput *)(block + sizeof *n + pointers);
    if (state && state_bytes) n->state = memcpy(block + state_at, state, state_bytes);
    for (int i = 0; i < inputs; i++) {
        const Tensor *x = n->in[i] = in[i];
        n->was[i] =
            x ? (NodeInput){ x->storage->version, x->dtype, x->requires_grad } : (NodeInput){ 0 };
        if (x && x->node && x->tape != t)
            return lk_fail(
                t, LK_ESTATE,
                "%s: input %d was computed on another tape; lk_detach or lk_clone it first",
                lk__node_name(n), i);
    }
    n->out_version = y->storage->version;
    y->requires_grad = true;
    y->node = n;
    t->last = n;
    t->pins++;
    return y;
}

const char *lk__node_name(const Node *n)
{
    return n->op->name ? n->op->name : ((const NamedOp *)n->op)->name(n);
}

const char *lk_grad_fn(const Tensor *y)
{
    return lk__is_readable("lk_grad_fn", y) && y->node ? lk__node_name(y->node) : NULL;
}

/* ---- threads -------------------------------------------------------------------------------- */

/* gcc's OpenMP keeps threads between two regions. They do not exist in a child of fork(), where it
 * would wait for them for ever. So they end before a fork, and parent and child each make new
 * ones. clang's OpenMP does so itself. This code is in tape.c because every program that computes
 * links it. */
#if defined(_OPENMP) && !defined(__clang__) && __GNUC__ >= 9
static void end_threads(void) { omp_pause_resource_all(omp_pause_hard); }

__attribute__((constructor)) static void prepare_for_fork(void)
{
    pthread_atfork(end_threads, NULL, NULL);
}
#endif

#ifdef _OPENMP
void lk_set_num_threads(int n) { omp_set_num_threads(n > 0 ? n : omp_get_num_procs()); }

int lk_get_num_threads(void) { return omp_get_max_threads(); }
#else
void lk_set_num_threads(int n) { (void)n; }

int lk_get_num_threads(void) { return 1; }
#endif
