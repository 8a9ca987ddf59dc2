/* test_lora_layers.c - Conv1dWithLoRA, Conv2dWithLoRA and EmbeddingWithLoRA (nn/lora_layers.h)
 * against LoRA as a parametrization, and lk_wrap_lora, which puts them into a model. */
#include "core/ops.h"
#include "data/peft.h"
#include "nn/adapter.h"
#include "nn/flatten.h"
#include "nn/gradcheck.h"
#include "nn/linear.h"
#include "nn/lora_layers.h"
#include "nn/lora_wrap.h"
#include "nn/state.h"
#include "tests/shared/nets.h"

static Rng rng;

/* ---- layers --------------------------------------------------------------------------------- */

static Module *conv2d(ConvOptions o, bool bias)
{
    return lk_conv2d_new(4, 6, 3, 2, o, bias, &rng, NULL);
}
static Module *plain2d(void) { return conv2d((ConvOptions){ .padding = { 1, 1 } }, true); }
static Module *strided(void)
{
    return conv2d((ConvOptions){ .stride = { 2, 1 }, .padding = { 0, 2 }, .dilation = { 1, 2 } },
                  false);
}
static Module *grouped(void) { return conv2d((ConvOptions){ .groups = 2 }, true); }
static Module *depthwise(void)
{
    return lk_conv2d_new(4, 4, 3, 3, (ConvOptions){ .groups = 4 }, true, &rng, NULL);
}
static Module *conv1d(void)
{
    return lk_conv1d_new(4, 6, 3, (ConvOptions){ .stride = { 2 }, .groups = 2 }, true, &rng, NULL);
}
static Module *table(void) { return lk_embedding_new(7, 4, -1, &rng, NULL); }
static Module *padded_table(void) { return lk_embedding_new(7, 4, 2, &rng, NULL); }

typedef Module *WrapFn(Module *layer, int64_t rank, double alpha, Rng *rng, Error *err);

static const struct {
    const char *name;
    Module *(*make)(void);
    WrapFn *wrap;
    const char *child;
    int ndim; /* of the input; 0: ids */
    int64_t shape[4];
} layers[] = {
    { "Conv2d", plain2d, lk_conv2d_with_lora_new, "conv", 4, { 2, 4, 5, 6 } },
    { "stride and dilation", strided, lk_conv2d_with_lora_new, "conv", 4, { 2, 4, 5, 6 } },
    { "groups", grouped, lk_conv2d_with_lora_new, "conv", 4, { 2, 4, 5, 6 } },
    { "depthwise", depthwise, lk_conv2d_with_lora_new, "conv", 4, { 1, 4, 3, 5 } },
    { "no images", plain2d, lk_conv2d_with_lora_new, "conv", 4, { 0, 4, 5, 6 } },
    { "Conv1d", conv1d, lk_conv1d_with_lora_new, "conv", 3, { 3, 4, 7 } },
    { "Embedding", table, lk_embedding_with_lora_new, "embedding", 0, { 0 } },
    { "padding_idx", padded_table, lk_embedding_with_lora_new, "embedding", 0, { 0 } },
};
enum { LAYERS = sizeof layers / sizeof *layers, RANK = 3 };
static const double alpha = -0.75;

/* A float64 wrapper in which nothing is 0. */
static Module *wrapper_new(int i)
{
    lk_manual_seed(&rng, 3);
    Error err = { 0 };
    Module *m = layers[i].wrap(layers[i].make(), RANK, alpha, &rng, &err);
    check(m && lk_module_to(m, LK_F64, &err), "%s: %s", layers[i].name, err.message);
    for (ParamIter it = lk_params(m); lk_params_next(&it);) lk_normal_(it.tensor, 0, 1, &rng);
    return m;
}

static Module *child(Module *m, const char *name)
{
    Error err = { 0 };
    Module *c = lk_module_at(m, name, &err);
    check(c, "%s", err.message);
    return c;
}

/* The layer inside with a parametrization of the same A, B and strength. */
static Module *adapted_like(int i, Module *wrapper)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = lk_deepcopy(child(wrapper, layers[i].child), NULL);
    const LoRAConfig config = { .rank = RANK, .alpha = alpha * RANK, .targets = "*" };
    Module *net = lk_sequential_new(LK_MODULES(lk_retain(m)), NULL);
    check(lk_add_lora(net, &config, &rng, NULL) == 1);
    AdapterIter it = lk_adapters(net);
    check(lk_adapters_next(&it));
    Tensor *A = lk_param_at(wrapper, "lora.A", NULL), *B = lk_param_at(wrapper, "lora.B", NULL);
    const bool rows = lk_as_embedding(m); /* W is A B, not (A B)ᵀ */
    check(lk_copy_(it.lora->lora_A, lk_T(t, rows ? lk_T(t, B) : A), NULL));
    check(lk_copy_(it.lora->lora_B, rows ? A : lk_T(t, B), NULL));
    lk_tape_free(t);
    lk_free(net);
    return m;
}

/* The input, owned; `moved` gives it other strides than those of a new tensor. */
static Tensor *new_input(int i, bool moved)
{
    Rng draws;
    lk_manual_seed(&draws, 1);
    if (layers[i].ndim == 0) return make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 1, 5, 0, 2, 3);
    int64_t shape[4];
    const int last = layers[i].ndim - 1;
    memcpy(shape, layers[i].shape, sizeof shape);
    if (moved) shape[0] = layers[i].shape[last], shape[last] = layers[i].shape[0];
    Tensor *x = lk_param_new(LK_F64, layers[i].ndim, shape, NULL);
    lk_normal_(x, 0, 1, &draws);
    return x;
}

/* ---- the formula ---------------------------------------------------------------------------- */

/* The same y, dx and dW as a parametrization, for x as it is and transposed. */
Test(lora_layers, equal_the_parametrization)
{
    for (int i = 0; i < 2 * LAYERS; i++) {
        const int k = i / 2;
        const bool moved = i % 2;
        Module *m = wrapper_new(k), *other = adapted_like(k, m), *both[] = { m, other };
        Tensor *x = new_input(k, moved), *y[2], *dx[2] = { NULL }, *dA[2], *dB[2], *no_grad[2];
        Tape *t = lk_tape_new(NULL);
        for (int w = 0; w < 2; w++) {
            Tensor *in = moved && layers[k].ndim ? lk_transpose(t, x, 0, layers[k].ndim - 1) : x;
            y[w] = lk_forward(t, both[w], in);
            check_no_error(lk_tape_error(t));
            check(lk_backward(t, lk_sum(t, lk_square(t, y[w]), LK_ALL, false)));
            if (x->grad) dx[w] = lk_clone(x->grad, NULL);
            lk_zero_grad_(x);
            lk_tape_set_grad(t, false);
            no_grad[w] = lk_forward(t, both[w], in);
            lk_tape_set_grad(t, true);
        }
        check_close_to(y[0], y[1], 1e-12);
        check_close_to(no_grad[0], no_grad[1], 1e-12);
        if (layers[k].ndim) check_close_to(dx[0], dx[1], 1e-11);
        char name[40];
        snprintf(name, sizeof name, "%s.weight", layers[k].child);
        check_close_to(lk_param_at(m, name, NULL)->grad, lk_original(other, "weight")->grad,
                       1e-11);
        const bool rows = lk_as_embedding(other);
        Module *list = child(other, "parametrizations.weight.0");
        dA[0] = lk_param_at(m, "lora.A", NULL)->grad;
        dB[0] = lk_param_at(m, "lora.B", NULL)->grad;
        dA[1] = lk_original(list, rows ? "lora_B" : "lora_A")->grad;
        dB[1] = lk_original(list, rows ? "lora_A" : "lora_B")->grad;
        lk_tape_set_grad(t, false);
        check_close_to(dA[0], rows ? dA[1] : lk_T(t, dA[1]), 1e-11);
        check_close_to(dB[0], rows ? dB[1] : lk_T(t, dB[1]), 1e-11);
        lk_free(dx[0]), lk_free(dx[1]), lk_free(x);
        lk_tape_free(t);
        lk_free(other), lk_free(m);
    }
}

Test(lora_layers, gradients_equal_differences)
{
    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    for (int i = 0; i < LAYERS; i++) {
        if (strcmp(layers[i].name, "no images") == 0 || strcmp(layers[i].name, "padding_idx") == 0)
            continue; /* the padding has a difference, and by its definition no gradient */
        Module *m = wrapper_new(i);
        Tensor *x = new_input(i, false);
        GradcheckReport r;
        check(lk_gradcheck_module(m, x, &strict, &r), "%s: %s", layers[i].name, r.message);
        lk_free(x), lk_free(m);
    }
}

/* B begins as zeros; the numbers of A and B are those of LoRALayer. */
Test(lora_layers, nothing_changes_at_first)
{
    for (int i = 0; i < LAYERS; i++) {
        lk_manual_seed(&rng, 3);
        Module *layer = layers[i].make();
        check(lk_module_to(layer, LK_F64, NULL));
        Module *m = layers[i].wrap(lk_retain(layer), RANK, 2, &rng, NULL);
        Tensor *x = new_input(i, false);
        Tape *t = lk_tape_new(NULL);
        check_equal(lk_forward(t, m, x), lk_forward(t, layer, x));
        check(lk_param_at(m, "lora.A", NULL)->dtype == LK_F64);
        lk_tape_free(t);
        lk_free(x), lk_free(m), lk_free(layer);
    }
}

/* A frozen layer costs no gradient, and A and B get theirs. */
Test(lora_layers, frozen_layer)
{
    for (int i = 0; i < LAYERS; i++) {
        Module *m = wrapper_new(i);
        lk_require_grad(child(m, layers[i].child), "*", false);
        Tensor *x = new_input(i, false);
        lk_set_requires_grad(x, false);
        Tape *t = lk_tape_new(NULL);
        check(lk_backward(t, lk_sum(t, lk_forward(t, m, x), LK_ALL, false)));
        for (ParamIter it = lk_params(m); lk_params_next(&it);)
            check(!it.tensor->grad == !strstr(it.name, "lora."), "%s: %s", layers[i].name,
                  it.name);
        lk_tape_free(t);
        lk_free(x), lk_free(m);
    }
}

Test(lora_layers, padding_gets_no_gradient)
{
    Module *m = wrapper_new(LAYERS - 1);
    Tensor *ids = new_input(LAYERS - 1, false);
    Tape *t = lk_tape_new(NULL);
    check(lk_backward(t, lk_sum(t, lk_forward(t, m, ids), LK_ALL, false)));
    const double *dA = lk_param_at(m, "lora.A", NULL)->grad->data;
    for (int c = 0; c < RANK; c++) check(dA[2 * RANK + c] == 0 && dA[3 * RANK + c] != 0);
    lk_tape_free(t);
    lk_free(ids), lk_free(m);
}

/* ---- as modules ----------------------------------------------------------------------------- */

Test(lora_layers, printed_as_pytorch_prints)
{
    Module *m = wrapper_new(0), *e = wrapper_new(LAYERS - 1);
    check_text(tree_of(m),
               "Conv2dWithLoRA(\n"
               "  (conv): Conv2d(4, 6, kernel_size=(3, 2), stride=(1, 1), padding=(1, 1))\n"
               "  (lora): LoRALayer()\n"
               ")");
    check_text(tree_of(e), "EmbeddingWithLoRA(\n"
                           "  (embedding): Embedding(7, 4, padding_idx=2)\n"
                           "  (lora): LoRALayer()\n"
                           ")");
    lk_free(m), lk_free(e);
}

/* A deep copy, and a module that loads the state dict, compute the same. */
Test(lora_layers, copied_and_loaded)
{
    static const char *const names[] = { "conv.weight\nconv.bias\nlora.A\nlora.B",
                                         "embedding.weight\nlora.A\nlora.B" };
    for (int i = 0; i < LAYERS; i += LAYERS - 1) {
        Module *m = wrapper_new(i), *copy = lk_deepcopy(m, NULL), *loaded = wrapper_new(i);
        check_text(param_names(m, false), names[i > 0]);
        lk_normal_(lk_param_at(loaded, "lora.B", NULL), 0, 1, &rng);
        Error err = { 0 };
        StateDict *state = lk_state_dict_new(m, &err);
        check(lk_load_state_dict(loaded, state, true, &err), "%s", err.message);
        lk_state_dict_free(state);
        Tensor *x = new_input(i, false);
        Tape *t = lk_tape_new(NULL);
        Tensor *y = lk_forward(t, m, x);
        check_equal(lk_forward(t, copy, x), y);
        check_equal(lk_forward(t, loaded, x), y);
        lk_tape_free(t);
        lk_free(x), lk_free(loaded), lk_free(copy), lk_free(m);
    }
}

Test(lora_layers, refused)
{
    lk_manual_seed(&rng, 0);
    static const struct {
        WrapFn *wrap;
        Module *(*make)(void);
        int64_t rank;
        const char *message;
    } cases[] = {
        { lk_conv2d_with_lora_new, conv1d, 2, "Conv2dWithLoRA: wraps Conv2d, not Conv1d" },
        { lk_conv1d_with_lora_new, table, 2, "Conv1dWithLoRA: wraps Conv1d, not Embedding" },
        { lk_embedding_with_lora_new, plain2d, 2, "wraps Embedding, not Conv2d" },
        { lk_embedding_with_lora_new, NULL, 2, "wraps Embedding, not NULL" },
        { lk_conv2d_with_lora_new, plain2d, 0, "rank" },
        { lk_embedding_with_lora_new, table, -1, "rank" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = { 0 };
        Module *layer = cases[i].make ? cases[i].make() : NULL;
        check(!cases[i].wrap(layer, cases[i].rank, 1, &rng, &err));
        check_error(&err, LK_EVALUE, cases[i].message);
    }
}

/* Children that do not fit are named by forward. */
Test(lora_layers, replaced_children)
{
    Module *m = wrapper_new(0);
    Tensor *x = new_input(0, false);
    Tape *t = lk_tape_new(NULL);
    Module **lora = lk_slot_at(m, "lora", NULL), **conv = lk_slot_at(m, "conv", NULL);
    check(lk_module_set(lora, lk_lora_layer_new(5, 6, 1, 1, &rng, NULL), NULL));
    check(!lk_forward(t, m, x));
    check_error(
        lk_tape_error(t), LK_ESHAPE,
        "Conv2dWithLoRA: the Conv2d needs a LoRALayer from 24 to 6; it is one from 5 to 6");
    lk_tape_clear_error(t);
    check(lk_module_set(conv, table(), NULL) && !lk_forward(t, m, x));
    check_error(lk_tape_error(t), LK_EVALUE,
                "Conv2dWithLoRA: holds Embedding and LoRALayer, not Conv2d and LoRALayer");
    lk_tape_free(t);
    lk_free(x), lk_free(m);
}

/* ---- lk_wrap_lora --------------------------------------------------------------------------- */

/* 4 ids in each row: Embedding, Conv1d, Linear. */
static Module *mixed_net_new(void)
{
    lk_manual_seed(&rng, 5);
    Module *conv = lk_conv1d_new(4, 6, 3, (ConvOptions){ .padding = { 1 } }, true, &rng, NULL),
           *last = lk_linear_new(24, 3, true, &rng, NULL);
    return lk_sequential_new(
        LK_MODULES(table(), conv, lk_tanh_new(NULL), lk_flatten_new(1, -1, NULL), last), NULL);
}

Test(lora_layers, wrapped_by_targets)
{
    static const struct {
        const char *targets;
        int count;
    } cases[] = {
        { NULL, 1 },    { "*", 1 },      { "0", 1 },  { "1", 1 },    { "0,1,4", 3 },
        { "?,0,1", 3 }, { "*,0,!4", 1 }, { "!0", 1 }, { "!0,1", 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Module *m = mixed_net_new(), *plain = mixed_net_new();
        Error err = { 0 };
        int wrapped = lk_wrap_lora(m, cases[i].targets, 2, 0.5, &rng, &err);
        check(wrapped == cases[i].count, "%s: %d %s", cases[i].targets, wrapped, err.message);
        const LoRAFacts f = lk_lora_facts(m);
        check(f.count == wrapped && f.rank == 2 && f.alpha == 0.5);
        check_text(f.targets, "*");
        check(lk_wrap_lora(m, "0", 2, 1, &rng, &err) == -1);
        check_error(&err, LK_ESTATE, "has LoRA already");
        Tensor *ids =
            make_tensor(LK_I64, LK_SHAPE(4, 4), 3, 1, 5, 0, 2, 3, 1, 1, 0, 6, 5, 4, 3, 2, 1, 0);
        Tape *t = lk_tape_new(NULL);
        check_equal(lk_forward(t, m, ids), lk_forward(t, plain, ids));
        lk_tape_free(t);
        lk_free(ids);
        check(lk_unwrap_lora(m) == wrapped && lk_lora_facts(m).count == 0);
        check(lk_as_embedding(child(m, "0")) && lk_as_conv1d(child(m, "1")) &&
              lk_as_linear(child(m, "4")));
        lk_free(m), lk_free(plain);
    }
}

Test(lora_layers, wrong_targets)
{
    static const struct {
        const char *targets, *message;
    } cases[] = {
        { "conv9", "lk_wrap_lora: no Linear, Conv1d, Conv2d or Embedding of the model is called "
                   "'conv9'; nearest: " },
        { "0,!0", "the targets '0,!0' leave no Linear, Conv1d, Conv2d or Embedding" },
        { "!4", "the targets '!4' leave no Linear" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Module *m = mixed_net_new();
        Error err = { 0 };
        check(lk_wrap_lora(m, cases[i].targets, 2, 1, &rng, &err) == -1 && lk_unwrap_lora(m) == 0);
        check_error(&err, LK_EVALUE, cases[i].message);
        lk_free(m);
    }
    Module *m = lk_sequential_new(LK_MODULES(conv1d()), NULL);
    Error err = { 0 };
    check(lk_wrap_lora(m, NULL, 2, 1, &rng, &err) == -1);
    check_error(&err, LK_EVALUE, "lk_wrap_lora: Sequential has no Linear");
    check(lk_wrap_lora(m, "*", 2, 1, &rng, NULL) == 1);
    lk_free(m);
}

/* A file of PEFT would lack them. */
Test(lora_layers, not_saved_for_peft)
{
    Module *m = mixed_net_new();
    Error err = { 0 };
    check(lk_wrap_lora(m, "1,4", 2, 1, &rng, &err) == 2);
    check(!lk_save_peft(m, check_scratch("adapter"), NULL, &err));
    check_error(&err, LK_EVALUE, "is a wrapper, and only those of Linears are saved for PEFT");
    lk_free(m);
}
