/* test_optim_moments.c - what SGD and RMSprop remember when their settings change, and giving it
 * to another optimizer. tests/optim/test_optim.c compares their numbers with PyTorch's. */
#include "optim/optimizer.h"
#include "tests/shared/nets.h"

Test(optim_moments, nesterov_needs_momentum)
{
    Tensor *p = param_of(LK_F64, 1, (const double[]){ 3.0 });
    Optimizer *opt = lk_sgd_new(list_of(1, &p), 0.5, NULL);
    opt->nesterov = true;
    set_grad(p, p);
    Error err = { 0 };
    check(!lk_step(opt, &err));
    check_error(&err, LK_EVALUE, "nesterov of SGD is set and its momentum is 0");
    check(lk_item(p) == 3.0);
    opt->momentum = 0.5; /* v = 3, p -= 0.5 (3 + 0.5 · 3) */
    check(lk_step(opt, NULL));
    check(lk_item(p) == 0.75);
    lk_optimizer_free(opt);
    lk_free(p);
}

/* RMSprop has as many moments as its settings ask for, in the order of their names. */
Test(optim_moments, moments_of_rmsprop)
{
    Tensor *p = param_of(LK_F64, 1, (const double[]){ 1.0 });
    Optimizer *opt = lk_rmsprop_new(list_of(1, &p), 0.5, NULL);
    const OptimizerState *state = &opt->state[0];
    set_grad(p, p);
    check(lk_step(opt, NULL));
    check(state->moment[0] && !state->moment[1] && !state->moment[2]);
    opt->momentum = 0.5;
    check(lk_step(opt, NULL));
    check(state->moment[1] && !state->moment[2]);
    opt->centered = true;
    check(lk_step(opt, NULL));
    check_values(state->moment[2], 1e-15, 0.01);
    const char *const *names = opt->type->moment_name;
    check(strcmp(names[0], "square_avg") == 0 && strcmp(names[1], "momentum_buffer") == 0 &&
          strcmp(names[2], "grad_avg") == 0);
    lk_optimizer_free(opt);
    lk_free(p);
}

/* An optimizer with three moments goes on with the bits of another one. */
Test(optim_moments, state_of_three_moments_is_handed_over)
{
    static const double values[] = { 1.0, -2.0 };
    Tensor *p[] = { param_of(LK_F32, 2, values), param_of(LK_F32, 2, values) };
    Optimizer *opt[2];
    for (int i = 0; i < 2; i++) {
        opt[i] = lk_rmsprop_new(list_of(1, &p[i]), 0.1, NULL);
        opt[i]->momentum = 0.9;
        opt[i]->centered = true;
    }
    for (int step = 0; step < 3; step++) {
        set_grad(p[0], p[0]);
        check(lk_step(opt[0], NULL));
    }
    check(lk_copy_(p[1], p[0], NULL));
    OptimizerIter it = lk_optimizer_states(opt[1]);
    check(lk_optimizer_states_next(&it));
    Tensor *moments[LK_MOMENTS];
    for (int k = 0; k < LK_MOMENTS; k++) moments[k] = lk_clone(opt[0]->state[0].moment[k], NULL);
    check(lk_optimizer_set_moments(&it, 3, moments, NULL));
    for (int i = 0; i < 2; i++) {
        set_grad(p[i], p[i]);
        check(lk_step(opt[i], NULL));
    }
    check_equal(p[0], p[1]);

    Error err = { 0 };
    Tensor *const two[LK_MOMENTS] = { lk_clone(p[0], NULL), lk_clone(p[0], NULL), NULL };
    check(!lk_optimizer_set_moments(&it, 3, two, &err));
    check_error(&err, LK_EVALUE,
                "lk_optimizer_set_moments: parameter 0 has made steps and lacks its grad_avg");
    err = (Error){ 0 };
    check(!lk_optimizer_set_moments(&it, 3, NULL, &err));
    check_error(&err, LK_EVALUE, "the moments are NULL");
    check(it.state->step == 4);
    for (int i = 0; i < 2; i++) {
        lk_optimizer_free(opt[i]);
        lk_free(p[i]);
    }
}
