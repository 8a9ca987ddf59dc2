/* test_module.c - trees of modules: names, order, printing, replacing, sharing, copying, use,
 * memory. */
#include "core/ops.h"

#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

/* ---- names, order, printing ----------------------------------------------------------------- */

Test(module, names_and_tree_of_a_net_are_pytorchs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Error err = { 0 };
    Module *net = net_new(784, 128, 64, 10, &rng, &err);
    check_no_error(&err);
    check_text(tree_of(net), net_tree);
    check_text(param_names(net, false), net_params);
    check_text(module_names(net), net_modules);
    check(lk_count_parameters(net) == net_total);
    check(lk_count_trainable_parameters(net) == net_trainable);

    check(net_add_lora(net, 4, 8.0, &rng, &err));
    check(lk_freeze_linears(net) == 3);
    check_text(tree_of(net), lora_net_tree);
    check_text(param_names(net, false), lora_net_params);
    check_text(module_names(net), lora_net_modules);
    check(lk_count_parameters(net) == lora_net_total);
    check(lk_count_trainable_parameters(net) == lora_net_trainable);
    lk_free(net);
}

Test(module, what_is_shared_appears_once_under_its_first_name)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    check_text(tree_of(m), tied_tree);
    check_text(param_names(m, false), tied_params);
    check_text(module_names(m), tied_modules);
    check_text(param_names(m, true), tied_state);
    check(lk_count_parameters(m) == tied_total);

    /* More owners outside the tree change nothing. */
    TensorList list = lk_parameters(m, NULL);
    check(list.count == 9);
    check_text(param_names(m, false), tied_params);
    lk_tensor_list_free(&list);
    lk_module_retain(((Tied *)m)->act);
    check_text(module_names(m), tied_modules);
    lk_module_free(((Tied *)m)->act);
    lk_free(m);
}

typedef struct Odd {
    Module base;
    int64_t n;
    bool on;
    double x;
    Module *child;
} Odd;
static const Field odd_fields[] = {
    LK_INT(Odd, n), LK_BOOL_FIELD(Odd, on), LK_DOUBLE(Odd, x), LK_CHILD(Odd, child), LK_END,
};
static const ModuleType odd_type = { LK_CLASS(Odd), .fields = odd_fields,
                                     .repr = "n={n}, on={on}\nx={x}" };
static const ModuleType number_type = {
    .name = "Number", .size = sizeof(Odd), .fields = odd_fields, .repr = "{x}"
};

Test(module, extra_repr_prints_as_pytorchs)
{
    Odd *leaf = lk_module_new(&odd_type, NULL), *block = lk_module_new(&odd_type, NULL);
    leaf->n = block->n = -3;
    leaf->on = block->on = true;
    leaf->x = block->x = 0.1;
    block->child = lk_sequential_new(0, NULL, NULL);
    check_text(tree_of(&leaf->base), odd_leaf);
    Module *outer = lk_sequential_new(LK_MODULES(&block->base), NULL);
    check_text(tree_of(outer), odd_block);
    lk_free(outer);
    lk_module_free(&leaf->base);

    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(4, 3, false, &rng, NULL);
    Module *row =
        lk_sequential_new(LK_MODULES(lk_relu_new(NULL), lk_tanh_new(NULL), linear), NULL);
    check_text(tree_of(row), activations);
    lk_free(row);
    check_text(tree_of(NULL), "None");
}

Test(module, doubles_print_as_pythons_repr)
{
    Odd *m = lk_module_new(&number_type, NULL);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        char expected[64];
        m->x = doubles[i].value;
        snprintf(expected, sizeof expected, "Number(%s)", doubles[i].repr);
        check_text(tree_of(&m->base), expected);
    }
    lk_module_free(&m->base);
}

/* ---- slots and copies ----------------------------------------------------------------------- */

Test(module, a_slot_is_replaced_or_kept)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Error err = { 0 };
    check_alloc_begin();
    Module *net = net_new(6, 5, 4, 3, &rng, &err);
    Module **slot = lk_slot_at(net, "layers.2", &err);
    check(
        lk_module_set(slot, lk_linear_with_lora_new(lk_retain(*slot), 2, 1.0, &rng, &err), &err));
    check(lk_as_linear_with_lora(*slot));

    /* The inner error stays, the slot keeps its module, and the new one is freed. */
    Module *before = *slot;
    check(!lk_module_set(slot, lk_linear_new(0, 3, true, &rng, &err), &err));
    check_error(&err, LK_EVALUE, "lk_linear_new: in_features 0, out_features 3");
    check(*slot == before);
    err = (Error){ 0 };
    check(!lk_module_set(slot, NULL, &err));
    check_error(&err, LK_EVALUE, "lk_module_set: the module is NULL");
    err = (Error){ 0 };
    check(!lk_module_set(lk_slot_at(net, "layers.9", &err), lk_relu_new(NULL), &err));
    check_error(&err, LK_EVALUE, "lk_slot_at: ");
    err = (Error){ 0 };
    check(!lk_module_set(NULL, lk_relu_new(NULL), &err));
    check_error(&err, LK_EVALUE, "lk_module_set: the slot is NULL");
    lk_free(net);
    check(check_alloc_live() == 0);
}

/* A module that is handed over without a reference would be freed too often. */
Test(module, a_place_without_a_reference_is_refused)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Error err = { 0 };
    check_alloc_begin();
    Module *net = net_new(6, 5, 4, 3, &rng, &err);
    Module **slot = lk_slot_at(net, "layers.2", &err), *before = *slot;
    /* lk_retain is missing */
    check(!lk_module_set(slot, lk_linear_with_lora_new(*slot, 2, 1.0, &rng, &err), &err));
    check_error(
        &err, LK_EVALUE,
        "lk_module_set: the new LinearWithLoRA holds the Linear that is in the slot, without a "
        "reference of its own; wrap lk_retain(the old one)");
    check(*slot == before && before->refs == 1);
    err = (Error){ 0 };
    check(lk_module_set(slot, *slot, &err)); /* net.layers[2] = net.layers[2] */
    check(*slot == before && before->refs == 1);
    check(lk_module_set(slot, lk_retain(*slot), &err));
    check(*slot == before && before->refs == 1);

    /* The same module twice, in an array. */
    Module *relu = lk_relu_new(&err), *tanh = lk_tanh_new(&err);
    check(!lk_sequential_new(LK_MODULES(relu, tanh, relu, relu), &err));
    check_error(&err, LK_EVALUE,
                "lk_module_array_init: module 2 of 4, a ReLU, is there already; lk_retain it for "
                "each place");
    err = (Error){ 0 };
    relu = lk_relu_new(&err);
    check(!lk_sequential_new(LK_MODULES(relu, NULL, relu), &err));
    check_error(&err, LK_EVALUE, "module 1 of 3 is NULL");
    err = (Error){ 0 };
    relu = lk_relu_new(&err);
    Module *twice = lk_sequential_new(LK_MODULES(relu, lk_retain(relu)), &err);
    check(twice && relu->refs == 2);

    /* A field that is filled keeps what it has. */
    ModuleArray *array = &lk_as_sequential(twice)->modules;
    check(!lk_module_array_init(array, LK_MODULES(lk_tanh_new(&err)), &err));
    check_error(&err, LK_EVALUE,
                "the array holds 2 modules already; lk_module_array_free it first");
    check(array->count == 2 && array->items[0] == relu);
    lk_module_array_free(array);
    err = (Error){ 0 };
    check(lk_module_array_init(array, LK_MODULES(lk_tanh_new(&err)), &err) && array->count == 1);
    check(lk_module_array_init(&(ModuleArray){ NULL, 0 }, 0, NULL, &err));
    lk_free(twice);
    lk_free(net);
    check(check_alloc_live() == 0);
}

Test(module, a_deep_copy_shares_nothing_and_keeps_ties)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Module *m = tied_new(&rng, NULL);
    Tied *tied = (Tied *)m;
    lk_train(tied->second, false);
    lk_require_grad(m, "encoder.*", false);
    set_grad(tied->gain, tied->gain);

    Rng before = rng;
    Module *copy = lk_deepcopy(m, NULL);
    check(memcmp(&before, &rng, sizeof rng) == 0);
    check_text(tree_of(copy), tied_tree);
    check_text(param_names(copy, false), tied_params);
    check_text(param_names(copy, true), tied_state);
    check(((Tied *)copy)->plain == 7);
    check(copy->training && !((Tied *)copy)->second->training);

    ParamIter a = lk_params(m), b = lk_params(copy);
    while (lk_params_next(&a) && lk_params_next(&b)) {
        check_equal(a.tensor, b.tensor);
        check(a.tensor != b.tensor && a.tensor->storage != b.tensor->storage);
        check(a.tensor->requires_grad == b.tensor->requires_grad && b.tensor->is_parameter, "%s",
              a.name);
        check(!b.tensor->grad);
        lk_fill_(b.tensor, 5.0); /* must not be seen in the original */
    }
    for (a = lk_params(m); lk_params_next(&a);)
        for (int64_t i = 0; i < lk_numel(a.tensor); i++)
            check(((float *)a.tensor->data)[i] < 5.0f);
    ModuleIter p = lk_modules(m), q = lk_modules(copy);
    while (lk_modules_next(&p) && lk_modules_next(&q))
        check(p.module != q.module && p.module->type == q.module->type);

    /* References counted right: each outlives the other. */
    Tied *c = (Tied *)copy;
    check(lk_as_linear_with_lora(c->first)->linear ==
          lk_as_linear_with_lora_merged(c->second)->linear);
    check(lk_as_linear_with_lora(c->first)->linear->refs == 2);
    check(lk_as_linear(c->decoder)->weight->refs == 2);
    check(lk_as_linear(c->encoder)->weight->refs == 1);
    lk_free(m);
    check_text(param_names(copy, false), tied_params);
    lk_free(copy);
    check(check_alloc_live() == 0);
    check(!lk_deepcopy(NULL, NULL));
    Error no_module = { 0 };
    check(!lk_deepcopy(NULL, &no_module));
    check_error(&no_module, LK_EVALUE, "lk_deepcopy: the module is NULL");
}

Test(module, a_deep_copy_without_memory_leaks_nothing)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Module *tied = tied_new(&rng, NULL), *net = net_new(6, 5, 4, 3, &rng, NULL);
    Module *m = lk_sequential_new(LK_MODULES(tied, net, lk_retain(net)), NULL);
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        Module *copy = lk_deepcopy(m, &err);
        failed = check_alloc_failed() > 0;
        check_fail_after(-1);
        check(!copy == failed);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
        lk_free(copy);
        check(check_alloc_live() == live);
    }
    check(n > 20, "only %d allocations were made to fail", (int)n);
    check_text(param_names(tied, false), tied_params);
    lk_free(m);
    check(check_alloc_live() == 0);
}

/* ---- modes, dtypes, use --------------------------------------------------------------------- */

Test(module, train_and_eval_reach_every_module)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    for (int on = 0; on < 2; on++) {
        if (on) lk_train(m, true);
        else lk_eval(m);
        for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
            check(it.module->training == on, "%s", it.name);
    }
    lk_train(NULL, true);
    lk_free(m);
}

Test(module, to_double_and_back_keeps_the_values)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL), *reference = lk_deepcopy(m, NULL);
    Error err = { 0 };
    check(lk_module_to(m, LK_F64, &err));
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        check(it.tensor->dtype == LK_F64, "%s", it.name);
    check_text(param_names(m, false), tied_params);
    check(lk_module_to(m, LK_F32, &err));
    check_no_error(&err);
    ParamIter a = lk_params(m), b = lk_params(reference);
    while (lk_params_next(&a) && lk_params_next(&b)) check_equal(a.tensor, b.tensor);
    check(!lk_module_to(m, LK_I64, &err));
    check_error(&err, LK_EDTYPE, "lk_module_to: parameters are float32 or float64, not int64");
    lk_free(m);
    lk_free(reference);
}

Test(module, forward_of_nothing_keeps_the_first_error)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(1, 2));
    Module *relu = lk_relu_new(NULL);
    check(!lk_forward(t, NULL, x));
    check_error(lk_tape_error(t), LK_EVALUE, "lk_forward: the module is NULL");
    check(!lk_forward(t, relu, NULL));
    check_error(lk_tape_error(t), LK_EVALUE, "the module is NULL");
    lk_tape_clear_error(t);
    check(!lk_forward(t, relu, NULL));
    check_error(lk_tape_error(t), LK_EVALUE, "the input of ReLU is NULL");
    lk_tape_clear_error(t);
    Odd *odd = lk_module_new(&odd_type, NULL);
    check(!lk_forward(t, &odd->base, x));
    check_error(lk_tape_error(t), LK_ESTATE, "Odd has no forward");
    lk_module_free(&odd->base);
    lk_free(relu);
    lk_tape_free(t);
}

Test(module, zero_grad_clears_every_gradient)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    for (ParamIter it = lk_params(m); lk_params_next(&it);) set_grad(it.tensor, it.tensor);
    lk_module_zero_grad(m);
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        check(!lk_grad(it.tensor), "%s", it.name);
    lk_free(m);
}

/* ---- constructors without memory ------------------------------------------------------------ */

static Module *make_net(Rng *rng, Error *err)
{
    Module *net = net_new(6, 5, 4, 3, rng, err);
    if (!net || net_add_lora(net, 2, 1.0, rng, err)) return net;
    lk_free(net);
    return NULL;
}

Test(module, constructors_without_memory_leak_nothing)
{
    Module *(*const constructors[])(Rng *, Error *) = { tied_new, make_net };
    check_alloc_begin();
    for (size_t c = 0; c < 2; c++) {
        int64_t n = 0;
        for (bool failed = true; failed; n++) {
            Rng rng;
            lk_manual_seed(&rng, 0);
            Error err = { 0 };
            check_fail_after(n);
            Module *m = constructors[c](&rng, &err);
            failed = check_alloc_failed() > 0;
            check(!m == failed);
            if (failed) check_error(&err, LK_EMEMORY, "no memory");
            lk_free(m);
            check(check_alloc_live() == 0, "constructor %d, allocation %d", (int)c, (int)n);
        }
        check(n > 15);
        for (int64_t k = 0; k < n - 1; k++) { /* one failure in the middle, the rest go well */
            Rng rng;
            lk_manual_seed(&rng, 0);
            Error err = { 0 };
            check_fail_once(k);
            Module *m = constructors[c](&rng, &err);
            check(!m);
            check_error(&err, LK_EMEMORY, "no memory");
            check(check_alloc_live() == 0, "constructor %d, allocation %d", (int)c, (int)k);
        }
        check_fail_after(-1);
    }
}
