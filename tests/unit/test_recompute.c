/* test_recompute.c - lk_recompute (core/recompute.c): the bits of the plain run, whatever is frozen, nested or
 * captured, with the same dropout; less memory, none after warm-up; changes in place, failures, segments that return
 * odd things. */
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "tests/check.h"

/* ---- a net of residual blocks ------------------------------------------------------------------------------------ */

enum { WIDTH = 6, DEPTH = 4 };

typedef struct Net {
    Tensor *w[DEPTH], *b[DEPTH];
    Tensor *x, *outer; /* what goes in, and what the blocks read beside it */
} Net;

static Net new_net(DType dtype)
{
    Net net;
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (int i = 0; i < DEPTH; i++) {
        net.w[i] = lk_param_new(dtype, LK_SHAPE(WIDTH, WIDTH), NULL);
        net.b[i] = lk_param_new(dtype, LK_SHAPE(WIDTH), NULL);
        lk_normal_(net.w[i], 0, 0.5, &rng), lk_normal_(net.b[i], 0, 0.5, &rng);
    }
    net.x = lk_param_new(dtype, LK_SHAPE(5, WIDTH), NULL);
    net.outer = lk_param_new(dtype, LK_SHAPE(5, WIDTH), NULL);
    lk_normal_(net.x, 0, 1, &rng), lk_normal_(net.outer, 0, 1, &rng);
    return net;
}

enum { LEAVES = 2 * DEPTH + 2 };

static Tensor *leaf_of(const Net *net, int i)
{
    return i < DEPTH ? net->w[i] : i < 2 * DEPTH ? net->b[i - DEPTH] : i == 2 * DEPTH ? net->x : net->outer;
}

static void free_net(Net *net)
{
    for (int i = 0; i < LEAVES; i++) lk_free(leaf_of(net, i));
}

/* How the blocks are put together. */
typedef enum Style {
    PLAIN,
    SEGMENTS,   /* each block is one */
    NESTED,     /* all of them are one, and each is one inside */
    TWICE,      /* one in one */
} Style;

typedef struct Block {
    const Net *net;
    Tensor *beside; /* computed outside, or the block's own input */
    int number;
    Style style;
} Block;

/* x + dropout(tanh(x Wᵀ + b)) beside, and a view at the end */
static Tensor *block(Tape *t, const void *state, Tensor *x)
{
    const Block *k = state;
    Tensor *h = lk_tanh(t, lk_linear(t, x, k->net->w[k->number], k->net->b[k->number]));
    Tensor *y = lk_add(t, x, lk_mul(t, lk_dropout(t, h, 0.3), k->beside));
    return lk_view(t, y, LK_SHAPE(5, WIDTH));
}

static Tensor *block_again(Tape *t, const void *state, Tensor *x)
{
    return lk_recompute(t, block, state, sizeof(Block), x);
}

static Tensor *blocks(Tape *t, const void *state, Tensor *x)
{
    Block k = *(const Block *)state;
    for (int i = 0; i < DEPTH; i++) {
        k.number = i;
        /* Block 2 reads its own input beside its argument. */
        k.beside = i == 2 ? x : ((const Block *)state)->beside;
        x = k.style == PLAIN   ? block(t, &k, x)
            : k.style == TWICE ? lk_recompute(t, block_again, &k, sizeof k, x)
                               : lk_recompute(t, block, &k, sizeof k, x);
    }
    return x;
}

/* y and the gradients of all leaves that are wanted, cloned; the tape's stream is where the plain run left it. */
static void run(const Net *net, Style style, unsigned wanted, Tensor *result[LEAVES + 1])
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_seed(t, 9);
    for (int i = 0; i < LEAVES; i++) leaf_of(net, i)->requires_grad = wanted >> i & 1;
    Tensor *x = lk_scale(t, net->x, 1), *beside = lk_relu(t, net->outer);
    Block all = { .net = net, .beside = beside, .style = style };
    Tensor *y = style == NESTED ? lk_recompute(t, blocks, &all, sizeof all, x) : blocks(t, &all, x);
    check(y, "%s", lk_tape_error(t)->message);
    check(y->requires_grad == (wanted != 0) && lk_tape_random(t).calls == DEPTH);
    if (wanted && style != PLAIN) check(strcmp(lk_grad_fn(y), "CheckpointFunctionBackward") == 0);
    /* What comes afterwards uses what the segments read, too. */
    Tensor *loss = lk_sum(t, lk_mul(t, lk_mul(t, y, y), lk_add(t, beside, x)), LK_ALL, false);
    if (wanted) check(lk_backward(t, loss), "%s", lk_tape_error(t)->message);
    check(lk_tape_random(t).calls == DEPTH && lk_tape_random(t).seed == 9);
    result[LEAVES] = lk_clone(y, NULL);
    for (int i = 0; i < LEAVES; i++) {
        check(!lk_grad(leaf_of(net, i)) == !(wanted >> i & 1), "leaf %d", i);
        result[i] = lk_clone(lk_grad(leaf_of(net, i)), NULL);
        lk_zero_grad_(leaf_of(net, i));
    }
    lk_tape_free(t);
}

static void free_results(Tensor *result[LEAVES + 1])
{
    for (int i = 0; i <= LEAVES; i++) lk_free(result[i]);
}

Test(recompute, has_the_bits_of_the_plain_run)
{
    const unsigned all = (1u << LEAVES) - 1, x = 1u << (2 * DEPTH), outer = x << 1;
    const unsigned choices[] = { all,   all & ~x, all & ~outer, all & ~x & ~outer, x,
                                 outer, 1u,       1u << 3,      1u << DEPTH,       0 };
    for (DType dtype = LK_F32; dtype <= LK_F64; dtype++) {
        Net net = new_net(dtype);
        for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
            Tensor *expected[LEAVES + 1], *got[LEAVES + 1];
            run(&net, PLAIN, choices[i], expected);
            for (Style style = SEGMENTS; style <= TWICE; style++) {
                run(&net, style, choices[i], got);
                for (int j = 0; j <= LEAVES; j++) {
                    if (!expected[j]) continue;
                    /* A gradient that the tape holds starts from 0 here: -0 becomes 0. */
                    check(lk_equal(got[j], expected[j]), "style %d, wanted %#x, leaf %d", (int)style, choices[i], j);
                }
                free_results(got);
            }
            free_results(expected);
        }
        free_net(&net);
    }
}

/* LoRA inside, the base and x frozen: what torch's own reentrant checkpoint loses. */
static Tensor *attend(Tape *t, const void *state, Tensor *x)
{
    return lk_multi_head_attention(t, *(Module *const *)state, x, NULL);
}

Test(recompute, reaches_lora_behind_a_frozen_input)
{
    Rng rng;
    lk_manual_seed(&rng, 2);
    Module *m = lk_self_attention_new(8, 2, 0.2, true, &rng, NULL);
    MultiHeadAttention *a = lk_as_multi_head_attention(m);
    lk_freeze_linears(m);
    check(lk_module_set(&a->query, lk_linear_with_lora_new(lk_retain(a->query), 2, 4, &rng, NULL), NULL));
    check(lk_module_set(&a->out_proj, lk_linear_with_lora_merged_new(lk_retain(a->out_proj), 2, 4, &rng, NULL), NULL));
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (strstr(it.name, "lora.B")) lk_normal_(it.tensor, 0, 1, &rng);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(2, 5, 8), NULL), *grad[2][4], *value[2];
    lk_normal_(x, 0, 1, &rng);
    for (int again = 0; again < 2; again++) {
        Tape *t = lk_tape_new(NULL);
        Tensor *y = again ? lk_recompute(t, attend, &m, sizeof m, x) : attend(t, &m, x);
        check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)), "%s", lk_tape_error(t)->message);
        value[again] = lk_clone(y, NULL);
        int count = 0;
        for (ParamIter it = lk_params(m); lk_params_next(&it);) {
            check(!lk_grad(it.tensor) == !it.tensor->requires_grad, "%s", it.name);
            if (lk_grad(it.tensor)) grad[again][count++] = lk_clone(lk_grad(it.tensor), NULL);
        }
        check(count == 4);
        lk_module_zero_grad(m);
        lk_tape_free(t);
    }
    check_equal(value[1], value[0]);
    for (int i = 0; i < 4; i++) {
        check_equal(grad[1][i], grad[0][i]);
        lk_free(grad[0][i]), lk_free(grad[1][i]);
    }
    lk_free(value[0]), lk_free(value[1]), lk_free(x), lk_free(m);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

typedef struct Deep {
    Tensor *w;
    Tensor *leaf; /* on the tape */
} Deep;

static Tensor *deep(Tape *t, const void *state, Tensor *x)
{
    const Deep *d = state;
    for (int i = 0; i < 20; i++) x = lk_tanh(t, lk_mul(t, lk_add(t, x, d->leaf), d->w));
    return x;
}

/* Bytes that the tape holds after some steps of 20 segments with 60 operations each. */
static size_t deep_step(bool again, Tensor *grad[2])
{
    enum { N = 10000, SEGMENTS_DEEP = 20 };
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    Tensor *w = lk_param_new(LK_F32, LK_SHAPE(N), NULL), *x = lk_tensor_new(LK_F32, LK_SHAPE(N), NULL);
    Rng rng;
    lk_manual_seed(&rng, 3);
    lk_normal_(w, 0, 1, &rng), lk_normal_(x, 0, 1, &rng);
    size_t used = 0;
    for (int step = 0; step < 5; step++) {
        int64_t before = check_alloc_count();
        lk_zero_grad_(w);
        Tensor *leaf = lk_full(t, LK_F32, LK_SHAPE(N), 0.01), *y = x;
        leaf->requires_grad = true; /* a leaf of the tape: its gradient is on the tape and outlives the segments */
        Deep d = { w, leaf };
        for (int i = 0; i < SEGMENTS_DEEP; i++) y = again ? lk_recompute(t, deep, &d, sizeof d, y) : deep(t, &d, y);
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)), "%s", lk_tape_error(t)->message);
        used = lk_tape_mark(t).memory.used;
        check(step < 3 || check_alloc_count() == before, "step %d", step);
        grad[1] = lk_grad(leaf) && step == 4 ? lk_clone(lk_grad(leaf), NULL) : NULL;
        lk_tape_reset(t);
    }
    grad[0] = lk_clone(lk_grad(w), NULL);
    lk_free(w), lk_free(x);
    lk_tape_free(t);
    check(check_alloc_live() == 2);
    return used;
}

Test(recompute, needs_the_memory_of_one_segment)
{
    Tensor *plain[2], *again[2];
    size_t all = deep_step(false, plain), few = deep_step(true, again);
    check(all > 20 * 60 * 40000, "%zu bytes", all);
    check(few < 24 * 41000, "%zu bytes stay: x, y of each segment, and gradients", few);
    for (int i = 0; i < 2; i++) {
        check_equal(again[i], plain[i]);
        lk_free(again[i]), lk_free(plain[i]);
    }
}

Test(recompute, leaves_nothing_where_nothing_is_wanted)
{
    Net net = new_net(LK_F32);
    for (int i = 0; i < LEAVES; i++) leaf_of(&net, i)->requires_grad = false;
    for (int grad = 0; grad < 2; grad++) {
        Tape *t = lk_tape_new(NULL);
        lk_tape_set_grad(t, grad);
        Block all = { .net = &net, .beside = net.outer, .style = PLAIN };
        Tensor *expected = blocks(t, &all, net.x);
        lk_tape_seed(t, 0);
        size_t before = lk_tape_mark(t).memory.used;
        Tensor *y = lk_recompute(t, blocks, &all, sizeof all, net.x);
        check(lk_tape_mark(t).memory.used - before < 1024);
        check(!y->requires_grad && !y->node);
        check_equal(y, expected);
        lk_tape_free(t);
    }
    free_net(&net);
}

Test(recompute, survives_failed_allocations)
{
    check_alloc_begin();
    Net net = new_net(LK_F32);
    int64_t live = check_alloc_live(), refused = 0;
    for (int64_t n = 0, failed = 1; failed; n++) {
        for (int once = 0; once < 2; once++) {
            if (once) check_fail_once(n);
            else check_fail_after(n);
            Tape *t = lk_tape_new(NULL);
            if (t) {
                lk_tape_on_error(t, NULL, NULL);
                Block all = { .net = &net, .beside = net.outer, .style = SEGMENTS };
                Tensor *y = lk_recompute(t, blocks, &all, sizeof all, net.x);
                bool ok = lk_backward(t, lk_sum(t, y, LK_ALL, false));
                if (!ok) check_error(lk_tape_error(t), LK_EMEMORY, "memory");
                refused += !ok;
                if (!ok && check_alloc_failed()) {
                    /* The tape works on: what the failed one left of gradients is zeroed, as the header says. */
                    check_fail_after(-1);
                    lk_tape_clear_error(t);
                    lk_tape_reset(t);
                    for (int i = 0; i < LEAVES; i++) lk_zero_grad_(leaf_of(&net, i));
                    check(lk_backward(t, lk_sum(t, lk_recompute(t, blocks, &all, sizeof all, net.x), LK_ALL, false)));
                    failed = 1;
                } else {
                    failed = check_alloc_failed();
                }
            }
            lk_tape_free(t);
            for (int i = 0; i < LEAVES; i++) {
                lk_free(leaf_of(&net, i)->grad_room);
                leaf_of(&net, i)->grad = leaf_of(&net, i)->grad_room = NULL;
            }
            check(check_alloc_live() == live);
        }
    }
    check(refused > 5);
    check_fail_after(-1);
    free_net(&net);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* Everything that a segment reads in its records may not change, frozen or not. */
Test(recompute, notices_a_change_in_place)
{
    for (int changed = 0; changed < 5; changed++)
        for (int frozen = 0; frozen < 2; frozen++) {
            Tape *t = quiet_tape();
            Net net = new_net(LK_F32);
            if (frozen) net.w[0]->requires_grad = net.outer->requires_grad = net.x->requires_grad = false;
            Tensor *x = lk_scale(t, net.x, 1), *beside = lk_relu(t, net.outer), *loose = lk_scale(t, net.x, 1);
            Block k = { .net = &net, .beside = beside };
            Tensor *y = lk_recompute(t, block, &k, sizeof k, x);
            Tensor *victim[] = { net.w[0], net.b[0], x, beside, loose };
            Tensor *loss = lk_sum(t, lk_mul(t, y, y), LK_ALL, false);
            lk_fill_(victim[changed], 1);
            bool ok = lk_backward(t, loss);
            check(ok == (changed == 4), "changed %d", changed);
            if (!ok) {
                check_error(lk_tape_error(t), LK_ESTATE, "CheckpointFunctionBackward needs its input");
                for (int i = 0; i < LEAVES; i++) check(!lk_grad(leaf_of(&net, i)));
            }
            free_net(&net);
            lk_tape_free(t);
        }
}

typedef struct Odd {
    int *calls;
    Tensor *w, *frozen;
    int kind;
} Odd;

static Tensor *odd(Tape *t, const void *state, Tensor *x)
{
    const Odd *o = state;
    int call = ++*o->calls;
    switch (o->kind) {
    case 0: return lk_mul(t, x, lk_scale(t, o->frozen, call)); /* other values */
    case 1: return call == 1 ? lk_mul(t, x, o->w) : lk_sum(t, lk_mul(t, x, o->w), LK_ALL, false); /* another shape */
    case 2: return call == 1 ? lk_mul(t, x, o->w) : NULL;
    case 3: return call == 1 ? lk_mul(t, x, o->w) : o->w; /* of the outside */
    case 4: return lk_mul(t, x, lk_neg(t, o->frozen)); /* reads in what is not recorded */
    default: return call == 1 ? lk_mul(t, x, o->w) : lk_matmul(t, x, lk_ones(t, LK_F32, LK_SHAPE(3, 3)));
    }
}

Test(recompute, refuses_another_result)
{
    for (int kind = 0; kind < 6; kind++) {
        Tape *t = quiet_tape();
        int calls = 0;
        Tensor *w = make_param(LK_F32, LK_SHAPE(2), 1, 2), *x = make_param(LK_F32, LK_SHAPE(2), 3, 4);
        Tensor *frozen = make_tensor(LK_F32, LK_SHAPE(2), 1, 2);
        Odd o = { &calls, w, frozen, kind };
        Tensor *y = lk_recompute(t, odd, &o, sizeof o, x);
        if (kind == 4) lk_fill_(frozen, 7);
        check(!lk_backward(t, lk_sum(t, y, LK_ALL, false)) && calls == 2);
        if (kind == 5) check_error(lk_tape_error(t), LK_ESHAPE, "inner sizes 2 and 3 differ"); /* the first failure */
        else check_error(lk_tape_error(t), LK_ESTATE, "the segment that gave (2,) to lk_recompute gave something else");
        lk_tape_clear_error(t); /* and the tape is as before */
        lk_tape_reset(t);
        check(lk_tape_grad(t) && lk_backward(t, lk_sum(t, lk_mul(t, x, w), LK_ALL, false)));
        lk_free(w), lk_free(x), lk_free(frozen);
        lk_tape_free(t);
    }
}

/* ---- odd segments ------------------------------------------------------------------------------------------------ */

static Tensor *same(Tape *t, const void *state, Tensor *x)
{
    (void)t, (void)state;
    return x;
}

static Tensor *other(Tape *t, const void *state, Tensor *x)
{
    (void)t, (void)x;
    return *(Tensor *const *)state;
}

static Tensor *flat(Tape *t, const void *state, Tensor *x)
{
    (void)state;
    return lk_view(t, x, LK_SHAPE(-1));
}

static Tensor *cut(Tape *t, const void *state, Tensor *x)
{
    lk_mul(t, x, *(Tensor *const *)state); /* recorded, but the result has no part in it */
    return lk_detach(t, x);
}

static Tensor *fails(Tape *t, const void *state, Tensor *x)
{
    (void)state;
    return lk_matmul(t, lk_mul(t, x, x), lk_ones(t, LK_F64, LK_SHAPE(7, 7)));
}

Test(recompute, of_segments_that_compute_nothing)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4), *w = make_param(LK_F64, LK_SHAPE(2, 2), 5, 6, 7, 8);
    check(lk_recompute(t, same, NULL, 0, x) == x);
    Tensor *computed = lk_mul(t, w, w);
    check(lk_recompute(t, other, &computed, sizeof computed, x) == computed && computed->node);
    Tensor *y = lk_recompute(t, cut, &w, sizeof w, x);
    check(!y->requires_grad && !y->node);
    check_values(y, 0, 1, 2, 3, 4);
    y = lk_recompute(t, flat, NULL, 0, x); /* a view of x: shares its elements */
    check(y->data == x->data && y->storage == x->storage);
    check(lk_backward_with(t, lk_mul(t, y, y), lk_view(t, w, LK_SHAPE(-1)), true));
    check_values(lk_grad(x), 0, 10, 24, 42, 64);
    check(!lk_recompute(t, same, NULL, 0, NULL) && lk_tape_error(t)->code == LK_OK);
    check(!lk_recompute(t, fails, NULL, 0, x));
    check_error(lk_tape_error(t), LK_ESHAPE, "inner sizes 2 and 7 differ");
    lk_tape_clear_error(t);
    lk_zero_grad_(x); /* the graph before it is still there */
    check(lk_backward(t, lk_sum(t, computed, LK_ALL, false)));
    check_values(lk_grad(w), 0, 10, 12, 14, 16);
    check(!lk_grad(x));
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

/* keep_graph: the segment may be computed any number of times; else its second use is an error like any other. */
Test(recompute, keeps_its_graph_on_demand)
{
    Tape *t = quiet_tape();
    Net net = new_net(LK_F64);
    Block k = { .net = &net, .beside = net.outer };
    Tensor *y = lk_retain_grad(lk_recompute(t, block, &k, sizeof k, net.x)), *loss = lk_sum(t, y, LK_ALL, false);
    check(lk_backward_with(t, loss, NULL, true));
    Tensor *once = lk_clone(lk_grad(net.w[0]), NULL);
    check_close_to(lk_grad(y), lk_ones(t, LK_F64, LK_SHAPE(5, WIDTH)), 0);
    check(lk_backward(t, loss));
    check_close_to(lk_grad(net.w[0]), lk_scale(t, once, 2), 1e-15);
    check(!lk_backward(t, loss));
    check_error(lk_tape_error(t), LK_ESTATE, "was gone through before");
    lk_free(once);
    free_net(&net);
    lk_tape_free(t);
}
