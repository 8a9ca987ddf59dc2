/* test_stale.c - tensors that outlive their tape's reset: refused by name for three resets at
 * least, in strict mode for ever. Every operation and accessor is tried by test_calls.c; this file
 * has the kinds of mistakes, and strict mode. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "core/strict.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/parametrize.h"
#include "nn/sequential.h"
#include "nn/state.h"
#include "optim/optimizer.h"
#include "tests/check.h"

#define STALE "before the last lk_tape_reset"

/* A hidden state that should go on to the next step. */
Test(stale, a_result_kept_over_a_reset)
{
    Tape *t = quiet_tape();
    Tensor *h = lk_full(t, LK_F32, LK_SHAPE(3), 6);
    check(!lk_is_stale(h));
    lk_tape_reset(t);
    check(lk_is_stale(h));
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(3));
    check(!lk_add(t, h, x));
    check_error(lk_tape_error(t), LK_ESTATE,
                "lk_add: operand 1 (3,) was made before the last lk_tape_reset (tensor 1 of "
                "that step): its elements are gone; keep a result with lk_clone");
    lk_tape_free(t);
}

/* The first use in the second step is where it is noticed. */
Test(stale, a_batch_kept_over_a_reset)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Tape *t = quiet_tape();
    Module *net = lk_linear_new(4, 3, true, &rng, &err);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(10, 4));
    int steps = 0;
    for (; steps < 5; steps++) {
        Tensor *loss = lk_sum(t, lk_forward(t, net, x), LK_ALL, false);
        if (!lk_backward(t, loss)) break;
        lk_tape_reset(t);
    }
    check(steps == 1);
    check_error(lk_tape_error(t), LK_ESTATE, "lk_forward: (10, 4) was made " STALE);
    lk_free(net);
    lk_tape_free(t);
}

/* A sum of losses over the steps. */
Test(stale, a_running_sum)
{
    Tape *t = quiet_tape();
    Tensor *total = lk_scalar(t, LK_F64, 0);
    int step = 0;
    for (; step < 3; step++) {
        total = lk_add(t, total, lk_scalar(t, LK_F64, 1));
        if (!total) break;
        lk_tape_reset(t);
    }
    check(step == 1);
    check_error(lk_tape_error(t), LK_ESTATE, "operand 1 () was made " STALE);
    lk_tape_free(t);
}

Test(stale, it_is_known_for_three_more_resets)
{
    Tape *t = quiet_tape();
    char expected[64];
    for (int width = 1; width < 40; width += 13) { /* whatever the steps make */
        Tensor *h = lk_ones(t, LK_F32, LK_SHAPE(2, width));
        for (int resets = 1; resets <= 4; resets++) {
            lk_tape_reset(t);
            for (int i = 0; i < width; i++) check(lk_neg(t, lk_ones(t, LK_F32, LK_SHAPE(2, 2))));
            check(lk_is_stale(h) && lk_size(h, 0) == -1);
            snprintf(expected, sizeof expected, "(2, %d) was made ", width);
            check_error(lk_tape_error(t), LK_ESTATE, expected);
            snprintf(expected, sizeof expected, "%d resets ago", resets);
            if (resets > 1) check_error(lk_tape_error(t), LK_ESTATE, expected);
            lk_tape_clear_error(t);
        }
    }
    lk_tape_free(t);
}

Test(stale, accessors_give_harmless_values)
{
    Tape *t = quiet_tape();
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(1, 1));
    lk_tape_reset(t);
    char text[32];
    check(lk_numel(x) == -1 && lk_size(x, 0) == -1 && lk_count(x) == -1 && isnan(lk_item(x)));
    check(isnan(lk_at(x, LK_INDEX(0, 0))) && !lk_grad(x) && !lk_grad_fn(x) && !lk_fill_(x, 1) &&
          !lk_equal(x, x));
    check(lk_tensor_str(x, text, sizeof text) == 7 && strcmp(text, "<stale>") == 0);
    /* the first one */
    check_error(lk_tape_error(t), LK_ESTATE, "lk_numel: (1, 1) was made " STALE);
    Error err = { 0 };
    check(!lk_clone(x, &err));
    check_error(&err, LK_ESTATE, "lk_clone: (1, 1) was made " STALE);
    lk_tape_free(t);
}

Test(stale, what_lk_tape_release_gave_back)
{
    Tape *t = quiet_tape();
    lk_tape_set_grad(t, false);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2));
    TapeMark mark = lk_tape_mark(t);
    Tensor *inner = lk_scale(t, x, 2), *y = lk_tape_release(t, mark, lk_scale(t, inner, 2));
    check(lk_is_stale(inner) && !lk_is_stale(y) && !lk_is_stale(x));
    /* inference goes on */
    for (int i = 0; i < 512; i++) y = lk_tape_release(t, mark, lk_scale(t, x, i));
    check(lk_is_stale(inner));
    check(!lk_add(t, x, inner));
    check_error(lk_tape_error(t), LK_ESTATE,
                "lk_add: operand 2 (2,) was given back by lk_tape_release");
    check_values(y, 0, 511, 511);
    lk_tape_free(t);
}

Test(stale, a_mark_behind_one_that_was_released)
{
    Tape *t = quiet_tape();
    lk_tape_set_grad(t, false);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2));
    TapeMark outer = lk_tape_mark(t);
    check(lk_scale(t, x, 2));
    TapeMark inner = lk_tape_mark(t);
    Tensor *y = lk_tape_release(t, outer, lk_scale(t, x, 3));
    check(!lk_tape_release(t, inner, NULL));
    check_error(lk_tape_error(t), LK_ESTATE,
                "lk_tape_release: this mark lies behind an earlier one");
    check_values(x, 0, 1, 1);
    check_values(y, 0, 3, 3);
    lk_tape_free(t);
}

Test(stale, views_and_gradients_go_too)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(2), 3, 4), *view = lk_view(t, w, LK_SHAPE(2, 1));
    Tensor *h = lk_retain_grad(lk_mul(t, w, w));
    check(lk_backward(t, lk_sum(t, h, LK_ALL, false)));
    Tensor *dh = lk_grad(h);
    check_values(dh, 0, 1, 1);
    lk_tape_reset(t);
    check(lk_is_stale(view) && lk_is_stale(h) && lk_is_stale(dh) && !lk_is_stale(w) &&
          !lk_is_stale(lk_grad(w)));
    check(!lk_backward(t, h));
    check_error(lk_tape_error(t), LK_ESTATE, "lk_backward: (2,) was made " STALE);
    lk_free(w);
    lk_tape_free(t);
}

/* A constant of another tape, which was reset before the backward. */
Test(stale, an_input_of_the_graph)
{
    Tape *t = quiet_tape(), *other = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(2), 3, 4), *x = lk_ones(other, LK_F64, LK_SHAPE(2));
    Tensor *y = lk_sum(t, lk_mul(t, w, x), LK_ALL, false);
    lk_tape_reset(other);
    check(!lk_backward(t, y) && !lk_grad(w));
    check_error(lk_tape_error(t), LK_ESTATE,
                "lk_backward: an input of MulBackward0 (2,) was made " STALE);
    lk_free(w);
    lk_tape_free(other);
    lk_tape_free(t);
}

/* An operation of one's own that reads no operand through the library is refused when it is
 * recorded. */
Test(stale, an_operation_that_does_not_ask)
{
    static const Op op = { "OwnBackward", NULL, { 0 } };
    Tape *t = quiet_tape();
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2));
    lk_tape_reset(t);
    check(!lk_record(t, &op, lk_empty(t, LK_F32, LK_SHAPE(2)), LK_INPUTS(x), NULL, 0));
    check_error(lk_tape_error(t), LK_ESTATE, "OwnBackward: (2,) was made " STALE);
    lk_tape_free(t);
}

Test(stale, an_optional_operand_that_failed_is_a_failure)
{
    Tape *t = quiet_tape();
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *w = lk_ones(t, LK_F32, LK_SHAPE(4, 3));
    Tensor *failed = lk_matmul(t, w, w);
    check(!failed && !lk_linear(t, x, w, failed));
    check(!lk_layer_norm(t, x, 1, failed, NULL, 1e-5));
    check_error(lk_tape_error(t), LK_ESHAPE, "lk_matmul: ");
    lk_tape_clear_error(t);
    check(lk_linear(t, x, w, NULL) && lk_layer_norm(t, x, 1, NULL, NULL, 1e-5));
    check_no_error(lk_tape_error(t));
    lk_tape_free(t);
}

Test(stale, a_module_without_a_generator)
{
    Error err[3] = { { 0 } };
    check(!lk_linear_new(3, 3, true, NULL, &err[0]) &&
          !lk_lora_layer_new(3, 3, 1, 1, NULL, &err[1]));
    check_error(&err[0], LK_EVALUE, "lk_linear_new: the generator is NULL");
    check_error(&err[1], LK_EVALUE, "lk_lora_layer_new: the generator is NULL");
    check(!lk_embedding_new(3, 3, -1, NULL, &err[2]));
    check_error(&err[2], LK_EVALUE, "lk_embedding_new: the generator is NULL");
}

/* ---- strict mode ---------------------------------------------------------------------------- */

static Error heard;
static int reports;

static void hear(const Error *err, void *user)
{
    (void)user;
    heard = *err;
    reports++;
}

static void be_strict(void)
{
    lk_set_strict(true);
    lk_on_strict(hear, NULL);
}

Test(strict, comes_from_the_environment)
{
    setenv("LORIKEET_STRICT", "1", 1);
    check(lk_strict());
    lk_set_strict(false);
    check(!lk_strict());
}

/* A graph that is kept does not count, and fifteen parts of a batch are no mistake. */
Test(strict, a_forgotten_reset_is_reported_once)
{
    be_strict();
    Tape *t = quiet_tape();
    Tensor *w = lk_param_new(LK_F32, LK_SHAPE(2), NULL);
    for (int step = 0; step < 40; step++) {
        Tensor *y = lk_sum(t, lk_square(t, w), LK_ALL, false);
        check(lk_backward_with(t, y, NULL, true) && lk_backward(t, y));
        check(reports == (step < 30 ? 0 : 1), "step %d: %d", step, reports);
        if (step == 14) lk_tape_reset(t);
    }
    check_error(&heard, LK_ESTATE, "lk_tape_reset(t) belongs at the end of each step");
    lk_free(w);
    lk_tape_free(t);
}

Test(strict, a_header_never_serves_again)
{
    be_strict();
    Tape *t = quiet_tape();
    Tensor *h = lk_ones(t, LK_F32, LK_SHAPE(3));
    for (int step = 0; step < 50; step++) {
        lk_tape_reset(t);
        check(lk_ones(t, LK_F32, LK_SHAPE(3)) != h && lk_is_stale(h));
    }
    check(!lk_neg(t, h));
    check_error(lk_tape_error(t), LK_ESTATE, "5 or more resets ago");
    lk_tape_free(t);
}

#ifndef __SANITIZE_ADDRESS__ /* which reports the read itself */
Test(strict, raw_reads_find_nan)
{
    be_strict();
    Tape *t = quiet_tape();
    const float *small = lk_ones(t, LK_F32, LK_SHAPE(3))->data,
                *large = lk_ones(t, LK_F32, LK_SHAPE(1 << 20))->data;
    check(small[2] == 1 && large[12345] == 1);
    lk_tape_reset(t);
    check(isnan(small[2]) && isnan(large[12345]));
    lk_tape_set_grad(t, false);
    TapeMark mark = lk_tape_mark(t);
    const float *inner = lk_ones(t, LK_F32, LK_SHAPE(100))->data;
    lk_tape_release(t, mark, NULL);
    check(isnan(inner[50]));
    lk_tape_free(t);
}
#endif

Test(strict, a_tensor_freed_twice_or_used_after)
{
    be_strict();
    Tape *t = quiet_tape();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2), 1, 2);
    lk_free(x);
    check(reports == 0);
    lk_free(x);
    check(reports == 1);
    check_error(&heard, LK_ESTATE, "lk_free: (2,) was freed");
    check(!lk_neg(t, x));
    check_error(lk_tape_error(t), LK_ESTATE, "lk_neg: (2,) was freed");
    check(isnan(lk_item(x)) && !lk_retain(x) && reports == 3);
    lk_tape_free(t);
}

Test(strict, a_module_freed_twice_or_used_after)
{
    be_strict();
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Tape *t = quiet_tape();
    Module *linear = lk_linear_new(2, 2, true, &rng, &err);
    Tensor *weight = lk_as_linear(linear)->weight;
    Module *net = lk_sequential_new(LK_MODULES(linear), &err); /* consumes the Linear */
    check(net && reports == 0);
    lk_free(linear);
    check(reports == 0, "not known yet: the net's reference was given back");
    lk_free(net);
    check(reports == 1);
    check_error(&heard, LK_ESTATE, "lk_free: this Linear was freed");
    lk_free(net);
    check(reports == 2);
    check_error(&heard, LK_ESTATE, "lk_free: this Sequential was freed");
    check(!lk_forward(t, linear, lk_ones(t, LK_F32, LK_SHAPE(1, 2))));
    check_error(lk_tape_error(t), LK_ESTATE, "lk_forward: this Linear was freed");
    check(reports == 2, "the tape has it, and the handler need not");
    check(!lk_retain(linear) && lk_is_stale(weight));
    check(!lk_sequential_new(LK_MODULES(linear), &err));
    check_error(&err, LK_ESTATE, "lk_module_array_init: this Linear was freed");
    lk_tape_free(t);
}

/* Each use of a freed module is told to err, or without one to the handler: never silent. */
#define CHECK_TOLD(refused, function) \
    do { \
        Error err = { 0 }; \
        heard = (Error){ 0 }; \
        check(refused); \
        check_error(err.code ? &err : &heard, LK_ESTATE, function ": this Linear was freed"); \
    } while (0)

Test(strict, a_freed_module_is_named_wherever_it_is_used)
{
    be_strict();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(2, 2, true, &rng, NULL), *slot = NULL;
    FILE *out = tmpfile();
    lk_free(m);
    CHECK_TOLD(!lk_deepcopy(m, &err), "lk_deepcopy");
    CHECK_TOLD(!lk_deepcopy(m, NULL), "lk_deepcopy");
    CHECK_TOLD(!lk_module_to(m, LK_F64, &err), "lk_module_to");
    CHECK_TOLD(!lk_module_to(m, LK_F64, NULL), "lk_module_to");
    CHECK_TOLD(!lk_module_set(&slot, m, &err) && !slot, "lk_module_set");
    CHECK_TOLD(!lk_state_dict_new(m, &err), "lk_state_dict_new");
    CHECK_TOLD(!lk_module_at(m, "", &err), "lk_module_at");
    CHECK_TOLD(!lk_param_at(m, "weight", &err), "lk_param_at");
    CHECK_TOLD(lk_parameters(m, &err).count == 0, "lk_parameters");
    CHECK_TOLD(lk_require_grad(m, "*", true) == -1, "lk_require_grad");
    CHECK_TOLD(lk_count_parameters(m) == -1, "lk_modules");
    CHECK_TOLD(!lk_modules_next(&(ModuleIter){ .root = m }), "lk_modules");
    CHECK_TOLD((lk_train(m, true), true), "lk_train");
    CHECK_TOLD((lk_eval(m), true), "lk_train");
    CHECK_TOLD((lk_set_cached(m, true), true), "lk_set_cached");
    CHECK_TOLD((lk_print_module(out, m), ftell(out) == 0), "lk_print_module");
    fclose(out);
}

Test(strict, a_freed_child_is_named)
{
    be_strict();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(2, 2, true, &rng, NULL);
    Module *net = lk_sequential_new(LK_MODULES(linear), NULL);
    lk_free(linear); /* the net's reference */
    CHECK_TOLD(!lk_deepcopy(net, &err), "lk_deepcopy");
    CHECK_TOLD(!lk_module_to(net, LK_F64, &err), "lk_module_to");
    CHECK_TOLD(lk_count_parameters(net) == -1, "lk_modules");
    CHECK_TOLD((lk_train(net, true), true), "lk_train");
    lk_free(net);
}

Test(strict, a_tensor_of_a_freed_tape)
{
    be_strict();
    Tape *t = quiet_tape(), *other = quiet_tape();
    Tensor *x = lk_ones(other, LK_F32, LK_SHAPE(2));
    lk_tape_free(other);
    check(!lk_neg(t, x));
    check_error(lk_tape_error(t), LK_ESTATE, "its tape was freed");
    lk_tape_free(t);
}
