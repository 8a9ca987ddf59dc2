/* test_ops_attention.c - the options of lk_attention_with, and lk_rotary, beside their formulas in
 * PyTorch (fixtures/ops_attention.h); the cache of keys and values; called wrongly. The plain
 * operation: test_attention.c. */
#include "core/attention_cache.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_attention.h"

/* arg: heads, kv_heads, causal, position, whether the mask becomes bool */
static Tensor *attention_with(Tape *t, Tensor **x, const Case *c)
{
    AttentionOptions o = { .kv_heads = c->arg[1],
                           .causal = c->arg[2],
                           .position = c->arg[3],
                           .attn_mask = c->inputs == 4 ? x[3] : NULL };
    if (c->arg[4]) o.attn_mask = lk_ge(t, x[3], lk_scalar(t, x[3]->dtype, -0.5));
    Tensor *y = lk_attention_with(t, x[0], x[1], x[2], NULL, c->arg[0], o);
    if (c->arg[4]) /* the values have no part in it: their gradient is 0 */
        y = lk_add(t, y, lk_scale(t, lk_sum(t, x[3], LK_ALL, false), 0));
    return lk_cat(t, LK_TENSORS(y), 0);
}

static Tensor *rotary(Tape *t, Tensor **x, const Case *c)
{
    return lk_cat(t, LK_TENSORS(lk_rotary(t, x[0], c->arg[0], c->c, c->arg[1])), 0);
}

static const Caller callers[] = { { "attention_with", attention_with }, { "rotary", rotary } };

TEST_CASES(attention_options, attention_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

static Tensor *random_leaf(DType d, int ndim, const int64_t *shape, Rng *rng)
{
    Tensor *x = lk_param_new(d, ndim, shape, NULL);
    lk_normal_(x, 0, 1, rng);
    return x;
}

enum { GRADS = 5 }; /* y, dq, dk, dv, dbias */

static void run(Tape *t, Tensor *const leaf[4], Tensor *padding, AttentionOptions o,
                Tensor *result[GRADS])
{
    lk_tape_seed(t, 2);
    Tensor *y = lk_attention_with(t, leaf[0], leaf[1], leaf[2], padding, 4, o);
    check(y, "%s", lk_tape_error(t)->message);
    result[0] = lk_clone(y, NULL);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
    for (int i = 0; i < 4; i++) {
        result[i + 1] = lk_clone(lk_grad(leaf[i]), NULL);
        lk_zero_grad_(leaf[i]);
    }
    lk_tape_reset(t);
}

static void free_all(Tensor **x, int count)
{
    for (int i = 0; i < count; i++) lk_free(x[i]);
}

/* Grouped heads are those of k and v repeated, with dropout and padding too; the bits do not
 * depend on the number of threads. */
Test(attention_options, grouped_heads_are_repeated_heads)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *leaf[4];
    leaf[0] = random_leaf(LK_F64, LK_SHAPE(3, 37, 32), &rng);
    leaf[1] = random_leaf(LK_F64, LK_SHAPE(3, 41, 16), &rng);
    leaf[2] = random_leaf(LK_F64, LK_SHAPE(3, 41, 16), &rng);
    leaf[3] = random_leaf(LK_F64, LK_SHAPE(4, 37, 41), &rng);
    Tensor *padding = lk_tensor_new(LK_BOOL, LK_SHAPE(3, 41), NULL);
    for (int i = 0; i < 3 * 41; i++) ((bool *)padding->data)[i] = i % 41 < 39 - i / 41;
    AttentionOptions o = { .dropout = 0.2, .kv_heads = 2, .attn_mask = leaf[3] };
    Tensor *grouped[GRADS], *again[GRADS];
    lk_set_num_threads(1);
    run(t, leaf, padding, o, grouped);
    for (int threads = 2; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        run(t, leaf, padding, o, again);
        for (int i = 0; i < GRADS; i++) check_equal(again[i], grouped[i]);
        free_all(again, GRADS);
    }
    /* (B, S2, 2, 1, d) → (B, S2, 2, 2, d) */
    Tensor *wide[4] = { leaf[0], NULL, NULL, leaf[3] };
    lk_tape_seed(t, 2);
    for (int i = 1; i <= 2; i++) {
        Tensor *x = lk_reshape(t, leaf[i], LK_SHAPE(3, 41, 2, 1, 8));
        wide[i] = lk_reshape(t, lk_expand(t, x, LK_SHAPE(3, 41, 2, 2, 8)), LK_SHAPE(3, 41, 32));
    }
    o.kv_heads = 0;
    Tensor *y = lk_attention_with(t, wide[0], wide[1], wide[2], padding, 4, o);
    check_close_to(lk_detach(t, y), grouped[0], 1e-13);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
    for (int i = 0; i < 4; i++) check_close_to(lk_grad(leaf[i]), grouped[i + 1], 1e-12);
    free_all(grouped, GRADS), free_all(leaf, 4);
    lk_free(padding);
    lk_tape_free(t);
}

/* -inf masks as false does, also a whole row: then all keys count alike. */
Test(attention_options, minus_infinity_masks)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *q = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 3, 4)),
           *k = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 3, 4));
    const bool on[] = { true, false, true, false, false, false, false, true, true };
    float bias[9];
    for (int i = 0; i < 9; i++) bias[i] = on[i] ? 0 : -INFINITY;
    AttentionOptions one = { .attn_mask = lk_tensor(t, LK_BOOL, LK_SHAPE(3, 3), on) },
                     two = { .attn_mask = lk_tensor(t, LK_F32, LK_SHAPE(3, 3), bias) };
    Tensor *y = lk_attention_with(t, q, k, k, NULL, 2, one);
    check_equal(lk_attention_with(t, q, k, k, NULL, 2, two), y);
    Tensor *row = lk_select(t, y, 1, 1), *mean = lk_mean(t, k, LK_DIMS(1), false);
    check_close_to(lk_contiguous(t, row), mean, 1e-6);
    lk_tape_free(t);
}

/* A text in pieces of 1, 3, 1 and 2 tokens is the whole text at once, for grouped heads too. */
Test(attention_options, a_cache_is_the_whole_text)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    AttentionCache cache;
    const int pieces[] = { 1, 3, 1, 2 };
    lk_manual_seed(&rng, 1);
    lk_tape_set_grad(t, false);
    for (int64_t kv_heads = 1; kv_heads <= 4; kv_heads *= 2) {
        Tensor *x[3];
        for (int i = 0; i < 3; i++)
            x[i] = lk_randn(t, &rng, LK_F32, LK_SHAPE(2, 7, i ? 4 * kv_heads : 16));
        AttentionOptions o = { .kv_heads = kv_heads };
        check(lk_attention_cache_init(&cache, LK_F32, 2, 8, 4 * kv_heads, NULL));
        Tensor *piece[4];
        for (int i = 0; i < 4; i++) {
            const int64_t at = cache.length;
            Tensor *part[3];
            for (int j = 0; j < 3; j++) part[j] = lk_slice(t, x[j], 1, at, at + pieces[i], 1);
            piece[i] = lk_attention_cached(t, &cache, part[0], part[1], part[2], 4, o);
            check(piece[i] && cache.length == at + pieces[i], "%s", lk_tape_error(t)->message);
        }
        o.causal = true;
        Tensor *whole = lk_attention_with(t, x[0], x[1], x[2], NULL, 4, o);
        check_close_to(lk_cat(t, 4, piece, 1), whole, 1e-6);
        lk_attention_cache_free(&cache);
        check(!cache.k && !cache.v && cache.length == 0);
    }
    lk_tape_free(t);
}

Test(attention_options, refuses_wrong_arguments)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *q = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 8)), *k = lk_ones(t, LK_F32, LK_SHAPE(2, 4, 4));
    Tensor *m = lk_ones(t, LK_F32, LK_SHAPE(4, 3)), *d = lk_ones(t, LK_F64, LK_SHAPE(3, 4)),
           *wide = lk_ones(t, LK_F32, LK_SHAPE(1, 2, 4, 3, 4));
#define ATTEND(...) lk_attention_with(t, q, k, k, NULL, 4, (AttentionOptions){ __VA_ARGS__ })
    REFUSES(
        ATTEND(.kv_heads = 3), LK_EVALUE,
        "lk_attention: 4 heads of q (2, 3, 8) and 3 of k (2, 4, 4): the second must divide the "
        "first, and both must be equally wide");
    REFUSES(
        ATTEND(.kv_heads = 1), LK_EVALUE,
        "lk_attention: 4 heads of q (2, 3, 8) and 1 of k (2, 4, 4): the second must divide the "
        "first, and both must be equally wide");
    REFUSES(ATTEND(.kv_heads = 2, .position = -1), LK_EVALUE,
            "lk_attention: the position -1 of the first query is negative");
    REFUSES(ATTEND(.kv_heads = 2, .attn_mask = m), LK_ESHAPE,
            "lk_attention: attn_mask (4, 3) does not broadcast to the scores (B, heads, S, S2) = "
            "(2, 4, 3, 4)");
    REFUSES(ATTEND(.kv_heads = 2, .attn_mask = wide), LK_ESHAPE,
            "lk_attention: attn_mask (1, 2, 4, 3, 4) does not broadcast to the scores (B, heads, "
            "S, S2) = (2, 4, 3, 4)");
    REFUSES(ATTEND(.kv_heads = 2, .attn_mask = d), LK_EDTYPE,
            "lk_attention: attn_mask must be bool or float32, not float64");
    REFUSES(lk_rotary(t, m, 1, 10, 0), LK_ESHAPE,
            "lk_rotary: x (4, 3) must be (B, S, E), and E a multiple of 2 · 1 heads");
    REFUSES(lk_rotary(t, q, 8, 10, 0), LK_ESHAPE,
            "lk_rotary: x (2, 3, 8) must be (B, S, E), and E a multiple of 2 · 8 heads");
    REFUSES(lk_rotary(t, q, 2, 0, 0), LK_EVALUE,
            "lk_rotary: base 0 and position 0; the first must be positive, the second not "
            "negative");
    PASSES_NULL(lk_rotary(t, NULL, 2, 10, 0));

    AttentionCache cache = { .length = 0 };
    const AttentionOptions o = { .kv_heads = 2 };
    Tensor *three = lk_slice(t, k, 1, 0, 3, 1), *w = lk_param_new(LK_F32, LK_SHAPE(1), NULL);
    Error err = { 0 };
    REFUSES(lk_attention_cached(t, &cache, q, three, three, 4, o), LK_EVALUE,
            "lk_attention_cached: the cache is empty; lk_attention_cache_init makes it");
    check(!lk_attention_cache_init(&cache, LK_I64, 2, 8, 4, &err));
    check(strcmp(err.message,
                 "lk_attention_cache_init: int64 is not floating; use float32 or float64") == 0);
    check(lk_attention_cache_init(&cache, LK_F32, 2, 4, 4, NULL));
    REFUSES(lk_attention_cached(t, &cache, lk_mul(t, q, w), three, three, 4, o), LK_ESTATE,
            "lk_attention_cached: a cache has no gradient; call lk_tape_set_grad(t, false) first");
    REFUSES(lk_attention_cached(t, &cache, q, q, q, 4, o), LK_ESHAPE,
            "lk_attention_cached: k (2, 3, 8) does not fit the cache; it must be (2, S, 4)");
    REFUSES(lk_attention_cached(t, &cache, q, k, k, 4, o), LK_ESHAPE,
            "lk_attention_cached: q (2, 3, 8), k (2, 4, 4) and v (2, 4, 4) must have the same "
            "tokens");
    check(lk_attention_cached(t, &cache, q, three, three, 4, o) && cache.length == 3);
    REFUSES(
        lk_attention_cached(t, &cache, q, three, three, 4, o), LK_ESHAPE,
        "lk_attention_cached: the cache has 3 of 4 tokens, so k (2, 3, 4) does not fit; make a "
        "larger one");
    check(cache.length == 3);
    lk_attention_cache_free(&cache);
    lk_free(w);
    lk_tape_free(t);
}
