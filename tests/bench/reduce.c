/* reduce.c - sums and maxima of 1.2 MB over inner, outer, middle and all dimensions, forward and
 * with backward, beside a copy of as many bytes. Memory is what limits them. */
#include <string.h>

#include "core/ops.h"
#include "tests/bench/bench.h"

typedef enum Kind { COPY, SUM, MAX } Kind;
enum { BACKWARD = 4 }; /* added to the kind */

typedef struct Task {
    Tape *t;
    Tensor *x, *dy;
    Kind kind;
    bool backward;
    int ndims;
    int64_t dims[5];
} Task;

static Tensor *forward(Task *k)
{
    if (k->kind == COPY) return lk_add_scalar(k->t, k->x, 0);
    if (k->kind == SUM) return lk_sum(k->t, k->x, k->ndims, k->dims, false);
    return lk_max(k->t, k->x, k->ndims, k->dims, false);
}

/* Errors stay on the tape. */
static void step(void *state)
{
    Task *k = state;
    Tensor *y = forward(k);
    if (k->backward && lk_backward_with(k->t, y, k->dy, false)) lk_zero_grad_(k->x);
    lk_tape_reset(k->t);
}

/* w->size are the sizes of x, negative those of the dimensions that are reduced. */
static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Task k = { .kind = (Kind)(w->kind & 3), .backward = w->kind & BACKWARD };
    int64_t shape[5], n = 1;
    int ndim = 0;
    Rng rng;
    for (; ndim < 5 && w->size[ndim] != 0; ndim++) {
        shape[ndim] = w->size[ndim] < 0 ? -w->size[ndim] : w->size[ndim];
        if (w->size[ndim] < 0) k.dims[k.ndims++] = ndim;
        n *= shape[ndim];
    }
    lk_manual_seed(&rng, 0);
    k.t = lk_tape_quiet_new(err); /* main prints the message, once */
    k.x = k.t ? lk_param_new(LK_F32, ndim, shape, err) : NULL;
    bool ok = k.x && lk_normal_(k.x, 0, 1, &rng);
    if (ok) {
        lk_set_requires_grad(k.x, k.backward);
        k.dy = lk_clone(forward(&k), err);
        ok = k.dy;
    }
    r->bytes = (double)n * sizeof(float) * (k.kind == COPY || k.backward ? 2 : 1);
    r->working_set = r->bytes;
    if (ok) bench_time(b, step, &k, r);
    ok = ok && lk_tape_ok(k.t, err);
    lk_tensor_free(k.dy);
    lk_tensor_free(k.x);
    lk_tape_free(k.t);
    return ok;
}

/* clang-format off */
#define ROW(name, about, kind, ...) { name, about, run, NO_LIMIT, { __VA_ARGS__ }, kind }
#define ROWS(name, about, ...) \
    ROW("reduce_sum_" name, "lk_sum of " about, SUM, __VA_ARGS__), \
    ROW("reduce_sum_" name "_dx", "lk_sum of " about ", with backward", SUM + BACKWARD, \
        __VA_ARGS__), \
    ROW("reduce_max_" name, "lk_max of " about, MAX, __VA_ARGS__), \
    ROW("reduce_max_" name "_dx", "lk_max of " about ", with backward", MAX + BACKWARD, \
        __VA_ARGS__)

const Workload bench_reduce[] = {
    ROW("reduce_copy", "a copy of (301056,), to compare with", COPY, 301056),
    ROWS("pool", "(5376, 2, 14, 2) over 1 and 3", 5376, -2, 14, -2),
    ROWS("inner2", "(150528, 2) over 1", 150528, -2),
    ROWS("inner", "(3072, 98) over 1", 3072, -98),
    ROWS("middle", "(64, 48, 98) over 1", 64, -48, 98),
    ROWS("outer", "(3072, 98) over 0", -3072, 98),
    ROWS("channel", "(64, 24, 196) over 0 and 2", -64, 24, -196),
    ROWS("all", "(301056,) over 0", -301056),
    { .name = NULL },
};
/* clang-format on */
