/* test_norms.c - the modules BatchNorm1d, BatchNorm2d, GroupNorm and RMSNorm: what they print and
 * compute is PyTorch's (fixtures/norms.h); running statistics, copies, bad sizes, no memory. */
#include <math.h>

#include "core/ops.h"
#include "core/strict.h"
#include "nn/adapter.h"
#include "nn/batch_norm.h"
#include "nn/group_norm.h"
#include "nn/rms_norm.h"
#include "nn/sequential.h"

#include "tests/fixtures/norms.h"
#include "tests/shared/nets.h"

static void drop(Tensor **x)
{
    lk_free(*x);
    *x = NULL;
}

static Module *plain_batch_norm(void)
{
    Module *m = lk_batch_norm2d_new(2, 1e-5, 0.1, NULL);
    BatchNorm *b = lk_as_batch_norm2d(m);
    drop(&b->weight), drop(&b->bias);
    return m;
}

static Module *untracked_batch_norm(void)
{
    Module *m = lk_batch_norm1d_new(2, 1e-5, 0.1, NULL);
    BatchNorm *b = lk_as_batch_norm1d(m);
    drop(&b->running_mean), drop(&b->running_var), drop(&b->num_batches_tracked);
    return m;
}

static Module *plain_group_norm(void)
{
    Module *m = lk_group_norm_new(1, 3, 0.5, NULL);
    drop(&lk_as_group_norm(m)->weight), drop(&lk_as_group_norm(m)->bias);
    return m;
}

Test(norms, print_and_names_are_pytorchs)
{
    Module *net =
        lk_sequential_new(LK_MODULES(lk_batch_norm1d_new(3, 1e-5, 0.1, NULL),
                                     lk_batch_norm2d_new(4, 1e-3, 0.5, NULL), plain_batch_norm(),
                                     untracked_batch_norm(), lk_group_norm_new(2, 4, 1e-5, NULL),
                                     plain_group_norm()),
                          NULL);
    Module *copy = lk_deepcopy(net, NULL);
    check_text(tree_of(net), norms_tree);
    check_text(tree_of(copy), norms_tree);
    char state[1024] = "";
    for (ParamIter it = lk_state_tensors(copy); lk_params_next(&it);)
        strcat(strcat(state, *state ? "\n" : ""), it.name);
    check_text(state, norms_state);
    lk_free(net), lk_free(copy);
    Module *root = lk_rms_norm_new(4, 1e-6, NULL);
    check_text(tree_of(root), "RMSNorm((4,), eps=1e-06, elementwise_affine=True)");
    check_values(lk_as_rms_norm(root)->weight, 0, 1, 1, 1, 1);
    lk_free(root);
}

Test(norms, start_with_ones_and_zeros)
{
    Module *m = lk_batch_norm1d_new(2, 1e-5, 0.1, NULL), *g = lk_group_norm_new(1, 2, 1e-5, NULL);
    BatchNorm *b = lk_as_batch_norm1d(m);
    check_values(b->weight, 0, 1, 1);
    check_values(b->bias, 0, 0, 0);
    check_values(b->running_mean, 0, 0, 0);
    check_values(b->running_var, 0, 1, 1);
    check_values(b->num_batches_tracked, 0, 0);
    check(b->num_batches_tracked->dtype == LK_I64 && !b->running_mean->requires_grad);
    check_values(lk_as_group_norm(g)->weight, 0, 1, 1);
    check_values(lk_as_group_norm(g)->bias, 0, 0, 0);
    check(lk_count_parameters(m) == 4 && !lk_as_batch_norm2d(m) && !lk_as_group_norm(m) &&
          !lk_as_rms_norm(m) && !lk_as_batch_norm1d(g));
    lk_free(m), lk_free(g);
}

static void set_values(Tensor *x, const double *values)
{
    memcpy(x->data, values, (size_t)lk_numel(x) * sizeof *values);
    lk_touch(x);
}

Test(norms, a_batch_norm_learns_as_pytorchs)
{
    enum { BATCH = 24 };
    Tape *t = lk_tape_new(NULL);
    Module *m = lk_batch_norm2d_new(2, 1e-5, 0.3, NULL);
    BatchNorm *b = lk_as_batch_norm2d(m);
    check(lk_module_to(m, LK_F64, NULL));
    set_values(b->weight, start_weight);
    set_values(b->bias, start_bias);
    Tensor *y = NULL, *x[4];
    for (int i = 0; i < 4; i++)
        x[i] = lk_tensor(t, LK_F64, LK_SHAPE(3, 2, 2, 2), batches + (ptrdiff_t)i * BATCH);
    for (int i = 0; i < 3; i++) y = lk_forward(t, m, x[i]);
    check_close(y, trained, BATCH, 1e-13);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
    check_close(lk_grad(b->weight), trained_weight_grad, 2, 1e-12);
    check_close(lk_grad(b->bias), trained_bias_grad, 2, 1e-12);
    check_close(b->running_mean, running_mean, 2, 1e-14);
    check_close(b->running_var, running_var, 2, 1e-13);
    check_values(b->num_batches_tracked, 0, 3);
    lk_eval(m);
    check_close(lk_forward(t, m, x[3]), evaluated, BATCH, 1e-13);
    check_values(b->num_batches_tracked, 0, 3);
    lk_free(m);
    lk_tape_free(t);
}

/* Without running statistics, evaluation takes those of the batch too. */
Test(norms, untracked_statistics_are_the_batchs)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = untracked_batch_norm();
    Tensor *x = lk_tensor(t, LK_F32, LK_SHAPE(2, 2), (float[]){ 1, 2, 3, 6 });
    check_values(lk_forward(t, m, x), 1e-4, -1, -1, 1, 1);
    lk_eval(m);
    check_values(lk_forward(t, m, x), 1e-4, -1, -1, 1, 1);
    lk_free(m);
    lk_tape_free(t);
}

Test(norms, an_rms_norm_is_its_formula)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = lk_rms_norm_new(2, 0, NULL);
    check(lk_fill_(lk_as_rms_norm(m)->weight, 2));
    Tensor *x = lk_tensor(t, LK_F32, LK_SHAPE(1, 2), (float[]){ 1, 7 });
    check_values(lk_forward(t, m, x), 1e-6, 0.4, 2.8);
    lk_free(m);
    lk_tape_free(t);
}

Test(norms, refuse_bad_arguments)
{
    Error err = { 0 };
#define REFUSED(call, code, text) \
    do { \
        err = (Error){ 0 }; \
        check(!(call)); \
        check_error(&err, code, text); \
    } while (0)
    REFUSED(lk_batch_norm1d_new(0, 1e-5, 0.1, &err), LK_ESHAPE,
            "lk_batch_norm1d_new: num_features 0: it must be positive");
    REFUSED(lk_batch_norm2d_new(3, 1e-5, -1, &err), LK_EVALUE,
            "lk_batch_norm2d_new: momentum -1: it must be between 0 and 1");
    REFUSED(lk_group_norm_new(2, 3, 1e-5, &err), LK_ESHAPE,
            "lk_group_norm_new: 2 groups of 3 channels: both must be positive, and the groups "
            "must divide the channels");
    REFUSED(lk_rms_norm_new(-1, 1e-5, &err), LK_ESHAPE,
            "lk_rms_norm_new: normalized_shape -1: it must be positive");

    Tape *t = quiet_tape();
    const struct {
        Module *m;
        Tensor *x;
        const char *message;
    } calls[] = {
        { lk_batch_norm1d_new(3, 1e-5, 0.1, NULL), lk_ones(t, LK_F32, LK_SHAPE(2, 3, 1, 1)),
          "BatchNorm1d: expected 2D or 3D input, but x is (2, 3, 1, 1)" },
        { lk_batch_norm2d_new(3, 1e-5, 0.1, NULL), lk_ones(t, LK_F32, LK_SHAPE(2, 3)),
          "BatchNorm2d: expected 4D input, but x is (2, 3)" },
        { plain_batch_norm(), lk_ones(t, LK_F32, LK_SHAPE(2, 3, 1, 1)),
          "BatchNorm2d: x (2, 3, 1, 1) has 3 channels, but num_features is 2" },
        { lk_batch_norm1d_new(3, 1e-5, 0.1, NULL), lk_ones(t, LK_F32, LK_SHAPE(1, 3)),
          "lk_batch_norm: expected more than 1 value per channel when training, but x is (1, 3)" },
        { plain_group_norm(), lk_ones(t, LK_F32, LK_SHAPE(2, 2)),
          "GroupNorm: x (2, 2) does not have num_channels 3 channels" },
        { lk_rms_norm_new(4, 1e-5, NULL), lk_ones(t, LK_F32, LK_SHAPE(2, 3)),
          "RMSNorm: x (2, 3) does not end with normalized_shape (4,)" },
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        check(!lk_forward(t, calls[i].m, calls[i].x));
        check_error(lk_tape_error(t), LK_ESHAPE, calls[i].message);
        lk_tape_clear_error(t);
        lk_free(calls[i].m);
    }
    lk_tape_free(t);
}

static void count_report(const Error *err, void *user)
{
    check_error(err, LK_ESTATE, "BatchNorm1d: a forward without gradients in training mode");
    ++*(int *)user;
}

Test(norms, strict_mode_misses_lk_eval)
{
    int reports = 0;
    Tape *t = quiet_tape();
    Module *m = lk_batch_norm1d_new(3, 1e-5, 0.1, NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    lk_on_strict(count_report, &reports);
    lk_set_strict(true);
    check(lk_forward(t, m, x) && reports == 0);
    lk_tape_set_grad(t, false);
    lk_eval(m);
    check(lk_forward(t, m, x) && reports == 0);
    lk_train(m, true);
    check(lk_forward(t, m, x) && lk_forward(t, m, x) && reports == 1);
    lk_free(x), lk_free(m);
    lk_tape_free(t);
}

Test(norms, without_memory)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        Module *net = lk_sequential_new(LK_MODULES(lk_batch_norm1d_new(3, 1e-5, 0.1, &err),
                                                   lk_group_norm_new(1, 3, 1e-5, &err),
                                                   lk_rms_norm_new(3, 1e-5, &err)),
                                        &err);
        failed = check_alloc_failed();
        check(!net == (failed > 0) && (net || err.code == LK_EMEMORY), "allocation %lld: %s",
              (long long)n, err.message);
        lk_free(net);
        check(check_alloc_live() == 0, "allocation %lld", (long long)n);
    }
}
