/* test_buffers.c - tensors of a module that are not trained: converted, copied, saved if they are
 * persistent. A BatchNorm as a user writes it, against torch.nn.BatchNorm1d. */
#include <math.h>

#include "core/ops.h"
#include "data/safetensors.h"
#include "nn/adapter.h"
#include "optim/optimizer.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

/* ---- torch.nn.BatchNorm1d, written by a user ------------------------------------------------ */

typedef struct BatchNorm {
    Module base;
    Tensor *weight, *bias;
    Tensor *running_mean, *running_var; /* buffers */
    Tensor *num_batches_tracked;        /* a buffer of int64 */
    Tensor *scratch;                    /* a buffer that is not persistent */
    double eps, momentum;
} BatchNorm;

/* running += momentum (now - running) */
static bool follow(Tape *t, Tensor *running, Tensor *now, double momentum)
{
    bool before = lk_tape_set_grad(t, false);
    Tensor *next = lk_add(t, lk_scale(t, running, 1 - momentum), lk_scale(t, now, momentum));
    lk_tape_set_grad(t, before);
    return next && lk_copy_(running, next, NULL);
}

static Tensor *batch_norm_forward(Tape *t, Module *self, Tensor *x)
{
    BatchNorm *b = (BatchNorm *)self;
    Tensor *mean = b->running_mean, *var = b->running_var;
    if (self->training) {
        double n = (double)lk_size(x, 0);
        mean = lk_mean(t, x, LK_DIMS(0), false);
        Tensor *d = lk_sub(t, x, mean);
        var = lk_mean(t, lk_mul(t, d, d), LK_DIMS(0), false);
        if (!var || !follow(t, b->running_mean, mean, b->momentum) ||
            !follow(t, b->running_var, lk_scale(t, var, n / (n - 1)), b->momentum))
            return NULL;
        ((int64_t *)b->num_batches_tracked->data)[0]++;
        lk_touch(b->num_batches_tracked);
    } else {
        mean = lk_add(t, mean,
                      lk_zeros(t, mean->dtype,
                               LK_SCALAR)); /* a copy: the buffers may change before backward */
        var = lk_add(t, var, lk_zeros(t, var->dtype, LK_SCALAR));
    }
    Tensor *eps = lk_full(t, x->dtype, LK_SCALAR, b->eps);
    Tensor *y = lk_div(t, lk_sub(t, x, mean), lk_sqrt(t, lk_add(t, var, eps)));
    return lk_add(t, lk_mul(t, y, lk_param(t, self, &b->weight)), lk_param(t, self, &b->bias));
}

static const ModuleType batch_norm_type = {
    .name = "BatchNorm1d",
    .size = sizeof(BatchNorm),
    .forward = batch_norm_forward,
    .fields = LK_FIELDS(LK_BUFFER(BatchNorm, running_mean), LK_BUFFER(BatchNorm, running_var),
                        LK_NON_PERSISTENT(BatchNorm, scratch),
                        LK_BUFFER(BatchNorm, num_batches_tracked), LK_PARAM(BatchNorm, weight),
                        LK_PARAM(BatchNorm, bias), LK_DOUBLE(BatchNorm, eps)),
};

static Module *batch_norm_new(int64_t features)
{
    BatchNorm *b = lk_module_new(&batch_norm_type, NULL);
    b->weight = lk_param_new(LK_F32, LK_SHAPE(features), NULL);
    b->bias = lk_param_new(LK_F32, LK_SHAPE(features), NULL);
    b->running_mean = lk_tensor_new(LK_F32, LK_SHAPE(features), NULL);
    b->running_var = lk_tensor_new(LK_F32, LK_SHAPE(features), NULL);
    b->num_batches_tracked = lk_tensor_new(LK_I64, LK_SCALAR, NULL);
    b->scratch = lk_tensor_new(LK_F32, LK_SHAPE(2), NULL);
    check(lk_fill_(b->weight, 1) && lk_fill_(b->running_var, 1));
    b->eps = 1e-5, b->momentum = 0.1;
    return &b->base;
}

static const BatchNorm *norm_of(Module *net)
{
    return (const BatchNorm *)lk_sequential_at(net, 1, NULL);
}

static Module *net_with_norm(void)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *first = lk_linear_new(3, 4, true, &rng, NULL),
           *last = lk_linear_new(4, 1, true, &rng, NULL);
    return lk_sequential_new(LK_MODULES(first, batch_norm_new(4), last), NULL);
}

static const char *names_of(ParamIter it)
{
    static char text[1024];
    text[0] = '\0';
    for (int n = 0; lk_params_next(&it); n++) strcat(strcat(text, n ? "\n" : ""), it.name);
    check(!it.failed);
    return text;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* As torch lists them: parameters of a module, its buffers, then its children. */
Test(buffers, names_are_pytorchs)
{
    Module *net = net_with_norm();
    check_text(names_of(lk_params(net)), "0.weight\n0.bias\n1.weight\n1.bias\n2.weight\n2.bias");
    check_text(names_of(lk_buffers(net)),
               "1.running_mean\n1.running_var\n1.scratch\n1.num_batches_tracked");
    check_text(names_of(lk_state_tensors(net)), norm_state);
    check(lk_count_parameters(net) == 12 + 4 + 4 + 4 + 4 + 1);

    /* A module with buffers alone, one that is shared, one that is empty. */
    BatchNorm *only = lk_module_new(&batch_norm_type, NULL),
              *other = lk_module_new(&batch_norm_type, NULL);
    only->running_var = lk_tensor_new(LK_F32, LK_SHAPE(2), NULL);
    other->running_mean = lk_retain(only->running_var);
    Module *both = lk_sequential_new(LK_MODULES(&only->base, &other->base), NULL);
    check_text(names_of(lk_buffers(both)), "0.running_var");
    check_text(names_of(lk_state_tensors(both)), "0.running_var\n1.running_mean");
    check_text(names_of(lk_params(both)), "");
    Module *copy = lk_deepcopy(both, NULL);
    check_text(names_of(lk_buffers(copy)), "0.running_var"); /* the tie is kept */
    lk_free(copy);
    lk_free(both);
    lk_free(net);
}

/* ---- trained, saved, loaded, converted ------------------------------------------------------ */

static double train(Tape *t, Module *net, int steps)
{
    Optimizer *opt = lk_sgd_new(lk_parameters(net, NULL), 0.05, NULL);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(8, 3), NULL),
           *y = lk_tensor_new(LK_F32, LK_SHAPE(8, 1), NULL);
    for (int i = 0; i < 24; i++) ((float *)x->data)[i] = (float)sin(i + 1);
    for (int i = 0; i < 8; i++) ((float *)y->data)[i] = (float)cos(i);
    double last = 0;
    for (int i = 0; i < steps; i++) {
        Tensor *loss = lk_mse_loss(t, lk_forward(t, net, x), y);
        lk_optimizer_zero_grad(opt);
        check(lk_backward(t, loss) && lk_step(opt, NULL), "%s", lk_tape_error(t)->message);
        last = lk_item(loss);
        lk_tape_reset(t);
    }
    lk_optimizer_free(opt);
    lk_free(x);
    lk_free(y);
    return last;
}

/* The same in torch 1.13 (tests/fixtures/make_modules.py). */
Test(buffers, a_batch_norm_trains_as_pytorchs)
{
    Tape *t = lk_tape_new(NULL);
    Module *net = net_with_norm();
    double loss = train(t, net, 5);
    const BatchNorm *b = norm_of(net);
    check(fabs(loss - norm_loss[0]) <= 1e-6, "%.9g", loss);
    check_close(b->running_mean, norm_mean, 4, 1e-6);
    check_close(b->running_var, norm_var, 4, 1e-6);
    check(lk_item(b->num_batches_tracked) == 5);
    check(!b->running_mean->requires_grad && !b->running_mean->grad);
    lk_free(net);
    lk_tape_free(t);
}

Test(buffers, training_is_for_parameters)
{
    Module *net = net_with_norm();
    check(lk_require_grad(net, "*", false) == 6 && lk_require_grad(net, "*", true) == 6);
    check(lk_require_grad(net, "*running*", true) == 0);
    for (ParamIter it = lk_buffers(net); lk_params_next(&it);)
        check(!it.tensor->requires_grad, "%s", it.name);
    TensorList list = lk_parameters(net, NULL);
    check(list.count == 6);
    lk_tensor_list_free(&list);
    lk_free(net);
}

static void check_same_state(Module *a, Module *b)
{
    ParamIter p = lk_state_tensors(a), q = lk_state_tensors(b);
    int n = 0;
    for (; lk_params_next(&p) && lk_params_next(&q); n++) {
        check(p.tensor != q.tensor);
        check_equal(p.tensor, q.tensor);
    }
    check(n == 9);
}

Test(buffers, persistent_ones_are_saved_and_loaded)
{
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    Module *net = net_with_norm();
    train(t, net, 3);
    StateDict *state = lk_state_dict_new(net, NULL);
    check(state->count == 9 && !lk_state_dict_get(state, "1.scratch"));
    Module *other = net_with_norm();
    check(lk_load_state_dict(other, state, true, NULL));
    check_same_state(net, other);
    lk_state_dict_free(state);
    lk_free(other);

    const char *path = check_scratch("net.safetensors");
    Error err = { 0 };
    check(lk_save_module(net, path, &err), "%s", err.message);
    other = net_with_norm();
    check(lk_load_module(other, path, true, &err), "%s", err.message);
    check_same_state(net, other);
    lk_free(other);
    for (int copy = 0; copy < 2; copy++) { /* the views of a file train on */
        other = net_with_norm();
        LoadReport report = { 0 };
        check(lk_load_module_mapped(other, path, &(LoadOptions){ .copy = copy }, &report, &err),
              "%s", err.message);
        check(report.loaded == 9 && report.missing.count == 0);
        lk_load_report_free(&report);
        check_same_state(net, other);
        Module *twin = lk_deepcopy(net, NULL);
        check_same_state(net, twin);
        check(((BatchNorm *)norm_of(twin))->scratch);
        check(train(t, twin, 2) == train(t, other, 2));
        check_same_state(twin, other);
        lk_free(twin);
        lk_free(other);
    }

    /* A file without them is not enough. */
    Module *plain = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), batch_norm_new(4)), NULL);
    ((BatchNorm *)norm_of(plain))->running_var = (lk_free(norm_of(plain)->running_var), NULL);
    check(lk_save_module(plain, path, &err));
    ((BatchNorm *)norm_of(plain))->running_var = lk_tensor_new(LK_F32, LK_SHAPE(4), NULL);
    check(!lk_load_module(plain, path, true, &err));
    check_error(&err, LK_EVALUE, "1 missing (1.running_var)");
    LoadReport report = { 0 };
    err = (Error){ 0 };
    check(!lk_load_module_mapped(plain, path, NULL, &report, &err));
    check_error(&err, LK_EVALUE, "1 missing (1.running_var)");
    lk_load_report_free(&report);
    lk_free(plain);
    lk_free(net);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

Test(buffers, floating_ones_follow_the_parameters)
{
    Tape *t = lk_tape_new(NULL);
    Module *net = net_with_norm();
    train(t, net, 3);
    Module *before = lk_deepcopy(net, NULL);
    Error err = { 0 };
    check(lk_module_to(net, LK_F64, &err));
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        check(it.tensor->dtype == LK_F64, "%s", it.name);
    for (ParamIter it = lk_buffers(net); lk_params_next(&it);)
        check(it.tensor->dtype == (strstr(it.name, "num_batches") ? LK_I64 : LK_F64), "%s",
              it.name);
    for (int training = 0; training < 2; training++) {
        lk_train(net, training), lk_train(before, training);
        Tensor *y = lk_forward(t, net, lk_ones(t, LK_F64, LK_SHAPE(2, 3)));
        check(y, "%s", lk_tape_error(t)->message);
        check_close_to(lk_to(t, y, LK_F32),
                       lk_forward(t, before, lk_ones(t, LK_F32, LK_SHAPE(2, 3))), 1e-6);
    }
    check(lk_item(norm_of(net)->num_batches_tracked) == 4);
    check(lk_module_to(net, LK_F32, &err));
    check(norm_of(net)->running_mean->dtype == LK_F32 && norm_of(net)->scratch->dtype == LK_F32);
    lk_free(net);
    lk_free(before);
    lk_tape_free(t);
}

Test(buffers, without_memory_a_conversion_can_be_repeated)
{
    check_alloc_begin();
    Module *net = net_with_norm();
    int n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        check_fail_after(1); /* one tensor more each time */
        bool ok = lk_module_to(net, LK_F64, &err);
        failed = check_alloc_failed() > 0;
        check(ok == !failed);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
    }
    check_fail_after(-1);
    check(n > 5);
    for (ParamIter it = lk_buffers(net); lk_params_next(&it);)
        check(it.tensor->dtype != LK_F32, "%s", it.name);
    lk_free(net);
    check(check_alloc_live() == 0);
}

/* ---- the caches of parametrizations --------------------------------------------------------- */

/* A Linear with LoRA, B ≠ 0. */
static Module *adapted(void)
{
    Rng rng;
    lk_manual_seed(&rng, 3);
    Module *m = lk_linear_new(4, 3, true, &rng, NULL);
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3 }, &rng, NULL) == 1);
    Tensor *B = lk_param_at(m, "parametrizations.weight.0.lora_B", NULL);
    check(B && lk_normal_(B, 0, 1, &rng));
    return m;
}

static void check_forward(Tape *t, Module *m, Module *reference, DType dtype, double tol)
{
    Tensor *y = lk_forward(t, m, lk_full(t, dtype, LK_SHAPE(1, 4), 0.25));
    check(y, "%s", lk_tape_error(t)->message);
    check(y->dtype == dtype);
    check_close_to(lk_to(t, y, LK_F64),
                   lk_forward(t, reference, lk_full(t, LK_F64, LK_SHAPE(1, 4), 0.25)), tol);
}

Test(buffers, what_a_parametrization_keeps_is_right_after_a_conversion)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
    Module *exact = adapted();
    check(lk_module_to(exact, LK_F64, NULL));
    for (int merged = 0; merged < 2; merged++) {
        Module *m = adapted();
        check_forward(t, m, exact, LK_F32, 1e-6); /* fills what is kept */
        if (merged) check(lk_merge(m, NULL));
        check(lk_module_to(m, LK_F64, NULL));
        /* A value merged in float32 is converted, as in PyTorch; a kept one is computed again. */
        check_forward(t, m, exact, LK_F64, merged ? 1e-6 : 1e-15);
        lk_unmerge(m);
        check_forward(t, m, exact, LK_F64, 1e-15);
        check(lk_module_to(m, LK_F32, NULL));
        check_forward(t, m, exact, LK_F32, 1e-6);
        lk_free(m);
    }
    lk_free(exact);

    /* The merged wrapper keeps its combined weight too. */
    Rng rng;
    lk_manual_seed(&rng, 3);
    Module *wrapper =
        lk_linear_with_lora_merged_new(lk_linear_new(4, 3, true, &rng, NULL), 2, 1, &rng, NULL);
    check(lk_normal_(lk_param_at(wrapper, "lora.B", NULL), 0, 1, &rng));
    exact = lk_deepcopy(wrapper, NULL);
    check(lk_module_to(exact, LK_F64, NULL));
    check_forward(t, wrapper, exact, LK_F32, 1e-6);
    check(lk_module_to(wrapper, LK_F64, NULL));
    check_forward(t, wrapper, exact, LK_F64, 1e-15);
    check_text(names_of(lk_state_tensors(wrapper)), "linear.weight\nlinear.bias\nlora.A\nlora.B");
    lk_free(wrapper);
    lk_free(exact);
    lk_tape_free(t);
}
