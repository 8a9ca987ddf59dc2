/* test_adapter_sites.c - LoRA on all that it can adapt beside a Linear: Conv1d, Conv2d, Embedding,
 * the matrices of LSTM, GRU, their cells and MultiheadAttention. The Linear: test_adapter.c. */
#include "tests/check.h"

#include <string.h>

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/conv.h"
#include "nn/embedding.h"
#include "nn/flatten.h"
#include "nn/gradcheck.h"
#include "nn/linear.h"
#include "nn/lora_wrap.h"
#include "nn/recurrent.h"
#include "nn/sequential.h"
#include "nn/transformer.h"
#include "optim/optimizer.h"

static Rng rng;

/* ---- models --------------------------------------------------------------------------------- */

static Module *convs(void)
{
    const ConvOptions padded = { .padding = { 1, 1 } }, grouped = { .groups = 2 };
    Module *a = lk_conv2d_new(2, 4, 3, 2, padded, true, &rng, NULL),
           *b = lk_conv2d_new(4, 4, 3, 3, grouped, false, &rng, NULL),
           *c = lk_linear_new(32, 3, true, &rng, NULL);
    return lk_sequential_new(LK_MODULES(a, lk_tanh_new(NULL), b, lk_flatten_new(1, -1, NULL), c),
                             NULL);
}

static Module *sequence(void)
{
    Module *conv = lk_conv1d_new(5, 4, 3, (ConvOptions){ .stride = { 2 } }, true, &rng, NULL),
           *gru = lk_gru_new(2, 3, (RNNOptions){ .num_layers = 2 }, &rng, NULL);
    return lk_sequential_new(LK_MODULES(conv, gru), NULL);
}

static Module *words(void)
{
    Module *table = lk_embedding_new(7, 4, -1, &rng, NULL),
           *lstm = lk_lstm_new(4, 3, (RNNOptions){ .bidirectional = true }, &rng, NULL);
    return lk_sequential_new(LK_MODULES(table, lstm), NULL);
}

static Module *encoder(void)
{
    return lk_transformer_encoder_layer_new(4, 2, 5, (EncoderOptions){ .gelu = true }, &rng, NULL);
}

static Module *lstm_cell(void) { return lk_lstm_cell_new(6, 3, true, &rng, NULL); }
static Module *gru_cell(void) { return lk_gru_cell_new(6, 3, true, &rng, NULL); }

static const struct {
    const char *name;
    Module *(*make)(void);
    const char *targets;
    int sites;
    int64_t numbers; /* of their A and B, with rank 2 */
    int ndim;        /* of the input; 0: ids */
    int64_t shape[LK_MAX_DIMS];
} models[] = {
    { "convs", convs, "0,2,4", 3, 2 * (12 + 4 + 18 + 4 + 32 + 3), 4, { 2, 2, 4, 5 } },
    { "one conv", convs, "2", 1, 2 * (18 + 4), 4, { 2, 2, 4, 5 } },
    { "sequence",
      sequence,
      "0,1.weight_*",
      5,
      2 * (15 + 4 + 2 + 9 + 3 * (3 + 9)),
      3,
      { 2, 5, 6 } },
    { "words", words, "*", 5, 2 * (7 + 4 + 2 * (12 + 4) + 2 * (12 + 3)), 0, { 0 } },
    { "table", words, "0", 1, 2 * (7 + 4), 0, { 0 } },
    { "reverse", words, "weight_hh_l0_reverse", 1, 2 * (12 + 3), 0, { 0 } },
    { "LSTM cell", lstm_cell, "weight_ih,weight_hh", 2, 2 * (12 + 6 + 12 + 3), 2, { 4, 6 } },
    { "GRU cell", gru_cell, "weight_ih", 1, 2 * (9 + 6), 2, { 4, 6 } },
    { "encoder", encoder, "in_proj_weight,out_proj", 2, 2 * (12 + 4 + 4 + 4), 3, { 3, 2, 4 } },
};
enum { MODELS = sizeof models / sizeof *models };

static Module *new_model(int i)
{
    lk_manual_seed(&rng, 3);
    Module *m = models[i].make();
    check(m);
    return m;
}

static Tensor *new_input(int i, DType dtype)
{
    if (models[i].ndim == 0) return make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 1, 5, 0, 3, 2);
    Rng draws;
    lk_manual_seed(&draws, 1);
    Tensor *x = lk_tensor_new(dtype, models[i].ndim, models[i].shape, NULL);
    lk_normal_(x, 0, 1, &draws);
    return x;
}

/* The result for the model's input, owned. */
static Tensor *output_of(Module *m, int i, bool grad)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, grad);
    Tensor *x = new_input(i, LK_F32), *y = lk_clone(lk_forward(t, m, x), NULL);
    check(y, "%s: %s", models[i].name, lk_tape_error(t)->message);
    lk_free(x);
    lk_tape_free(t);
    return y;
}

static void check_output(Module *m, int i, const Tensor *expected)
{
    for (int grad = 0; grad < 2; grad++) {
        Tensor *y = output_of(m, i, grad);
        check_equal(y, expected);
        lk_free(y);
    }
}

static int add(Module *m, const char *targets, Error *err)
{
    return lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3, .targets = targets }, &rng, err);
}

/* With adapters whose B is not 0. */
static Module *adapted(int i)
{
    Module *m = new_model(i);
    Error err = { 0 };
    check(add(m, models[i].targets, &err) == models[i].sites, "%s: %s", models[i].name,
          err.message);
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 0.5, &rng);
    return m;
}

/* ---- the formula ---------------------------------------------------------------------------- */

Test(adapter_sites, nothing_changes_at_first)
{
    for (int i = 0; i < MODELS; i++) {
        Module *m = new_model(i);
        Tensor *before = output_of(m, i, false);
        check(add(m, models[i].targets, NULL) == models[i].sites);
        check_output(m, i, before);
        int64_t numbers = 0;
        for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
            numbers += lk_numel(it.lora->lora_A) + lk_numel(it.lora->lora_B);
        check(numbers == models[i].numbers, "%s: %lld", models[i].name, (long long)numbers);
        lk_free(before);
        lk_free(m);
    }
}

Test(adapter_sites, effective_weight_is_the_sum)
{
    for (int i = 0; i < MODELS; i++) {
        Module *m = adapted(i);
        Tape *t = lk_tape_new(NULL);
        for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) {
            Tensor *w = lk_original(it.module, it.parameter);
            Tensor *BA = lk_matmul(t, it.lora->lora_B, it.lora->lora_A);
            Tensor *sum = lk_add(t, w, lk_view(t, lk_scale(t, BA, 1.5), w->ndim, w->shape));
            check_equal(lk_param_named(t, it.module, it.parameter), sum);
        }
        lk_tape_free(t);
        lk_free(m);
    }
}

/* The model with the sums as its weights computes the same. */
Test(adapter_sites, forward_is_that_of_the_sums)
{
    for (int i = 0; i < MODELS; i++) {
        Module *m = adapted(i), *plain = new_model(i);
        Tape *t = lk_tape_new(NULL);
        for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
            check(lk_copy_(lk_original(lk_module_at(plain, it.name, NULL), it.parameter),
                           lk_param_named(t, it.module, it.parameter), NULL));
        Tensor *expected = output_of(plain, i, false), *recorded = output_of(m, i, true),
               *no_grad = output_of(m, i, false);
        check_equal(no_grad, expected);
        check_close_to(recorded, expected, 1e-5);
        lk_free(expected), lk_free(recorded), lk_free(no_grad);
        lk_tape_free(t);
        lk_free(plain);
        lk_free(m);
    }
}

Test(adapter_sites, gradients_equal_differences)
{
    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    for (int i = 0; i < MODELS; i++) {
        Module *m = adapted(i);
        check(lk_train_only_lora(m, NULL, NULL) == models[i].sites);
        check(lk_module_to(m, LK_F64, NULL));
        Tensor *x = new_input(i, LK_F64);
        GradcheckReport r;
        check(lk_gradcheck_module(m, x, &strict, &r), "%s: %s", models[i].name, r.message);
        check(r.checked == models[i].numbers);
        lk_free(x);
        lk_free(m);
    }
}

/* ---- an Embedding --------------------------------------------------------------------------- */

/* The rows of the ids get gradients, the padding's row gets none. */
Test(adapter_sites, an_embedding_takes_rows)
{
    enum { ROWS = 50000, PADDING = 4 };
    lk_manual_seed(&rng, 0);
    Module *m = lk_embedding_new(ROWS, 8, PADDING, &rng, NULL);
    check(add(m, "*", NULL) == 1 && lk_train_only_lora(m, NULL, NULL) == 1);
    AdapterIter it = lk_adapters(m);
    check(lk_adapters_next(&it));
    check_shape(it.lora->lora_A, LK_SHAPE(2, 8));
    check_shape(it.lora->lora_B, LK_SHAPE(ROWS, 2));
    lk_normal_(it.lora->lora_B, 0, 1, &rng);
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2, 2), 1, PADDING, ROWS - 1, 1);
    Tensor *y = lk_forward(t, m, ids);
    check_shape(y, LK_SHAPE(2, 2, 8));
    Tensor *row = lk_select(t, it.lora->lora_B, 0, ROWS - 1),
           *w = lk_select(t, lk_original(m, "weight"), 0, ROWS - 1);
    check_close_to(lk_select(t, lk_select(t, y, 0, 1), 0, 0),
                   lk_add(t, w, lk_scale(t, lk_matmul(t, row, it.lora->lora_A), 1.5)), 1e-6);
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    const float *dB = it.lora->lora_B->grad->data;
    int rows = 0;
    for (int64_t i = 0; i < ROWS; i++) rows += dB[2 * i] != 0;
    check(rows == 2 && dB[2 * PADDING] == 0);
    check(!lk_original(m, "weight")->grad);
    lk_free(ids);
    lk_tape_free(t);
    lk_free(m);
}

/* ---- switching, merging, removing ----------------------------------------------------------- */

Test(adapter_sites, switched_merged_and_removed)
{
    for (int i = 0; i < MODELS; i++) {
        Module *plain = new_model(i), *m = adapted(i);
        Tensor *before = output_of(plain, i, false), *after = output_of(m, i, false);
        check(lk_enable_lora(m, NULL, false, NULL) == models[i].sites);
        check_output(m, i, before);
        check(lk_enable_lora(m, NULL, true, NULL) == models[i].sites);
        check(lk_merge(m, NULL));
        check_output(m, i, after);
        lk_unmerge(m);
        Module *copy = lk_deepcopy(m, NULL);
        check(copy && lk_remove_lora(m, NULL, NULL) == models[i].sites);
        check_output(m, i, before);
        Tensor *y = output_of(copy, i, false);
        check_equal(y, after);
        lk_free(y), lk_free(before), lk_free(after);
        lk_free(copy), lk_free(plain), lk_free(m);
    }
}

/* lk_assign reverses the sum in any number of dimensions. */
Test(adapter_sites, assigned_value_is_read)
{
    Module *m = adapted(0), *conv = lk_module_at(m, "0", NULL);
    Tape *t = lk_tape_new(NULL);
    Tensor *value = lk_full(t, LK_F32, LK_SHAPE(4, 2, 3, 2), 0.25);
    check(lk_assign(conv, "weight", value, NULL));
    check_close_to(lk_param_named(t, conv, "weight"), value, 1e-6);
    lk_tape_free(t);
    lk_free(m);
}

Test(adapter_sites, train_alone)
{
    for (int i = 0; i < MODELS; i++) {
        Module *m = new_model(i), *plain = new_model(i);
        check(add(m, models[i].targets, NULL) == models[i].sites);
        check(lk_train_only_lora(m, NULL, NULL) == models[i].sites);
        Optimizer *adam = lk_adam_new(lk_trainable_parameters(m, NULL), 0.05, NULL);
        double first = 0, last = 0;
        Tape *t = lk_tape_new(NULL);
        for (int step = 0; step < 20; step++, lk_tape_reset(t)) {
            Tensor *x = new_input(i, LK_F32), *y = lk_forward(t, m, x);
            Tensor *loss = lk_mean(t, lk_square(t, lk_add_scalar(t, y, -0.5)), LK_ALL, false);
            last = lk_item(loss);
            if (step == 0) first = last;
            check(lk_backward(t, loss) && lk_step(adam, NULL));
            lk_optimizer_zero_grad(adam);
            lk_free(x);
        }
        check(last < first, "%s: %g, then %g", models[i].name, first, last);
        check(lk_remove_lora(m, NULL, NULL) == models[i].sites);
        Tensor *before = output_of(plain, i, false);
        check_output(m, i, before);
        lk_free(before);
        lk_tape_free(t);
        lk_optimizer_free(adam);
        lk_free(plain), lk_free(m);
    }
}

/* ---- targets and errors --------------------------------------------------------------------- */

Test(adapter_sites, targets)
{
    static const struct {
        int model;
        const char *targets;
        int sites;
    } lists[] = {
        { 0, NULL, 1 },           { 0, "*", 3 },
        { 0, "!0", 1 },           { 0, "*,!2", 2 },
        { 0, "!4,2", 1 },         { 3, "1.*", 4 },
        { 3, "0,*_hh_*", 3 },     { 3, "*,!*_reverse", 3 },
        { 2, "weight_ih_l1", 1 }, { 8, NULL, 3 },
        { 8, "self_attn.*", 2 },  { 8, "*", 4 },
    };
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        Module *m = new_model(lists[k].model);
        int added = add(m, lists[k].targets, NULL);
        check(added == lists[k].sites, "%s: %d", lists[k].targets, added);
        lk_free(m);
    }
}

Test(adapter_sites, refused)
{
    static const struct {
        int model;
        const char *targets, *message;
    } lists[] = {
        { 0, "conv9",
          "no Linear, Conv1d, Conv2d, Embedding or matrix of an LSTM, GRU or MultiheadAttention "
          "of "
          "the model is called 'conv9'; nearest: " },
        { 3, "1.weight_hh", "is called '1.weight_hh'; nearest: 1.weight_hh_l0, " },
        { 3, "1",
          "lk_add_lora: '1' is a whole LSTM; name its matrices: '1.*' for all, "
          "'1.weight_ih_l0' for one" },
        { 3, NULL, "lk_add_lora: Sequential has no Linear" },
        { 3, "0,!0", "the targets '0,!0' leave no Linear, Conv1d, " },
        { 0, "!4", "the targets '!4' leave no Linear" },
    };
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        Module *m = new_model(lists[k].model);
        Error err = { 0 };
        check(add(m, lists[k].targets, &err) == -1);
        check_error(&err, LK_EVALUE, lists[k].message);
        lk_free(m);
    }
    Module *m = adapted(3);
    Error err = { 0 };
    check(add(m, "weight_hh_l0", &err) == -1);
    check_error(&err, LK_EVALUE, "1.weight_hh_l0 has an adapter \"default\" already; ");
    lk_free(m);
}

/* A class that says so is adapted too; here a row of factors, which is a matrix of one column. */
typedef struct Factors {
    Module base;
    Tensor *weight;
} Factors;

static Tensor *factors_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_mul(t, x, lk_param(t, self, &((Factors *)self)->weight));
}

static const ModuleType factors_type = {
    LK_CLASS(Factors),
    .forward = factors_forward,
    .fields = LK_FIELDS(LK_PARAM(Factors, weight)),
    .lora = LK_LORA_WEIGHT,
};

Test(adapter_sites, of_an_own_class)
{
    lk_manual_seed(&rng, 0);
    Factors *f = lk_module_new(&factors_type, NULL);
    f->weight = lk_param_new(LK_F32, LK_SHAPE(5), NULL);
    Module *m = lk_sequential_new(LK_MODULES(&f->base), NULL);
    Error err = { 0 };
    check(lk_wrap_lora(m, "0", 2, 1, &rng, &err) == -1);
    check_error(&err, LK_EVALUE,
                "lk_wrap_lora: 0 is Factors, which has no wrapper; lk_add_lora adapts its weight");
    check(add(m, "0", NULL) == 1);
    AdapterIter it = lk_adapters(m);
    check(lk_adapters_next(&it));
    check_shape(it.lora->lora_A, LK_SHAPE(2, 1));
    check_shape(it.lora->lora_B, LK_SHAPE(5, 2));
    Tape *t = lk_tape_new(NULL);
    Tensor *y = lk_forward(t, m, lk_full(t, LK_F32, LK_SHAPE(3, 5), 1));
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)) && it.lora->lora_B->grad);
    lk_tape_free(t);
    lk_free(m);
}

/* A module in two places is adapted once, by any of its names. */
Test(adapter_sites, in_two_places)
{
    lk_manual_seed(&rng, 0);
    Module *conv = lk_conv1d_new(3, 3, 1, (ConvOptions){ 0 }, true, &rng, NULL);
    Module *m = lk_sequential_new(LK_MODULES(conv, lk_retain(conv)), NULL);
    check(add(m, "1", NULL) == 1);
    check(lk_parametrizations(conv, "weight")->chain.count == 1);
    lk_free(m);
}

Test(adapter_sites, without_memory_nothing_is_added)
{
    Module *m = new_model(3);
    Tensor *before = output_of(m, 3, true);
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        check_fail_after(n);
        int added = add(m, "*", NULL);
        failed = check_alloc_failed();
        check_fail_after(-1);
        check(added == (failed ? -1 : models[3].sites), "%d", added);
        AdapterIter it = lk_adapters(m);
        if (failed) check(!lk_adapters_next(&it));
        lk_remove_lora(m, NULL, NULL);
        check(check_alloc_live() == 0);
    }
    Tensor *after = output_of(m, 3, true);
    check_equal(after, before);
    lk_free(after), lk_free(before);
    lk_free(m);
}
