/* test_diagnose_table.c - the numbers in the table of lk_print_training, and the facts that an
 * optimizer keeps for it. The mistakes that it names: test_diagnose.c. */
#include "tests/shared/diagnose_run.h"

Test(diagnose_table, the_table)
{
    Run r;
    begin(&r);
    lk_free(r.net);
    r.net = lk_sequential_new(LK_MODULES(lk_linear_new(6, 3, true, &r.rng, NULL)), NULL);
    Linear *l = lk_as_linear(lk_sequential_at(r.net, 0, NULL));
    check(lk_fill_(l->weight, 1) && lk_set_requires_grad(l->bias, false));
    r.opt = lk_sgd_new(lk_trainable_parameters(r.net, NULL), 0.5, NULL);
    check_text(look(&r), "parameter  shape   trainable  optimizer  gradient     moved\n"
                         "0.weight   (3, 6)  yes        yes            none         -\n"
                         "0.bias     (3,)    frozen     no             none         -\n");
    Tensor *g = lk_tensor_new(LK_F32, LK_SHAPE(3, 6), NULL);
    check(lk_fill_(g, 2));
    set_grad(l->weight, g);
    check(lk_step(r.opt, NULL)); /* from 1 to 0, 18 times */
    check_text(look(&r), "parameter  shape   trainable  optimizer  gradient     moved\n"
                         "0.weight   (3, 6)  yes        yes            8.49      4.24\n"
                         "0.bias     (3,)    frozen     no             none         0\n");
    r.opt->lr = 0;
    lk_zero_grad_(l->weight), set_grad(l->weight, g);
    check(lk_step(r.opt, NULL));
    check_text(look(&r), /* the example of nn/diagnose.h */
               "parameter  shape   trainable  optimizer  gradient     moved\n"
               "0.weight   (3, 6)  yes        yes            8.49         0\n"
               "0.bias     (3,)    frozen     no             none         0\n"
               "! The learning rate is 0: set opt->lr, or look at its schedule.\n");
    lk_free(g);

    /* Of another kind than before; without an optimizer nothing is kept. */
    check(lk_module_to(r.net, LK_F64, NULL));
    Optimizer *opt = r.opt;
    r.opt = NULL;
    for (int i = 0; i < 2; i++)
        check_text(look(&r), "parameter  shape   trainable  optimizer  gradient     moved\n"
                             "0.weight   (3, 6)  yes        -              none         -\n"
                             "0.bias     (3,)    frozen     -              none         -\n");
    r.opt = opt;
    check(strstr(look(&r), "0.weight   (3, 6)  yes        yes            none         -\n"));
    check(strstr(look(&r), "0.weight   (3, 6)  yes        yes            none         0\n"));
    end(&r);
}

/* Squares of float64 overflow and vanish long before the numbers do. */
Test(diagnose_table, float64_of_any_size)
{
    static const struct {
        double value, gradient;
        const char *norm;
        bool finite;
    } sizes[] = {
        { 1e200, 2e200, " 8.49e+200 ", true }, { 1, 2e-200, " 8.49e-200 ", true },
        { -1.7e308, 1.7e308, " inf ", true },  { 1, 5e-324, "e-323 ", true },
        { INFINITY, 2, " 8.49 ", false },      { 1, NAN, "nan ", false },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Run r = { 0 };
        lk_manual_seed(&r.rng, 7);
        r.net = lk_linear_new(6, 3, false, &r.rng, NULL);
        check(lk_module_to(r.net, LK_F64, NULL));
        Tensor *w = lk_as_linear(r.net)->weight, *g = lk_tensor_new(LK_F64, LK_SHAPE(3, 6), NULL);
        check(lk_fill_(w, sizes[i].value) && lk_fill_(g, sizes[i].gradient));
        set_grad(w, g);
        r.opt = lk_sgd_new(lk_parameters(r.net, NULL), 0.5, NULL);
        const char *text = look(&r);
        check(strstr(text, sizes[i].norm), "%s", text);
        check(!strstr(text, "not finite") == sizes[i].finite, "%s", text);
        check(!strstr(text, "All gradients are 0"), "%s", text);
        lk_free(g);
        lk_optimizer_free(r.opt);
        lk_free(r.net);
    }
}

Test(diagnose_table, of_nothing_and_without_memory)
{
    Run r = { 0 };
    check_text(look(&r), "lk_print_training: the module is NULL\n");
    lk_print_training(NULL, NULL, NULL);
    check_alloc_begin();
    begin(&r);
    healthy(&r);
    look(&r);
    char text[8192];
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        FILE *f = fmemopen(text, sizeof text, "w");
        check_fail_after(n);
        lk_print_training(f, r.net, r.opt);
        failed = check_alloc_failed();
        check_fail_after(-1);
        fclose(f);
        check(check_alloc_live() <= live);
    }
    check(check_alloc_live() == live);
    check_lines("after", look(&r), "There are gradients, and lk_step was not called");
    end(&r);
    check(check_alloc_live() == 0);
}

/* The return value of lk_step is what it was; a copy in a group starts without a past. */
Test(diagnose_table, what_the_optimizer_remembers)
{
    Run r;
    begin(&r);
    TensorList all = lk_parameters(r.net, NULL), first = { lk_mem_calloc(1, sizeof(Tensor *)), 1 };
    first.items[0] = lk_retain(all.items[0]);
    r.opt = lk_sgd_new(first, 0.1, NULL);
    check(r.opt->last_step == LK_STEP_NONE && r.opt->steps == 0);
    look(&r);
    TensorList rest = { lk_mem_calloc(1, sizeof(Tensor *)), 1 };
    rest.items[0] = lk_retain(all.items[1]);
    ParamGroup *group = lk_add_param_group(r.opt, rest, NULL);
    check(group && group->seen.params.count == 0);
    lk_tensor_list_free(&all);
    step(&r);
    check(r.opt->last_step == LK_STEP_MADE && r.opt->steps == 1);
    r.opt->lr = 0; /* the other group goes on */
    check(lk_step(r.opt, NULL) && r.opt->last_step == LK_STEP_MADE);
    group->lr = 0;
    check(lk_step(r.opt, NULL) && r.opt->last_step == LK_STEP_LR_0);
    lk_optimizer_zero_grad(r.opt);
    check(lk_step(r.opt, NULL) && r.opt->last_step == LK_STEP_NO_GRADIENT);
    lk_require_grad(r.net, "*", false);
    check(lk_step(r.opt, NULL) && r.opt->last_step == LK_STEP_ALL_FROZEN);
    r.opt->lr = NAN;
    check(!lk_step(r.opt, NULL) && r.opt->last_step == LK_STEP_REFUSED && r.opt->steps == 6);
    end(&r);
}
