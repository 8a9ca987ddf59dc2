/* test_adapter.c - LoRA as a parametrization of whole models: adding, switching, scaling,
 * freezing, merging, removing. */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/gradcheck.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "nn/state.h"
#include "optim/optimizer.h"
#include "tests/fixtures/init.h"

static Rng rng;

/* 6 → 5, ReLU, 5 → 3; names 0, 1, 2. */
static Module *net_of(void)
{
    lk_manual_seed(&rng, 0);
    Module *first = lk_linear_new(6, 5, true, &rng, NULL),
           *last = lk_linear_new(5, 3, true, &rng, NULL);
    return lk_sequential_new(LK_MODULES(first, lk_relu_new(NULL), last), NULL);
}

static Module *adapted_net(void)
{
    Module *net = net_of();
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 2, .alpha = 6 }, &rng, NULL) == 2);
    /* B ≠ 0 */
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 1, &rng);
    return net;
}

/* The result for one fixed input, owned. */
static Tensor *output_of(Module *net)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
    Tensor *x = lk_full(t, LK_F32, LK_SHAPE(2, 6), 0.5),
           *y = lk_clone(lk_forward(t, net, x), NULL);
    lk_tape_free(t);
    check(y);
    return y;
}

static void check_output(Module *net, const Tensor *expected)
{
    Tensor *y = output_of(net);
    check_equal(y, expected);
    lk_free(y);
}

/* ---- the first values ----------------------------------------------------------------------- */

/* A is N(0, 1), or PyTorch's kaiming_uniform_(A, a=√5) for the same generator. B is 0. */
Test(adapter, begins_as_asked)
{
    Module *linear = lk_linear_new(4, 5, true, &(Rng){ 0 }, NULL);
    Tensor *normal = lk_tensor_new(LK_F32, LK_SHAPE(3, 4), NULL);
    LoRAConfig config = { .rank = 3, .alpha = 1 };
    lk_manual_seed(&rng, 11);
    lk_normal_(normal, 0, 1, &rng);
    lk_manual_seed(&rng, 11);
    check(lk_add_lora(linear, &config, &rng, NULL) == 1);
    config.adapter = "second", config.init = LK_LORA_KAIMING;
    lk_manual_seed(&rng, 11);
    check(lk_add_lora(linear, &config, &rng, NULL) == 1);
    AdapterIter it = lk_adapters(linear);
    check(lk_adapters_next(&it));
    check_equal(it.lora->lora_A, normal);
    check(lk_adapters_next(&it));
    for (int i = 0; i < 12; i++)
        check(((float *)it.lora->lora_A->data)[i] == (float)kaiming_uniform[i], "%d", i);
    check(lk_count(it.lora->lora_B) == 0);
    lk_free(normal), lk_free(linear);
}

/* ---- the formula ---------------------------------------------------------------------------- */

Test(adapter, effective_weight_is_the_sum)
{
    Module *net = adapted_net();
    Tape *t = lk_tape_new(NULL);
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);) {
        const LoRAParametrization *p = it.lora;
        check(p->scale == 3 && p->alpha == 6 && p->rank == 2);
        Tensor *w = lk_original(it.module, "weight");
        Tensor *expected = lk_add(t, w, lk_scale(t, lk_matmul(t, p->lora_B, p->lora_A), 3));
        check_equal(lk_param_named(t, it.module, "weight"), expected);
        check_shape(p->lora_A, LK_SHAPE(2, lk_as_linear(it.module)->in_features));
        check_shape(p->lora_B, LK_SHAPE(lk_as_linear(it.module)->out_features, 2));
        check(strcmp(lk_grad_fn(lk_param_named(t, it.module, "weight")), "AddBackward0") == 0);
    }
    lk_tape_free(t);
    lk_free(net);
}

Test(adapter, gradients_equal_differences)
{
    Module *net = adapted_net();
    check(lk_train_only_lora(net, NULL, NULL) == 2);
    check(lk_module_to(net, LK_F64, NULL));
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(3, 6), NULL);
    lk_normal_(x, 0, 1, &rng);
    GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    GradcheckReport report;
    check(lk_gradcheck_module(net, x, &strict, &report), "%s", report.message);
    check(report.checked == 2 * 6 + 5 * 2 + 2 * 5 + 3 * 2, "%lld elements",
          (long long)report.checked);
    lk_free(x);
    lk_free(net);
}

/* ---- adding --------------------------------------------------------------------------------- */

Test(adapter, added_in_order_and_without_effect)
{
    Module *net = net_of();
    Tensor *before = output_of(net),
           *w = lk_clone(lk_as_linear(lk_module_at(net, "0", NULL))->weight, NULL);
    Rng expected = rng;
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 3, .alpha = 3 }, &rng, NULL) == 2);
    check_output(net, before); /* B = 0 */
    check_equal(lk_original(lk_module_at(net, "0", NULL), "weight"), w);
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);) {
        Tensor *a = lk_tensor_new(LK_F32, it.lora->lora_A->ndim, it.lora->lora_A->shape, NULL);
        lk_normal_(a, 0, 1, &expected);
        check_equal(it.lora->lora_A, a);
        lk_free(a);
    }
    lk_free(before);
    lk_free(w);
    lk_free(net);
}

Test(adapter, its_state_needs_the_same_targets)
{
    Module *net = adapted_net(), *base = net_of();
    StateDict *state = lk_state_dict_new(net, NULL);
    Error err = { 0 };
    check(!lk_load_state_dict(base, state, true, &err));
    check_error(&err, LK_EVALUE,
                "lk_load_state_dict: Sequential: the state has adapters: first lk_add_lora with "
                "the same targets; 2 missing (0.weight, 2.weight), 6 unexpected (");
    check(lk_add_lora(base, &(LoRAConfig){ .rank = 2, .alpha = 6 }, &rng, NULL) == 2);
    check(lk_load_state_dict(base, state, true, NULL));
    lk_state_dict_free(state);
    lk_free(base);
    lk_free(net);
}

Test(adapter, targets)
{
    Module *net = net_of();
    Error err = { 0 };
    LoRAConfig second = { .rank = 1, .alpha = 1, .targets = "2" };
    check(lk_add_lora(net, &second, &rng, &err) == 1);
    check(!lk_is_parametrized(lk_module_at(net, "0", NULL), NULL));
    check(lk_is_parametrized(lk_module_at(net, "2", NULL), "weight"));
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 1, .targets = "0,fc*" }, &rng,
                      &err) == -1);
    check_error(&err, LK_EVALUE, "no Linear of the model is called 'fc*'; nearest: 0, 2");
    check(!lk_is_parametrized(lk_module_at(net, "0", NULL), NULL), "nothing is half done");
    err = (Error){ 0 };
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 1 }, &rng, &err) == -1);
    check_error(&err, LK_EVALUE, "2 has an adapter \"default\" already");
    err = (Error){ 0 };
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 0, .alpha = 1, .adapter = "b" }, &rng, &err) ==
          -1);
    check_error(&err, LK_EVALUE, "rank 0 must be positive");
    lk_free(net);
}

Test(adapter, every_allocation_may_fail_and_nothing_is_half_done)
{
    Module *net = net_of();
    Tensor *before = output_of(net);
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        int added = lk_add_lora(net, &(LoRAConfig){ .rank = 2, .alpha = 2 }, &rng, &err);
        failed = check_alloc_failed();
        check_fail_after(-1);
        check(added == (failed ? -1 : 2), "%d", added);
        if (failed) check_error(&err, LK_EMEMORY, "");
        if (failed) check(!lk_is_parametrized(lk_module_at(net, "0", NULL), NULL));
        lk_remove_lora(net, NULL, NULL);
        check(check_alloc_live() == 0);
    }
    check_output(net, before);
    lk_free(before);
    lk_free(net);
}

/* ---- several adapters ----------------------------------------------------------------------- */

Test(adapter, several_on_one_model_with_one_switch)
{
    Module *net = net_of();
    Tensor *base = output_of(net), *out[2];
    const char *names[] = { "nine", "three" };
    for (int i = 0; i < 2; i++) {
        check(lk_add_lora(net, &(LoRAConfig){ .adapter = names[i], .rank = 2, .alpha = 2 }, &rng,
                          NULL) == 2);
        for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);)
            if (strcmp(it.lora->adapter, names[i]) == 0) lk_normal_(it.lora->lora_B, 0, 1, &rng);
        check(lk_switch_lora(net, names[i], NULL) == 2);
        out[i] = output_of(net);
        check(!lk_equal(out[i], base));
    }
    check(lk_switch_lora(net, "nine", NULL) == 2);
    check_output(net, out[0]);
    check(lk_switch_lora(net, "three", NULL) == 2);
    check_output(net, out[1]);
    check(lk_switch_lora(net, NULL, NULL) == 0);
    check_output(net, base);
    check(lk_enable_lora(net, NULL, true, NULL) == 4);
    check(lk_remove_lora(net, "nine", NULL) == 2);
    check_output(net, out[1]);
    check(lk_remove_lora(net, NULL, NULL) == 2);
    check(lk_remove_lora(net, NULL, NULL) == 0);
    check_output(net, base);
    lk_free(out[0]);
    lk_free(out[1]);
    lk_free(base);
    lk_free(net);
}

Test(adapter, scale_from_nothing_to_everything)
{
    Module *net = adapted_net();
    Tensor *on = output_of(net);
    lk_enable_lora(net, NULL, false, NULL);
    Tensor *off = output_of(net);
    lk_enable_lora(net, NULL, true, NULL);
    check(lk_scale_lora(net, NULL, 0, NULL) == 2);
    Tensor *none = output_of(net);
    check_close_to(none, off, 0); /* W + 0 is W */
    lk_free(none);
    check(lk_scale_lora(net, "default", 1, NULL) == 2);
    check_output(net, on);
    lk_free(on);
    lk_free(off);
    lk_free(net);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

/* Each of the five functions, on an adapter. */
static int change(int which, Module *net, const char *adapter, Error *err)
{
    switch (which) {
    case 0: return lk_enable_lora(net, adapter, false, err);
    case 1: return lk_switch_lora(net, adapter, err);
    case 2: return lk_scale_lora(net, adapter, 0.5, err);
    case 3: return lk_train_only_lora(net, adapter, err);
    default: return lk_remove_lora(net, adapter, err);
    }
}
static const char *const changes[] = { "lk_enable_lora", "lk_switch_lora", "lk_scale_lora",
                                       "lk_train_only_lora", "lk_remove_lora" };
enum { CHANGES = 5 };

/* Two adapters, "nine" on and trainable, "three" off and frozen; nothing else is trainable. */
static Module *net_of_two(void)
{
    Module *net = net_of();
    LoRAConfig nine = { .adapter = "nine", .rank = 2, .alpha = 2 };
    LoRAConfig three = { .adapter = "three", .rank = 1, .alpha = 5 };
    check(lk_add_lora(net, &nine, &rng, NULL) == 2 && lk_add_lora(net, &three, &rng, NULL) == 2);
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 1, &rng);
    check(lk_switch_lora(net, "nine", NULL) == 2 && lk_train_only_lora(net, "nine", NULL) == 2);
    return net;
}

static void check_untouched(Module *net, const Tensor *expected)
{
    int adapters = 0;
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it); adapters++) {
        bool nine = strcmp(it.lora->adapter, "nine") == 0;
        check(it.lora->enabled == nine && it.trainable == nine &&
              it.lora->scale == (nine ? 1 : 5));
    }
    check(adapters == 4);
    check_output(net, expected);
}

Test(adapter, a_name_that_no_adapter_has)
{
    Module *net = net_of_two(), *plain = net_of();
    Tensor *before = output_of(net);
    for (int i = 0; i < CHANGES; i++) {
        Error err = { 0 };
        check(change(i, net, "typo", &err) == -1);
        check_error(&err, LK_EVALUE, changes[i]);
        check_error(&err, LK_EVALUE,
                    ": Sequential has no adapter \"typo\"; there are: nine, three");
        check_untouched(net, before);
        err = (Error){ 0 };
        check(change(i, plain, "default", &err) == -1);
        check_error(&err, LK_EVALUE, "has no adapter \"default\"; there are: none");
        check(lk_count_trainable_parameters(plain) == lk_count_parameters(plain));
        err = (Error){ 0 };
        check(change(i, NULL, NULL, &err) == -1);
        check_error(&err, LK_EVALUE, "the module is NULL");
        int none = i == 3 ? -1 : 0; /* all of none, but not: train nothing */
        check(change(i, plain, NULL, NULL) == none);
    }
    lk_free(before);
    lk_free(plain);
    lk_free(net);
}

Test(adapter, no_change_while_merged)
{
    Module *net = net_of_two();
    Tensor *before = output_of(net);
    check(lk_merge(lk_module_at(net, "2", NULL), NULL)); /* one of them is enough */
    for (int i = 0; i < CHANGES; i++)
        for (int all = 0; all < 2; all++) {
            Error err = { 0 };
            check(change(i, net, all ? NULL : "nine", &err) == -1);
            check_error(&err, LK_ESTATE, changes[i]);
            check_error(&err, LK_ESTATE,
                        "2.weight is merged, so nothing would change before it is unmerged; "
                        "lk_unmerge it");
            check_untouched(net, before);
        }
    lk_unmerge(net);
    check_output(net, before);
    for (int i = 0; i < CHANGES; i++) check(change(i, net, "nine", NULL) == 2);
    lk_free(before);
    lk_free(net);
}

/* One Linear, twice: it has one adapter, whichever of its names is meant. */
Test(adapter, a_linear_in_two_places)
{
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "0", "2", "*" };
        lk_manual_seed(&rng, 0);
        Module *linear = lk_linear_new(6, 6, true, &rng, NULL);
        Module *net =
            lk_sequential_new(LK_MODULES(linear, lk_relu_new(NULL), lk_retain(linear)), NULL);
        LoRAConfig config = { .rank = 2, .alpha = 2, .targets = names[i] };
        check(lk_add_lora(net, &config, &rng, NULL) == 1);
        check(lk_parametrizations(linear, "weight")->chain.count == 1);
        Error err = { 0 };
        check(lk_add_lora(net, &config, &rng, &err) == -1);
        check_error(&err, LK_EVALUE, "has an adapter \"default\" already");
        check(lk_remove_lora(net, NULL, NULL) == 1);
        lk_free(net);
    }
}

/* An lk_add_lora that fails takes back what it added, and nothing else of the same name. */
Test(adapter, what_fails_takes_back_its_own_alone)
{
    Module *net = net_of();
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 1, .targets = "0" }, &rng, NULL) ==
          1);
    check(lk_add_lora(net,
                      &(LoRAConfig){ .adapter = "other", .rank = 1, .alpha = 1, .targets = "2" },
                      &rng, NULL) == 1);
    check(lk_merge(lk_module_at(net, "2", NULL), NULL));
    Error err = { 0 };
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 1, .targets = "2" }, &rng, &err) ==
          -1);
    check_error(&err, LK_ESTATE, "weight of Linear is merged; lk_unmerge it first");
    check(lk_parametrizations(lk_module_at(net, "0", NULL), "weight")->chain.count == 1);
    lk_free(net);
}

/* ---- status, merging, training -------------------------------------------------------------- */

Test(adapter, status)
{
    Module *net = adapted_net();
    check(lk_train_only_lora(net, NULL, NULL) == 2);
    check(lk_count_trainable_parameters(net) == 2 * 6 + 5 * 2 + 2 * 5 + 3 * 2);
    lk_enable_lora(net, NULL, false, NULL);
    check(lk_merge(lk_module_at(net, "2", NULL), NULL));
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_print_adapters(out, net);
    fclose(out);
    check(strcmp(text, "0.weight: default, rank 2, scale 3, off, trainable\n"
                       "2.weight: default, rank 2, scale 3, off, trainable, merged\n") == 0,
          "%s", text);
    free(text);
    lk_free(net);
}

Test(adapter, merging_is_exact_and_undone_exactly)
{
    Module *net = adapted_net();
    Tensor *on = output_of(net),
           *w = lk_clone(lk_original(lk_module_at(net, "0", NULL), "weight"), NULL);
    check(lk_merge(net, NULL));
    check_output(net, on);
    lk_unmerge(net);
    check_equal(lk_original(lk_module_at(net, "0", NULL), "weight"), w);
    check_output(net, on);
    lk_free(on);
    lk_free(w);
    lk_free(net);
}

/* A step changes A and B alone, and no value from before it is read again. */
Test(adapter, training_touches_only_the_adapter)
{
    Module *net = adapted_net();
    Module *copy = lk_deepcopy(net, NULL);
    Tensor *before = output_of(net);
    lk_train_only_lora(net, NULL, NULL);
    Optimizer *opt = lk_adam_new(lk_parameters(net, NULL), 0.1, NULL);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_full(t, LK_F32, LK_SHAPE(2, 6), 0.5);
    check(lk_backward(t, lk_mean(t, lk_forward(t, net, x), LK_ALL, false)) && lk_step(opt, NULL));
    for (ParamIter a = lk_params(net), b = lk_params(copy);
         lk_params_next(&a) && lk_params_next(&b);)
        check(lk_equal(a.tensor, b.tensor) == !strstr(a.name, "lora"), "%s", a.name);
    Tensor *after = output_of(net);
    check(!lk_equal(before, after));
    check_output(copy, before);
    lk_free(before);
    lk_free(after);
    lk_optimizer_free(opt);
    lk_tape_free(t);
    lk_free(copy);
    lk_free(net);
}
