/* test_lora.c - LoRA in the forms of exercises 1, 2 and 4: initial values, values and gradients
 * against PyTorch with B ≠ 0, in ≠ out ≠ rank, batch > 1 and alpha ≠ 1 (anything less lets wrong
 * layers pass), sharing, freezing, errors. */
#include <math.h>

#include "core/ops.h"
#include "nn/gradcheck.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

/* ---- initial values ------------------------------------------------------------------------- */

Test(lora, A_is_drawn_as_pytorch_draws_it_and_B_is_zero)
{
    /* randn itself agrees to 1e-6, the two ways of drawing fewer than 16 values and more. */
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *small = lk_lora_layer_new(4, 3, 2, 1.0, &rng, NULL),
           *large = lk_lora_layer_new(10, 3, 3, 1.0, &rng, NULL);
    LoRALayer *a = lk_as_lora_layer(small), *b = lk_as_lora_layer(large);
    check_shape(a->A, LK_SHAPE(4, 2));
    check_close(a->A, lora_A_4_2, 8, 1e-6);
    check_shape(b->A, LK_SHAPE(10, 3));
    check_close(b->A, lora_A_10_3, 30, 1e-6);
    check_shape(b->B, LK_SHAPE(3, 3));
    check(lk_count(b->B) == 0);
    check(a->A->requires_grad && a->B->requires_grad && a->A->is_parameter);

    /* The float product randn · (1/√r), whose bits a division does not give. */
    Tensor *normal = lk_tensor_new(LK_F32, LK_SHAPE(4, 2), NULL);
    lk_manual_seed(&rng, 0);
    lk_normal_(normal, 0.0, 1.0, &rng);
    for (int i = 0; i < 8; i++) ((float *)normal->data)[i] *= 1.0f / sqrtf(2.0f);
    check_equal(a->A, normal);
    lk_free(normal);
    lk_free(small);
    lk_free(large);
}

/* ---- values and gradients ------------------------------------------------------------------- */

typedef struct Expected {
    const double *y, *x, *weight, *bias, *A, *B;
} Expected;

static Tensor *f64_from(int ndim, const int64_t *shape, const double *values)
{
    return lk_tensor_from_new(LK_F64, ndim, shape, values, NULL);
}

/* One form over one input: y, and dL/d(x, W, b, A, B) of L = Σ y v. */
static void check_form(Module *form, Tensor *x, Tensor *v, const char *grad_fn, double tol,
                       const Expected *e)
{
    LinearWithLoRA *m = (LinearWithLoRA *)form;
    Linear *linear = lk_as_linear(m->linear);
    LoRALayer *lora = lk_as_lora_layer(m->lora);
    Tape *t = lk_tape_new(NULL);
    Tensor *y = lk_forward(t, form, x);
    check_no_error(lk_tape_error(t));
    check_text(lk_grad_fn(y), grad_fn);
    check_close(y, e->y, 12, tol);
    check(lk_backward_with(t, y, v, false));
    check_close(lk_grad(x), e->x, 20, tol);
    check_close(lk_grad(linear->weight), e->weight, 15, tol);
    check_close(lk_grad(linear->bias), e->bias, 3, tol);
    check_close(lk_grad(lora->A), e->A, 10, tol);
    check_close(lk_grad(lora->B), e->B, 6, tol);
    lk_zero_grad_(x);
    lk_module_zero_grad(form);
    lk_tape_free(t);
}

/* in 5, out 3, rank 2, alpha 1.5; both forms hold the same Linear and the same LoRALayer. */
static void check_both(int ndim, const int64_t *shape, const double *x_values,
                       const double *v_values, const double *const leaves[4],
                       const char *const grad_fns[3], const Expected *wrapped,
                       const Expected *merged)
{
    static const struct {
        DType dtype;
        double tol;
    } cases[] = { { LK_F64, 1e-14 }, { LK_F32, 1e-6 } };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *shared = lk_linear_new(5, 3, true, &rng, NULL);
    Module *a = lk_linear_with_lora_new(shared, 2, 1.5, &rng, NULL);
    Module *b = lk_linear_with_lora_merged_new(lk_retain(shared), 2, 7.0, &rng, NULL);
    Module *lora = lk_as_linear_with_lora(a)->lora;
    check(lk_module_set(&lk_as_linear_with_lora_merged(b)->lora, lk_retain(lora), NULL));
    check(lk_count_parameters(a) == 18 + 16 && lk_count_parameters(b) == 18 + 16);

    for (int c = 0; c < 2; c++) {
        int64_t v_shape[3];
        memcpy(v_shape, shape, (size_t)ndim * sizeof *shape);
        v_shape[ndim - 1] = 3;
        Tensor *x = f64_from(ndim, shape, x_values), *v = f64_from(ndim, v_shape, v_values);
        static const char *const names[4] = { "linear.weight", "linear.bias", "lora.A", "lora.B" };
        check(lk_module_to(a, LK_F64, NULL));
        for (int i = 0; i < 4; i++) {
            Tensor *p = lk_param_at(a, names[i], NULL),
                   *value = f64_from(p->ndim, p->shape, leaves[i]);
            check(lk_copy_(p, value, NULL));
            lk_free(value);
        }
        check(lk_module_to(a, cases[c].dtype, NULL)); /* b holds the same tensors */
        check(lk_convert_(x, cases[c].dtype, NULL) && lk_convert_(v, cases[c].dtype, NULL));
        lk_set_requires_grad(x, true);
        check_form(a, x, v, grad_fns[1], cases[c].tol, wrapped);
        check_form(b, x, v, grad_fns[2], cases[c].tol, merged);

        Tape *t = lk_tape_new(NULL);
        check_text(lk_grad_fn(lk_forward(t, lora, x)), grad_fns[0]);
        lk_tape_free(t);
        lk_free(x);
        lk_free(v);
    }
    lk_free(a);
    lk_free(b);
}

Test(lora, both_forms_have_pytorchs_values_and_gradients)
{
    const double *const leaves[4] = { flat_weight, flat_bias, flat_A, flat_B };
    const Expected wrapped = { flat_wrapped_y,     flat_wrapped_dx, flat_wrapped_dweight,
                               flat_wrapped_dbias, flat_wrapped_dA, flat_wrapped_dB };
    const Expected merged = { flat_merged_y,     flat_merged_dx, flat_merged_dweight,
                              flat_merged_dbias, flat_merged_dA, flat_merged_dB };
    check_both(LK_SHAPE(4, 5), flat_x, flat_v, leaves, flat_grad_fns, &wrapped, &merged);
}

Test(lora, both_forms_take_inputs_of_three_dimensions)
{
    const double *const leaves[4] = { deep_weight, deep_bias, deep_A, deep_B };
    const Expected wrapped = { deep_wrapped_y,     deep_wrapped_dx, deep_wrapped_dweight,
                               deep_wrapped_dbias, deep_wrapped_dA, deep_wrapped_dB };
    const Expected merged = { deep_merged_y,     deep_merged_dx, deep_merged_dweight,
                              deep_merged_dbias, deep_merged_dA, deep_merged_dB };
    check_both(LK_SHAPE(2, 2, 5), deep_x, deep_v, leaves, deep_grad_fns, &wrapped, &merged);
}

Test(lora, alpha_is_not_divided_by_the_rank)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_lora_layer_new(3, 2, 2, 0.5, &rng, NULL);
    LoRALayer *l = lk_as_lora_layer(m);
    Tensor *A = make_tensor(LK_F32, LK_SHAPE(3, 2), 1, 0, 0, 1, 1, 1);
    Tensor *B = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 0, -2, 4);
    check(lk_copy_(l->A, A, NULL));
    check(lk_copy_(l->B, B, NULL));
    Tape *t = lk_tape_new(NULL);
    check_values(lk_forward(t, m, x), 0, 9.5, 14, 5, 8); /* 0.5 · [[4, 5], [4, 2]] B */
    l->alpha = 2.0;                                      /* read at every forward */
    check_values(lk_forward(t, m, x), 0, 38, 56, 20, 32);
    lk_free(x);
    lk_free(A);
    lk_free(B);
    lk_free(m);
    lk_tape_free(t);
}

Test(lora, a_fresh_wrapper_changes_nothing)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(6, 4, true, &rng, NULL);
    Module *a = lk_linear_with_lora_new(lk_retain(linear), 3, 8.0, &rng, NULL);
    Module *b = lk_linear_with_lora_merged_new(lk_retain(linear), 3, 8.0, &rng, NULL);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 6)), *y = lk_forward(t, linear, x);
    check_equal(lk_forward(t, a, x), y);
    check_equal(lk_forward(t, b, x), y);
    lk_free(a);
    lk_free(b);
    lk_free(linear);
    lk_tape_free(t);
}

Test(lora, gradients_pass_the_check_and_the_frozen_linear_gets_none)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(5, 6, 4, 3, &rng, NULL);
    net_add_lora(net, 2, 3.0, &rng, NULL);
    /* one of the other form too */
    Module *first = lk_module_retain(lk_module_at(net, "layers.0.linear", NULL));
    Module *other = lk_linear_with_lora_new(first, 3, 0.5, &rng, NULL);
    check(lk_module_set(lk_slot_at(net, "layers.0", NULL), other, NULL));
    check(lk_module_to(net, LK_F64, NULL));
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (strstr(it.name, "lora.B")) lk_normal_(it.tensor, 0.0, 1.0, &rng);
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(4, 5), NULL);
    lk_normal_(x, 0.0, 1.0, &rng);

    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    GradcheckReport report;
    check(lk_gradcheck_module(net, x, &strict, &report), "%s", report.message);
    check(report.checked == lk_count_parameters(net));

    check(lk_freeze_linears(net) == 3);
    check(lk_gradcheck_module(net, x, &strict, &report), "%s", report.message);
    check(report.checked == lk_count_trainable_parameters(net));
    Tape *t = lk_tape_new(NULL);
    Tensor *y = lk_forward(t, net, x);
    check(lk_backward_with(t, y, lk_ones(t, LK_F64, LK_SHAPE(4, 3)), false));
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        check((lk_grad(it.tensor) != NULL) == (strstr(it.name, ".lora.") != NULL), "%s", it.name);
    lk_tape_free(t);
    lk_free(x);
    lk_free(net);
}

/* ---- sharing -------------------------------------------------------------------------------- */

Test(lora, two_wrappers_share_one_linear)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Module *linear = lk_linear_new(4, 3, true, &rng, NULL);
    Module *a = lk_linear_with_lora_new(lk_retain(linear), 2, 1.0, &rng, NULL);
    Module *b = lk_linear_with_lora_merged_new(linear, 2, 1.0, &rng, NULL);
    check(lk_as_linear_with_lora(a)->linear == lk_as_linear_with_lora_merged(b)->linear);
    check(linear->refs == 2);

    /* Same A and B in both, B ≠ 0: the two forms are one function. */
    Tensor *A = lk_param_at(a, "lora.A", NULL), *B = lk_param_at(a, "lora.B", NULL);
    lk_normal_(B, 0.0, 1.0, &rng);
    check(lk_copy_(lk_param_at(b, "lora.A", NULL), A, NULL));
    check(lk_copy_(lk_param_at(b, "lora.B", NULL), B, NULL));
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 4));
    check_close_to(lk_forward(t, a, x), lk_forward(t, b, x), 1e-6);
    /* one Linear: seen through the other wrapper */
    lk_fill_(lk_param_at(b, "linear.bias", NULL), 100.0);
    check(lk_at(lk_forward(t, a, x), LK_INDEX(0, 0)) > 50.0);
    lk_free(a);
    check(linear->refs == 1);
    check(lk_forward(t, b, x));
    lk_free(b);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

Test(lora, the_adapter_of_a_double_linear_is_double)
{
    Rng rng, same;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(4, 3, true, &rng, NULL);
    check(lk_module_to(linear, LK_F64, NULL));
    same = rng;
    Module *m = lk_linear_with_lora_new(linear, 2, 1.0, &rng, NULL);
    Module *layer = lk_lora_layer_new(4, 3, 2, 1.0, &same, NULL);
    Tensor *A = lk_param_at(m, "lora.A", NULL);
    check(A->dtype == LK_F64);
    check(lk_module_to(layer, LK_F64, NULL));
    check_equal(A, lk_as_lora_layer(layer)->A);
    lk_free(layer);
    lk_free(m);
}

/* ---- errors --------------------------------------------------------------------------------- */

Test(lora, bad_arguments_are_errors_and_are_consumed)
{
    Rng rng, before;
    lk_manual_seed(&rng, 0);
    before = rng;
    check_alloc_begin();
    const int64_t sizes[][3] = { { 0, 3, 2 }, { 3, -1, 2 }, { 3, 3, 0 }, { 3, 3, -2 } };
    for (int i = 0; i < 4; i++) {
        Error err = { 0 };
        check(!lk_lora_layer_new(sizes[i][0], sizes[i][1], sizes[i][2], 1.0, &rng, &err));
        check_error(&err, LK_EVALUE, "all must be positive");
    }
    Error err = { 0 };
    check(!lk_lora_layer_new(INT64_MAX, 1, 2, 1.0, &rng, &err));
    check_error(&err, LK_EMEMORY, "larger than any memory");
    err = (Error){ 0 };
    check(!lk_linear_with_lora_new(lk_relu_new(NULL), 2, 1.0, &rng, &err));
    check_error(&err, LK_EVALUE, "LinearWithLoRA: wraps a Linear, not ReLU");
    err = (Error){ 0 };
    check(!lk_linear_with_lora_merged_new(lk_linear_new(0, 1, true, &rng, &err), 2, 1.0, &rng,
                                          &err));
    check_error(&err, LK_EVALUE, "lk_linear_new: in_features 0"); /* the inner reason */
    err = (Error){ 0 };
    check(!lk_linear_with_lora_merged_new(NULL, 2, 1.0, &rng, &err));
    check_error(&err, LK_EVALUE, "LinearWithLoRAMerged: wraps a Linear, not NULL");
    check(memcmp(&rng, &before, sizeof rng) == 0);
    check(!lk_linear_with_lora_new(lk_linear_new(2, 2, true, &rng, NULL), 0, 1.0, &rng, NULL));
    check(check_alloc_live() == 0);
    check(!lk_as_lora_layer(NULL) && !lk_as_linear_with_lora(NULL) &&
          !lk_as_linear_with_lora_merged(NULL));
}

Test(lora, children_that_do_not_fit_are_an_error_in_forward)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 4));
    Module *(*const wrap[])(Module *, int64_t, double, Rng *,
                            Error *) = { lk_linear_with_lora_new, lk_linear_with_lora_merged_new };
    for (int form = 0; form < 2; form++) {
        Module *m = wrap[form](lk_linear_new(4, 3, true, &rng, NULL), 2, 1.0, &rng, NULL);
        const char *name = m->type->name;
        char expected[128];
        check(lk_module_set(lk_slot_at(m, "lora", NULL),
                            lk_lora_layer_new(4, 1, 2, 1.0, &rng, NULL), NULL));
        check(!lk_forward(t, m, x)); /* one output would broadcast over three */
        snprintf(expected, sizeof expected, "%s: a Linear from 4 to 3 and a LoRALayer from 4 to 1",
                 name);
        check_error(lk_tape_error(t), LK_ESHAPE, expected);
        lk_tape_clear_error(t);

        check(lk_module_set(lk_slot_at(m, "lora", NULL), lk_relu_new(NULL), NULL));
        check(!lk_forward(t, m, x));
        snprintf(expected, sizeof expected,
                 "%s: holds Linear and ReLU, not a Linear and a LoRALayer", name);
        check_error(lk_tape_error(t), LK_EVALUE, expected);
        lk_tape_clear_error(t);
        lk_free(m);

        /* The input's shape is the operations' business. */
        m = wrap[form](lk_linear_new(5, 3, true, &rng, NULL), 2, 1.0, &rng, NULL);
        check(!lk_forward(t, m, x));
        check_error(lk_tape_error(t), LK_ESHAPE, "lk_linear");
        lk_tape_clear_error(t);
        lk_free(m);
    }
    Module *layer = lk_lora_layer_new(5, 3, 2, 1.0, &rng, NULL);
    check(!lk_forward(t, layer, x));
    check_error(lk_tape_error(t), LK_ESHAPE, "lk_matmul");
    lk_free(layer);
    lk_tape_free(t);
}
