/* tape.c - the memory of operations, errors, and what they record. How an operation uses it:
 * core/op.h; the loop that runs the record backwards: core/backward.c. */
#include "core/tape.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/decimal.h"
#include "core/graph.h"
#include "core/strict.h"

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
    t->headers.next_serial = 1;
    for (int i = 0; i < LK_RESETS_KNOWN; i++) t->headers.since[i] = 1;
    t->headers.never_again = lk_strict();
    t->arena.fill = lk_strict() ? 0xff : 0; /* NaN */
    t->epoch = lk_next_epoch();
    t->handler = lk_print_error;
    return t;
}

Tape *lk_tape_quiet_new(Error *err)
{
    Tape *t = lk_tape_new(err);
    lk_tape_on_error(t, NULL, NULL);
    return t;
}

void lk_tape_free(Tape *t)
{
    if (!t) return;
    /* strict mode keeps the headers, so that a tensor of t can still be refused */
    if (t->headers.never_again) {
        lk_headers_bury(&t->headers);
    } else {
        lk_arena_free(&t->headers.memory);
    }
    lk_arena_free(&t->arena);
    lk_mem_free(t->scratch);
    lk_mem_free(t);
}

uint64_t lk_tape_epoch(const Tape *t) { return t ? t->epoch : 0; }

void lk_tape_reset(Tape *t)
{
    if (!t) return;
    t->epoch = lk_next_epoch();
    lk_headers_reset(&t->headers);
    lk_arena_reset(&t->arena);
    t->last = NULL;
    t->free = NULL;
}

bool lk_tape_set_grad(Tape *t, bool on)
{
    if (!t) return false;
    bool before = t->grad;
    t->grad = on;
    return before;
}

bool lk_tape_grad(const Tape *t) { return t && t->grad; }

void lk_tape_seed(Tape *t, uint64_t seed)
{
    if (t) t->random = (TapeRandom){ seed, 0 };
}

TapeRandom lk_tape_random(const Tape *t) { return t ? t->random : (TapeRandom){ 0 }; }

void lk_tape_set_random(Tape *t, TapeRandom at)
{
    if (t) t->random = at;
}

/* ---- errors --------------------------------------------------------------------------------- */

const Error *lk_tape_error(const Tape *t)
{
    static const Error no_tape = { LK_ESTATE,
                                   "the tape is NULL: lk_tape_new failed, or was forgotten" };
    return t ? &t->error : &no_tape;
}

bool lk_tape_ok(const Tape *t, Error *err)
{
    const Error *first = t ? lk_tape_error(t) : NULL;
    bool ok = !first || first->code == LK_OK;
    if (!ok) lk_error_pass(err, first);
    return ok && (!err || err->code == LK_OK);
}

void lk_tape_clear_error(Tape *t)
{
    if (t) t->error = (Error){ 0 };
}

void lk_tape_on_error(Tape *t, ErrorHandler *handler, void *user)
{
    if (!t) return;
    t->handler = handler;
    t->handler_user = user;
}

void *lk_fail(Tape *t, ErrorCode code, const char *format, ...)
{
    if (!t || t->error.code != LK_OK) return NULL;
    Error err = { .code = code };
    if (t->scope) t->scope->place(t->scope, err.message, sizeof err.message);
    size_t placed = strlen(err.message);
    va_list args;
    va_start(args, format);
    lk_vsnprintf(err.message + placed, sizeof err.message - placed, format, args);
    va_end(args);
    if (t == &lk_graveyard) { /* it keeps nothing: its tensors are many users' */
        lk_strict_report(code, "%s", err.message);
        return NULL;
    }
    t->error = err;
    if (t->handler) t->handler(&t->error, t->handler_user);
    return NULL;
}

/* ---- memory --------------------------------------------------------------------------------- */

void *lk_no_memory(Tape *t, size_t bytes)
{
    if (!t) return NULL;
    return lk_fail(t, LK_EMEMORY, "tape: no memory for %zu bytes more than the %zu it holds",
                   bytes, lk_arena_bytes(&t->arena));
}

void *lk_tape_alloc(Tape *t, size_t bytes)
{
    void *p = t ? lk_arena_alloc(&t->arena, bytes) : NULL;
    return p ? p : lk_no_memory(t, bytes);
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

void *lk_tape_temporary(Tape *t, size_t bytes, ArenaMark *mark)
{
    *mark = lk_arena_mark(&t->arena);
    return lk_tape_alloc(t, bytes);
}

void lk_tape_release_temporary(Tape *t, ArenaMark mark) { lk_arena_release(&t->arena, mark); }

/* ---- checks that many operations begin with ------------------------------------------------- */

/* Operand i of count cannot be used. */
static bool refuse_operand(Tape *t, const char *function, int i, int count, const Tensor *x)
{
    char role[32] = "";
    if (count > 1) snprintf(role, sizeof role, "operand %d", i + 1);
    if (x) lk_fail_stale(t, function, role, x);
    else
        lk_fail(t, LK_EVALUE,
                "%s: %s is NULL: made by a call that failed without this tape, or a parametrized "
                "parameter "
                "that was not read with lk_param",
                function, *role ? role : "the operand");
    return false;
}

bool lk_check_operands(Tape *t, const char *function, int count, Tensor *const *x)
{
    for (int i = 0; i < count; i++)
        if (!x || !x[i] || lk_is_gone(x[i]))
            return refuse_operand(t, function, i, count, x ? x[i] : NULL);
    return t;
}

bool lk_check_optional(Tape *t, const char *function, const char *name, const Tensor *x)
{
    if (!x) return t && t->error.code == LK_OK;
    if (lk_is_gone(x)) lk_fail_stale(t, function, name, x);
    return !lk_is_gone(x);
}

/* Says which of them is not what lk_check_floating wants. */
static bool refuse_floating(Tape *t, const char *function, int count, Tensor *const *x)
{
    if (!lk_check_operands(t, function, count, x)) return false;
    for (int i = 0; i < count; i++) {
        if (!lk_is_floating(x[i]->dtype))
            return lk_fail(t, LK_EDTYPE, "%s: takes float32 or float64, not %s; lk_to converts",
                           function, lk_dtype_name(x[i]->dtype));
        if (x[i]->dtype != x[0]->dtype)
            return lk_fail(t, LK_EDTYPE, "%s: operands are %s and %s; lk_to makes them the same",
                           function, lk_dtype_name(x[0]->dtype), lk_dtype_name(x[i]->dtype));
    }
    return t;
}

bool lk_check_floating(Tape *t, const char *function, int count, Tensor *const *x)
{
    if (!t || !x) return false;
    for (int i = 0; i < count; i++) /* float32 and float64 are the first two */
        if (!x[i] || lk_is_gone(x[i]) || x[i]->dtype > LK_F64 || x[i]->dtype != x[0]->dtype)
            return refuse_floating(t, function, count, x);
    return true;
}

int lk_check_dim(Tape *t, const char *function, int ndim, int64_t d)
{
    const int dims = ndim > 0 ? ndim : 1; /* a scalar's 0 and -1 are allowed, as in PyTorch */
    if (d >= -dims && d < dims) return (int)(d < 0 ? d + dims : d);
    lk_fail(t, LK_ESHAPE, "%s: dimension %lld is outside %d … %d", function, (long long)d, -dims,
            dims - 1);
    return -1;
}

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
        /* it did not ask */
        if (lk_is_gone(in[i])) return refuse_operand(t, op->name, i, inputs, in[i]), NULL;
        wanted |= in[i]->requires_grad;
    }
    if (!wanted || !t->grad) return y;
    /* One block: the node, its inputs, what they are now, the state. */
    size_t pointers = (size_t)inputs * sizeof(Tensor *),
           states = (size_t)inputs * sizeof(NodeInput);
    size_t state_at = (sizeof(Node) + pointers + states + 15) & ~(size_t)15;
    char *block = lk_tape_alloc(t, state_at + state_bytes);
    if (!block) return NULL;
    Node *n = (Node *)block;
    *n = (Node){ .op = op, .out = y, .prev = t->last, .inputs = inputs };
    n->in = (Tensor **)(n + 1);
    n->was = (NodeInput *)(block + sizeof *n + pointers);
    for (int i = 0; i < inputs; i++) {
        const Tensor *x = n->in[i] = in[i];
        n->was[i] =
            x ? (NodeInput){ x->storage->version, x->dtype, x->requires_grad } : (NodeInput){ 0 };
        if (x && x->node && x->tape != t)
            return lk_fail(
                t, LK_ESTATE,
                "%s: input %d was computed on another tape; lk_detach or lk_clone it first",
                op->name, i);
    }
    n->out_version = y->storage->version;
    if (state && state_bytes) n->state = memcpy(block + state_at, state, state_bytes);
    y->requires_grad = true;
    y->node = n;
    t->last = n;
    t->kept++;
    return y;
}

const char *lk_grad_fn(const Tensor *y)
{
    return lk_is_readable("lk_grad_fn", y) && y->node ? y->node->op->name : NULL;
}

/* ---- threads -------------------------------------------------------------------------------- */

/* gcc's OpenMP keeps threads between two regions, and in a child of fork(), where they do not
 * exist, waits for them for ever. So they end before a fork; parent and child each make theirs
 * anew. clang's does so itself. */
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
