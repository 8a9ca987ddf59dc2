/* test_lora_forms.c - LinearWithLoRA and LinearWithLoRAMerged as the course writes them
 * (nn/lora.c) against the operations that forward runs (nn/low_rank.c): values, gradients and
 * printed names for every shape of x, rank, dtype, with and without bias, with frozen parts and
 * with parametrized parameters. */
#include "core/ops.h"
#include "nn/adapter.h"
#include "nn/low_rank.h"
#include "nn/symmetric.h"
#include "tests/shared/nets.h"

typedef Tensor *Form(Tape *t, Module *m, Tensor *x);

/* The two wrappers: how each is made, and its literal form. */
static const struct {
    const char *name;
    Module *(*wrap)(Module *linear, int64_t rank, double alpha, Rng *rng, Error *err);
    Form *literal;
} wrappers[] = {
    { "LinearWithLoRA", lk_linear_with_lora_new, lk__linear_with_lora_literal },
    { "LinearWithLoRAMerged", lk_linear_with_lora_merged_new,
      lk__linear_with_lora_merged_literal },
};
enum { WRAPPERS = 2, IN = 5, MAX_PARAMS = 8 };

static Rng rng;

/* A wrapper of a Linear (5 → out) in which nothing is 0. */
static Module *wrapper_new(int which, int64_t out, int64_t rank, bool bias, DType dtype)
{
    lk_manual_seed(&rng, 3);
    Module *m =
        wrappers[which].wrap(lk_linear_new(IN, out, bias, &rng, NULL), rank, -0.75, &rng, NULL);
    check(m && lk_module_to(m, dtype, NULL));
    lk_normal_(lk_param_at(m, "lora.B", NULL), 0, 1, &rng);
    return m;
}

/* y of one form, and what the backward of Σ v y leaves behind. */
typedef struct Run {
    const char *grad_fn;
    Tensor *y, *dx, *gradients[MAX_PARAMS]; /* owned; NULL: frozen */
} Run;

static Run run(Tape *t, Form *form, Module *m, Tensor *x, const Tensor *v)
{
    Tensor *y = form(t, m, x);
    check_no_error(lk_tape_error(t));
    Run r = { .grad_fn = lk_grad_fn(y), .y = lk_clone(y, NULL) };
    if (!r.grad_fn) return r; /* all is frozen, or no gradient is recorded */
    check(lk_backward_with(t, y, v, false));
    if (x->grad) r.dx = lk_clone(x->grad, NULL);
    lk_zero_grad_(x);
    int n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++) {
        check(n < MAX_PARAMS);
        if (it.tensor->grad) r.gradients[n] = lk_clone(it.tensor->grad, NULL);
    }
    lk_module_zero_grad(m);
    return r;
}

static void compare(const Tensor *literal, const Tensor *fast, double tol, const char *what)
{
    check(!literal == !fast, "%s: there in one form only", what);
    if (literal) check_close_to(fast, literal, tol);
}

/* Both forms of m at the same x. The literal one has a NULL gradient where the fast one has. */
static void check_forms(int which, Module *m, Tensor *x, double tol)
{
    Tape *t = lk_tape_new(NULL);
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = lk_size(lk_original(((LinearWithLoRA *)m)->linear, "weight"), 0);
    Tensor *v = lk_randn(t, &rng, x->dtype, x->ndim, shape);
    Run literal = run(t, wrappers[which].literal, m, x, v), fast = run(t, lk_forward, m, x, v);
    check(!literal.grad_fn == !fast.grad_fn);
    if (fast.grad_fn) check_text(fast.grad_fn, literal.grad_fn);
    check_shape(fast.y, x->ndim, shape);
    compare(literal.y, fast.y, tol, "y");
    compare(literal.dx, fast.dx, tol, "dx");
    int n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++)
        compare(literal.gradients[n], fast.gradients[n], tol, it.name);

    lk_tape_set_grad(t, false);
    Tensor *plain = wrappers[which].literal(t, m, x);
    for (int i = 0; i < 2; i++) /* the second time from the weight that was combined before */
        compare(plain, lk_forward(t, m, x), tol, "y without a gradient");
    for (Run *r = &literal; r; r = r == &literal ? &fast : NULL) {
        lk_free(r->y);
        lk_free(r->dx);
        for (int i = 0; i < MAX_PARAMS; i++) lk_free(r->gradients[i]);
    }
    lk_tape_free(t);
}

static void check_at(int which, Module *m, int ndim, const int64_t *shape, double tol)
{
    Tensor *x = lk_param_new(lk_original(((LinearWithLoRA *)m)->linear, "weight")->dtype, ndim,
                             shape, NULL);
    lk_normal_(x, 0, 1, &rng);
    check_forms(which, m, x, tol);
    lk_set_requires_grad(x, false);
    check_forms(which, m, x, tol);
    lk_free(x);
}

Test(lora_forms, agree_on_every_shape)
{
    static const struct {
        int ndim;
        int64_t shape[4];
    } shapes[] = { { 1, { IN } },          { 2, { 7, IN } },       { 2, { 1, IN } },
                   { 2, { 0, IN } },       { 3, { 2, 3, IN } },    { 3, { 2, 0, IN } },
                   { 4, { 2, 3, 2, IN } }, { 4, { 1, 1, 33, IN } } };
    /* float64: sums of a few products of numbers around 1; float32 rounds 2^29 times as
     * coarsely. */
    static const struct {
        DType dtype;
        double tol;
    } dtypes[] = { { LK_F64, 1e-13 }, { LK_F32, 5e-5 } };
    for (int which = 0; which < WRAPPERS; which++)
        for (int d = 0; d < 2; d++)
            for (int64_t rank = 1; rank <= 6; rank = rank == 1 ? 2 : 3 * rank)
                for (int64_t out = 1; out <= 4; out += 3)
                    for (int bias = 0; bias < 2; bias++) {
                        Module *m = wrapper_new(which, out, rank, bias, dtypes[d].dtype);
                        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
                            check_at(which, m, shapes[i].ndim, shapes[i].shape, dtypes[d].tol);
                        lk_free(m);
                    }
}

Test(lora_forms, agree_on_every_combination_of_frozen_parts)
{
    for (int which = 0; which < WRAPPERS; which++)
        for (unsigned frozen = 0; frozen < 16; frozen++) {
            Module *m = wrapper_new(which, 4, 2, true, LK_F64);
            int n = 0;
            for (ParamIter it = lk_params(m); lk_params_next(&it); n++)
                lk_set_requires_grad(it.tensor, !(frozen >> n & 1));
            check(n == 4);
            check_at(which, m, LK_SHAPE(3, IN), 1e-13);
            lk_free(m);
        }
}

/* x with other strides than those of a new tensor. */
Test(lora_forms, agree_on_a_transposed_input)
{
    for (int which = 0; which < WRAPPERS; which++) {
        Module *m = wrapper_new(which, 4, 2, true, LK_F64);
        Tape *t = lk_tape_new(NULL);
        Tensor *x = lk_T(t, lk_randn(t, &rng, LK_F64, LK_SHAPE(IN, 6)));
        check_forms(which, m, x, 1e-13);
        Tensor *deep = lk_transpose(t, lk_randn(t, &rng, LK_F64, LK_SHAPE(3, 2, IN)), 0, 1);
        check_forms(which, m, deep, 1e-13);
        lk_tape_free(t);
        lk_free(m);
    }
}

Test(lora_forms, agree_on_parametrized_parameters)
{
    for (int which = 0; which < WRAPPERS; which++)
        for (int chain = 0; chain < 4; chain++) {
            Module *m = wrapper_new(which, IN, 2, true, LK_F64);
            LinearWithLoRA *pair = (LinearWithLoRA *)m;
            if (chain == 0 || chain == 3)
                check(lk_register_parametrization(pair->linear, "weight", lk_symmetric_new(NULL),
                                                  NULL));
            if (chain ==
                1) /* LoRA within LoRA: a low-rank term at the end of the weight's chain */
                check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3 }, &rng, NULL) == 1);
            if (chain >= 2) { /* A of another LoRALayer's size: (in, rank) */
                Module *p = lk_lora_parametrization_new(IN, 2, 1, 2.0, &rng, NULL);
                check(lk_module_to(p, LK_F64, NULL));
                check(lk_register_parametrization_as(pair->lora, "A", p, LK_KEEP_ORIGINAL, NULL));
            }
            for (ParamIter it = lk_params(m); lk_params_next(&it);)
                if (strstr(it.name, "lora_B")) lk_normal_(it.tensor, 0, 1, &rng);
            check_at(which, m, LK_SHAPE(3, IN), 1e-12);
            check(lk_merge(m, NULL));
            check_at(which, m, LK_SHAPE(2, 2, IN), 1e-12);
            lk_free(m);
        }
}
