/* test_state.c - the state dict in memory: PyTorch's names, isolation, strict loading, nothing
 * changed on an error. */
#include "nn/state.h"

#include "core/ops.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

static Module *small_net(uint64_t seed)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    return net_new(6, 5, 4, 3, &rng, NULL);
}

/* Whether all parameters of a and b have the same bits. */
static bool same_values(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    bool same = true;
    while (lk_params_next(&p) && lk_params_next(&q)) same = same && lk_equal(p.tensor, q.tensor);
    return same;
}

Test(state, names_are_pytorchs_every_name_of_a_tie_among_them)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    StateDict *state = lk_state_dict_new(m, NULL);
    char names[2048] = "";
    for (int i = 0; i < state->count; i++)
        strcat(strcat(names, i ? "\n" : ""), state->entries[i].name);
    check_text(names, tied_state);
    check_equal(lk_state_dict_get(state, "decoder.weight"),
                lk_state_dict_get(state, "second.linear.weight"));
    check(!lk_state_dict_get(state, "decoder") && !lk_state_dict_get(NULL, "gain"));
    check(lk_load_state_dict(m, state, true, NULL));
    lk_state_dict_free(state);
    lk_free(m);
    lk_state_dict_free(NULL);

    Module *relu = lk_relu_new(NULL);
    state = lk_state_dict_new(relu, NULL);
    check(state && state->count == 0);
    check(lk_load_state_dict(relu, state, true, NULL));
    lk_state_dict_free(state);
    lk_free(relu);
}

Test(state, a_snapshot_is_isolated_and_loads_back)
{
    check_alloc_begin();
    Module *net = small_net(0), *other = small_net(1);
    StateDict *state = lk_state_dict_new(net, NULL);
    uint32_t version = lk_param_at(other, "layers.0.weight", NULL)->storage->version;
    check(!same_values(net, other));
    check(lk_load_state_dict(other, state, true, NULL));
    check(same_values(net, other));
    /* autograd sees the write */
    check(lk_param_at(other, "layers.0.weight", NULL)->storage->version != version);

    /* Neither the module nor what was loaded shares anything with the snapshot. */
    Module *copy = lk_deepcopy(net, NULL);
    for (ParamIter it = lk_params(net); lk_params_next(&it);) lk_fill_(it.tensor, 9.0);
    for (ParamIter it = lk_params(other); lk_params_next(&it);) lk_fill_(it.tensor, 8.0);
    check(lk_load_state_dict(net, state, true, NULL));
    check(same_values(net, copy));

    /* Loading changes values only. */
    lk_require_grad(net, "*bias", false);
    Tensor *weight = lk_param_at(net, "layers.0.weight", NULL);
    check(lk_load_state_dict(net, state, true, NULL));
    check(weight == lk_param_at(net, "layers.0.weight", NULL));
    check(lk_count_trainable_parameters(net) == 30 + 20 + 12);
    lk_state_dict_free(state);
    lk_free(net);
    lk_free(other);
    lk_free(copy);
    check(check_alloc_live() == 0);
}

Test(state, names_on_one_side_only_are_listed)
{
    Rng rng;
    lk_manual_seed(&rng, 5);
    Module *base = small_net(0), *lora = small_net(1), *untouched = small_net(0);
    net_add_lora(lora, 2, 1.0, &rng, NULL);
    StateDict *state = lk_state_dict_new(lora, NULL);
    Error err = { 0 };
    check(!lk_load_state_dict(base, state, true, &err));
    check_error(&err, LK_EVALUE,
                "lk_load_state_dict: Net: 6 missing (layers.0.weight, layers.0.bias, ");
    check_error(&err, LK_EVALUE,
                "12 unexpected (layers.0.linear.weight, layers.0.linear.bias, layers.0.lora.A, ");
    check_error(&err, LK_EVALUE, ", …)"); /* at the end of a name */
    check(!strstr(err.message, "mismatched"), "%s", err.message);
    check(same_values(base, untouched));

    /* Not strict: tensors without a counterpart are skipped. */
    err = (Error){ 0 };
    check(lk_load_state_dict(base, state, false, &err));
    check_no_error(&err);
    check(same_values(base, untouched));
    lk_state_dict_free(state);

    Module *part = small_net(3);
    check(lk_module_set(lk_slot_at(part, "layers.0", NULL), lk_relu_new(NULL), NULL));
    state = lk_state_dict_new(part, NULL);
    check(!lk_load_state_dict(base, state, true, &err));
    check_error(&err, LK_EVALUE, "2 missing (layers.0.weight, layers.0.bias), 0 unexpected ()");
    check(same_values(base, untouched));
    check(lk_load_state_dict(base, state, false, NULL));
    check(lk_equal(lk_param_at(base, "layers.2.weight", NULL),
                   lk_param_at(part, "layers.2.weight", NULL)));
    check(lk_equal(lk_param_at(base, "layers.0.weight", NULL),
                   lk_param_at(untouched, "layers.0.weight", NULL)));
    lk_state_dict_free(state);
    lk_free(part);
    lk_free(base);
    lk_free(lora);
    lk_free(untouched);
}

Test(state, shapes_and_dtypes_that_differ_are_listed_and_nothing_is_loaded)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = small_net(0), *untouched = small_net(0),
           *other = net_new(6, 5, 4, 2, &rng, NULL);
    StateDict *state = lk_state_dict_new(other, NULL);
    for (int strict = 0; strict < 2; strict++) {
        Error err = { 0 };
        check(!lk_load_state_dict(net, state, strict, &err));
        check_error(
            &err, LK_ESHAPE,
            "0 missing (), 0 unexpected (), 2 mismatched (layers.4.weight is (2, 4) float32, "
            "not (3, 4) float32, layers.4.bias is (2,) float32, not (3,) float32)");
        check(same_values(net, untouched)); /* the layers that fit neither */
    }
    lk_state_dict_free(state);

    check(lk_module_to(untouched, LK_F64, NULL));
    state = lk_state_dict_new(untouched, NULL);
    Error err = { 0 };
    check(!lk_load_state_dict(net, state, true, &err));
    check_error(&err, LK_ESHAPE,
                "6 mismatched (layers.0.weight is (5, 6) float64, not (5, 6) float32, ");
    lk_state_dict_free(state);
    lk_free(net);
    lk_free(other);
    lk_free(untouched);
}

Test(state, a_message_is_cut_not_overrun)
{
    static char names[40][1000];
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
    StateEntry entries[40];
    for (int i = 0; i < 40; i++) {
        memset(names[i], 'n', sizeof names[i] - 1);
        names[i][500 + i] = 'm';
        entries[i] = (StateEntry){ names[i], x };
    }
    const StateDict state = { entries, 40 };
    Module *net = small_net(0);
    Error err = { 0 };
    check(!lk_load_state_dict(net, &state, true, &err));
    check_error(&err, LK_EVALUE, "40 unexpected (nnnnnnnnnn");
    check_error(&err, LK_EVALUE, "nnn, …)");
    lk_free(net);
    lk_free(x);
}

Test(state, a_name_that_is_there_twice_is_refused)
{
    Module *net = small_net(0), *untouched = small_net(0);
    StateDict *state = lk_state_dict_new(net, NULL);
    check(lk_state_dict_add(state, "layers.2.bias", make_tensor(LK_F32, LK_SHAPE(4), 1, 2, 3, 4),
                            NULL));
    for (int strict = 0; strict < 2; strict++) {
        Error err = { 0 };
        check(!lk_load_state_dict(net, state, strict, &err));
        check_error(
            &err, LK_EVALUE,
            "lk_load_state_dict: entries 3 and 6 of the state are both called \"layers.2.bias\"");
        check(same_values(net, untouched));
    }
    lk_state_dict_free(state);
    lk_free(net);
    lk_free(untouched);
}

Test(state, of_nothing_is_an_error)
{
    Error err = { 0 };
    check(!lk_state_dict_new(NULL, &err));
    check_error(&err, LK_EVALUE, "lk_state_dict_new: the module is NULL");
    Module *net = small_net(0);
    err = (Error){ 0 };
    check(!lk_load_state_dict(net, NULL, true, &err));
    check_error(&err, LK_EVALUE, "the state is NULL");
    lk_free(net);
}

Test(state, entries_of_ones_own)
{
    check_alloc_begin();
    StateDict *state = lk_state_dict_empty_new(NULL);
    check(state && state->count == 0);
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "x%d", i);
        check(lk_state_dict_add(state, name, make_tensor(LK_F64, LK_SCALAR, i), NULL));
    }
    check(state->count == 100);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "x%d", i);
        check_text(state->entries[i].name, name);
        check_values(lk_state_dict_get(state, name), 0, i);
    }
    Tensor *shared = make_tensor(LK_F64, LK_SCALAR, 1);
    check(lk_state_dict_add(state, "shared", lk_retain(shared), NULL));
    check(lk_state_dict_get(state, "shared") == shared);
    lk_state_dict_free(state);
    check_values(shared, 0, 1);

    /* A refused tensor is consumed all the same. */
    Error err = { 0 };
    check(!lk_state_dict_add(NULL, "x", lk_retain(shared), &err));
    check_error(&err, LK_EVALUE, "lk_state_dict_add: the state is NULL");
    state = lk_state_dict_empty_new(NULL);
    err = (Error){ 0 };
    check(!lk_state_dict_add(state, NULL, lk_retain(shared), &err));
    check_error(&err, LK_EVALUE, "the name is NULL");
    err = (Error){ 0 };
    check(!lk_state_dict_add(state, "x", NULL, &err));
    check_error(&err, LK_EVALUE, "the tensor is NULL");
    err = (Error){ 0 };
    check(!lk_state_dict_add(state, "x", lk_tensor_new(LK_F32, LK_SHAPE(-1), &err), &err));
    check_error(&err, LK_ESHAPE, "negative"); /* the inner reason */
    Tape *t = lk_tape_new(NULL);
    err = (Error){ 0 };
    check(!lk_state_dict_add(state, "x", lk_view(t, shared, LK_SHAPE(1)), &err));
    check_error(&err, LK_ESTATE, "\"x\" belongs to a tape; keep it with lk_clone");
    for (int n = 0; n < 2; n++) {
        err = (Error){ 0 };
        check_fail_after(n);
        check(!lk_state_dict_add(state, "x", lk_retain(shared), &err));
        check_error(&err, LK_EMEMORY, "no memory for the name \"x\"");
    }
    check_fail_after(-1);
    check(state->count == 0 && shared->refs == 1);
    lk_state_dict_free(state);
    lk_tape_free(t);
    lk_free(shared);
    check(check_alloc_live() == 0);
}

Test(state, shared_with_the_module)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    StateDict *state = lk_state_dict_shared_new(m, NULL), *copy = lk_state_dict_new(m, NULL);
    check(state->count == copy->count);
    for (int i = 0; i < state->count; i++) {
        check_text(state->entries[i].name, copy->entries[i].name);
        check_equal(state->entries[i].tensor, copy->entries[i].tensor);
        check(state->entries[i].tensor == lk_param_at(m, state->entries[i].name, NULL));
    }
    lk_free(m);
    /* which outlives it */
    check_equal(lk_state_dict_get(state, "gain"), lk_state_dict_get(copy, "gain"));
    lk_state_dict_free(state);
    lk_state_dict_free(copy);
    check(check_alloc_live() == 0);

    Error err = { 0 };
    check(!lk_state_dict_shared_new(NULL, &err));
    check_error(&err, LK_EVALUE, "lk_state_dict_shared_new: the module is NULL");
    err = (Error){ 0 };
    check_fail_after(0);
    check(!lk_state_dict_empty_new(&err));
    check_error(&err, LK_EMEMORY, "lk_state_dict_empty_new: no memory");
    check_fail_after(-1);
}

Test(state, without_memory_nothing_leaks)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = tied_new(&rng, NULL);
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        StateDict *state = lk_state_dict_new(m, &err);
        failed = check_alloc_failed() > 0;
        check(!state == failed);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
        lk_state_dict_free(state);
        check(check_alloc_live() == live);
    }
    check(n > 20);

    /* Loading needs none. */
    check_fail_after(-1);
    StateDict *state = lk_state_dict_new(m, NULL);
    check_fail_after(0);
    check(lk_load_state_dict(m, state, true, NULL));
    check(check_alloc_failed() == 0);
    lk_state_dict_free(state);
    lk_free(m);
}
