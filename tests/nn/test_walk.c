/* test_walk.c - going through trees of modules: iterators and their limits, access by path,
 * freezing, lists. */
#include "tests/shared/nets.h"

/* ---- walks ---------------------------------------------------------------------------------- */

Test(walk, children_leave_out_empty_slots_and_can_be_replaced_on_the_way)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tied *m = lk_module_new(&tied_type, NULL);
    m->first = lk_relu_new(NULL);
    m->act = lk_linear_new(2, 2, true, &rng, NULL);
    const char *expected[] = { "first", "act" };
    int n = 0;
    for (ChildIter it = lk_children(&m->base); lk_children_next(&it); n++) {
        check_text(it.name, expected[n]);
        check(*it.slot == it.module);
        check(lk_module_set(it.slot, lk_tanh_new(NULL), NULL));
    }
    check(n == 2);
    check(m->first->type == &lk_tanh_type && m->act->type == &lk_tanh_type);
    lk_module_free(&m->base);
}

Test(walk, walks_of_nothing_end_at_once)
{
    ParamIter params = lk_params(NULL);
    ModuleIter modules = lk_modules(NULL);
    ChildIter children = lk_children(NULL);
    check(!lk_params_next(&params) && !params.failed);
    check(!lk_modules_next(&modules) && !modules.failed);
    check(!lk_children_next(&children));
    check(lk_count_parameters(NULL) == 0);

    /* An iterator that came to its end stays there. */
    Module *relu = lk_relu_new(NULL);
    modules = lk_modules(relu);
    check(lk_modules_next(&modules) && modules.module == relu && !modules.slot);
    for (int i = 0; i < 3; i++)
        check(!lk_modules_next(&modules) && !modules.module && !modules.failed);
    lk_free(relu);
}

/* Sequential in Sequential, `depth` of them around a Linear. */
static Module *nested(int depth)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(2, 2, true, &rng, NULL);
    for (int i = 0; i < depth; i++) m = lk_sequential_new(LK_MODULES(m), NULL);
    return m;
}

/* A child whose name has the length of long_name. */
static char long_name[LK_NAME_MAX];
static const ModuleType long_type = {
    .name = "Long",
    .size = sizeof(Net),
    .fields = LK_FIELDS({ LK_FIELD_CHILD, long_name, offsetof(Net, layers) }),
};

static void check_unwalkable(Module *m)
{
    Error err = { 0 };
    check(lk_count_parameters(m) == -1);
    check(lk_count_trainable_parameters(m) == -1);
    check(lk_require_grad(m, "*", false) == -1);
    check(lk_freeze_linears(m) == -1);
    check(lk_parameters(m, &err).count == 0);
    check_error(&err, LK_EVALUE, "nested more than 32 deep");
    err = (Error){ 0 };
    check(!lk_module_to(m, LK_F64, &err));
    check_error(&err, LK_EVALUE, "lk_module_to: ");
}

Test(walk, too_deep_or_too_long_is_an_error)
{
    Module *deepest = nested(LK_DEPTH_MAX - 1), *too_deep = nested(LK_DEPTH_MAX);
    check(lk_count_parameters(deepest) == 6);
    check_unwalkable(too_deep);
    lk_free(deepest);
    lk_free(too_deep);

    /* The longest name has 255 bytes: ".weight" takes 7 of them. */
    memset(long_name, 'n', 248);
    Net *m = lk_module_new(&long_type, NULL);
    m->layers = nested(0);
    check(lk_count_parameters(&m->base) == 6);
    long_name[248] = 'n';
    check_unwalkable(&m->base);
    check(lk_as_linear(m->layers)->weight->requires_grad);
    lk_module_free(&m->base);
}

/* ---- access by path ------------------------------------------------------------------------- */

Test(walk, access_by_path)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Error err = { 0 };
    Module *net = net_new(6, 5, 4, 3, &rng, &err);
    Module *layers = ((Net *)net)->layers, *last = lk_sequential_at(layers, -1, &err);
    check(lk_module_at(net, "", &err) == net);
    check(lk_module_at(net, "layers", &err) == layers);
    check(lk_module_at(net, "layers.4", &err) == last);
    check(*lk_slot_at(net, "layers.4", &err) == last);
    check(lk_param_at(net, "layers.4.bias", &err) == lk_as_linear(last)->bias);
    check_no_error(&err);

    /* Every name of what is shared leads to it. */
    Module *tied = tied_new(&rng, NULL);
    check(lk_module_at(tied, "second.linear", &err) == lk_module_at(tied, "first.linear", &err));
    check(lk_param_at(tied, "decoder.weight", &err) ==
          lk_param_at(tied, "first.linear.weight", &err));
    check_no_error(&err);
    lk_free(tied);

    check(!lk_module_at(net, "layer.4", &err));
    check_error(&err, LK_EVALUE,
                "lk_module_at: Net has no module \"layer.4\"; nearest: \"layers.4\", ");
    err = (Error){ 0 };
    check(!lk_slot_at(net, "layers.5", &err));
    check_error(&err, LK_EVALUE,
                "lk_slot_at: Net has no module \"layers.5\"; "
                "nearest: \"layers.0\", \"layers.1\", \"layers.2\"");
    err = (Error){ 0 };
    check(!lk_slot_at(net, "", &err));
    check_error(&err, LK_EVALUE, "the root itself");
    err = (Error){ 0 };
    check(!lk_param_at(net, "layers.2.weights", &err));
    check_error(&err, LK_EVALUE,
                "lk_param_at: Net has no parameter \"layers.2.weights\"; "
                "nearest: \"layers.2.weight\"");
    err = (Error){ 0 };
    check(!lk_module_at(lk_sequential_at(layers, 1, NULL), "weight", &err));
    check_error(&err, LK_EVALUE, "ReLU has no module \"weight\"; nearest: none");
    err = (Error){ 0 };
    check(!lk_module_at(NULL, "x", &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
    err = (Error){ 0 };
    check(!lk_param_at(net, NULL, &err));
    check_error(&err, LK_EVALUE, "the path is NULL");

    /* A path of any length is an error like others. */
    char path[2000];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    err = (Error){ 0 };
    check(!lk_module_at(net, path, &err));
    check_error(&err, LK_EVALUE, "nearest: \"layers\"");
    lk_free(net);
}

/* ---- freezing, lists ------------------------------------------------------------------------ */

Test(walk, patterns_choose_parameters)
{
    static const struct {
        const char *pattern;
        int matched;
    } cases[] = {
        { "*", 12 },         { "*lora*", 6 },   { "*.lora.A", 3 },        { "layers.?.lora.?", 6 },
        { "layers.0.*", 4 }, { "*bias", 3 },    { "*bias*", 3 },          { "lora", 0 },
        { "", 0 },           { "?", 0 },        { "layers", 0 },          { "*weight?", 0 },
        { "**weight**", 3 }, { "*.2.*.*t", 1 }, { "layers.2.lora.B", 1 },
    };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(6, 5, 4, 3, &rng, NULL);
    net_add_lora(net, 2, 1.0, &rng, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(lk_require_grad(net, "*", true) == 12);
        int matched = lk_require_grad(net, cases[i].pattern, false), frozen = 0;
        for (ParamIter it = lk_params(net); lk_params_next(&it);)
            frozen += !it.tensor->requires_grad;
        check(matched == cases[i].matched, "\"%s\" matched %d", cases[i].pattern, matched);
        check(frozen == matched);
    }
    lk_free(net);
}

Test(walk, freezing_linears_leaves_lora_trainable)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(6, 5, 4, 3, &rng, NULL);
    net_add_lora(net, 2, 1.0, &rng, NULL);
    check(lk_freeze_linears(net) == 3);
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        check(it.tensor->requires_grad == (strstr(it.name, ".lora.") != NULL), "%s", it.name);
    TensorList trainable = lk_trainable_parameters(net, NULL), all = lk_parameters(net, NULL);
    check(trainable.count == 6 && all.count == 12);
    check(trainable.items[0] == lk_param_at(net, "layers.0.lora.A", NULL));
    check(trainable.items[0]->refs == 3);
    lk_tensor_list_free(&trainable);
    lk_tensor_list_free(&all);
    check(lk_param_at(net, "layers.0.lora.A", NULL)->refs == 1);

    /* The module itself counts, and a Linear in two places is one. */
    Module *linear = lk_linear_new(2, 2, true, &rng, NULL);
    check(lk_freeze_linears(linear) == 1);
    Module *twice = lk_sequential_new(LK_MODULES(linear, lk_retain(linear)), NULL);
    check(lk_freeze_linears(twice) == 1);
    check(lk_count_trainable_parameters(twice) == 0);
    lk_free(twice);
    lk_free(net);
}

Test(walk, lists_without_memory_are_empty)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Module *m = tied_new(&rng, NULL);
    Error err = { 0 };
    check_fail_after(0);
    TensorList list = lk_parameters(m, &err);
    check(list.count == 0 && !list.items);
    check_error(&err, LK_EMEMORY, "lk_parameters: no memory for a list of 9 tensors");
    lk_free(m);
    check(check_alloc_live() == 0);
}
