/* test_attention.c - lk_attention (core/ops_attention.c) beside its literal form of seven
 * operations: values, gradients, the same dropout; masks, rows without any key, causal, strided
 * operands, frozen inputs, threads, memory, bad calls. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/gradcheck.h"
#include "core/ops.h"
#include "tests/core/ops_cases.h"

typedef struct Size {
    int64_t batch, rows, columns, heads, d;
} Size;

/* (B, S, E) as (B, heads, S, d). */
static Tensor *heads_of(Tape *t, Tensor *x, int64_t heads)
{
    Tensor *split =
        lk_reshape(t, x, LK_SHAPE(x->shape[0], x->shape[1], heads, x->shape[2] / heads));
    return lk_transpose(t, split, 1, 2);
}

/* Attention as a textbook writes it. It draws one mask of dropout, as the fused one does. */
static Tensor *literal(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, int64_t heads,
                       AttentionOptions o)
{
    const double lowest = q->dtype == LK_F64 ? -DBL_MAX : -(double)FLT_MAX;
    Tensor *no = lk_tensor(t, LK_BOOL, LK_SCALAR, (bool[]){ false });
    Tensor *scores =
        lk_matmul(t, heads_of(t, q, heads), lk_transpose(t, heads_of(t, k, heads), 2, 3));
    scores = lk_scale(t, scores, 1 / sqrt((double)(q->shape[2] / heads)));
    if (mask) {
        Tensor *hidden = lk_eq(t, mask, no);
        scores = lk_masked_fill(t, scores, lk_unsqueeze(t, lk_unsqueeze(t, hidden, 1), 1), lowest);
    }
    if (o.causal) {
        Tensor *i = lk_unsqueeze(t, lk_arange(t, 0, q->shape[1]), 1),
               *j = lk_arange(t, 0, k->shape[1]);
        scores = lk_masked_fill(t, scores, lk_gt(t, j, i), lowest);
    }
    Tensor *p = lk_dropout(t, lk_softmax(t, scores, -1), o.dropout);
    Tensor *y = lk_transpose(t, lk_matmul(t, p, heads_of(t, v, heads)), 1, 2);
    return lk_reshape(t, y, q->ndim, q->shape);
}

typedef Tensor *Attend(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, int64_t heads,
                       AttentionOptions o);

static Tensor *random_leaf(DType dtype, int64_t batch, int64_t rows, int64_t width, Rng *rng)
{
    Tensor *x = lk_param_new(dtype, LK_SHAPE(batch, rows, width), NULL);
    lk_normal_(x, 0, 1, rng);
    return x;
}

typedef enum Mask { NO_MASK, PADDING, SCATTERED, NOTHING } Mask;

static Tensor *make_mask(Mask kind, const Size *z, Rng *rng)
{
    if (kind == NO_MASK) return NULL;
    Tensor *mask = lk_tensor_new(LK_BOOL, LK_SHAPE(z->batch, z->columns), NULL);
    bool *on = mask->data;
    for (int64_t b = 0; b < z->batch; b++) {
        int64_t length = lk_random_int(rng, 1, z->columns + 1);
        for (int64_t j = 0; j < z->columns; j++)
            on[b * z->columns + j] =
                kind == PADDING ? j < length : kind == SCATTERED && lk_random_int(rng, 0, 3) > 0;
    }
    /* the first sentence has one key */
    if (kind == NOTHING && z->batch > 1) on[z->columns - 1] = true;
    return mask;
}

enum { RESULTS = 4 }; /* y, dq, dk, dv */

/* y and the gradients of the wanted leaves (bits 0, 1, 2), cloned. */
static void run(Attend *attend, Tensor *const leaf[3], Tensor *mask, int64_t heads,
                AttentionOptions o, unsigned wanted, Tensor *result[RESULTS])
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_tape_seed(t, 17);
    lk_manual_seed(&rng, 3);
    for (int i = 0; i < 3; i++) leaf[i]->requires_grad = wanted >> i & 1;
    Tensor *y = attend(t, leaf[0], leaf[1], leaf[2], mask, heads, o);
    check(y, "%s", lk_tape_error(t)->message);
    check(y->requires_grad == (wanted != 0));
    if (wanted)
        check(lk_backward_with(t, y, lk_randn(t, &rng, y->dtype, y->ndim, y->shape), false));
    result[0] = lk_clone(y, NULL);
    for (int i = 0; i < 3; i++) {
        check(!lk_grad(leaf[i]) == !(wanted >> i & 1), "leaf %d", i);
        result[i + 1] = lk_clone(lk_grad(leaf[i]), NULL);
        lk_zero_grad_(leaf[i]);
    }
    lk_tape_free(t);
}

static void free_all(Tensor **x, int count)
{
    for (int i = 0; i < count; i++) lk_free(x[i]);
}

static const Size sizes[] = { { 1, 1, 1, 1, 1 },     { 2, 3, 3, 2, 4 },   { 3, 1, 9, 2, 8 },
                              { 2, 32, 32, 3, 64 },  { 2, 17, 5, 1, 3 },  { 1, 67, 67, 2, 16 },
                              { 2, 300, 310, 1, 8 }, { 1, 9, 2100, 2, 4 } };

static void compare(DType dtype, double tol)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (int i = 0; i < LENGTH(sizes); i++) {
        const Size *z = &sizes[i];
        Tensor *leaf[3];
        for (int j = 0; j < 3; j++)
            leaf[j] =
                random_leaf(dtype, z->batch, j == 0 ? z->rows : z->columns, z->heads * z->d, &rng);
        for (int kind = NO_MASK; kind <= NOTHING; kind++) {
            Tensor *mask = make_mask((Mask)kind, z, &rng);
            for (int option = 0; option < 4; option++) {
                AttentionOptions o = { .dropout = option & 1 ? 0.3 : 0, .causal = option & 2 };
                Tensor *fused[RESULTS], *plain[RESULTS], *alone[RESULTS];
                run(lk_attention_with, leaf, mask, z->heads, o, 7, fused);
                run(literal, leaf, mask, z->heads, o, 7, plain);
                for (int r = 0; r < RESULTS; r++) check_close_to(fused[r], plain[r], tol);
                /* without the others the same bits */
                for (unsigned wanted = 0; wanted < 7; wanted++) {
                    run(lk_attention_with, leaf, mask, z->heads, o, wanted, alone);
                    for (int r = 0; r < RESULTS; r++)
                        if (alone[r]) check_equal(alone[r], fused[r]);
                    free_all(alone, RESULTS);
                }
                free_all(fused, RESULTS);
                free_all(plain, RESULTS);
            }
            lk_free(mask);
        }
        free_all(leaf, 3);
    }
}

Test(attention, is_the_literal_form_in_float64) { compare(LK_F64, 1e-12); }
Test(attention, is_the_literal_form_in_float32) { compare(LK_F32, 2e-5); }

/* q, k and v as views of one leaf (2, 8, 24). */
static void views_of(Tape *t, Tensor *x, int variant, Tensor *view[3])
{
    for (int i = 0; i < 3; i++) {
        switch (variant) {
        case 0: view[i] = x; break; /* one tensor three times */
        case 1:
            view[i] = lk_transpose(t, x, 0, 1);
            break; /* (8, 2, 24) */
        /* as one Linear makes them */
        case 2: view[i] = lk_slice(t, x, -1, 8 * i, 8 * i + 8, 1); break;
        /* even columns */
        case 3: view[i] = lk_slice(t, lk_slice(t, x, -1, i, INT64_MAX, 2), -1, 0, 8, 1); break;
        case 4:
            view[i] = lk_expand(t, lk_slice(t, x, 0, i % 2, i % 2 + 1, 1), LK_SHAPE(3, -1, -1));
            break;
        default: view[i] = lk_permute(t, x, LK_DIMS(0, 2, 1)); /* (2, 24, 8) */
        }
    }
}

Test(attention, reads_views_in_place)
{
    Rng rng;
    lk_manual_seed(&rng, 2);
    Tensor *x = random_leaf(LK_F64, 2, 8, 24, &rng);
    for (int variant = 0; variant < 6; variant++) {
        Tensor *value[2], *grad[2];
        for (int fused = 0; fused < 2; fused++) {
            Tape *t = lk_tape_new(NULL);
            Tensor *in[3];
            views_of(t, x, variant, in);
            AttentionOptions o = { .dropout = 0.2, .causal = variant == 2 };
            Tensor *even = lk_expand(
                t, lk_tensor(t, LK_BOOL, LK_SHAPE(2), (bool[]){ true, false }), LK_SHAPE(1, 2));
            /* not contiguous either */
            Tensor *mask = variant == 1 ? lk_expand(t, even, LK_SHAPE(8, 2)) : NULL;
            Tensor *y = (fused ? lk_attention_with : literal)(t, in[0], in[1], in[2], mask, 2, o);
            check(y, "%s", lk_tape_error(t)->message);
            check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
            value[fused] = lk_clone(y, NULL);
            grad[fused] = lk_clone(lk_grad(x), NULL);
            lk_zero_grad_(x);
            lk_tape_free(t);
        }
        check_close_to(value[1], value[0], 1e-12);
        check_close_to(grad[1], grad[0], 1e-12);
        free_all(value, 2);
        free_all(grad, 2);
    }
    lk_free(x);
}

Test(attention, has_the_same_bits_for_any_number_of_threads)
{
    static const Size shared[] = { { 8, 33, 40, 4, 16 },
                                   { 1, 530, 530, 1, 32 },
                                   { 1, 200, 200, 3, 32 } };
    Rng rng;
    lk_manual_seed(&rng, 4);
    for (int i = 0; i < LENGTH(shared); i++) {
        const Size *z = &shared[i];
        Tensor *leaf[3];
        for (int j = 0; j < 3; j++)
            leaf[j] = random_leaf(LK_F32, z->batch, j == 0 ? z->rows : z->columns, z->heads * z->d,
                                  &rng);
        Tensor *mask = make_mask(PADDING, z, &rng), *one[RESULTS], *more[RESULTS];
        lk_set_num_threads(1);
        run(lk_attention_with, leaf, mask, z->heads, (AttentionOptions){ .dropout = 0.1 }, 7, one);
        for (int threads = 2; threads <= 3; threads++) {
            lk_set_num_threads(threads);
            run(lk_attention_with, leaf, mask, z->heads, (AttentionOptions){ .dropout = 0.1 }, 7,
                more);
            for (int r = 0; r < RESULTS; r++) check_equal(more[r], one[r]);
            free_all(more, RESULTS);
        }
        free_all(one, RESULTS);
        free_all(leaf, 3);
        lk_free(mask);
    }
}

/* Padding changes nothing: the same sentence, alone and padded with whatever. */
Test(attention, does_not_look_behind_the_mask)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 5);
    Tensor *x = lk_randn(t, &rng, LK_F64, LK_SHAPE(1, 20, 8)),
           *short_x = lk_slice(t, x, 1, 0, 7, 1);
    lk_fill_(lk_slice(t, x, 1, 7, 20, 1), 1e300);
    bool on[20] = { true, true, true, true, true, true, true };
    Tensor *mask = lk_tensor(t, LK_BOOL, LK_SHAPE(1, 20), on);
    Tensor *y = lk_attention(t, short_x, x, x, mask, 2, 0);
    Tensor *alone = lk_attention(t, short_x, short_x, short_x, NULL, 2, 0);
    check_close_to(y, alone, 1e-14);
    lk_tape_free(t);
}

Test(attention, of_nothing)
{
    Tape *t = lk_tape_new(NULL);
    for (int empty = 0; empty < 3; empty++) { /* no sentence, no query, no key */
        Tensor *q =
            lk_param_new(LK_F32, LK_SHAPE(empty == 0 ? 0 : 2, empty == 1 ? 0 : 3, 4), NULL);
        Tensor *k =
            lk_param_new(LK_F32, LK_SHAPE(empty == 0 ? 0 : 2, empty == 2 ? 0 : 5, 4), NULL);
        Tensor *y = lk_attention(t, q, k, k, NULL, 2, 0);
        check(y && lk_same_shape(y, q));
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        for (int64_t i = 0; i < lk_numel(y); i++) check(((float *)y->data)[i] == 0);
        for (int64_t i = 0; i < lk_numel(q); i++) check(((float *)lk_grad(q)->data)[i] == 0);
        for (int64_t i = 0; i < lk_numel(k); i++) check(((float *)lk_grad(k)->data)[i] == 0);
        lk_free(q), lk_free(k);
    }
    lk_tape_free(t);
}

/* PyTorch 2's name; and what it needs as it was: v for the gradients of q and k only, the mask for
 * all. */
Test(attention, notices_a_change_in_place)
{
    for (int changed = 0; changed < 4; changed++)
        for (unsigned wanted = 1; wanted < 8; wanted <<= 1) {
            Tape *t = quiet_tape();
            Rng rng;
            lk_manual_seed(&rng, 6);
            Tensor *leaf[4], *x[4];
            for (int i = 0; i < 3; i++) {
                leaf[i] = random_leaf(LK_F32, 1, 4, 6, &rng);
                leaf[i]->requires_grad = wanted >> i & 1;
                x[i] = lk_scale(t, leaf[i], 1);
            }
            x[3] = lk_tensor(t, LK_BOOL, LK_SHAPE(1, 4), (bool[]){ true, true, false, true });
            Tensor *y = lk_attention(t, x[0], x[1], x[2], x[3], 2, 0);
            check(strcmp(lk_grad_fn(y), "ScaledDotProductFlashAttentionForCpuBackward0") == 0);
            lk_fill_(x[changed], 1);
            bool ok = lk_backward(t, lk_sum(t, y, LK_ALL, false));
            check(ok == (changed == 2 && wanted == 4), "changed %d, wanted %u", changed, wanted);
            if (!ok) check_error(lk_tape_error(t), LK_ESTATE, "was changed in place");
            free_all(leaf, 3);
            lk_tape_free(t);
        }
}

/* Neither forward nor backward asks for memory after the first steps, and never for the
 * probabilities. */
Test(attention, keeps_two_numbers_a_row)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 7);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = random_leaf(LK_F32, 1, 2048, 4, &rng);
    for (int step = 0; step < 5; step++) {
        int64_t before = check_alloc_count();
        Tensor *y = lk_attention(t, x, x, x, NULL, 2, 0.1);
        /* y takes 32 KB, the numbers 32 KB; probabilities would be 32 MB */
        size_t used = lk_tape_mark(t).memory.used;
        check(step < 2 || used < 66 << 10, "the graph has %zu bytes", used);
        check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        lk_zero_grad_(x);
        lk_tape_reset(t);
        check(step < 3 || check_alloc_count() == before);
    }
    lk_free(x);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

Test(attention, survives_failed_allocations)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        check_fail_after(-1);
        Tensor *x = lk_param_new(LK_F32, LK_SHAPE(1, 300, 8), NULL);
        check_fail_after(n);
        Tape *t = lk_tape_new(NULL);
        if (t) {
            lk_tape_on_error(t, NULL, NULL);
            Tensor *y = lk_attention(t, x, x, x, NULL, 2, 0.1);
            bool ok = lk_backward(t, lk_sum(t, y, LK_ALL, false));
            check(ok == (check_alloc_failed() == 0));
            if (!ok) check_error(lk_tape_error(t), LK_EMEMORY, "memory");
        }
        failed = check_alloc_failed();
        lk_free(x);
        lk_tape_free(t);
        check(check_alloc_live() == 0);
    }
}

Test(attention, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *q = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4)), *k = lk_ones(t, LK_F32, LK_SHAPE(2, 5, 4));
    Tensor *mask = lk_ones(t, LK_BOOL, LK_SHAPE(2, 5));
    PASSES_NULL(lk_attention(t, NULL, k, k, mask, 2, 0));
    PASSES_NULL(lk_attention(t, q, NULL, k, mask, 2, 0));
    PASSES_NULL(lk_attention(t, q, k, NULL, mask, 2, 0));
    check(lk_attention(t, q, k, k, mask, 2, 0));
    REFUSES(lk_attention(t, q, k, q, mask, 2, 0), LK_ESHAPE,
            "lk_attention: q (2, 3, 4), k (2, 5, 4) and v (2, 3, 4): "
            "they must be (B, S, E), (B, S2, E) and (B, S2, E)");
    REFUSES(lk_attention(t, lk_select(t, q, 0, 0), k, k, mask, 2, 0), LK_ESHAPE,
            "lk_attention: q (3, 4), k (2, 5, 4) "
            "and v (2, 5, 4): they must be (B, S, E), (B, S2, E) and (B, S2, E)");
    REFUSES(lk_attention(t, q, k, k, mask, 3, 0), LK_EVALUE,
            "lk_attention: the last size of q (2, 3, 4) is not a multiple of 3 heads");
    REFUSES(lk_attention(t, q, k, k, mask, 0, 0), LK_EVALUE,
            "lk_attention: the last size of q (2, 3, 4) is not a multiple of 0 heads");
    REFUSES(lk_attention(t, q, k, k, lk_ones(t, LK_BOOL, LK_SHAPE(2, 3)), 2, 0), LK_ESHAPE,
            "lk_attention: the mask "
            "(2, 3) must have a value for each key: k (2, 5, 4) is (B, S2, E), so (B, S2)");
    REFUSES(lk_attention(t, q, k, k, lk_ones(t, LK_I64, LK_SHAPE(2, 5)), 2, 0), LK_EDTYPE,
            "lk_attention: the mask must be bool, not int64; lk_ne(t, mask, zero) makes one");
    REFUSES(lk_attention(t, q, k, k, mask, 2, 1.5), LK_EVALUE,
            "lk_attention: dropout probability has to be between 0 and 1, but got 1.5");
    const int64_t many = (int64_t)1 << 41;
    Tensor *one = lk_ones(t, LK_F32, LK_SHAPE(2, 1, 4));
    Tensor *endless = WIDE_ADDRESSES ? lk_expand(t, one, LK_SHAPE(2, many, 4)) : NULL;
    if (endless)
        REFUSES(
            lk_attention(t, q, endless, endless, NULL, 2, 0), LK_EMEMORY,
            "lk_attention: a row of scores for k (2, 2199023255552, 4) is larger than any memory");
    REFUSES(lk_attention(t, lk_ones(t, LK_F64, LK_SHAPE(2, 3, 4)), k, k, mask, 2, 0), LK_EDTYPE,
            "lk_attention: operands are float64 and float32; lk_to makes them the same");
    lk_tape_free(t);
}
