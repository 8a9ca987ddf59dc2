/* test_parametrize_parts.c - removing one parametrization of several, and failures that must leave
 * a module as it was (nn/parametrize.c). */
#include "tests/check.h"

#include "core/ops.h"
#include "nn/linear.h"
#include "nn/parametrize.h"
#include "nn/sequential.h"

static Tensor *shift_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_add_scalar(t, x, 1);
}
static Tensor *twice_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_scale(t, x, 2);
}
static bool fails; /* whether the next forward of "Fickle" does */
static Tensor *fickle_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return fails ? lk_fail(t, LK_EVALUE, "fickle") : lk_scale(t, x, 3);
}

static const ModuleType shift_type = { "Shift", sizeof(Module), .forward = shift_forward },
                        twice_type = { "Twice", sizeof(Module), .forward = twice_forward },
                        fickle_type = { "Fickle", sizeof(Module), .forward = fickle_forward };

/* weight 1 2 3, bias 4 5 6 */
static Module *linear_of(void)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(1, 3, true, &rng, NULL);
    float *w = lk_as_linear(m)->weight->data, *b = lk_as_linear(m)->bias->data;
    for (int i = 0; i < 3; i++) w[i] = (float)(i + 1), b[i] = (float)(i + 4);
    return m;
}

static bool add(Module *m, const char *name, const ModuleType *type)
{
    return lk_register_parametrization(m, name, lk_module_new(type, NULL), NULL);
}

static void check_values_of(Module *m, const char *name, double a, double b, double c)
{
    Tape *t = lk_tape_new(NULL);
    check_values(lk_param_named(t, m, name), 0, a, b, c);
    lk_tape_free(t);
}

/* ---- one of several ------------------------------------------------------------------------- */

/* A module's first list goes, its last one stays. */
Test(parametrize_parts, the_first_parameter_becomes_plain)
{
    Module *m = linear_of();
    check(add(m, "weight", &shift_type) && add(m, "bias", &twice_type));
    check(lk_remove_parametrizations(m, "weight", false, NULL));
    check(!lk_is_parametrized(m, "weight") && lk_is_parametrized(m, "bias"));
    check_values_of(m, "weight", 1, 2, 3);
    check_values_of(m, "bias", 8, 10, 12);
    check(lk_remove_parametrizations(m, "bias", false, NULL));
    check(!lk_is_parametrized(m, NULL));
    check_values_of(m, "bias", 4, 5, 6);
    lk_free(m);
}

/* A link that is not the last goes; those behind it stay. */
Test(parametrize_parts, a_link_in_the_middle_goes)
{
    Module *m = linear_of();
    check(add(m, "weight", &twice_type) && add(m, "weight", &shift_type) &&
          add(m, "weight", &fickle_type));
    check_values_of(m, "weight", 9, 15, 21);
    check(lk_remove_parametrization_at(m, "weight", 0, NULL));
    check_values_of(m, "weight", 6, 9, 12);
    check(lk_remove_parametrization_at(m, "weight", 0, NULL));
    check_values_of(m, "weight", 3, 6, 9);
    check(lk_remove_parametrization_at(m, "weight", 0, NULL));
    check(!lk_is_parametrized(m, "weight"));
    check_values_of(m, "weight", 1, 2, 3);
    lk_free(m);
}

/* ---- all or nothing ------------------------------------------------------------------------- */

/* The first list is merged when the second one fails: it is unmerged again. */
Test(parametrize_parts, a_merge_that_fails_merges_nothing)
{
    Module *first = linear_of(), *second = linear_of();
    check(add(first, "weight", &shift_type) && add(second, "weight", &fickle_type));
    Module *net = lk_sequential_new(LK_MODULES(first, second), NULL);
    Error err = { 0 };
    fails = true;
    check(!lk_merge(net, &err));
    check_error(&err, LK_EVALUE, "fickle");
    check(!lk_parametrizations(first, "weight")->merged);
    check(!lk_parametrizations(second, "weight")->merged);
    fails = false;
    check(lk_merge(net, NULL) && lk_parametrizations(first, "weight")->merged);
    lk_free(net);
}

/* Each allocation of a registration fails in turn, and only that one: the parameter stays where it
 * was, and no block is left. */
Test(parametrize_parts, a_registration_without_memory_changes_nothing)
{
    check_alloc_begin();
    for (int parametrized = 0; parametrized < 2; parametrized++) {
        Module *m = linear_of();
        if (parametrized) check(add(m, "bias", &twice_type));
        Tensor *weight = lk_as_linear(m)->weight;
        const int64_t live = check_alloc_live();
        int64_t failures = 0;
        for (int64_t n = 0, failed = 1; failed; n++) {
            Module *p = lk_module_new(&shift_type, NULL);
            Error err = { 0 };
            check_fail_once(n);
            bool ok = lk_register_parametrization(m, "weight", p, &err);
            failed = check_alloc_failed();
            check_fail_after(-1);
            check(ok || err.code == LK_EMEMORY, "%s", err.message);
            failures += !ok;
            if (ok) check(lk_remove_parametrizations(m, "weight", false, NULL));
            check(lk_as_linear(m)->weight == weight && !lk_is_parametrized(m, "weight"));
            check(lk_is_parametrized(m, NULL) == parametrized);
            check(check_alloc_live() == live, "failure %lld leaves %lld blocks", (long long)n,
                  (long long)(check_alloc_live() - live));
        }
        check(failures >= 3, "only %lld failures", (long long)failures);
        lk_free(m);
        check(check_alloc_live() == 0);
    }
}
