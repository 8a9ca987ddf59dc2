/* test_layers.c - the modules GELU, Dropout, LayerNorm and Embedding: what they print, start with
 * and compute is PyTorch's (fixtures/layers.h); modes, copies, bad sizes, no memory. */
#include <math.h>

#include "core/ops.h"
#include "nn/attention.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/gradcheck.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"

#include "tests/fixtures/layers.h"
#include "tests/shared/nets.h"

static Module *plain_norm(Error *err)
{
    Module *m = lk_layer_norm_new(LK_SHAPE(8), 1e-5, err);
    LayerNorm *l = lk_as_layer_norm(m);
    if (l) lk_free(l->weight), lk_free(l->bias), l->weight = l->bias = NULL;
    return m;
}

static Module *layers_new(Rng *rng, Error *err)
{
    Module *e[3];
    for (int i = 0; i < 3; i++) e[i] = lk_embedding_new(10, 4, 1 - i, rng, err);
    return lk_sequential_new(LK_MODULES(lk_gelu_new(err), lk_dropout_new(0.1, err),
                                        lk_dropout_new(0, err),
                                        lk_layer_norm_new(LK_SHAPE(8), 1e-5, err),
                                        lk_layer_norm_new(LK_SHAPE(3, 4), 1e-12, err),
                                        plain_norm(err), e[0], e[1], e[2]),
                             err);
}

Test(layers, print_and_names_are_pytorchs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = layers_new(&rng, NULL), *copy = lk_deepcopy(net, NULL);
    check_text(tree_of(net), layers_tree);
    check_text(param_names(net, false), layers_params);
    check_text(tree_of(copy), layers_tree);
    lk_free(net);
    lk_free(copy);
}

Test(layers, an_embedding_starts_as_pytorchs)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *small = lk_embedding_new(4, 3, 2, &rng, NULL);
    check_close(lk_as_embedding(small)->weight, small_table, 12, 1e-6);
    Tape *t = lk_tape_new(NULL);
    check_close(lk_rand(t, &rng, LK_F32, LK_SHAPE(1)), after_small_table, 1, 0);
    lk_manual_seed(&rng, 1);
    Module *large = lk_embedding_new(9, 5, 0, &rng, NULL);
    check_close(lk_as_embedding(large)->weight, table, 45, 1e-6);
    check_close(lk_rand(t, &rng, LK_F32, LK_SHAPE(1)), after_table, 1, 0);
    check(lk_as_embedding(large)->weight->requires_grad && lk_count_parameters(large) == 45);
    lk_free(small), lk_free(large);
    lk_tape_free(t);
}

Test(layers, a_norm_starts_with_ones_and_zeros)
{
    Module *m = lk_layer_norm_new(LK_SHAPE(2, 2), 1e-5, NULL);
    LayerNorm *l = lk_as_layer_norm(m);
    check_values(l->weight, 0, 1, 1, 1, 1);
    check_values(l->bias, 0, 0, 0, 0, 0);
    check_shape(l->bias, LK_SHAPE(2, 2));
    check(l->weight->requires_grad && l->bias->requires_grad);
    lk_free(m);
}

static void set_values(Tensor *x, const double *values)
{
    memcpy(x->data, values, (size_t)lk_numel(x) * sizeof *values);
    lk_touch(x);
}

Test(layers, compute_what_pytorchs_compute)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    Module *first = lk_embedding_new(6, 4, 1, &rng, NULL),
           *norm = lk_layer_norm_new(LK_SHAPE(4), 1e-5, NULL);
    Module *net = lk_sequential_new(LK_MODULES(first, norm, lk_gelu_new(NULL)), NULL);
    check(lk_module_to(net, LK_F64, NULL));
    Embedding *e = lk_as_embedding(first);
    LayerNorm *l = lk_as_layer_norm(norm);
    set_values(e->weight, net_table), set_values(l->weight, net_weight),
        set_values(l->bias, net_bias);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 1, 5, 0, 3, 1);
    Tensor *y = lk_forward(t, net, ids), *v = lk_tensor(t, LK_F64, LK_SHAPE(2, 3, 4), net_v);
    check_close(y, net_y, 24, 1e-14);
    check(lk_backward_with(t, y, v, false), "%s", lk_tape_error(t)->message);
    check_close(lk_grad(e->weight), net_dtable, 24, 1e-13);
    check_close(lk_grad(l->weight), net_dweight, 4, 1e-13);
    check_close(lk_grad(l->bias), net_dbias, 4, 1e-13);
    lk_tape_set_grad(t, false); /* and where Sequential gives memory back */
    check_close(lk_forward(t, net, ids), net_y, 24, 1e-14);
    lk_free(net), lk_free(ids);
    lk_tape_free(t);
}

/* Evaluation mode is the identity and draws nothing; training is lk_dropout from the tape's
 * stream. */
Test(layers, dropout_has_two_modes)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = lk_dropout_new(0.5, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(100));
    lk_tape_seed(t, 4);
    Tensor *expected = lk_dropout(t, x, 0.5);
    lk_tape_seed(t, 4);
    check_equal(lk_forward(t, m, x), expected);
    int64_t kept = lk_count(expected);
    check(kept > 25 && kept < 75);
    lk_eval(m);
    check(lk_forward(t, m, x) == x && lk_tape_random(t).calls == 1);
    lk_train(m, true);
    lk_as_dropout(m)->p = 1;
    check(lk_count(lk_forward(t, m, x)) == 0);
    lk_free(m);
    lk_tape_free(t);
}

static void check_gradients(Module *m, Tensor *x)
{
    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    GradcheckReport report;
    check(m && lk_module_to(m, LK_F64, NULL));
    check(lk_gradcheck_module(m, x, &strict, &report), "%s: %s", m->type->name, report.message);
    check(report.checked ==
          lk_count_trainable_parameters(m) + (x->requires_grad ? lk_numel(x) : 0));
    lk_free(m);
}

/* Dropout in training mode: a mask that stays the same from call to call. */
Test(layers, gradients_are_central_differences)
{
    Rng rng;
    lk_manual_seed(&rng, 2);
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(3, 2, 4), NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 1, 5, 0, 3, 2);
    lk_normal_(x, 0, 1.5, &rng);
    x->requires_grad = true;
    Module *norm = lk_layer_norm_new(LK_SHAPE(2, 4), 1e-5, NULL);
    lk_normal_(lk_as_layer_norm(norm)->weight, 1, 0.5, &rng);
    lk_normal_(lk_as_layer_norm(norm)->bias, 0, 1, &rng);
    check_gradients(norm, x);
    check_gradients(lk_gelu_new(NULL), x);
    check_gradients(lk_dropout_new(0.4, NULL), x);
    check_gradients(lk_embedding_new(6, 4, -1, &rng, NULL), ids);
    Module *p[4]; /* projections */
    for (int i = 0; i < 4; i++) p[i] = lk_linear_new(4, 4, true, &rng, NULL);
    check_gradients(lk_multi_head_attention_new(p[0], p[1], p[2], p[3], 2, 0.3, NULL), x);
    lk_free(x), lk_free(ids);
}

Test(layers, only_what_they_are)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m[] = { lk_dropout_new(0, NULL), lk_layer_norm_new(LK_SHAPE(2), 0, NULL),
                    lk_embedding_new(2, 2, -1, &rng, NULL), lk_gelu_new(NULL), NULL };
    for (int i = 0; i < 5; i++) {
        check(!lk_as_dropout(m[i]) == (i != 0) && !lk_as_layer_norm(m[i]) == (i != 1));
        check(!lk_as_embedding(m[i]) == (i != 2));
        lk_free(m[i]);
    }
}

Test(layers, refuse_bad_arguments)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Rng before = rng;
#define REFUSED(call, code, text) \
    do { \
        err = (Error){ 0 }; \
        check(!(call)); \
        check_error(&err, code, text); \
    } while (0)
    REFUSED(lk_dropout_new(-0.1, &err), LK_EVALUE,
            "dropout probability has to be between 0 and 1, but got -0.1");
    REFUSED(lk_dropout_new(NAN, &err), LK_EVALUE, "but got nan");
    REFUSED(lk_layer_norm_new(LK_SCALAR, 1e-5, &err), LK_ESHAPE,
            "normalized_shape needs 1 to 8 sizes, all positive");
    REFUSED(lk_layer_norm_new(LK_SHAPE(2, 0), 1e-5, &err), LK_ESHAPE, "normalized_shape");
    REFUSED(lk_layer_norm_new(LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1), 1e-5, &err), LK_ESHAPE,
            "normalized_shape");
    REFUSED(lk_embedding_new(0, 4, -1, &rng, &err), LK_EVALUE,
            "lk_embedding_new: num_embeddings 0, embedding_dim 4; all must be positive");
    REFUSED(lk_embedding_new(4, -1, -1, &rng, &err), LK_EVALUE,
            "num_embeddings 4, embedding_dim -1");
    REFUSED(lk_embedding_new(4, 3, 4, &rng, &err), LK_EVALUE,
            "padding_idx 4 is none of the 4 rows; -1 is none");
    REFUSED(lk_embedding_new(4, 3, -2, &rng, &err), LK_EVALUE,
            "padding_idx -2 is none of the 4 rows");
    check(memcmp(&before, &rng, sizeof rng) == 0, "something was drawn");

    Tape *t = quiet_tape();
    Module *norm = plain_norm(NULL);
    check(!lk_forward(t, norm, lk_ones(t, LK_F32, LK_SHAPE(2, 7))));
    check_error(lk_tape_error(t), LK_ESHAPE,
                "LayerNorm: x (2, 7) does not end with normalized_shape (8,)");
    lk_tape_clear_error(t);
    check(!lk_forward(t, norm, lk_ones(t, LK_F32, LK_SCALAR)));
    check_error(lk_tape_error(t), LK_ESHAPE,
                "LayerNorm: x () does not end with normalized_shape (8,)");
    lk_free(norm);
    lk_tape_free(t);
}

Test(layers, without_memory)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Rng rng;
        Error err = { 0 };
        lk_manual_seed(&rng, 0);
        check_fail_after(n);
        Module *net = layers_new(&rng, &err);
        failed = check_alloc_failed();
        check(!net == (failed > 0) && (net || err.code == LK_EMEMORY), "allocation %lld: %s",
              (long long)n, err.message);
        lk_free(net);
        check(check_alloc_live() == 0, "allocation %lld", (long long)n);
    }
}
