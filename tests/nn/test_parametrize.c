/* test_parametrize.c - the parametrization hook against PyTorch's, case by case.
 *
 *   case                         PyTorch 1.13 (parametrize.h)         Lorikeet
 *   names, order, state dict,    own parameters, children, lists      the same
 *   printing
 *   first registration with a    original = right_inverse(value)      the same; LK_KEEP_ORIGINAL:
 *   right_inverse                                                     untouched
 *   first registration without   original keeps its bits              the same
 *   second registration          appends, original untouched          the same
 *   assignment                   right inverses in reverse order      the same; else an error
 *   wrong shape, unknown name    an error, the module as it was       the same
 *   removal, leaving the value   value in the same tensor, frozen     the same, and the order of
 *                                stays; the name becomes the last     names stays
 *   cached                       one object, stale after a change     one object, never stale
 *   deep copy, train / eval,     reach through                        the same
 *   freezing */
#include "tests/check.h"

#include <string.h>

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "nn/state.h"
#include "nn/symmetric.h"
#include "tests/fixtures/parametrize.h"

/* ---- the modules of make_parametrize.py ----------------------------------------------------- */

static Tensor *shift_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_add_scalar(t, x, 1);
}
static const ModuleType shift_type = { .name = "Shift",
                                       .size = sizeof(Module),
                                       .forward = shift_forward };

/* Gives one row less than it gets. */
static Tensor *cut_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_slice(t, x, 0, 1, INT64_MAX, 1);
}
static const ModuleType cut_type = { .name = "Cut",
                                     .size = sizeof(Module),
                                     .forward = cut_forward };

static void fill(Tensor *x, const double *values)
{
    float *to = x->data;
    for (int64_t i = 0, n = lk_numel(x); i < n; i++) to[i] = (float)values[i];
    lk_touch(x);
}

static Module *linear_of(int64_t outputs, int64_t inputs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(inputs, outputs, true, &rng, NULL);
    float *w = lk_as_linear(m)->weight->data, *b = lk_as_linear(m)->bias->data;
    for (int64_t i = 0; i < outputs * inputs; i++) w[i] = (float)(i - 5) / 8;
    for (int64_t i = 0; i < outputs; i++) b[i] = (float)(i + 1) / 4;
    return m;
}

static Module *lora_of(int64_t outputs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_lora_parametrization_new(outputs, 4, 1, 0.5, &rng, NULL);
    LoRAParametrization *p = lk_as_lora_parametrization(m);
    fill(p->lora_A, (double[]){ 1, 0, -1, 2 });
    fill(p->lora_B, (double[]){ 1, 2, -1, 0 });
    return m;
}

static Module *shift(void) { return lk_module_new(&shift_type, NULL); }

static Module *lora_linear(void)
{
    Module *m = linear_of(3, 4);
    check(lk_register_parametrization(m, "weight", lora_of(3), NULL));
    return m;
}

static Module *net_of(void)
{
    return lk_sequential_new(LK_MODULES(lora_linear(), lk_relu_new(NULL), linear_of(2, 3)), NULL);
}

static void check_names(Module *m, const char *expected)
{
    char names[1024] = "";
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? "\n" : "",
                 it.name);
    check(strcmp(names, expected) == 0, "expected\n%s\ngot\n%s", expected, names);
}

static void check_print(Module *m, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_print_module(out, m);
    fclose(out);
    check(strcmp(text, expected) == 0, "expected\n%s\ngot\n%s", expected, text);
    free(text);
}

/* m.weight as forward sees it. */
static void check_value(Module *m, const double *expected, int64_t n)
{
    Tape *t = lk_tape_new(NULL);
    check_close(lk_param_named(t, m, "weight"), expected, n, 0);
    lk_tape_set_grad(t, false);
    check_close(lk_param_named(t, m, "weight"), expected, n, 0);
    lk_tape_free(t);
}

/* ---- registering ---------------------------------------------------------------------------- */

Test(parametrize, first_registration_runs_right_inverse)
{
    Module *m = lora_linear();
    check_close(lk_original(m, "weight"), first_original, 12, 0);
    check_value(m, first_value, 12);
    check_names(m, first_names);
    check_print(m, first_print);
    StateDict *state = lk_state_dict_new(m, NULL);
    check(state && state->count == 4);
    char names[256] = "";
    for (int i = 0; i < state->count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? "\n" : "",
                 state->entries[i].name);
    check(strcmp(names, first_state) == 0, "%s", names);
    lk_state_dict_free(state);

    check(lk_register_parametrization(m, "weight", shift(), NULL));
    check_close(lk_original(m, "weight"), second_original, 12, 0);
    check_value(m, second_value, 12);
    check_print(m, second_print);
    check(lk_is_parametrized(m, "weight") && lk_is_parametrized(m, NULL) &&
          !lk_is_parametrized(m, "bias"));
    lk_free(m);
}

Test(parametrize, keep_original_touches_nothing)
{
    Module *m = linear_of(3, 4);
    Tensor *weight = lk_as_linear(m)->weight, *before = lk_clone(weight, NULL);
    check(lk_register_parametrization_as(m, "weight", lora_of(3), LK_KEEP_ORIGINAL, NULL));
    check(lk_original(m, "weight") == weight);
    check_equal(weight, before);
    check(lk_as_linear(m)->weight == NULL);
    lk_free(before);
    lk_free(m);
}

Test(parametrize, without_right_inverse_the_value_moves)
{
    Module *m = linear_of(3, 4);
    Error err = { 0 };
    check(lk_register_parametrization(m, "weight", shift(), &err));
    check_close(lk_original(m, "weight"), shift_original, 12, 0);
    check_value(m, shift_value, 12);
    Tensor *zeros = lk_tensor_new(LK_F32, LK_SHAPE(3, 4), NULL);
    check(!lk_assign(m, "weight", zeros, &err));
    check_error(&err, LK_ESTATE, no_right_inverse);
    check_value(m, shift_value, 12);
    lk_free(zeros);
    lk_free(m);
}

Test(parametrize, two_parameters_in_order_of_registration)
{
    Module *m = linear_of(3, 4);
    check(lk_register_parametrization(m, "bias", shift(), NULL));
    check(lk_register_parametrization(m, "weight", lora_of(3), NULL));
    check_names(m, both_names);
    check_print(m, both_print);
    lk_free(m);
}

Test(parametrize, in_a_net)
{
    Module *net = net_of();
    check_names(net, net_names);
    check_print(net, net_print);
    check(lk_param_at(net, "0.parametrizations.weight.0.lora_A", NULL));
    check(lk_count_parameters(net) == 15 + 7 + 8);
    lk_free(net);
}

Test(parametrize, refusals_leave_the_module_as_it_was)
{
    Module *m = linear_of(3, 4);
    Tensor *weight = lk_as_linear(m)->weight;
    Error err = { 0 };
    check(!lk_register_parametrization(m, "weight", lk_module_new(&cut_type, NULL), &err));
    check_error(&err, LK_ESHAPE, "the forward of Cut turns (3, 4) of float32 into (2, 4)");
    err = (Error){ 0 };
    check(!lk_register_parametrization(m, "wieght", shift(), &err));
    check_error(&err, LK_EVALUE, "Linear has no parameter \"wieght\"");
    err = (Error){ 0 };
    check(!lk_register_parametrization(m, "weight", NULL, &err));
    check_error(&err, LK_EVALUE, "NULL");
    err = (Error){ 0 };
    check(!lk_register_parametrization(m, "bias", lk_symmetric_new(NULL), &err));
    check_error(&err, LK_ESHAPE, "no square matrix");
    check(!m->parametrizations && lk_as_linear(m)->weight == weight);
    err = (Error){ 0 };
    check(!lk_remove_parametrizations(m, "weight", true, &err));
    check_error(&err, LK_EVALUE, "no parametrization of \"weight\"");
    lk_free(m);
}

/* ---- assigning ------------------------------------------------------------------------------ */

Test(parametrize, assignment_runs_the_chain_backwards)
{
    Module *m = linear_of(4, 4);
    check(lk_register_parametrization(m, "weight", lk_symmetric_new(NULL), NULL));
    check_close(lk_original(m, "weight"), symmetric_original, 16, 0);
    check_value(m, symmetric_value, 16);
    check(lk_register_parametrization(m, "weight", lora_of(4), NULL));
    Tensor *value = lk_tensor_new(LK_F32, LK_SHAPE(4, 4), NULL);
    for (int i = 0; i < 16; i++) ((float *)value->data)[i] = (float)i / 4;
    Error err = { 0 };
    check(lk_assign(m, "weight", value, &err));
    check_close(lk_original(m, "weight"), assigned_original, 16, 0);
    check_value(m, assigned_value, 16);

    Tensor *wrong = lk_tensor_new(LK_F32, LK_SHAPE(3, 4), NULL);
    check(!lk_assign(m, "weight", wrong, &err));
    check_error(&err, LK_ESHAPE, "(4, 4) of float32, not (3, 4)");
    check_close(lk_original(m, "weight"), assigned_original, 16, 0);
    check(lk_assign(m, "bias", lk_original(m, "bias"), NULL));
    lk_free(wrong);
    lk_free(value);
    lk_free(m);
}

/* ---- gradients ------------------------------------------------------------------------------ */

static Tensor *input(Tape *t)
{
    return lk_tensor(t, LK_F32, LK_SHAPE(2, 4),
                     (float[]){ 0, 0.125f, 0.25f, 0.375f, 0.5f, 0.625f, 0.75f, 0.875f });
}

Test(parametrize, gradients_flow_through_the_chain)
{
    Module *m = lora_linear();
    LoRAParametrization *p =
        lk_as_lora_parametrization(lk_parametrizations(m, "weight")->chain.items[0]);
    Tape *t = lk_tape_new(NULL);
    check(lk_backward(t, lk_sum(t, lk_forward(t, m, input(t)), LK_ALL, false)));
    check_close(lk_grad(lk_original(m, "weight")), grad_original, 12, 0);
    check_close(lk_grad(p->lora_A), grad_A, 4, 0);
    check_close(lk_grad(p->lora_B), grad_B, 3, 0);

    lk_module_zero_grad(m);
    lk_set_requires_grad(lk_original(m, "weight"), false);
    check(lk_backward(t, lk_sum(t, lk_forward(t, m, input(t)), LK_ALL, false)));
    check(!lk_grad(lk_original(m, "weight")), "a frozen original gets no gradient");
    check_close(lk_grad(p->lora_A), grad_A, 4, 0);
    lk_tape_free(t);
    lk_free(m);
}

static Tensor *forgetful_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_matmul(t, x, ((Linear *)self)->weight);
}

Test(parametrize, a_forward_that_does_not_read_with_lk_param_is_told)
{
    static const Field fields[] = { LK_PARAM(Linear, weight), LK_END };
    static const ModuleType type = {
        .name = "Forgetful", .size = sizeof(Linear), .forward = forgetful_forward, .fields = fields
    };
    Linear *l = lk_module_new(&type, NULL);
    l->weight = lk_param_new(LK_F32, LK_SHAPE(4, 4), NULL);
    check(lk_register_parametrization(&l->base, "weight", shift(), NULL));
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    check(!lk_forward(t, &l->base, input(t)));
    check_error(lk_tape_error(t), LK_EVALUE, "lk_matmul: operand 2 is NULL: ");
    check_error(lk_tape_error(t), LK_EVALUE,
                "a parametrized parameter that was not read with lk_param");
    lk_tape_free(t);
    lk_free(&l->base);
}

/* ---- removing ------------------------------------------------------------------------------- */

Test(parametrize, removal_leaves_the_value_or_restores_the_original)
{
    Module *m = linear_of(3, 4);
    Tensor *weight = lk_as_linear(m)->weight;
    check(lk_register_parametrization(m, "weight", shift(), NULL));
    lk_set_requires_grad(lk_original(m, "weight"), false);
    check(lk_remove_parametrizations(m, "weight", true, NULL));
    check(lk_as_linear(m)->weight == weight && !m->parametrizations);
    check_close(weight, left_value, 12, 0);
    check(weight->requires_grad == left_requires_grad);
    /* better than PyTorch, which now has them the other way round */
    check_names(m, "weight\nbias");
    lk_free(m);

    m = linear_of(3, 4);
    check(lk_register_parametrization(m, "weight", shift(), NULL));
    check(lk_remove_parametrizations(m, "weight", false, NULL));
    check_value(m, restored_value, 12);
    check_print(m, restored_print);
    lk_free(m);
}

/* ---- cached --------------------------------------------------------------------------------- */

Test(parametrize, cached_is_one_object_and_never_stale)
{
    check(cached_is_one_object && cached_is_stale); /* what PyTorch does */
    Module *m = linear_of(3, 4);
    check(lk_register_parametrization(m, "weight", shift(), NULL));
    Tape *t = lk_tape_new(NULL);
    check(lk_param_named(t, m, "weight") != lk_param_named(t, m, "weight"));
    lk_set_cached(m, true);
    Tensor *a = lk_param_named(t, m, "weight");
    check(a == lk_param_named(t, m, "weight"));
    lk_fill_(lk_original(m, "weight"), 0);
    Tensor *b = lk_param_named(t, m, "weight");
    check(b != a && lk_at(b, LK_INDEX(0, 0)) == 1);
    /* a value without graph must not be read when the graph is wanted */
    lk_tape_set_grad(t, false);
    check(!lk_grad_fn(lk_param_named(t, m, "weight")));
    lk_tape_set_grad(t, true);
    check(lk_grad_fn(lk_param_named(t, m, "weight")));
    Tensor *c = lk_param_named(t, m, "weight");
    lk_tape_reset(t); /* the tensor is gone with the tape's contents */
    check(lk_grad_fn(lk_param_named(t, m, "weight")));
    (void)c;
    Tape *other = lk_tape_new(NULL);
    check(lk_backward(other, lk_sum(other, lk_param_named(other, m, "weight"), LK_ALL, false)));
    lk_set_cached(m, false);
    check(lk_param_named(t, m, "weight") != lk_param_named(t, m, "weight"));
    lk_tape_free(other);
    lk_tape_free(t);
    lk_free(m);
}

Test(parametrize, without_recording_the_value_is_kept_until_something_changes)
{
    Module *m = lora_linear();
    LoRAParametrization *p =
        lk_as_lora_parametrization(lk_parametrizations(m, "weight")->chain.items[0]);
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
    Tensor *a = lk_param_named(t, m, "weight");
    uint32_t version = a->storage->version;
    check(lk_param_named(t, m, "weight") == a && a->storage->version == version,
          "nothing was computed again");
    p->scale = 0;
    check_close(lk_param_named(t, m, "weight"), first_original, 12, 0);
    p->scale = 0.5;
    lk_fill_(p->lora_B, 0);
    check_close(lk_param_named(t, m, "weight"), first_original, 12, 0);
    p->enabled = false;
    check(lk_param_named(t, m, "weight") == lk_original(m, "weight"),
          "an adapter that is off costs nothing");
    lk_tape_free(t);
    lk_free(m);
}

/* ---- reaching through ----------------------------------------------------------------------- */

Test(parametrize, deep_copy_shares_nothing)
{
    Module *net = net_of(), *copy = lk_deepcopy(net, NULL);
    check_print(copy, copy_print);
    check_names(copy, net_names);
    for (ParamIter a = lk_params(net), b = lk_params(copy);
         lk_params_next(&a) && lk_params_next(&b);) {
        check(a.tensor != b.tensor && a.tensor->storage != b.tensor->storage, "%s", a.name);
        check_equal(a.tensor, b.tensor);
    }
    lk_fill_(lk_param_at(copy, "0.parametrizations.weight.original", NULL), 7);
    check_value(lk_module_at(net, "0", NULL), first_value, 12);
    lk_free(net);
    check(lk_at(lk_original(lk_module_at(copy, "0", NULL), "weight"), LK_INDEX(0, 0)) == 7);
    lk_free(copy);
}

Test(parametrize, modes_and_freezing_reach_through)
{
    Module *net = net_of();
    Module *p = lk_module_at(net, "0.parametrizations.weight.0", NULL);
    lk_eval(net);
    check(!p->training);
    lk_train(net, true);
    check(p->training);
    check(lk_freeze_linears(net) == 2);
    check(!lk_as_lora_parametrization(p)->lora_A->requires_grad,
          "a parametrized Linear is a Linear, as in PyTorch");
    lk_free(net);
}

Test(parametrize, a_parametrization_can_be_parametrized)
{
    Module *m = lora_linear();
    Module *p = lk_parametrizations(m, "weight")->chain.items[0];
    check(lk_register_parametrization(p, "lora_B", shift(), NULL));
    check(lk_param_at(m, "parametrizations.weight.0.parametrizations.lora_B.original", NULL));
    Tape *t = lk_tape_new(NULL);
    check(lk_backward(t, lk_sum(t, lk_forward(t, m, input(t)), LK_ALL, false)));
    check(lk_grad(lk_original(p, "lora_B")));
    lk_tape_free(t);
    lk_free(m);
}

/* ---- merging -------------------------------------------------------------------------------- */

Test(parametrize, merging_and_back)
{
    Module *m = lora_linear();
    Tensor *before = lk_clone(lk_original(m, "weight"), NULL);
    LoRAParametrization *p =
        lk_as_lora_parametrization(lk_parametrizations(m, "weight")->chain.items[0]);
    Error err = { 0 };
    check(lk_merge(m, &err));
    check_value(m, first_value, 12);
    lk_fill_(p->lora_B, 0);
    check_value(m, first_value, 12); /* forward reads the merged value */
    check_equal(lk_original(m, "weight"), before);
    check(!lk_register_parametrization(m, "weight", shift(), &err));
    check_error(&err, LK_ESTATE, "merged; lk_unmerge it first");
    lk_unmerge(m);
    check_value(m, first_original, 12);
    check_equal(lk_original(m, "weight"), before);
    lk_free(before);
    lk_free(m);
}

/* ---- memory --------------------------------------------------------------------------------- */

Test(parametrize, every_allocation_may_fail)
{
    Module *m = linear_of(3, 4);
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Module *copy = NULL;
        Error err = { 0 };
        check_fail_after(n);
        copy = lk_deepcopy(m, &err);
        bool ok =
            copy && lk_register_parametrization(copy, "weight", lk_symmetric_new(&err), &err);
        (void)ok; /* a 3 x 4 weight is no square: refused, and nothing may leak */
        ok = copy &&
             lk_register_parametrization(copy, "weight", lk_module_new(&shift_type, &err), &err);
        ok = ok && lk_merge(copy, &err);
        failed = check_alloc_failed();
        check(failed || ok);
        lk_free(copy);
        check(check_alloc_live() == 0, "%lld blocks are left after failure %lld",
              (long long)check_alloc_live(), (long long)n);
    }
    check_fail_after(-1);
    lk_free(m);
}
