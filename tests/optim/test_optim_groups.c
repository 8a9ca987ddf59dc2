/* test_optim_groups.c - parameter groups: PyTorch's numbers, what is refused, memory; and state
 * that is taken out and put into another optimizer. */
#include <math.h>

#include "optim/clip.h"
#include "optim/optimizer.h"
#include "core/ops.h"
#include "tests/fixtures/optim.h"
#include "tests/shared/nets.h"

typedef Optimizer *MakeOptimizer(TensorList params, double lr, Error *err);
static MakeOptimizer *const makers[] = { lk_sgd_new, lk_adam_new, lk_adamw_new, lk_rmsprop_new };
enum { MAKERS = sizeof makers / sizeof *makers };

/* ---- PyTorch's numbers ---------------------------------------------------------------------- */

/* As in test_optim.c, with parameters 0 and 2 in one group and 1 in another. */
Test(optim_groups, steps_are_pytorchs)
{
    static const int64_t first[] = { 0, 6, 9, OPTIM_ELEMENTS };
    for (int k = 0; k < MAKERS; k++) {
        Tensor *p[3];
        for (int i = 0; i < 3; i++) {
            p[i] = lk_tensor_from_new(LK_F64, LK_SHAPE(first[i + 1] - first[i]),
                                      optim_start + first[i], NULL);
            lk_set_requires_grad(p[i], true);
        }
        Optimizer *opt = makers[k](list_of(2, (Tensor *[]){ p[0], p[2] }), 0.02, NULL);
        ParamGroup *other = lk_add_param_group(opt, list_of(1, &p[1]), NULL);
        check(opt->next == other);
        opt->weight_decay = 0.1;
        other->lr = 0.005;
        other->weight_decay = 0;
        for (int step = 1, row = 0; step <= OPTIM_STEPS; step++) {
            if (step == 50)
                for (ParamGroup *g = opt; g; g = g->next) g->lr *= 0.5;
            lk_optimizer_zero_grad(opt);
            for (int i = 0; i < 3; i++) {
                check(!p[i]->grad);
                if (i == 1 && step < 10) continue;
                set_grad(p[i], p[i]);
                double *g = p[i]->grad->data;
                for (int64_t j = 0; j < lk_numel(p[i]); j++)
                    g[j] = optim_curvature[first[i] + j] * (g[j] - optim_target[first[i] + j]) *
                           (0.5 + step % 3 / 2.0);
            }
            if (step == 60) lk_set_requires_grad(p[2], false);
            check(lk_step(opt, NULL));
            if (step != optim_at[row]) continue;
            for (int i = 0; i < 3; i++)
                check_close(p[i], optim_groups[k].f64[row] + first[i], first[i + 1] - first[i],
                            1e-12);
            row++;
        }
        lk_optimizer_free(opt);
        for (int i = 0; i < 3; i++) lk_free(p[i]);
    }
}

/* A batch in parts: the gradients of scaled losses add up to that of the whole. */
Test(optim_groups, accumulated_gradients_are_those_of_the_whole_batch)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(3, 5, 4, 2, &rng, NULL);
    check(lk_module_to(net, LK_F64, NULL));
    TensorList params = lk_parameters(net, NULL);
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(12, 3), NULL),
           *y = lk_tensor_new(LK_F64, LK_SHAPE(12, 2), NULL);
    lk_normal_(x, 0, 1, &rng), lk_normal_(y, 0, 1, &rng);
    Tape *t = lk_tape_new(NULL);
    check(lk_backward(t, lk_mse_loss(t, lk_forward(t, net, x), y)));
    double whole = lk_clip_grad_norm_(&params, INFINITY);
    Tensor *expected = lk_clone(params.items[0]->grad, NULL);
    lk_module_zero_grad(net);
    for (int64_t i = 0; i < 3; i++) {
        Tensor *part_x = lk_slice(t, x, 0, 4 * i, 4 * i + 4, 1),
               *part_y = lk_slice(t, y, 0, 4 * i, 4 * i + 4, 1);
        Tensor *loss = lk_mse_loss(t, lk_forward(t, net, part_x), part_y);
        check(lk_backward(t, lk_scale(t, loss, 1.0 / 3)));
        lk_tape_reset(t);
    }
    check(fabs(lk_clip_grad_norm_(&params, INFINITY) - whole) < 1e-14 * whole);
    check_close_to(params.items[0]->grad, expected, 1e-15);
    lk_free(x), lk_free(y), lk_free(expected);
    lk_tensor_list_free(&params);
    lk_tape_free(t);
    lk_free(net);
}

/* ---- what is refused ------------------------------------------------------------------------ */

Test(optim_groups, what_cannot_be_a_group_is_refused_and_freed)
{
    check_alloc_begin();
    Tensor *p = make_param(LK_F32, LK_SHAPE(1), 1), *q = make_param(LK_F32, LK_SHAPE(1), 2);
    Tensor *labels = make_tensor(LK_I64, LK_SHAPE(1), 3);
    Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
    const struct {
        TensorList list;
        const char *message;
    } bad[] = {
        { { 0 }, "lk_add_param_group: the list is empty" },
        { list_of(2, (Tensor *[]){ q, p }), "parameter 1 is in this Adam already" },
        { list_of(2, (Tensor *[]){ q, q }), "Adam: parameters 0 and 1 are the same tensor" },
        { list_of(1, &labels), "Adam: parameter 0 is int64" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error err = { 0 };
        check(!lk_add_param_group(opt, bad[i].list, &err) && !opt->next);
        check_error(&err, LK_EVALUE, bad[i].message);
    }
    Error err = { 0 };
    check(!lk_add_param_group(NULL, list_of(1, &q), &err));
    check_error(&err, LK_EVALUE, "the optimizer is NULL");

    /* A setting out of range in any group: nothing changes in any other. */
    ParamGroup *group = lk_add_param_group(opt, list_of(1, &q), NULL);
    group->lr = -1;
    set_grad(p, p), set_grad(q, q);
    err = (Error){ 0 };
    check(!lk_step(opt, &err));
    check_error(&err, LK_EVALUE, "lr of Adam is -1");
    check(lk_item(p) == 1 && opt->state[0].step == 0);
    lk_optimizer_free(opt);
    check(p->refs == 1 && q->refs == 1);
    lk_free(p), lk_free(q), lk_free(labels);
    check(check_alloc_live() == 0);
}

Test(optim_groups, a_frozen_group_is_left_alone_and_has_no_state)
{
    check_alloc_begin();
    Tensor *p = make_param(LK_F32, LK_SHAPE(1), 1), *q = make_param(LK_F32, LK_SHAPE(1), 2);
    Optimizer *opt = lk_adamw_new(list_of(1, &p), 0.1, NULL);
    lk_set_requires_grad(q, false);
    ParamGroup *group = lk_add_param_group(opt, list_of(1, &q), NULL);
    set_grad(p, p), set_grad(q, q);
    int64_t before = check_alloc_count();
    check(lk_step(opt, NULL));
    check(check_alloc_count() == before + 2); /* the two moments of p */
    check(lk_item(q) == 2 && !group->state[0].moment[0]);
    lk_set_requires_grad(q, true);
    check(lk_step(opt, NULL));
    check(lk_item(q) != 2 && group->state[0].step == 1);
    lk_optimizer_free(opt);
    lk_free(p), lk_free(q);
    check(check_alloc_live() == 0);
}

Test(optim_groups, without_memory_the_optimizer_stays_as_it_is)
{
    check_alloc_begin();
    Tensor *p = make_param(LK_F32, LK_SHAPE(1), 1), *q = make_param(LK_F32, LK_SHAPE(1), 2);
    Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
    for (int64_t n = 0, failed = 1; failed; n++) {
        TensorList list = list_of(1, &q);
        Error err = { 0 };
        check_fail_after(n);
        ParamGroup *group = lk_add_param_group(opt, list, &err);
        failed = check_alloc_failed();
        check_fail_after(-1);
        check(!group == !!failed && opt->next == group);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
        if (failed) check(q->refs == 1);
    }
    lk_optimizer_free(opt);
    lk_free(p), lk_free(q);
    check(check_alloc_live() == 0);
}

/* ---- taken out and put back ----------------------------------------------------------------- */

static void train(Optimizer *opt, int from, int to)
{
    for (int step = from; step < to; step++) {
        for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
            if (it.index == 1 && step < 3) continue; /* this one starts later */
            set_grad(it.param, it.param);
            float *g = it.param->grad->data;
            for (int64_t i = 0; i < lk_numel(it.param); i++)
                g[i] *= 0.3f + 0.1f * (float)(step % 4);
        }
        check(lk_step(opt, NULL));
        lk_optimizer_zero_grad(opt);
    }
}

static Optimizer *two_groups(MakeOptimizer *make, Tensor *const *p)
{
    Optimizer *opt = make(list_of(2, p), 0.05, NULL);
    opt->momentum = 0.9;
    ParamGroup *other = lk_add_param_group(opt, list_of(1, p + 2), NULL);
    check(other->momentum == 0.9 && other->lr == 0.05);
    other->weight_decay = 0.25;
    return opt;
}

/* Stopped at any step, the state moved into a new optimizer: the same bits as without a stop. */
Test(optim_groups, resumed_training_has_the_same_bits)
{
    enum { STEPS = 7 };
    for (int k = 0; k < MAKERS; k++)
        for (int stop = 0; stop <= STEPS; stop++) {
            check_alloc_begin();
            Tensor *p[2][3];
            for (int run = 0; run < 2; run++) {
                p[run][0] = make_param(LK_F32, LK_SHAPE(2, 2), 1, -2, 3, 0.1);
                p[run][1] = make_param(LK_F32, LK_SHAPE(2), 0.5, 0.25);
                p[run][2] = make_param(LK_F32, LK_SHAPE(3), -1, -0.125, 7);
            }
            Optimizer *whole = two_groups(makers[k], p[0]), *begun = two_groups(makers[k], p[1]);
            train(whole, 0, STEPS);
            train(begun, 0, stop);
            Optimizer *resumed = two_groups(makers[k], p[1]);
            OptimizerIter from = lk_optimizer_states(begun), to = lk_optimizer_states(resumed);
            while (lk_optimizer_states_next(&from) && lk_optimizer_states_next(&to)) {
                Tensor *moment[2];
                for (int m = 0; m < 2; m++) moment[m] = lk_clone(from.state->moment[m], NULL);
                check(lk_optimizer_set_state(&to, from.state->step, moment[0], moment[1], NULL));
                check(from.param == to.param && from.index == to.index);
            }
            check(to.index == 2);
            lk_optimizer_free(begun);
            train(resumed, stop, STEPS);
            for (int i = 0; i < 3; i++) check_equal(p[0][i], p[1][i]);
            check(resumed->state[1].step == STEPS - 3);
            lk_optimizer_free(whole), lk_optimizer_free(resumed);
            for (int i = 0; i < 3; i++) lk_free(p[0][i]), lk_free(p[1][i]);
            check(check_alloc_live() == 0);
        }
}

Test(optim_groups, state_that_does_not_fit_is_refused)
{
    check_alloc_begin();
    Tensor *p = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
    set_grad(p, p);
    check(lk_step(opt, NULL));
    OptimizerIter it = lk_optimizer_states(opt);
    check(lk_optimizer_states_next(&it) && it.group == opt && it.index == 0);
    check(strcmp(it.group->type->moment_name[0], "exp_avg") == 0);
    Tensor *before = it.state->moment[0];
#define GOOD make_tensor(LK_F32, LK_SHAPE(2), 1, 2)
    const struct {
        int64_t step;
        Tensor *first, *second;
        ErrorCode code;
        const char *message;
    } bad[] = {
        { -1, GOOD, GOOD, LK_EVALUE, "parameter 0 has made -1 steps" },
        { 1, GOOD, NULL, LK_EVALUE, "parameter 0 has made steps and lacks its exp_avg_sq" },
        { 1, NULL, GOOD, LK_EVALUE, "lacks its exp_avg" },
        { 1, GOOD, make_tensor(LK_F32, LK_SHAPE(1), 1), LK_ESHAPE,
          "is float32 (1,); it must be owned, float32 (2,)" },
        { 1, make_tensor(LK_F64, LK_SHAPE(2), 1, 2), GOOD, LK_ESHAPE, "is float64 (2,)" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error err = { 0 };
        check(!lk_optimizer_set_state(&it, bad[i].step, bad[i].first, bad[i].second, &err));
        check(err.code == bad[i].code && strstr(err.message, bad[i].message), "%s", err.message);
        check(it.state->step == 1 && it.state->moment[0] == before);
    }
    check(!lk_optimizer_states_next(&it));
    lk_optimizer_free(opt);
    lk_free(p);
    check(check_alloc_live() == 0);
}
