/* test_low_rank.c - LoRA's short way (lk_linear_lora) against the literal one: a Linear that
 * trains without forming W + scale B A has the values and gradients of one that forms it. */
#include <stdlib.h>

#include "core/ops.h"
#include "nn/adapter.h"
#include "nn/gradcheck.h"
#include "nn/symmetric.h"
#include "tests/shared/nets.h"

enum { ROWS = 7, IN = 11, OUT = 5, RANK = 3 };
static Rng rng;

static Tensor *random_param(DType dtype, int ndim, const int64_t *shape)
{
    Tensor *x = lk_param_new(dtype, ndim, shape, NULL);
    lk_normal_(x, 0, 1, &rng);
    return x;
}

/* ---- the operations ------------------------------------------------------------------------- */

typedef struct Leaves {
    Tensor *x, *w, *b, *A, *B;
} Leaves;

static Tensor *const *all_of(const Leaves *l) { return &l->x; }

static Leaves leaves_new(DType dtype, int ndim)
{
    lk_manual_seed(&rng, 5);
    int64_t shape[4] = { 2, 3, ROWS, IN };
    return (Leaves){ random_param(dtype, ndim, shape + 4 - ndim),
                     random_param(dtype, LK_SHAPE(OUT, IN)), random_param(dtype, LK_SHAPE(OUT)),
                     random_param(dtype, LK_SHAPE(RANK, IN)),
                     random_param(dtype, LK_SHAPE(OUT, RANK)) };
}

static void leaves_free(Leaves *l)
{
    for (int i = 0; i < 5; i++) lk_free(all_of(l)[i]);
}

/* F.linear(x, W + s B A, b), as it stands in the notebook. */
static Tensor *literal(Tape *t, const Leaves *l, Tensor *bias, double scale)
{
    return lk_linear(t, l->x, lk_add(t, l->w, lk_scale(t, lk_matmul(t, l->B, l->A), scale)), bias);
}

/* y of both ways, and the gradients of Σ v y for random v. Frozen ones get none. */
static void check_same(DType dtype, int ndim, bool with_bias, unsigned frozen, double tol)
{
    Leaves l = leaves_new(dtype, ndim);
    Tensor *bias = with_bias ? l.b : NULL, *expected[5] = { NULL };
    for (int i = 0; i < 5; i++) all_of(&l)[i]->requires_grad = !(frozen >> i & 1);
    Tape *t = lk_tape_new(NULL);
    Tensor *y = literal(t, &l, bias, -0.75), *v = lk_randn(t, &rng, dtype, y->ndim, y->shape);
    check(lk_backward_with(t, y, v, false));
    for (int i = 0; i < 5; i++) {
        Tensor *x = all_of(&l)[i];
        if (x->grad) expected[i] = lk_clone(x->grad, NULL);
        lk_zero_grad_(x);
    }
    for (int form = LK_LORA_MERGED; form <= LK_LORA_ADDED; form++) {
        Tensor *z = lk_linear_lora(t, l.x, l.w, bias, l.A, l.B, -0.75, (LoRAForm)form);
        check_close_to(z, y, tol);
        check_text(lk_grad_fn(z), form == LK_LORA_ADDED ? "AddBackward0" : lk_grad_fn(y));
        check(lk_backward_with(t, z, v, false));
        for (int i = 0; i < 5; i++) {
            Tensor *x = all_of(&l)[i];
            check(!x->grad == !expected[i], "leaf %d", i);
            if (x->grad) check_close_to(x->grad, expected[i], tol);
            lk_zero_grad_(x);
        }
    }
    for (int i = 0; i < 5; i++) lk_free(expected[i]);
    lk_tape_free(t);
    leaves_free(&l);
}

Test(low_rank, values_and_gradients_are_those_of_the_formed_weight)
{
    /* float64 sums of at most 42 products of numbers around 1; float32 rounds each 2^29 times as
     * coarsely. */
    for (int ndim = 1; ndim <= 4; ndim++)
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            check_same(LK_F64, ndim, with_bias, 0, 1e-13);
            check_same(LK_F32, ndim, with_bias, 0, 5e-5);
        }
}

Test(low_rank, every_combination_of_frozen_leaves)
{
    for (unsigned frozen = 0; frozen < 31; frozen++) check_same(LK_F64, 2, true, frozen, 1e-13);
}

Test(low_rank, the_output_keeps_nothing_without_a_gradient)
{
    Leaves l = leaves_new(LK_F64, 2);
    Tape *t = lk_tape_new(NULL);
    Tensor *with = lk_linear_lora(t, l.x, l.w, l.b, l.A, l.B, 2, LK_LORA_MERGED);
    lk_tape_set_grad(t, false);
    Tensor *without = lk_linear_lora(t, l.x, l.w, l.b, l.A, l.B, 2, LK_LORA_MERGED);
    check_equal(with, without);
    check(!without->requires_grad && !lk_grad_fn(without));
    lk_tape_free(t);
    leaves_free(&l);
}

Test(low_rank, a_value_changed_before_backward_is_an_error)
{
    /* dx needs W, A and B; dW and dA need x; dA needs B. db and dB are made of what the forward
     * kept. */
    const struct {
        int wants, changed;
        bool refused;
    } cases[] = { { 0, 1, true },  { 0, 3, true },  { 0, 4, true },  { 1, 0, true },
                  { 1, 4, false }, { 2, 0, false }, { 2, 1, false }, { 3, 0, true },
                  { 3, 4, true },  { 3, 1, false }, { 4, 0, false }, { 4, 3, false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Leaves l = leaves_new(LK_F64, 2);
        Tensor *const *all = all_of(&l);
        for (int k = 0; k < 5; k++) all[k]->requires_grad = k == cases[i].wants;
        Tape *t = lk_tape_new(NULL);
        lk_tape_on_error(t, NULL, NULL);
        Tensor *y = lk_sum(t, lk_linear_lora(t, l.x, l.w, l.b, l.A, l.B, 2, LK_LORA_MERGED),
                           LK_ALL, false);
        lk_fill_(all[cases[i].changed], 0);
        check(lk_backward(t, y) == !cases[i].refused, "case %d", (int)i);
        if (cases[i].refused) check_error(lk_tape_error(t), LK_ESTATE, "changed in place");
        lk_tape_free(t);
        leaves_free(&l);
    }
}

Test(low_rank, shapes_that_do_not_fit_are_errors)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 4)), *w = lk_ones(t, LK_F32, LK_SHAPE(3, 4));
    Tensor *A = lk_ones(t, LK_F32, LK_SHAPE(2, 4)), *B = lk_ones(t, LK_F32, LK_SHAPE(3, 2));
    const struct {
        Tensor *x, *w, *A, *B;
        const char *message;
    } cases[] = {
        { x, w, B, A, "lk_linear_lora: A (3, 2) and B (2, 4) do not fit weight (3, 4)" },
        { x, w, A, lk_T(t, B), "lk_linear_lora: A (2, 4) and B (2, 3) do not fit weight (3, 4)" },
        { x, w, A, lk_ones(t, LK_F32, LK_SHAPE(1, 2)), "and B (1, 2) do not fit" },
        { x, w, lk_ones(t, LK_F32, LK_SHAPE(2, 1)), B, "A (2, 1) and" },
        { B, w, A, B, "lk_linear_lora: x (3, 2) and weight (3, 4): the last size" },
        { x, w, lk_ones(t, LK_F64, LK_SHAPE(2, 4)), B, "operands are float32 and float64" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(!lk_linear_lora(t, cases[i].x, cases[i].w, NULL, cases[i].A, cases[i].B, 1,
                              LK_LORA_MERGED));
        check(strstr(lk_tape_error(t)->message, cases[i].message), "%s",
              lk_tape_error(t)->message);
        lk_tape_clear_error(t);
    }
    lk_tape_free(t);
}

/* ---- the modules ---------------------------------------------------------------------------- */

/* A Linear with adapters "one" and "two", B ≠ 0. */
static Module *adapted_linear(void)
{
    lk_manual_seed(&rng, 1);
    Module *m = lk_linear_new(IN, OUT, true, &rng, NULL);
    check(lk_module_to(m, LK_F64, NULL));
    check(lk_add_lora(m, &(LoRAConfig){ .adapter = "one", .rank = 2, .alpha = 3 }, &rng, NULL) ==
          1);
    check(lk_add_lora(m, &(LoRAConfig){ .adapter = "two", .rank = 1, .alpha = 0.5 }, &rng, NULL) ==
          1);
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 1, &rng);
    return m;
}

/* The values of m and each of its gradients, against the weight as lk_param_named gives it. */
static void check_linear(Module *m)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_randn(t, &rng, LK_F64, LK_SHAPE(ROWS, IN)), *expected[8] = { NULL };
    Tensor *y = lk_linear(t, x, lk_param_named(t, m, "weight"), lk_as_linear(m)->bias);
    Tensor *v = lk_randn(t, &rng, LK_F64, LK_SHAPE(ROWS, OUT));
    check(lk_backward_with(t, y, v, true)); /* a cached weight serves both */
    int n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++)
        expected[n] = lk_clone(lk_grad(it.tensor), NULL);
    lk_module_zero_grad(m);
    Tensor *z = lk_forward(t, m, x);
    check_close_to(z, y, 1e-13);
    check(lk_backward_with(t, z, v, false));
    n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++) {
        check(!it.tensor->grad == !expected[n], "%s", it.name);
        if (expected[n]) check_close_to(it.tensor->grad, expected[n], 1e-13);
        lk_free(expected[n]);
    }
    lk_module_zero_grad(m);
    lk_tape_free(t);
}

Test(low_rank, a_parametrized_linear_trains_as_with_the_weight_it_reads)
{
    Module *m = adapted_linear();
    check_linear(m); /* two terms, everything trainable */
    lk_train_only_lora(m, "two", NULL);
    check_linear(m);
    lk_train_only_lora(m, "one", NULL); /* the term that is not the last */
    check_linear(m);
    lk_switch_lora(m, "one", NULL);
    check_linear(m);
    lk_switch_lora(m, "two", NULL);
    lk_scale_lora(m, "two", 1.5, NULL);
    lk_train_only_lora(m, "two", NULL);
    check_linear(m);
    lk_set_cached(m, true);
    check_linear(m);
    lk_free(m);
}

Test(low_rank, other_links_of_the_chain_are_computed)
{
    lk_manual_seed(&rng, 2);
    Module *m = lk_linear_new(IN, IN, false, &rng, NULL);
    Module *before = lk_symmetric_new(NULL), *after = lk_symmetric_new(NULL);
    check(lk_register_parametrization(m, "weight", before, NULL));
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3 }, &rng, NULL) == 1);
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 1, &rng);
    for (int links = 2; links <= 3; links++) { /* LoRA last, then in the middle */
        Tape *t = lk_tape_new(NULL);
        Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(ROWS, IN));
        check_close_to(lk_forward(t, m, x), lk_linear(t, x, lk_param_named(t, m, "weight"), NULL),
                       5e-5);
        lk_tape_free(t);
        if (links == 2) check(lk_register_parametrization(m, "weight", after, NULL));
    }
    lk_free(m);
}

/* ---- what is not there ---------------------------------------------------------------------- */

static size_t largest; /* bytes of the largest block that was asked for */
static void *noting_alloc(size_t bytes)
{
    largest = bytes > largest ? bytes : largest;
    return aligned_alloc(64, bytes);
}

/* One training step of m; the largest block it allocates. */
static size_t largest_block(Module *m, int64_t in)
{
    Tape *t = lk_tape_new(NULL);
    largest = 0;
    Tensor *x = lk_full(t, LK_F32, LK_SHAPE(2, in), 0.5);
    check(lk_backward(t, lk_mean(t, lk_forward(t, m, x), LK_ALL, false)));
    lk_tape_free(t);
    return largest;
}

Test(low_rank, a_step_makes_nothing_as_large_as_the_weight)
{
    enum { SIDE = 1500 };
    lk_manual_seed(&rng, 0);
    lk_set_allocator(noting_alloc, free);
    for (int form = 0; form < 3; form++) {
        Module *m = lk_linear_new(SIDE, SIDE, true, &rng, NULL);
        lk_require_grad(m, "*", false);
        if (form == 0)
            check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 2 }, &rng, NULL) == 1);
        if (form == 1) m = lk_linear_with_lora_new(m, 2, 2, &rng, NULL);
        if (form == 2) m = lk_linear_with_lora_merged_new(m, 2, 2, &rng, NULL);
        size_t bytes = largest_block(m, SIDE);
        check(bytes < (size_t)SIDE * SIDE * sizeof(float) / 2, "form %d: %zu bytes", form, bytes);
        if (form == 0) lk_require_grad(m, "*original", true);
        else lk_require_grad(m, "linear.weight", true);
        bytes = largest_block(m, SIDE); /* what the check above would see */
        check(bytes >= (size_t)SIDE * SIDE * sizeof(float), "form %d: %zu bytes", form, bytes);
        lk_free(m);
    }
}

/* ---- no-grad mode: the combined weight ------------------------------------------------------ */

static Tensor *output_without_grad(Module *m, Tape *t, Tensor *x)
{
    bool before = lk_tape_set_grad(t, false);
    Tensor *y = lk_forward(t, m, x);
    lk_tape_set_grad(t, before);
    check(y);
    return y;
}

Test(low_rank, the_merged_form_keeps_its_weight_until_something_changes)
{
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_with_lora_merged_new(lk_linear_new(IN, OUT, true, &rng, NULL), 2, 1.5,
                                               &rng, NULL);
    LinearWithLoRA *pair = lk_as_linear_with_lora_merged(m);
    LoRALayer *lora = lk_as_lora_layer(pair->lora);
    Linear *linear = lk_as_linear(pair->linear);
    lk_normal_(lora->B, 0, 1, &rng);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(ROWS, IN));
    for (int round = 0; round < 5; round++) {
        Tensor *update = lk_T(t, lk_matmul(t, lora->A, lora->B));
        Tensor *combined = lk_add(t, linear->weight, lk_scale(t, update, lora->alpha));
        Tensor *y = output_without_grad(m, t, x);
        check_close_to(y, lk_linear(t, x, combined, linear->bias), 1e-5);
        check_close_to(y, lk_forward(t, m, x), 5e-5);
        const Tensor *combined_before = pair->combined;
        uint32_t version = combined_before->storage->version;
        check_equal(output_without_grad(m, t, x), y);
        /* not computed again */
        check(pair->combined == combined_before && pair->combined->storage->version == version);
        if (round == 0) lk_normal_(lora->A, 0, 1, &rng);
        if (round == 1) lk_normal_(lora->B, 0, 1, &rng);
        if (round == 2) lk_normal_(linear->weight, 0, 1, &rng);
        if (round == 3) lora->alpha = -2;
    }
    Module *copy = lk_deepcopy(m, NULL);
    check(lk_as_linear_with_lora_merged(copy)->combined != pair->combined);
    lk_fill_(lora->B, 0);
    check_close_to(output_without_grad(copy, t, x), lk_forward(t, copy, x), 5e-5);
    lk_free(copy);
    lk_tape_free(t);
    lk_free(m);
}

Test(low_rank, forms_pass_gradcheck)
{
    Module *m = adapted_linear();
    Tensor *x = random_param(LK_F64, LK_SHAPE(2, 3, IN));
    GradcheckReport report = { 0 };
    check(lk_gradcheck_module(m, x, NULL, &report), "%s", report.message);
    lk_switch_lora(m, "two", NULL);
    check(lk_gradcheck_module(m, x, NULL, &report), "%s", report.message);
    lk_free(x);
    lk_free(m);
}
