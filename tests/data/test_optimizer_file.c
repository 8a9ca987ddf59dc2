/* test_optimizer_file.c - the state of an optimizer in a file: the next step has the bits that it
 * would have had; what is refused changes nothing. */
#include <math.h>

#include "core/ops.h"
#include "data/optimizer_file.h"
#include "data/safetensors.h"
#include "tests/shared/nets.h"

typedef Optimizer *MakeOptimizer(TensorList params, double lr, Error *err);

static Module *make_net(int64_t hidden)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    return net_new(3, hidden, 4, 2, &rng, NULL);
}

/* A gradient for every parameter that is trained: its values. */
static void step(Module *net, Optimizer *opt)
{
    for (ParamIter it = lk_params(net); lk_params_next(&it);) set_grad(it.tensor, it.tensor);
    check(lk_step(opt, NULL));
}

static void check_same_values(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    while (lk_params_next(&p)) {
        check(lk_params_next(&q));
        check_equal(p.tensor, q.tensor);
    }
}

/* The parameters of the net in two groups, the last ones first. */
static Optimizer *turned_around(MakeOptimizer *make, Module *net)
{
    TensorList all = lk_parameters(net, NULL), last = { 0 };
    last.items = lk_mem_alloc(2 * sizeof *last.items);
    while (last.count < 2) last.items[last.count++] = all.items[--all.count];
    Optimizer *opt = make(last, 0.1, NULL);
    check(lk_add_param_group(opt, all, NULL));
    return opt;
}

static void set_momentum(Optimizer *opt)
{
    for (ParamGroup *g = opt; g; g = g->next) g->momentum = 0.9;
}

Test(optimizer_file, the_next_step_has_the_same_bits)
{
    static MakeOptimizer *const makers[] = { lk_sgd_new, lk_sgd_new, lk_adam_new, lk_adamw_new,
                                             lk_rmsprop_new };
    for (int k = 0; k < 5; k++) {
        Error err = { 0 };
        Module *net = make_net(5);
        Optimizer *opt = makers[k](lk_parameters(net, NULL), 0.1, NULL);
        if (k > 0) set_momentum(opt);
        lk_require_grad(net, "layers.4.bias", false); /* it makes no step */
        for (int i = 0; i < 3; i++) step(net, opt);
        const char *path = check_scratch("opt.safetensors");
        check(lk_save_optimizer(opt, net, path, &err), "%s", err.message);

        Module *copy = lk_deepcopy(net, NULL);
        Optimizer *other = turned_around(makers[k], copy);
        if (k > 0) set_momentum(other);
        check(lk_load_optimizer(other, copy, path, &err), "%s", err.message);
        for (int i = 0; i < 2; i++) {
            step(net, opt);
            step(copy, other);
        }
        check_same_values(net, copy);
        for (OptimizerIter it = lk_optimizer_states(other); lk_optimizer_states_next(&it);)
            check(it.state->step == (it.param->requires_grad ? 5 : 0));
        lk_optimizer_free(opt);
        lk_optimizer_free(other);
        lk_free(net);
        lk_free(copy);
    }
}

/* The names are those of PyTorch's state_dict, behind those of the parameters. */
Test(optimizer_file, names_are_those_of_pytorch)
{
    Module *net = make_net(5);
    Optimizer *opt = lk_adam_new(lk_parameters(net, NULL), 0.1, NULL);
    step(net, opt);
    const char *path = check_scratch("opt.safetensors");
    check(lk_save_optimizer(opt, net, path, NULL));
    SafeTensors *file = lk_safetensors_open(path, NULL);
    check(file->count == 3 * 6);
    check(strcmp(lk_safetensors_metadata(file, "optimizer"), "Adam") == 0);
    check(lk_safetensors_find(file, "layers.0.weight.step"));
    check(lk_safetensors_find(file, "layers.0.weight.exp_avg"));
    check(lk_safetensors_find(file, "layers.4.bias.exp_avg_sq"));
    lk_safetensors_close(file);
    lk_optimizer_free(opt);
    lk_free(net);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static const char *path_of(StateDict *state, const char *kind)
{
    const char *path = check_scratch("changed.safetensors");
    if (kind) check(lk_save_safetensors(state, LK_METADATA({ "optimizer", kind }), path, NULL));
    else check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    return path;
}

/* The state in a file without the entry `left_out`. */
static StateDict *state_without(const char *path, const char *left_out)
{
    StateDict *all = lk_load_safetensors(path, NULL), *state = lk_state_dict_empty_new(NULL);
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->entries[i].name, left_out) != 0)
            check(lk_state_dict_add(state, all->entries[i].name,
                                    lk_tensor_retain(all->entries[i].tensor), NULL));
    lk_state_dict_free(all);
    return state;
}

static StateDict *state_with(const char *path, const char *name, Tensor *x)
{
    StateDict *state = state_without(path, name);
    check(lk_state_dict_add(state, name, x, NULL));
    return state;
}

/* opt, which has made one step, is as it was afterwards. */
static void check_refused(Optimizer *opt, Module *net, const char *path, ErrorCode code,
                          const char *text)
{
    Error err = { 0 };
    Tensor *before = lk_clone(opt->state[0].moment[0], NULL);
    check(!lk_load_optimizer(opt, net, path, &err), "loaded, but expected \"%s\"", text);
    check_error(&err, code, text);
    check_error(&err, code, "lk_load_optimizer: ");
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        check(it.state->step == 1);
    check_equal(before, opt->state[0].moment[0]);
    lk_free(before);
}

Test(optimizer_file, what_does_not_fit_changes_nothing)
{
    Module *net = make_net(5), *wide = make_net(6);
    Optimizer *opt = lk_adam_new(lk_parameters(net, NULL), 0.1, NULL);
    step(net, opt);
    char saved[4096]; /* check_scratch forgets it */
    snprintf(saved, sizeof saved, "%s", check_scratch("opt.safetensors"));
    for (int i = 0; i < 2; i++) step(net, opt);
    check(lk_save_optimizer(opt, net, saved, NULL));
    lk_optimizer_free(opt);
    opt = lk_adam_new(lk_parameters(net, NULL), 0.1, NULL);
    step(net, opt);

    check_refused(opt, net, check_scratch("none.safetensors"), LK_EIO, "none.safetensors");
    check_refused(opt, net, path_of(state_without(saved, ""), "SGD"), LK_EVALUE,
                  "is the state of SGD, and the optimizer is Adam");
    check_refused(opt, net, path_of(state_without(saved, ""), NULL), LK_EVALUE,
                  "its metadata names no optimizer");
    check_refused(opt, net, path_of(state_without(saved, "layers.4.bias.step"), "Adam"), LK_EVALUE,
                  "changed.safetensors: there is no layers.4.bias.step");
    check_refused(opt, net, path_of(state_without(saved, "layers.2.weight.exp_avg_sq"), "Adam"),
                  LK_EVALUE, "there is no layers.2.weight.exp_avg_sq");
    Tensor *one = make_tensor(LK_F32, LK_SHAPE(1), 1);
    check_refused(
        opt, net, path_of(state_with(saved, "layers.9.weight.exp_avg", lk_retain(one)), "Adam"),
        LK_EVALUE, "has layers.9.weight.exp_avg, and the optimizer has no such parameter");
    check_refused(
        opt, net, path_of(state_with(saved, "layers.4.bias.exp_avg", lk_retain(one)), "Adam"),
        LK_ESHAPE, "layers.4.bias.exp_avg is float32 (1,), and its parameter is float32 (2,)");
    check_refused(opt, net, path_of(state_with(saved, "layers.4.bias.step", one), "Adam"),
                  LK_ESHAPE, "layers.4.bias.step is no number of steps");
    check_refused(
        opt, net,
        path_of(state_with(saved, "layers.4.bias.step", make_tensor(LK_I64, LK_SHAPE(1, 1), -1)),
                "Adam"),
        LK_ESHAPE, "layers.4.bias.step is no number of steps");
    check_refused(
        opt, net,
        path_of(state_with(saved, "layers.4.bias.exp_avg", make_tensor(LK_F64, LK_SHAPE(2), 1, 2)),
                "Adam"),
        LK_ESHAPE, "layers.4.bias.exp_avg is float64 (2,), and its parameter is float32");
    check_refused(opt, wide, saved, LK_EVALUE, "lk_load_optimizer: ");

    /* another net: its parameters are not those of opt */
    Error err = { 0 };
    check(!lk_save_optimizer(opt, wide, check_scratch("x.safetensors"), &err));
    check_error(&err, LK_EVALUE, "parameter 0 of the Adam is none of the module's");
    /* a wider net of the same names */
    Optimizer *wider = lk_adam_new(lk_parameters(wide, NULL), 0.1, NULL);
    step(wide, wider);
    check_refused(
        wider, wide, saved, LK_ESHAPE,
        "layers.0.weight.exp_avg is float32 (5, 3), and its parameter is float32 (6, 3)");
    lk_optimizer_free(wider);
    lk_optimizer_free(opt);
    lk_free(net);
    lk_free(wide);
}

Test(optimizer_file, without_memory_nothing_leaks_or_changes)
{
    check_alloc_begin();
    Module *net = make_net(2);
    Optimizer *opt = lk_adam_new(lk_parameters(net, NULL), 0.1, NULL);
    step(net, opt);
    const char *path = check_scratch("opt.safetensors");
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        bool ok = lk_save_optimizer(opt, net, path, &err);
        failed = check_alloc_failed();
        check(ok == !failed && check_alloc_live() == live);
        if (failed) check_error(&err, LK_EMEMORY, "memory");
    }
    step(net, opt);
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        bool ok = lk_load_optimizer(opt, net, path, &err);
        failed = check_alloc_failed();
        check(ok == !failed);
        check(opt->state[0].step == (ok ? 1 : 2) && opt->state[5].step == (ok ? 1 : 2));
        if (failed) check(check_alloc_live() == live);
        if (failed) check_error(&err, LK_EMEMORY, "memory");
    }
    lk_optimizer_free(opt);
    lk_free(net);
    check(check_alloc_live() == 0);
}

Test(optimizer_file, arguments)
{
    Error err = { 0 };
    Module *net = make_net(5);
    Optimizer *opt = lk_sgd_new(lk_parameters(net, NULL), 0.1, NULL);
    check(!lk_save_optimizer(NULL, net, "x", &err));
    check_error(&err, LK_EVALUE, "lk_save_optimizer: the optimizer is NULL");
    err = (Error){ 0 };
    check(!lk_save_optimizer(opt, NULL, "x", &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
    err = (Error){ 0 };
    check(!lk_load_optimizer(opt, net, NULL, &err));
    check_error(&err, LK_EVALUE, "lk_load_optimizer: the path is NULL");
    err = (Error){ 0 };
    check(!lk_save_optimizer(opt, net, check_scratch("no/folder"), &err));
    check_error(&err, LK_EIO, "No such file");
    lk_optimizer_free(opt);
    lk_free(net);
}
