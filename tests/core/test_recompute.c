/* test_recompute.c - lk_recompute: a segment computed twice gives the bits of one computed once,
 * in less memory. */
#include "core/ops.h"
#include "nn/linear.h"
#include "nn/parametrize.h"
#include "nn/symmetric.h"
#include "tests/check.h"

enum { ROWS = 6, WIDTH = 16 };

/* x + gelu(layer_norm(x) Wᵀ + b) through dropout: operations that keep values, and one that
 * draws. */
enum { PARAMETERS = 4 };
typedef struct Block {
    Tensor *weight, *bias, *scale, *shift;
} Block;

static Tensor *parameter(const Block *b, int i)
{
    return (Tensor *const[]){ b->weight, b->bias, b->scale, b->shift }[i];
}

static Tensor *block_forward(Tape *t, const void *state, Tensor *x)
{
    const Block *b = state;
    Tensor *y = lk_gelu(
        t, lk_linear(t, lk_layer_norm(t, x, 1, b->scale, b->shift, 1e-5), b->weight, b->bias));
    return lk_add(t, x, lk_dropout(t, y, 0.4));
}

static Block block_new(Rng *rng, DType dtype)
{
    Block b = { lk_param_new(dtype, LK_SHAPE(WIDTH, WIDTH), NULL),
                lk_param_new(dtype, LK_SHAPE(WIDTH), NULL),
                lk_param_new(dtype, LK_SHAPE(WIDTH), NULL),
                lk_param_new(dtype, LK_SHAPE(WIDTH), NULL) };
    for (int i = 0; i < PARAMETERS; i++) check(lk_normal_(parameter(&b, i), 0, 0.3, rng));
    return b;
}

static void block_free(Block b)
{
    for (int i = 0; i < PARAMETERS; i++) lk_free(parameter(&b, i));
}

typedef Tensor *ApplyFn(Tape *t, const Block *b, Tensor *x);
static Tensor *plain(Tape *t, const Block *b, Tensor *x) { return block_forward(t, b, x); }
static Tensor *again(Tape *t, const Block *b, Tensor *x)
{
    return lk_recompute(t, block_forward, b, sizeof *b, x);
}

/* Two blocks, the second one on top of the first. */
static Tensor *two_blocks(Tape *t, const void *state, Tensor *x)
{
    const Block *b = state;
    return again(t, &b[1], again(t, &b[0], x));
}
static Tensor *nested(Tape *t, const Block *b, Tensor *x)
{
    return lk_recompute(t, two_blocks, b, 2 * sizeof *b, x);
}
static Tensor *in_turn(Tape *t, const Block *b, Tensor *x)
{
    return again(t, &b[1], again(t, &b[0], x));
}
static Tensor *both_plain(Tape *t, const Block *b, Tensor *x)
{
    return plain(t, &b[1], plain(t, &b[0], x));
}

typedef struct Run {
    Tensor *y, *dx, *grads[2 * PARAMETERS]; /* owned copies; dx NULL when x is frozen */
    uint64_t calls;                         /* of the stream of dropout, in the end */
} Run;

static Run run(ApplyFn *apply, const Block *b, int blocks, Tensor *x, bool wanted)
{
    Tape *t = quiet_tape();
    Run r = { 0 };
    lk_tape_seed(t, 7);
    check(lk_set_requires_grad(x, wanted));
    Tensor *y = apply(t, b, x);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)), "%s",
          lk_tape_error(t)->message);
    r.y = lk_clone(y, NULL);
    r.dx = lk_clone(lk_grad(x), NULL);
    r.calls = lk_tape_random(t).calls;
    for (int i = 0; i < blocks * PARAMETERS; i++) {
        Tensor *p = parameter(&b[i / PARAMETERS], i % PARAMETERS);
        r.grads[i] = lk_clone(lk_grad(p), NULL);
        lk_zero_grad_(p);
    }
    lk_zero_grad_(x);
    lk_tape_free(t);
    return r;
}

static void run_free(Run r)
{
    lk_free(r.y);
    lk_free(r.dx);
    for (int i = 0; i < 2 * PARAMETERS; i++) lk_free(r.grads[i]);
}

static void check_same(Run a, Run b)
{
    check_equal(a.y, b.y);
    check(!a.dx == !b.dx && a.calls == b.calls);
    if (a.dx) check_equal(a.dx, b.dx);
    for (int i = 0; i < 2 * PARAMETERS; i++) {
        check(!a.grads[i] == !b.grads[i]);
        if (a.grads[i]) check_equal(a.grads[i], b.grads[i]);
    }
}

/* With a frozen x too: there torch's reentrant checkpoint loses the gradients of the parameters
 * inside. */
Test(recompute, bits_of_the_plain_run)
{
    static const DType dtypes[] = { LK_F32, LK_F64 };
    static ApplyFn *const applied[] = { in_turn, nested };
    Rng rng;
    lk_manual_seed(&rng, 0);
    for (int d = 0; d < 2; d++) {
        Block b[2];
        for (int i = 0; i < 2; i++) b[i] = block_new(&rng, dtypes[d]);
        Tensor *x = lk_tensor_new(dtypes[d], LK_SHAPE(ROWS, WIDTH), NULL);
        check(lk_normal_(x, 0, 1, &rng));
        for (int wanted = 0; wanted < 2; wanted++) {
            Run expected = run(both_plain, b, 2, x, wanted);
            check(expected.grads[0] && expected.grads[2 * PARAMETERS - 1] &&
                  !expected.dx == !wanted);
            for (int k = 0; k < 2; k++) {
                Run got = run(applied[k], b, 2, x, wanted);
                check_same(got, expected);
                run_free(got);
            }
            run_free(expected);
        }
        lk_free(x);
        block_free(b[0]);
        block_free(b[1]);
    }
}

/* The same block twice: its gradients add up. */
static Tensor *twice(Tape *t, const Block *b, Tensor *x) { return again(t, b, again(t, b, x)); }
static Tensor *twice_plain(Tape *t, const Block *b, Tensor *x)
{
    return plain(t, b, plain(t, b, x));
}

Test(recompute, a_block_used_twice)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Block b = block_new(&rng, LK_F64);
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(ROWS, WIDTH), NULL);
    check(lk_normal_(x, 0, 1, &rng));
    Run expected = run(twice_plain, &b, 1, x, true), got = run(twice, &b, 1, x, true);
    check_same(got, expected);
    run_free(expected);
    run_free(got);
    lk_free(x);
    block_free(b);
}

/* Reads a tensor of the tape that is not its argument: x y, for x y and the sum of both
 * gradients. */
static Tensor *times_state(Tape *t, const void *state, Tensor *x)
{
    return lk_mul(t, x, *(Tensor *const *)state);
}

Test(recompute, what_else_it_reads_gets_its_gradient)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4), *y = lk_scale(t, x, 2);
    Tensor *z = lk_recompute(t, times_state, &y, sizeof y, x); /* 2 x² */
    check(lk_backward(t, lk_sum(t, z, LK_ALL, false)));
    check_values(lk_grad(x), 1e-15, 12, 16);
    lk_zero_grad_(x);
    z = lk_recompute(t, times_state, &x, sizeof x, x); /* x², x inside and outside */
    check(lk_backward(t, lk_sum(t, z, LK_ALL, false)));
    check_values(lk_grad(x), 1e-15, 6, 8);
    lk_free(x);
    lk_tape_free(t);
}

/* A value that a module keeps on the tape is read by what comes before, by the segment, and by
 * what follows; computed again, the segment does not meet the value that is there by then. */
static Tensor *module_forward(Tape *t, const void *state, Tensor *x)
{
    Module *m = *(Module *const *)state;
    return lk_gelu(t, lk_forward(t, m, lk_gelu(t, lk_forward(t, m, x))));
}

Test(recompute, a_parametrization_that_is_cached)
{
    Rng rng;
    lk_manual_seed(&rng, 3);
    Module *m = lk_linear_new(4, 4, true, &rng, NULL);
    check(lk_register_parametrization(m, "weight", lk_symmetric_new(NULL), NULL));
    lk_set_cached(m, true);
    Tensor *grad[2];
    for (int k = 0; k < 2; k++) {
        Tape *t = quiet_tape();
        Rng data;
        lk_manual_seed(&data, 4);
        Tensor *x = lk_forward(t, m, lk_randn(t, &data, LK_F32, LK_SHAPE(3, 4)));
        x = k ? lk_recompute(t, module_forward, &m, sizeof m, x) : module_forward(t, &m, x);
        x = lk_forward(t, m, x);
        check(lk_backward(t, lk_sum(t, lk_mul(t, x, x), LK_ALL, false)), "%s",
              lk_tape_error(t)->message);
        grad[k] = lk_clone(lk_grad(lk_original(m, "weight")), NULL);
        lk_zero_grad_(lk_original(m, "weight"));
        check(lk_grad_fn(lk_param_named(t, m, "weight")));
        lk_tape_free(t);
    }
    check_close_to(grad[1], grad[0], 1e-6);
    lk_free(grad[0]);
    lk_free(grad[1]);
    lk_free(m);
}

/* ---- memory --------------------------------------------------------------------------------- */

enum { DEEP = 12, TALL = 256 };

/* Bytes that a tape needs for a deep stack; -1 allocations after two steps are counted in
 * *later. */
static size_t bytes_of(ApplyFn *apply, const Block *b, Tensor *x, int64_t *later)
{
    Tape *t = quiet_tape();
    int64_t before = 0;
    size_t peak = 0;
    /* headers of tensors wait for four steps before they serve again */
    for (int step = 0; step < 7; step++) {
        if (step == 6) before = check_alloc_count();
        Tensor *y = x;
        for (int i = 0; i < DEEP; i++) y = apply(t, b, y);
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        TapeMark mark = lk_tape_mark(t);
        if (step == 6) peak = mark.memory.used;
        for (int i = 0; i < PARAMETERS; i++) lk_zero_grad_(parameter(b, i));
        lk_tape_reset(t);
    }
    *later = check_alloc_count() - before;
    lk_tape_free(t);
    return peak;
}

Test(recompute, memory_of_the_ends_only)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Block b = block_new(&rng, LK_F32);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(TALL, WIDTH), NULL);
    check(lk_normal_(x, 0, 1, &rng));
    int64_t later;
    size_t all = bytes_of(plain, &b, x, &later);
    check(later == 0);
    size_t ends = bytes_of(again, &b, x, &later);
    check(later == 0, "%lld allocations in the last step", (long long)later);
    check(2 * ends < all, "%zu bytes with, %zu without", ends, all);
    lk_free(x);
    block_free(b);
    check(check_alloc_live() == 0);
}

Test(recompute, an_allocation_that_fails)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Rng rng;
        lk_manual_seed(&rng, 0);
        Block b[2];
        for (int i = 0; i < 2; i++) b[i] = block_new(&rng, LK_F32);
        Tensor *x = lk_param_new(LK_F32, LK_SHAPE(TALL, WIDTH), NULL);
        Tape *t = quiet_tape();
        check(x && t);
        check_fail_after(n);
        bool ok = lk_backward(t, lk_sum(t, nested(t, b, x), LK_ALL, false));
        failed = check_alloc_failed();
        check_fail_after(-1);
        check(ok == (failed == 0));
        if (!ok) check_error(lk_tape_error(t), LK_EMEMORY, "memory");
        lk_tape_free(t);
        lk_free(x);
        block_free(b[0]);
        block_free(b[1]);
        check(check_alloc_live() == 0);
    }
}

/* ---- what is refused, and what needs nothing ------------------------------------------------ */

Test(recompute, a_parameter_changed_in_between)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Block b = block_new(&rng, LK_F32);
    Tape *t = quiet_tape();
    Tensor *y =
        lk_sum(t, again(t, &b, lk_randn(t, &rng, LK_F32, LK_SHAPE(ROWS, WIDTH))), LK_ALL, false);
    check(lk_fill_(b.bias, 0));
    check(!lk_backward(t, y) && !lk_grad(b.weight));
    check_error(lk_tape_error(t), LK_ESTATE, "changed in place");
    lk_tape_free(t);
    block_free(b);
}

/* Something else each time. */
static Tensor *fickle(Tape *t, const void *state, Tensor *x)
{
    int *calls = *(int *const *)state;
    return lk_scale(t, x, ++*calls);
}

Test(recompute, a_segment_that_gives_something_else)
{
    Tape *t = quiet_tape();
    int calls = 0, *counter = &calls;
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4);
    check(!lk_backward(
        t, lk_sum(t, lk_recompute(t, fickle, &counter, sizeof counter, x), LK_ALL, false)));
    check_error(lk_tape_error(t), LK_ESTATE, "gave something else when it was computed again");
    lk_free(x);
    lk_tape_free(t);
}

static Tensor *itself(Tape *t, const void *state, Tensor *x)
{
    (void)t, (void)state;
    return x;
}
static Tensor *refused(Tape *t, const void *state, Tensor *x)
{
    (void)state;
    return lk_matmul(t, x, lk_ones(t, LK_F64, LK_SHAPE(3, 3)));
}

Test(recompute, nothing_to_do)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(1, 2), 3, 4),
           *frozen = make_tensor(LK_F64, LK_SHAPE(1, 2), 5, 6);
    check(lk_recompute(t, itself, NULL, 0, x) == x);
    Tensor *y = lk_recompute(t, times_state, &frozen, sizeof frozen, frozen);
    check(y && !y->requires_grad && !y->node);
    check_values(y, 0, 25, 36);
    lk_tape_set_grad(t, false);
    y = lk_recompute(t, times_state, &x, sizeof x, x);
    check(y && !y->requires_grad);
    check_values(y, 0, 9, 16);
    lk_tape_set_grad(t, true);
    check(!lk_recompute(t, itself, NULL, 0, NULL));
    check_error(lk_tape_error(t), LK_EVALUE, "lk_recompute: the operand is NULL");
    lk_tape_clear_error(t);
    check(!lk_recompute(t, refused, NULL, 0, x));
    check_error(lk_tape_error(t), LK_ESHAPE, "inner sizes 2 and 3 differ");
    lk_free(x);
    lk_free(frozen);
    lk_tape_free(t);
}

Test(recompute, backward_goes_through_once)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4);
    Tensor *z = lk_sum(t, lk_recompute(t, times_state, &x, sizeof x, x), LK_ALL, false);
    check(lk_backward(t, z) && !lk_backward(t, z));
    check_error(lk_tape_error(t), LK_ESTATE, "was gone through before");
    check_values(lk_grad(x), 1e-15, 6, 8);
    lk_free(x);
    lk_tape_free(t);
}

/* A graph that is kept gives the same again, with the mask it drew first; the mode of the tape
 * does not matter then. */
Test(recompute, backward_with_keep_graph)
{
    Rng rng;
    lk_manual_seed(&rng, 2);
    Block b = block_new(&rng, LK_F64);
    Tape *t = quiet_tape();
    Tensor *y =
        lk_sum(t, again(t, &b, lk_randn(t, &rng, LK_F64, LK_SHAPE(ROWS, WIDTH))), LK_ALL, false);
    Tensor *once[PARAMETERS];
    check(lk_backward_with(t, y, NULL, true));
    for (int i = 0; i < PARAMETERS; i++) {
        once[i] = lk_clone(lk_grad(parameter(&b, i)), NULL);
        lk_zero_grad_(parameter(&b, i));
    }
    lk_dropout(t, lk_ones(t, LK_F64, LK_SHAPE(9)), 0.5);
    lk_tape_set_grad(t, false);
    check(lk_backward(t, y));
    check(!lk_tape_grad(t) && lk_tape_random(t).calls == 2);
    for (int i = 0; i < PARAMETERS; i++) {
        check_equal(lk_grad(parameter(&b, i)), once[i]);
        lk_free(once[i]);
    }
    lk_tape_free(t);
    block_free(b);
}

/* Frozen in the forward is frozen in backward, as without lk_recompute: a leaf of the tape, and
 * one with an owner. */
Test(recompute, a_leaf_that_is_unfrozen_in_between)
{
    for (int owned = 0; owned < 2; owned++) {
        Tape *t = quiet_tape();
        Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4),
               *mine = make_tensor(LK_F64, LK_SHAPE(2), 5, 6);
        Tensor *y = owned ? mine : lk_full(t, LK_F64, LK_SHAPE(2), 7);
        Tensor *z = lk_sum(t, lk_recompute(t, times_state, &y, sizeof y, x), LK_ALL, false);
        check(lk_set_requires_grad(y, true));
        check(lk_backward(t, z) && !lk_grad(y));
        check_values(lk_grad(x), 0, owned ? 5 : 7, owned ? 6 : 7);
        lk_free(x);
        lk_free(mine);
        lk_tape_free(t);
    }
}

/* The other way round x gets none, and y does. */
Test(recompute, x_that_is_frozen_in_between)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4), *y = make_param(LK_F64, LK_SHAPE(2), 5, 6);
    Tensor *z = lk_sum(t, lk_recompute(t, times_state, &y, sizeof y, x), LK_ALL, false);
    check(lk_set_requires_grad(x, false));
    check(lk_backward(t, z) && !lk_grad(x));
    check_values(lk_grad(y), 0, 3, 4);
    lk_free(x);
    lk_free(y);
    lk_tape_free(t);
}

static Tensor *detached(Tape *t, const void *state, Tensor *x)
{
    (void)state;
    return lk_detach(t, lk_scale(t, x, 2));
}
static Tensor *the_state(Tape *t, const void *state, Tensor *x)
{
    lk_scale(t, x, 2);
    return *(Tensor *const *)state;
}

/* Records made inside go even if the result does not depend on them: the rest is as if they
 * were not there. */
Test(recompute, a_result_without_a_graph_of_its_own)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 3, 4), *y = lk_scale(t, x, 3);
    check(lk_recompute(t, the_state, &y, sizeof y, x) == y && lk_grad_fn(y));
    Tensor *z = lk_recompute(t, detached, NULL, 0, x);
    check(z && !z->requires_grad && !lk_grad_fn(z));
    check_values(z, 0, 6, 8);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, z), LK_ALL, false)));
    check_values(lk_grad(x), 0, 18, 24);
    lk_free(x);
    lk_tape_free(t);
}
