/* test_optim.c - SGD, Adam, AdamW, RMSprop: PyTorch's numbers, what is frozen, what is refused,
 * memory, threads. */
#include <math.h>

#include "optim/optimizer.h"
#include "core/kernels/for_tests.h"
#include "core/ops.h"
#include "tests/fixtures/optim.h"
#include "tests/shared/nets.h"

typedef Optimizer *MakeOptimizer(TensorList params, double lr, Error *err);

static const struct Maker {
    const char *name;
    MakeOptimizer *make;
} makers[] = { { "sgd", lk_sgd_new },
               { "adam", lk_adam_new },
               { "adamw", lk_adamw_new },
               { "rmsprop", lk_rmsprop_new } };
enum { MAKERS = sizeof makers / sizeof *makers };

/* ---- PyTorch's numbers ---------------------------------------------------------------------- */

/* h (p - c) (1/2 + step % 3 / 2), in the dtype of p: the gradient of make_optim.py. */
static void set_gradient(Tensor *p, const double *target, const double *curvature, int step)
{
    double factor = 0.5 + step % 3 / 2.0;
    set_grad(p, p);
    for (int64_t i = 0; i < lk_numel(p); i++) {
        if (p->dtype == LK_F64) {
            double *g = p->grad->data;
            g[i] = curvature[i] * (g[i] - target[i]) * factor;
        } else {
            float *g = p->grad->data;
            g[i] = (float)curvature[i] * (g[i] - (float)target[i]) * (float)factor;
        }
    }
}

static void check_run(const struct OptimRun *run, DType dtype, double tol)
{
    static const int64_t first[] = { 0, 6, 9, OPTIM_ELEMENTS };
    Tensor *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = param_of(dtype, first[i + 1] - first[i], optim_start + first[i]);
    Optimizer *opt = NULL;
    for (int k = 0; k < MAKERS; k++)
        if (strcmp(makers[k].name, run->name) == 0)
            opt = makers[k].make(list_of(3, p), run->lr, NULL);
    check(opt);
    if (run->momentum >= 0) opt->momentum = run->momentum;
    if (run->weight_decay >= 0) opt->weight_decay = run->weight_decay;
    if (run->beta1 >= 0) opt->beta1 = run->beta1;
    if (run->beta2 >= 0) opt->beta2 = run->beta2;
    if (run->eps >= 0) opt->eps = run->eps;
    if (run->alpha >= 0) opt->alpha = run->alpha;
    opt->nesterov = run->nesterov > 0;
    opt->centered = run->centered > 0;

    for (int step = 1, row = 0; step <= OPTIM_STEPS; step++) {
        lk_optimizer_zero_grad(opt);
        set_gradient(p[0], optim_target, optim_curvature, step);
        if (step >= 10)
            set_gradient(p[1], optim_target + first[1], optim_curvature + first[1], step);
        set_gradient(p[2], optim_target + first[2], optim_curvature + first[2], step);
        if (step == 60) lk_set_requires_grad(p[2], false); /* its gradient stays */
        check(lk_step(opt, NULL));
        if (step != optim_at[row]) continue;
        const double *expected = dtype == LK_F64 ? run->f64[row] : run->f32[row];
        for (int i = 0; i < 3; i++)
            for (int64_t j = 0; j < first[i + 1] - first[i]; j++) {
                double got = lk_at(p[i], &j), want = expected[first[i] + j];
                check(fabs(got - want) <= tol * fmax(fabs(want), 1e-3),
                      "%s lr %g, step %d, parameter %d[%d]: %.17g, not %.17g", run->name, run->lr,
                      step, i, (int)j, got, want);
            }
        row++;
    }
    lk_optimizer_free(opt);
    for (int i = 0; i < 3; i++) lk_free(p[i]);
}

/* In every instruction set of the processor. */
static void check_runs(DType dtype, double tol, double tol_rmsprop)
{
    for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++)
        for (size_t i = 0; lk__kernels_use(set) && i < sizeof optim_runs / sizeof *optim_runs; i++)
            check_run(&optim_runs[i], dtype,
                      strcmp(optim_runs[i].name, "rmsprop") == 0 ? tol_rmsprop : tol);
}

Test(optim, float64_steps_are_pytorchs) { check_runs(LK_F64, 1e-12, 1e-12); }

/* PyTorch's vector kernels round a multiply-add once, the library twice: a last bit (6e-8) a step,
 * which the pull of the target does not let grow. RMSprop's steps are as long for a small gradient
 * as for a large one, so it pulls less. */
Test(optim, float32_steps_are_pytorchs_but_for_rounding) { check_runs(LK_F32, 1e-6, 1e-5); }

Test(optim, a_net_learns)
{
    for (int k = 0; k < MAKERS; k++) {
        Rng rng;
        lk_manual_seed(&rng, 0);
        Module *net = net_new(4, 16, 16, 2, &rng, NULL);
        Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(32, 4), NULL),
               *y = lk_tensor_new(LK_F32, LK_SHAPE(32, 2), NULL);
        lk_normal_(x, 0.0, 1.0, &rng);
        lk_normal_(y, 0.0, 1.0, &rng);
        Optimizer *opt = makers[k].make(lk_parameters(net, NULL), k == 0 ? 0.1 : 0.01, NULL);
        if (k == 0) opt->momentum = 0.9;
        Tape *t = lk_tape_new(NULL);
        double first = 0.0, last = 0.0;
        for (int step = 0; step < 150; step++) {
            lk_tape_reset(t);
            lk_optimizer_zero_grad(opt);
            Tensor *loss = lk_mse_loss(t, lk_forward(t, net, x), y);
            check(lk_backward(t, loss));
            check(lk_step(opt, NULL));
            last = lk_item(loss);
            if (step == 0) first = last;
        }
        check(last < 0.5 * first, "%s: %g, then %g", makers[k].name, first, last);
        lk_tape_free(t);
        lk_optimizer_free(opt);
        lk_free(x);
        lk_free(y);
        lk_free(net);
    }
}

/* ---- what is left alone --------------------------------------------------------------------- */

Test(optim, a_frozen_parameter_with_an_old_gradient_is_not_touched)
{
    static const double values[] = { 1.5, -2.5, 0.25 };
    for (int k = 0; k < MAKERS; k++) {
        Tensor *p[] = { param_of(LK_F32, 3, values), param_of(LK_F32, 3, values),
                        param_of(LK_F32, 3, values) };
        Tensor *before = lk_clone(p[0], NULL);
        Optimizer *opt = makers[k].make(list_of(3, p), 0.1, NULL);
        opt->weight_decay = 0.5;
        opt->momentum = 0.9;
        for (int i = 0; i < 3; i++) set_grad(p[i], p[i]);
        lk_set_requires_grad(p[0], false); /* frozen, with a gradient */
        lk_zero_grad_(p[1]);               /* trainable, without one */
        uint32_t version = p[0]->storage->version;
        for (int step = 0; step < 5; step++) check(lk_step(opt, NULL));
        check_equal(p[0], before);
        check_equal(p[1], before);
        check(p[0]->storage->version == version && !opt->state[0].moment[0]);
        check(!lk_equal(p[2], before), "%s does nothing", makers[k].name);

        /* Thawed: from then on it is trained. */
        lk_set_requires_grad(p[0], true);
        check(lk_step(opt, NULL));
        check(!lk_equal(p[0], before));
        check(p[0]->storage->version != version);
        check(opt->state[0].step == 1 && opt->state[2].step == 6);
        lk_optimizer_free(opt);
        lk_free(before);
        for (int i = 0; i < 3; i++) lk_free(p[i]);
    }
}

Test(optim, zero_grad_forgets_gradients_and_keeps_their_memory)
{
    check_alloc_begin();
    Tensor *p = param_of(LK_F32, 1, (const double[]){ 1.0 });
    Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
    set_grad(p, p);
    int64_t live = check_alloc_live();
    lk_optimizer_zero_grad(opt);
    check(!lk_grad(p) && check_alloc_live() == live);
    lk_optimizer_zero_grad(NULL);
    lk_optimizer_free(opt);
    lk_free(p);
    check(check_alloc_live() == 0);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void check_refused(TensorList params, double lr, const char *message)
{
    Error err = { 0 };
    check(!lk_adam_new(params, lr, &err));
    check_error(&err, LK_EVALUE, message);
}

Test(optim, lists_that_cannot_be_trained_are_refused_and_freed)
{
    check_alloc_begin();
    Tensor *p = param_of(LK_F32, 2, (const double[]){ 1.0, 2.0 });
    Tensor *frozen = param_of(LK_F32, 1, (const double[]){ 1.0 });
    lk_set_requires_grad(frozen, false);
    check_refused((TensorList){ 0 }, 0.1,
                  "Adam: the list is empty; no parameter is trainable, or the net has none");
    check_refused(list_of(1, &frozen), 0.1, "Adam: none of 1 parameters has requires_grad");
    check_refused(list_of(2, (Tensor *[]){ p, p }), 0.1,
                  "Adam: parameters 0 and 1 are the same tensor");
    check_refused(list_of(2, (Tensor *[]){ p, NULL }), 0.1, "Adam: parameter 1 is NULL");

    Tensor *labels = make_tensor(LK_I64, LK_SHAPE(2), 1, 2);
    check_refused(list_of(2, (Tensor *[]){ p, labels }), 0.1,
                  "parameter 1 is int64; it must be contiguous");
    Tensor *strided = lk_param_new(LK_F32, LK_SHAPE(2, 3), NULL);
    strided->stride[0] = 1;
    strided->stride[1] = 2;
    check_refused(list_of(1, &strided), 0.1, "parameter 0 is float32 and strided");
    Tape *t = lk_tape_new(NULL);
    Tensor *result = lk_scale(t, p, 2.0), *leaf = lk_zeros(t, LK_F32, LK_SHAPE(2));
    check_refused(list_of(1, &result), 0.1, "parameter 0 is the result of an operation");
    check_refused(list_of(1, &leaf), 0.1, "parameter 0 is the result of an operation");

    const double bad[] = { -0.1, INFINITY, -INFINITY, NAN };
    for (int i = 0; i < 4; i++) check_refused(list_of(1, &p), bad[i], "lr of Adam is ");
    check(p->refs == 1);
    lk_tape_free(t);
    lk_free(strided);
    lk_free(labels);
    lk_free(frozen);
    lk_free(p);
    check(check_alloc_live() == 0);

    /* The reason why there is no list stays. */
    Error err = { .code = LK_EMEMORY, .message = "no memory for a list" };
    check(!lk_sgd_new((TensorList){ 0 }, 0.1, &err));
    check_error(&err, LK_EMEMORY, "no memory for a list");
}

Test(optim, settings_out_of_range_stop_a_step_before_it_changes_anything)
{
    Tensor *p = param_of(LK_F64, 1, (const double[]){ 3.0 });
    for (int i = 0; i < 8; i++) {
        Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
        double *const settings[] = { &opt->lr,  &opt->momentum,     &opt->beta1, &opt->beta2,
                                     &opt->eps, &opt->weight_decay, &opt->lr,    &opt->alpha };
        const double values[] = { -1.0, -0.5, 1.0, 1.5, -1e-8, NAN, INFINITY, -0.5 };
        *settings[i] = values[i];
        set_grad(p, p);
        Error err = { 0 };
        check(!lk_step(opt, &err));
        check_error(&err, LK_EVALUE, "lk_step: ");
        check(lk_item(p) == 3.0 && opt->state[0].step == 0);
        lk_optimizer_free(opt);
    }
    lk_free(p);
    Error err = { 0 };
    check(!lk_step(NULL, &err));
    check_error(&err, LK_EVALUE, "the optimizer is NULL");
    lk_optimizer_free(NULL);
}

Test(optim, a_parameter_converted_after_its_first_step_is_refused)
{
    Tensor *p = param_of(LK_F32, 4, (const double[]){ 1.0, 2.0, 3.0, 4.0 });
    Optimizer *opt = lk_adam_new(list_of(1, &p), 0.1, NULL);
    check(lk_convert_(p, LK_F64, NULL)); /* before it: fine */
    set_grad(p, p);
    check(lk_step(opt, NULL));
    check(lk_convert_(p, LK_F32, NULL));
    set_grad(p, p);
    Error err = { 0 };
    check(!lk_step(opt, &err));
    check_error(&err, LK_ESTATE,
                "parameter 0 was float64 at its first step and is float32 now; make a new Adam");
    lk_optimizer_free(opt);
    lk_free(p);
}

/* ---- memory and threads --------------------------------------------------------------------- */

Test(optim, steps_after_the_first_allocate_nothing)
{
    for (int k = 0; k < MAKERS; k++) {
        check_alloc_begin();
        Tensor *p = lk_param_new(LK_F32, LK_SHAPE(300, 300), NULL);
        set_grad(p, p);
        Optimizer *opt = makers[k].make(list_of(1, &p), 0.1, NULL);
        opt->momentum = 0.9;
        check(lk_step(opt, NULL));
        int64_t before = check_alloc_count();
        for (int i = 0; i < 5; i++) check(lk_step(opt, NULL));
        check(check_alloc_count() == before);
        lk_optimizer_free(opt);
        lk_free(p);
        check(check_alloc_live() == 0);
    }
}

Test(optim, plain_sgd_needs_no_state_until_it_gets_momentum)
{
    check_alloc_begin();
    Tensor *p = param_of(LK_F64, 1, (const double[]){ 1.0 });
    set_grad(p, p);
    Optimizer *opt = lk_sgd_new(list_of(1, &p), 0.5, NULL);
    int64_t before = check_alloc_count();
    check(lk_step(opt, NULL));
    check(lk_item(p) == 0.5 && check_alloc_count() == before);
    opt->momentum = 0.5;
    check(lk_step(opt, NULL)); /* v = 1 */
    check(lk_item(p) == 0.0 && check_alloc_count() == before + 1);
    check(lk_step(opt, NULL)); /* v = 1.5 */
    check(lk_item(p) == -0.75);
    lk_optimizer_free(opt);
    lk_free(p);
}

Test(optim, without_memory_nothing_changes_and_nothing_leaks)
{
    static const double values[] = { 1.0, 2.0 };
    for (int k = 0; k < MAKERS; k++) {
        check_alloc_begin();
        Tensor *p[] = { param_of(LK_F32, 2, values), param_of(LK_F32, 2, values) },
               *start = lk_clone(p[0], NULL);
        set_grad(p[0], p[0]);
        set_grad(p[1], p[1]);
        int64_t live = check_alloc_live();
        for (int64_t n = 0, failed = 1; failed; n++) {
            TensorList list = list_of(2, p);
            Error err = { 0 };
            check_fail_after(n);
            Optimizer *opt = makers[k].make(list, 0.1, &err);
            if (opt) opt->momentum = 0.9;
            bool ok = opt && lk_step(opt, &err);
            failed = check_alloc_failed();
            check(ok == !failed);
            if (failed) {
                check_error(&err, LK_EMEMORY, "no memory");
                check_equal(p[0], start);
                check_equal(p[1], start);
                check_fail_after(-1);
                /* with memory again, the step that failed is made */
                check(!opt || lk_step(opt, NULL));
                check(lk_copy_(p[0], start, NULL));
                check(lk_copy_(p[1], start, NULL));
            }
            check_fail_after(-1);
            lk_optimizer_free(opt);
            check(check_alloc_live() == live);
        }
        lk_free(start);
        lk_free(p[0]);
        lk_free(p[1]);
        check(check_alloc_live() == 0);
    }
}

Test(optim, neither_threads_nor_pieces_change_a_bit)
{
    enum { N = 100003, TAIL = 50 }; /* several pieces, the last one short */
    for (int k = 0; k < MAKERS; k++) {
        Rng rng;
        lk_manual_seed(&rng, 0);
        Tensor *p = lk_param_new(LK_F32, LK_SHAPE(N), NULL),
               *g = lk_tensor_new(LK_F32, LK_SHAPE(N), NULL);
        lk_normal_(p, 0.0, 1.0, &rng);
        lk_normal_(g, 0.0, 1.0, &rng);
        Tensor *q = lk_clone(p, NULL);
        Tensor *tail =
            lk_tensor_from_new(LK_F32, LK_SHAPE(TAIL), (float *)p->data + N - TAIL, NULL);
        Tensor *tail_g =
            lk_tensor_from_new(LK_F32, LK_SHAPE(TAIL), (float *)g->data + N - TAIL, NULL);
        lk_set_requires_grad(q, true);
        lk_set_requires_grad(tail, true);
        set_grad(p, g);
        set_grad(q, g);
        set_grad(tail, tail_g);
        Optimizer *one = makers[k].make(list_of(2, (Tensor *[]){ p, tail }), 0.1, NULL);
        Optimizer *four = makers[k].make(list_of(1, &q), 0.1, NULL);
        one->momentum = four->momentum = 0.9;
        for (int step = 0; step < 3; step++) {
            lk_set_num_threads(1);
            check(lk_step(one, NULL));
            lk_set_num_threads(4);
            check(lk_step(four, NULL));
        }
        check_equal(p, q);
        /* as if it were a parameter of its own */
        check_bits(tail, (float *)p->data + N - TAIL, TAIL);
        lk_optimizer_free(one);
        lk_optimizer_free(four);
        lk_free(p);
        lk_free(q);
        lk_free(g);
        lk_free(tail);
        lk_free(tail_g);
    }
}

/* ---- one's own ------------------------------------------------------------------------------ */

/* p -= lr sign(g) */
static void sign_update(const Optimizer *opt, int64_t step, const OptimizerPiece *x)
{
    const double *g = x->g;
    double *p = x->p;
    check(step == 1 && x->dtype == LK_F64 && x->moment[0] && !x->moment[1]);
    for (int64_t i = 0; i < x->n; i++) p[i] -= opt->lr * ((g[i] > 0) - (g[i] < 0));
}

static int sign_moments(const Optimizer *opt)
{
    (void)opt;
    return 1;
}

#ifdef __SSE2__
Test(optim, denormal_moments_become_zero_and_the_program_keeps_its_denormals)
{
    /* Large enough for several threads. */
    enum { N = 1 << 16 };
    Tensor *p = lk_param_new(LK_F32, LK_SHAPE(N), NULL);
    Optimizer *opt = lk_adam_new(list_of(1, &p), 1e-3, NULL);
    p->grad = p->grad_room = lk_tensor_new(LK_F32, LK_SHAPE(N), NULL);
    check(lk_step(opt, NULL));
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 2; k++) ((float *)opt->state[0].moment[k]->data)[i] = 1e-40f;
    check(lk_step(opt, NULL));
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 2; k++)
            check(((float *)opt->state[0].moment[k]->data)[i] == 0, "moment %d of element %d", k,
                  i);
    int lost = 0;
#pragma omp parallel for reduction(+ : lost)
    for (int i = 0; i < 64; i++) {
        volatile float small = 1e-38f, tenth = small / 10;
        lost += tenth == 0;
    }
    check(lost == 0);
    lk_optimizer_free(opt);
    lk_free(p);
}
#endif

Test(optim, an_optimizer_of_ones_own)
{
    static const OptimizerType type = { "Sign", sign_update, sign_moments, { "unused", NULL } };
    Tensor *p = param_of(LK_F64, 3, (const double[]){ 1.0, -2.0, 0.0 });
    set_grad(p, p);
    Optimizer *opt = lk_optimizer_new(&type, list_of(1, &p), 0.25, NULL);
    check(lk_step(opt, NULL));
    check_values(p, 0, 0.75, -1.75, 0);
    lk_optimizer_free(opt);
    Error err = { 0 };
    check(!lk_optimizer_new(&type, (TensorList){ 0 }, 0.25, &err));
    check_error(&err, LK_EVALUE, "Sign: the list is empty");
    lk_free(p);
}
