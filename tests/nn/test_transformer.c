/* test_transformer.c - MultiheadAttention, TransformerEncoderLayer and ModuleList: what they
 * print, start with and compute is PyTorch's (fixtures/transformer.h); LoRA, dropout, bad
 * arguments. */
#include <math.h>

#include "core/ops.h"
#include "nn/adapter.h"
#include "nn/module_list.h"
#include "nn/parametrize.h"
#include "nn/transformer.h"

#include "tests/fixtures/transformer.h"
#include "tests/shared/nets.h"

static const EncoderOptions pre_norm = {
    .gelu = true, .norm_first = true, .batch_first = true, .layer_norm_eps = 1e-3
};

Test(transformer, print_and_names_are_pytorchs)
{
    Rng rng;
    EncoderOptions dropping = pre_norm;
    lk_manual_seed(&rng, 0);
    dropping.dropout = 0.25;
    Module *m[3];
    m[0] = lk_transformer_encoder_layer_new(4, 2, 6, (EncoderOptions){ 0 }, &rng, NULL);
    m[1] = lk_transformer_encoder_layer_new(4, 2, 6, dropping, &rng, NULL);
    Module *layers = lk_module_list_new(2, m, NULL);
    check_text(param_names(layers, false), transformer_params);
    m[0] = lk_module_retain(m[0]), m[1] = lk_module_retain(m[1]);
    m[2] = lk_multihead_attention_new(8, 2, 0, false, false, &rng, NULL);
    Module *all = lk_module_list_new(3, m, NULL), *copy = lk_deepcopy(all, NULL);
    check_text(tree_of(all), transformer_tree);
    check_text(tree_of(copy), transformer_tree);
    lk_free(layers), lk_free(all), lk_free(copy);
}

/* The three modules of the fixture, drawn in this order. */
static void draw(Module *m[3])
{
    Rng rng;
    lk_manual_seed(&rng, 4);
    m[0] = lk_multihead_attention_new(4, 2, 0, true, false, &rng, NULL);
    m[1] =
        lk_transformer_encoder_layer_new(4, 2, 6, (EncoderOptions){ .causal = true }, &rng, NULL);
    m[2] = lk_transformer_encoder_layer_new(4, 2, 6, pre_norm, &rng, NULL);
}

Test(transformer, starts_as_pytorchs)
{
    Module *m[3];
    int64_t at = 0;
    draw(m);
    for (int i = 0; i < 3; i++) {
        for (ParamIter it = lk_params(m[i]); lk_params_next(&it);) {
            const float *v = it.tensor->data;
            for (int64_t j = 0; j < lk_numel(it.tensor); j++, at++)
                check(v[j] == (float)started[at], "%s at %d: %g", it.name, (int)j, (double)v[j]);
        }
        lk_free(m[i]);
    }
    check(at == (int64_t)(sizeof started / sizeof *started));
}

/* The result is y, and Σ y³ gives the gradients of x and of all parameters. */
static void check_results(Tape *t, Module *m, Tensor *x, Tensor *y, const double *expected,
                          const double *grads)
{
    check(y, "%s", lk_tape_error(t)->message);
    Tensor *packed = lk_contiguous(t, y);
    check_close(packed, expected, lk_numel(y), 1e-12);
    Tensor *cube = lk_mul(t, y, lk_mul(t, y, y));
    check(lk_backward(t, lk_sum(t, cube, LK_ALL, false)), "%s", lk_tape_error(t)->message);
    check_close(lk_grad(x), grads, lk_numel(x), 1e-11);
    grads += lk_numel(x);
    lk_zero_grad_(x);
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        check_close(lk_grad(it.tensor), grads, lk_numel(it.tensor), 1e-11);
        grads += lk_numel(it.tensor);
    }
}

Test(transformer, computes_what_pytorchs_compute)
{
    Tape *t = lk_tape_new(NULL);
    Module *m[3];
    double values[24], bias[9];
    const bool on[] = { true, true, true, true, true, false };
    for (int i = 0; i < 24; i++) values[i] = sin(-1 + 2 * (double)i / 23);
    for (int i = 0; i < 9; i++) bias[i] = -0.5 + 1.4 * (double)i / 8;
    draw(m);
    for (int i = 0; i < 3; i++) check(lk_module_to(m[i], LK_F64, NULL));
    Tensor *x = lk_tensor_from_new(LK_F64, LK_SHAPE(3, 2, 4), values, NULL);
    lk_set_requires_grad(x, true);
    Tensor *mask = lk_tensor(t, LK_BOOL, LK_SHAPE(2, 3), on),
           *added = lk_tensor(t, LK_F64, LK_SHAPE(3, 3), bias);
    check_results(t, m[0], x, lk_multihead_attention_forward(t, m[0], x, mask, added), attention_y,
                  attention_grads);
    check_results(t, m[1], x, lk_forward(t, m[1], x), post_y, post_grads);
    Tensor *turned = lk_transpose(t, x, 0, 1);
    Tensor *y = lk_transformer_encoder_layer_forward(t, m[2], turned, mask, NULL);
    check_results(t, m[2], x, y, pre_y, pre_grads);
    lk_tape_set_grad(t, false); /* and where memory is given back */
    y = lk_transformer_encoder_layer_forward(t, m[2], turned, mask, NULL);
    check_close(lk_contiguous(t, y), pre_y, 24, 1e-12);
    lk_free(x);
    for (int i = 0; i < 3; i++) lk_free(m[i]);
    lk_tape_free(t);
}

/* Dropout is drawn in training mode only. LoRA on in_proj_weight trains A and B alone. */
Test(transformer, dropout_and_lora)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *m =
        lk_transformer_encoder_layer_new(4, 2, 6, (EncoderOptions){ .dropout = 0.5 }, &rng, NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 2, 4));
    lk_forward(t, m, x);
    check(lk_tape_random(t).calls == 4, "%d", (int)lk_tape_random(t).calls);
    lk_eval(m);
    Tensor *before = lk_clone(lk_forward(t, m, x), NULL);
    check_equal(lk_forward(t, m, x), before);
    lk_require_grad(m, "*", false);
    Module *lora = lk_lora_parametrization_new(12, 4, 2, 3, &rng, NULL),
           *attention = lk_module_at(m, "self_attn", NULL);
    check(lk_register_parametrization(attention, "in_proj_weight", lora, NULL));
    Tensor *y = lk_forward(t, m, x);
    check_equal(y, before);
    check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
    int trained = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) trained += lk_grad(it.tensor) != NULL;
    check(trained == 2, "%d", trained);
    lk_free(m), lk_free(before);
    lk_tape_free(t);
}

Test(transformer, a_list_has_no_forward)
{
    Tape *t = quiet_tape();
    Error err = { 0 };
    Module *a = lk_relu_new(NULL), *b = lk_gelu_new(NULL);
    Module *list = lk_module_list_new(LK_MODULES(a, b), NULL);
    check(lk_module_list_len(list) == 2 && lk_module_list_len(a) == 0 && lk_as_module_list(list));
    check(lk_module_list_at(list, 0, NULL) == a && lk_module_list_at(list, -1, NULL) == b);
    check(!lk_module_list_at(list, 2, &err));
    check_text(err.message, "lk_module_list_at: index 2 is out of range for 2 modules");
    err = (Error){ 0 };
    check(!lk_module_list_at(a, 0, &err));
    check_text(err.message, "lk_module_list_at: not a ModuleList but ReLU");
    check(!lk_forward(t, list, lk_ones(t, LK_F32, LK_SHAPE(1))));
    check(strstr(lk_tape_error(t)->message, "ModuleList has no forward function"));
    Module *empty = lk_module_list_new(0, NULL, NULL);
    check_text(tree_of(empty), "ModuleList()");
    err = (Error){ 0 };
    check(!lk_module_list_new(LK_MODULES(lk_relu_new(NULL), NULL), &err) && err.code != LK_OK);
    lk_free(list), lk_free(empty);
    lk_tape_free(t);
}

static void fails_with(Tape *t, const char *text)
{
    check(strstr(lk_tape_error(t)->message, text), "%s", lk_tape_error(t)->message);
    lk_tape_clear_error(t);
}

Test(transformer, bad_arguments_get_one_message)
{
    Tape *t = quiet_tape();
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 1);
    check(!lk_multihead_attention_new(4, 3, 0, true, false, &rng, &err));
    check_text(
        err.message,
        "lk_multihead_attention_new: 4 columns, 3 heads and dropout 0; the heads must divide "
        "the columns, dropout is from 0 to 1");
    err = (Error){ 0 };
    check(
        !lk_transformer_encoder_layer_new(4, 2, 6, (EncoderOptions){ .dropout = 2 }, &rng, &err));
    check_text(
        err.message,
        "lk_transformer_encoder_layer_new: 4 columns, 2 heads and dropout 2; the heads must "
        "divide the columns, dropout is from 0 to 1");
    err = (Error){ 0 };
    check(!lk_transformer_encoder_layer_new(4, 2, 0, (EncoderOptions){ 0 }, &rng, &err));
    check_text(err.message,
               "lk_transformer_encoder_layer_new: d_model 4, nhead 2, dim_feedforward "
               "0; all must be positive");
    Module *m = lk_transformer_encoder_layer_new(4, 2, 6, pre_norm, &rng, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4)), *wide = lk_ones(t, LK_F32, LK_SHAPE(3, 5));
    check(!lk_multihead_attention_forward(t, m, x, NULL, NULL));
    fails_with(t, "lk_multihead_attention_forward: the module is not MultiheadAttention but "
                  "TransformerEncoderLayer");
    check(!lk_transformer_encoder_layer_forward(t, m, x, NULL, wide));
    fails_with(t, "self_attn (MultiheadAttention): lk_attention: attn_mask (3, 5) does not "
                  "broadcast to the scores (B, heads, S, S2) = (2, 2, 3, 3)");
    check(!lk_forward(t, lk_module_at(m, "self_attn", NULL), wide));
    fails_with(t, "MultiheadAttention: x (3, 5) must be (B, S, 4)");
    lk_free(m);
    lk_tape_free(t);
}
