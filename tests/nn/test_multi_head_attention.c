/* test_multi_head_attention.c - MultiHeadAttention: initial weights, tree, values and gradients of
 * PyTorch, LoRA on its projections, dropout in training only, memory without gradients, bad
 * calls. */
#include <string.h>

#include "core/ops.h"
#include "nn/attention.h"
#include "nn/gradcheck.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

static Module *new_attention(bool out_proj)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 3);
    Module *m = lk_self_attention_new(8, 2, 0.1, out_proj, &rng, &err);
    check_no_error(&err);
    return m;
}

Test(multi_head_attention, starts_and_prints_as_in_pytorch)
{
    Module *m = new_attention(true);
    int i = 0;
    char names[512] = "", tree[1024] = "";
    for (ParamIter it = lk_params(m); lk_params_next(&it); i++) {
        check(checksum(it.tensor) == attention_seed_3[i], "%s", it.name);
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? "\n" : "",
                 it.name);
    }
    check(i == 8 && strcmp(names, attention_params) == 0, "%s", names);
    FILE *out = fmemopen(tree, sizeof tree, "w");
    lk_print_module(out, m);
    fclose(out);
    check(strcmp(tree, attention_tree) == 0, "%s", tree);
    check(lk_as_multi_head_attention(m) && !lk_as_linear(m) && !lk_as_multi_head_attention(NULL));
    check(!lk_as_multi_head_attention(lk_as_multi_head_attention(m)->query));
    lk_free(m);
}

Test(multi_head_attention, values_and_gradients_are_pytorchs)
{
    static const double *const expected[2][6] = {
        { attention_y, attention_dx, attention_dquery, attention_dkey, attention_dvalue,
          attention_dout_proj },
        { attention_causal_y, attention_causal_dx, attention_causal_dquery, attention_causal_dkey,
          attention_causal_dvalue, attention_causal_dout_proj },
    };
    static const char *const projections[] = { "query.weight", "key.weight", "value.weight",
                                               "out_proj.weight" };
    static const bool on[12] = { true, true, true, true, true, true };
    Module *m = new_attention(true);
    check(lk_module_to(m, LK_F64, NULL));
    lk_eval(m);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = check_make_tensor(LK_F64, true, 96, attention_x, LK_SHAPE(3, 4, 8));
    Tensor *v = check_make_tensor(LK_F64, false, 96, attention_v, LK_SHAPE(3, 4, 8));
    for (int causal = 0; causal < 2; causal++) {
        lk_as_multi_head_attention(m)->causal = causal;
        Tensor *y = lk_multi_head_attention(t, m, x, lk_tensor(t, LK_BOOL, LK_SHAPE(3, 4), on));
        check_close(y, expected[causal][0], 96, 1e-12);
        check(lk_backward_with(t, y, v, false));
        check_close(lk_grad(x), expected[causal][1], 96, 1e-12);
        for (int i = 0; i < 4; i++)
            check_close(lk_grad(lk_param_at(m, projections[i], NULL)), expected[causal][2 + i], 64,
                        1e-12);
        lk_zero_grad_(x);
        lk_module_zero_grad(m);
    }
    lk_free(x), lk_free(v), lk_free(m);
    lk_tape_free(t);
}

/* attention.self.query and its likes are slots like any other; the gradients of all parameters
 * pass the check. */
Test(multi_head_attention, takes_lora_on_each_projection)
{
    Rng rng;
    lk_manual_seed(&rng, 5);
    Module *m = new_attention(false);
    MultiHeadAttention *a = lk_as_multi_head_attention(m);
    Module **slot[] = { &a->query, &a->key, &a->value };
    check(lk_freeze_linears(m) == 3);
    for (int i = 0; i < 3; i++)
        check(lk_module_set(slot[i],
                            lk_linear_with_lora_new(lk_retain(*slot[i]), 2, 4, &rng, NULL), NULL));
    check(lk_module_at(m, "query.linear", NULL) && lk_param_at(m, "value.lora.A", NULL));
    check(lk_count_trainable_parameters(m) == 3 * 2 * 2 * 8);
    check(lk_module_to(m, LK_F64, NULL));
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (strstr(it.name, "lora.B")) lk_normal_(it.tensor, 0, 1, &rng);
    lk_eval(m);
    Tensor *x = check_make_tensor(LK_F64, false, 96, attention_x, LK_SHAPE(3, 4, 8));
    GradcheckReport report;
    check(lk_gradcheck_module(m, x, NULL, &report), "%s", report.message);
    Module *copy = lk_deepcopy(m, NULL);
    check(lk_as_multi_head_attention(copy)->num_heads == 2 &&
          lk_as_multi_head_attention(copy)->dropout == 0.1);
    lk_free(copy), lk_free(x), lk_free(m);
}

Test(multi_head_attention, drops_in_training_only)
{
    Module *m = new_attention(true);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = check_make_tensor(LK_F32, false, 96, attention_x, LK_SHAPE(3, 4, 8));
    Tensor *first = lk_forward(t, m, x), *second = lk_forward(t, m, x);
    check(!lk_equal(first, second) && lk_tape_random(t).calls == 2);
    lk_tape_seed(t, 0);
    check_equal(lk_forward(t, m, x), first);
    lk_eval(m);
    first = lk_forward(t, m, x), second = lk_forward(t, m, x);
    check_equal(first, second);
    lk_free(x), lk_free(m);
    lk_tape_free(t);
}

/* Without gradients what is between input and output is given back. */
Test(multi_head_attention, keeps_nothing_without_gradients)
{
    Module *m = new_attention(true);
    Tape *t = lk_tape_new(NULL);
    Tensor *x = check_make_tensor(LK_F32, false, 96, attention_x, LK_SHAPE(3, 4, 8)), *y = x;
    lk_tape_set_grad(t, false);
    size_t before = lk_tape_mark(t).memory.used;
    for (int i = 0; i < 10; i++) y = lk_forward(t, m, y);
    check(lk_tape_mark(t).memory.used - before <= 10 * (size_t)(lk_numel(y) * 4 + 512));
    lk_free(x), lk_free(m);
    lk_tape_free(t);
}

Test(multi_head_attention, refuses_and_frees)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
#define LINEAR() lk_linear_new(4, 4, true, &rng, NULL)
    Error err = { 0 };
    check(!lk_multi_head_attention_new(LINEAR(), NULL, LINEAR(), LINEAR(), 2, 0, &err));
    check_error(&err, LK_EVALUE, "lk_multi_head_attention_new: the key is NULL");
    err = (Error){ 0 };
    check(!lk_multi_head_attention_new(LINEAR(), LINEAR(), LINEAR(), NULL, 0, 0, &err));
    check_error(&err, LK_EVALUE,
                "lk_multi_head_attention_new: 0 heads and dropout 0; at least one head");
    err = (Error){ 0 };
    check(!lk_multi_head_attention_new(LINEAR(), LINEAR(), LINEAR(), NULL, 2, 1.5, &err));
    check_error(&err, LK_EVALUE, "2 heads and dropout 1.5");
    err = (Error){ 0 }; /* the fourth could not be made: not an attention without it */
    Module *q = LINEAR(), *k = LINEAR(), *v = LINEAR();
    check(
        !lk_multi_head_attention_new(q, k, v, lk_linear_new(0, 4, true, &rng, &err), 2, 0, &err));
    check_error(&err, LK_EVALUE, "lk_linear_new: in_features 0");
    err = (Error){ 0 };
    check(!lk_self_attention_new(10, 3, 0, true, &rng, &err));
    check_error(&err, LK_EVALUE,
                "lk_self_attention_new: embed_dim 10 is not a multiple of 3 heads");
    check(check_alloc_live() == 0);

    for (int64_t n = 0, failed = 1; failed; n++) {
        err = (Error){ 0 };
        check_fail_after(n);
        Module *m = lk_self_attention_new(8, 2, 0.1, true, &rng, &err);
        failed = check_alloc_failed();
        check(!m == (failed > 0));
        if (!m) check_error(&err, LK_EMEMORY, "memory");
        lk_free(m);
        check(check_alloc_live() == 0);
    }
    check_fail_after(-1);

    Tape *t = quiet_tape();
    Module *m = new_attention(true), *linear = LINEAR();
    Tensor *x = check_make_tensor(LK_F32, false, 96, attention_x, LK_SHAPE(3, 4, 8));
    check(!lk_multi_head_attention(t, linear, x, NULL));
    check_error(lk_tape_error(t), LK_EVALUE,
                "lk_multi_head_attention: not a MultiHeadAttention but Linear");
    lk_tape_clear_error(t);
    check(!lk_multi_head_attention(t, NULL, x, NULL));
    check_error(lk_tape_error(t), LK_EVALUE,
                "lk_multi_head_attention: not a MultiHeadAttention but NULL");
    lk_tape_clear_error(t);
    check(!lk_multi_head_attention(t, m, NULL, NULL));
    check_error(lk_tape_error(t), LK_EVALUE, "lk_multi_head_attention: the operand is NULL");
    lk_free(m), lk_free(linear), lk_free(x);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}
