/* ex5.c - a multilayer perceptron, and LoRA in all of its Linears. The page: ex5.md. */
#include "core/ops.h"
#include "examples/course/course.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/sequential.h"

typedef struct MultilayerPerceptron {
    Module base;
    Module *layers; /* a Sequential */
} MultilayerPerceptron;

/* x (batch, features) → (batch, classes) */
static Tensor *mlp_forward(Tape *t, Module *self, Tensor *x)
{
    MultilayerPerceptron *mlp = (MultilayerPerceptron *)self;
    //> starter
    //    (void)mlp; /* mlp->layers */
    //    (void)x;
    //    return lk_fail(t, LK_ESTATE, "mlp_forward: TODO 3: layers(x)");
    //> solution
    return lk_forward(t, mlp->layers, x);
    //> wrong softmax: looks like softmax at the end
    //    return lk_softmax(t, lk_forward(t, mlp->layers, x), 1);
    //> wrong without_the_last: looks like wrong shape
    //    for (int i = 0; i < 4; i++) x = lk_forward(t, lk_sequential_at(mlp->layers, i, NULL), x);
    //    return x;
    //> end
}

static const ModuleType mlp_type = {
    LK_CLASS(MultilayerPerceptron), .forward = mlp_forward,
    //> starter
    //    .fields = NULL, /* TODO 1: LK_FIELDS(…), with layers as an LK_CHILD */
    //> solution
    .fields = LK_FIELDS(LK_CHILD(MultilayerPerceptron, layers)),
    //> wrong not_in_the_table: looks like not in the field table
    //    .fields = NULL,
    //> end
};

Module *mlp_new(int64_t features, int64_t hidden_1, int64_t hidden_2, int64_t classes, Rng *rng,
                Error *err)
{
    MultilayerPerceptron *mlp = lk_module_new(&mlp_type, err);
    if (!mlp) return NULL;
    //> starter
    //    /* TODO 2: make three Linears, from the first to the last, a statement each. Then put
    //     * them and two ReLUs into mlp->layers: lk_sequential_new(LK_MODULES(…), err). */
    //> solution
    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    mlp->layers = lk_sequential_new(
        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    //> wrong relu_missing: looks like ReLU missing
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(LK_MODULES(first, second, third), err);
    //> wrong relu_at_the_end: looks like ReLU after the last layer
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(LK_MODULES(first, lk_relu_new(err), second,
    //                                               lk_relu_new(err), third, lk_relu_new(err)),
    //                                    err);
    //> wrong relu_in_front: looks like a layer in front of the first Linear
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(lk_relu_new(err), first, lk_relu_new(err), second, third), err);
    //> wrong four: looks like wrong structure
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    Module *fourth = lk_linear_new(classes, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(LK_MODULES(first, lk_relu_new(err), second,
    //                                               lk_relu_new(err), third, lk_relu_new(err),
    //                                               fourth),
    //                                    err);
    //> wrong gelu: looks like GELU for ReLU
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(first, lk_gelu_new(err), second, lk_gelu_new(err), third), err);
    //> wrong bias_missing: looks like bias missing
    //    Module *first = lk_linear_new(features, hidden_1, false, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, false, rng, err);
    //    Module *third = lk_linear_new(hidden_2, classes, false, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    //> wrong sizes_exchanged: looks like in and out exchanged
    //    Module *first = lk_linear_new(hidden_1, features, true, rng, err);
    //    Module *second = lk_linear_new(hidden_2, hidden_1, true, rng, err);
    //    Module *third = lk_linear_new(classes, hidden_2, true, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    //> wrong hidden_exchanged: looks like hidden_1 and hidden_2 exchanged
    //    Module *first = lk_linear_new(features, hidden_2, true, rng, err);
    //    Module *second = lk_linear_new(hidden_2, hidden_1, true, rng, err);
    //    Module *third = lk_linear_new(hidden_1, classes, true, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    //> wrong drawn_backwards: looks like drawn from the last to the first
    //    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    //    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    //    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    //    mlp->layers = lk_sequential_new(
    //        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    //> end
    return lk_module_complete(&mlp->base, mlp->layers);
}

bool mlp_add_lora(Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err)
{
    Module *layers = ((MultilayerPerceptron *)mlp)->layers;
    //> starter
    //    /* TODO 4: for each Linear: lk_sequential_at gives the one in the slot. lk_retain makes a
    //     * reference for the wrapper. linear_with_lora_merged_new wraps it. lk_sequential_set
    //     * puts the wrapper there. */
    //    (void)layers;
    //    return lk_error_set(err, LK_ESTATE, "mlp_add_lora: TODO 4: wrap layers 0, 2 and 4");
    //> solution
    for (int i = 0; i <= 4; i += 2) {
        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    }
    return true;
    //> wrong only_the_first: looks like only the first Linear replaced
    //    Module *linear = lk_retain(lk_sequential_at(layers, 0, err));
    //    return lk_sequential_set(
    //        layers, 0, linear_with_lora_merged_new(linear, rank, alpha, rng, err), err);
    //> wrong only_the_last: looks like only the last Linear replaced
    //    Module *linear = lk_retain(lk_sequential_at(layers, -1, err));
    //    return lk_sequential_set(
    //        layers, -1, linear_with_lora_merged_new(linear, rank, alpha, rng, err), err);
    //> wrong wrong_indices: looks like wrong indices
    //    for (int i = 0; i < 3; i++) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong without_the_last_one: looks like a Linear forgotten
    //    for (int i = 0; i < 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong in_a_copy: looks like replaced in a copy
    //    layers = lk_deepcopy(layers, err);
    //    bool ok = layers;
    //    for (int i = 0; ok && i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        ok = lk_sequential_set(layers, i, wrapper, err);
    //    }
    //    lk_free(layers);
    //    return ok;
    //> wrong retain_forgotten: looks like lk_retain forgotten
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_sequential_at(layers, i, err);
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong one_wrapper: looks like one wrapper for all layers
    //    Module *linear = lk_retain(lk_sequential_at(layers, 0, err));
    //    Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //    bool ok = true;
    //    for (int i = 0; ok && i <= 4; i += 2)
    //        ok = lk_sequential_set(layers, i, lk_retain(wrapper), err);
    //    lk_free(wrapper);
    //    return ok;
    //> wrong fresh_linear: looks like fresh Linear instead of the old one
    //    for (int i = 0; i <= 4; i += 2) {
    //        Linear *old = lk_as_linear(lk_sequential_at(layers, i, err));
    //        Module *linear = lk_linear_new(old->in_features, old->out_features, true, rng, err);
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong rank_and_alpha: looks like rank and alpha exchanged
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, alpha, rank, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong rank_of_the_notebook: looks like rank fixed
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, 2, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong alpha_of_the_notebook: looks like alpha fixed at 1
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, 1.0, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong b_filled: looks like B filled
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (wrapper) lk_normal_(lk_param_at(wrapper, "lora.B", err), 0.0, 0.1, rng);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong failure_ignored: looks like failure not reported
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) continue;
    //    }
    //    return true;
    //> wrong mlp_for_its_layers: looks like crash
    //    Module **items = lk_as_sequential(mlp)->modules.items;
    //    for (int i = 0; i <= 4; i += 2)
    //        items[i] = linear_with_lora_merged_new(items[i], rank, alpha, rng, err);
    //    return layers;
    //> wrong retained_twice: looks like a reference too many
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_retain(lk_sequential_at(layers, i, err)));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong assigned: looks like a reference too many
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!wrapper) return false;
    //        lk_as_sequential(layers)->modules.items[i] = wrapper;
    //    }
    //    return true;
    //> wrong a_copy: looks like a copy of the Linear
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_deepcopy(lk_sequential_at(layers, i, err), err);
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong freed_by_hand: looks like freed once too often
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *old = lk_sequential_at(layers, i, err);
    //        Module *wrapper = linear_with_lora_merged_new(lk_retain(old), rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //        lk_free(old);
    //    }
    //    return true;
    //> wrong freed_after_a_failure: looks like freed once too often
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!wrapper) {
    //            lk_free(linear);
    //            return false;
    //        }
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong never_set: looks like nothing replaced
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!wrapper) return false;
    //    }
    //    return true;
    //> wrong in_another: looks like nothing replaced
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        Module *other = lk_sequential_new(LK_MODULES(wrapper), err);
    //        if (!other) return false;
    //    }
    //    return true;
    //> wrong from_one: looks like wrong indices
    //    for (int i = 1; i <= 5; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong the_mlp: looks like mlp for its layers
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(mlp, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
    //        if (!lk_sequential_set(mlp, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong no_reason: looks like no reason in err
    //    for (int i = 0; i <= 4; i += 2) {
    //        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    //        Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, NULL);
    //        if (!wrapper || !lk_sequential_set(layers, i, wrapper, err)) return false;
    //    }
    //    return true;
    //> end
}

//> hint
// An MLP is Linears with a ReLU between any two of them, and nothing behind the last: the loss
// takes its raw numbers. A Sequential calls its parts one after the other, and counts the ReLUs
// too. So the Linears are layers 0, 2 and 4.
//> hint
// layers = Sequential(Linear(features, hidden_1), ReLU(), Linear(hidden_1, hidden_2), ReLU(),
// Linear(hidden_2, classes)). For i = 0, 2, 4: layers[i] = LinearWithLoRAMerged(layers[i], …). The
// slot owns its Linear, and the wrapper wants to own it too: so lk_retain before wrapping.
//> hint
// Module *linear = lk_retain(lk_sequential_at(layers, i, err));
// Module *wrapper = linear_with_lora_merged_new(linear, rank, alpha, rng, err);
// if (!lk_sequential_set(layers, i, wrapper, err)) return false;
//> end
