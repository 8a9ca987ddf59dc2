/* nb2.c - LoRAParametrization, W + (B A) alpha / rank, for the digit 9. The page: nb2.md. */
#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "data/dataset.h"
#include "examples/course/course.h"
#include "nn/linear.h"
#include "nn/parametrize.h"
#include "nn/state.h"

/* ---- the class ------------------------------------------------------------------------------ */

typedef struct LoRAParametrization {
    Module base;
    Tensor *lora_A;      /* (rank, features_out) */
    Tensor *lora_B;      /* (features_in, rank) */
    double alpha, scale; /* scale: alpha / rank */
    bool enabled;
} LoRAParametrization;

/* W (features_in, features_out) → W + (B A) scale of the same shape; W itself when disabled */
static Tensor *lora_parametrization_forward(Tape *t, Module *self, Tensor *W)
{
    LoRAParametrization *l = (LoRAParametrization *)self;
    //> starter
    //    (void)l; /* l->lora_A, l->lora_B, l->scale, l->enabled */
    //    return lk_fail(t, LK_ESTATE, "lora_parametrization_forward: TODO 3: W + (B A) scale");
    //> solution
    if (!l->enabled) return W;
    Tensor *BA = lk_matmul(t, l->lora_B, l->lora_A);
    Tensor *update = lk_scale(t, lk_view(t, BA, W->ndim, W->shape), l->scale);
    return lk_add(t, W, update);
    //> wrong a_b: looks like A B the other way
    //    if (!l->enabled) return W;
    //    Tensor *AB = lk_matmul(t, l->lora_A, l->lora_B);
    //    Tensor *update = lk_scale(t, lk_view(t, AB, W->ndim, W->shape), l->scale);
    //    return lk_add(t, W, update);
    //> wrong no_scale: looks like alpha / rank forgotten
    //    if (!l->enabled) return W;
    //    return lk_add(t, W, lk_matmul(t, l->lora_B, l->lora_A));
    //> wrong transposed: looks like reshape for transpose
    //    if (!l->enabled) return W;
    //    Tensor *AB = lk_matmul(t, lk_T(t, l->lora_A), lk_T(t, l->lora_B));
    //    Tensor *update = lk_scale(t, lk_reshape(t, AB, W->ndim, W->shape), l->scale);
    //    return lk_add(t, W, update);
    //> wrong update_alone: looks like W missing
    //    if (!l->enabled) return W;
    //    return lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
    //> wrong detached: looks like lora_A treated as a constant
    //    if (!l->enabled) return W;
    //    Tensor *BA = lk_matmul(t, l->lora_B, lk_detach(t, l->lora_A));
    //    return lk_add(t, W, lk_scale(t, BA, l->scale));
    //> wrong in_place: looks like frozen weight moved
    //    if (!l->enabled) return W;
    //    Tensor *update = lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
    //    if (!lk_copy_(W, lk_add(t, W, update), NULL)) return NULL;
    //    return W;
    //> wrong enabled_ignored: looks like enabled ignored
    //    Tensor *update = lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
    //    return lk_add(t, W, update);
    //> wrong zeros_when_disabled: looks like W missing when disabled
    //    Tensor *update = lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
    //    if (!l->enabled) return lk_scale(t, update, 0.0);
    //    return lk_add(t, W, update);
    //> end
}

static const ModuleType lora_parametrization_type = {
    LK_CLASS(LoRAParametrization), .forward = lora_parametrization_forward,
    //> starter
    //    .fields = LK_FIELDS(LK_DOUBLE(LoRAParametrization, scale),
    //                        LK_BOOL_FIELD(LoRAParametrization, enabled)), /* TODO 1: A and B */
    //> solution
    .fields = LK_FIELDS(
        LK_PARAM(LoRAParametrization, lora_A), LK_PARAM(LoRAParametrization, lora_B),
        LK_DOUBLE(LoRAParametrization, scale), LK_BOOL_FIELD(LoRAParametrization, enabled)),
    //> wrong not_in_the_table: looks like not in the field table
    //    .fields = LK_FIELDS(LK_PARAM(LoRAParametrization, lora_A),
    //                        LK_DOUBLE(LoRAParametrization, scale),
    //                        LK_BOOL_FIELD(LoRAParametrization, enabled)),
    //> end
};

Module *lora_parametrization_new(int64_t features_in, int64_t features_out, int64_t rank,
                                 double alpha, Rng *rng, Error *err)
{
    LoRAParametrization *l = lk_module_new(&lora_parametrization_type, err);
    if (!l) return NULL;
    //> starter
    //    /* TODO 2: lora_A (rank, features_out) of N(0, 1), lora_B (features_in, rank) of zeros,
    //     * alpha, scale, enabled. */
    //    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> solution
    l->lora_A = lk_param_new(LK_F32, LK_SHAPE(rank, features_out), err);
    l->lora_B = lk_param_new(LK_F32, LK_SHAPE(features_in, rank), err);
    if (l->lora_A) lk_normal_(l->lora_A, 0.0, 1.0, rng);
    l->alpha = alpha;
    l->scale = alpha / (double)rank;
    l->enabled = true;
    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> wrong integer_division: looks like integer division
    //    l->lora_A = lk_param_new(LK_F32, LK_SHAPE(rank, features_out), err);
    //    l->lora_B = lk_param_new(LK_F32, LK_SHAPE(features_in, rank), err);
    //    if (l->lora_A) lk_normal_(l->lora_A, 0.0, 1.0, rng);
    //    l->alpha = alpha;
    //    l->scale = (double)((int64_t)alpha / rank);
    //    l->enabled = true;
    //    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> wrong deviation_root: looks like deviation 1/√rank
    //    l->lora_A = lk_param_new(LK_F32, LK_SHAPE(rank, features_out), err);
    //    l->lora_B = lk_param_new(LK_F32, LK_SHAPE(features_in, rank), err);
    //    if (l->lora_A) lk_normal_(l->lora_A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    l->alpha = alpha;
    //    l->scale = alpha / (double)rank;
    //    l->enabled = true;
    //    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> wrong b_random: looks like B random
    //    l->lora_A = lk_param_new(LK_F32, LK_SHAPE(rank, features_out), err);
    //    l->lora_B = lk_param_new(LK_F32, LK_SHAPE(features_in, rank), err);
    //    if (l->lora_A) lk_normal_(l->lora_A, 0.0, 1.0, rng);
    //    if (l->lora_B) lk_normal_(l->lora_B, 0.0, 1.0, rng);
    //    l->alpha = alpha;
    //    l->scale = alpha / (double)rank;
    //    l->enabled = true;
    //    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> wrong never_enabled: looks like LoRA disabled at first
    //    l->lora_A = lk_param_new(LK_F32, LK_SHAPE(rank, features_out), err);
    //    l->lora_B = lk_param_new(LK_F32, LK_SHAPE(features_in, rank), err);
    //    if (l->lora_A) lk_normal_(l->lora_A, 0.0, 1.0, rng);
    //    l->alpha = alpha;
    //    l->scale = alpha / (double)rank;
    //    return lk_module_complete(&l->base, l->lora_A && l->lora_B);
    //> end
}

/* The parametrization of a Linear's weight; NULL for another module, and before it is there */
static LoRAParametrization *lora_of(Module *m)
{
    ParametrizationList *list = lk_parametrizations(m, "weight");
    return list ? (LoRAParametrization *)list->chain.items[0] : NULL;
}

/* ---- the net -------------------------------------------------------------------------------- */

/* Registers a LoRAParametrization for the weight of every Linear. */
bool parametrize_linears(Module *net, int64_t rank, double alpha, Rng *rng, Error *err)
{
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        Linear *l = lk_as_linear(it.module);
        if (!l) continue;
        //> starter
        //        /* l->weight->shape has the sizes; then lk_register_parametrization */
        //        return lk_error_set(err, LK_ESTATE, "parametrize_linears: TODO 4");
        //> solution
        const int64_t *size = l->weight->shape;
        Module *lora = lora_parametrization_new(size[0], size[1], rank, alpha, rng, err);
        if (!lk_register_parametrization(it.module, "weight", lora, err)) return false;
        //> wrong sizes_exchanged: looks like features_in and features_out exchanged
        //        const int64_t *size = l->weight->shape;
        //        Module *lora = lora_parametrization_new(size[1], size[0], rank, alpha, rng, err);
        //        if (!lk_register_parametrization(it.module, "weight", lora, err)) return false;
        //> wrong one_for_all: looks like one LoRA for all layers
        //        static Module *lora;
        //        const int64_t *size = l->weight->shape;
        //        if (!strcmp(it.name, "linear1"))
        //            lora = lora_parametrization_new(size[0], size[1], rank, alpha, rng, err);
        //        else lk_retain(lora);
        //        if (!lk_register_parametrization(it.module, "weight", lora, err)) return false;
        //> wrong bias_too: looks like the bias parametrized
        //        const int64_t *size = l->weight->shape;
        //        int64_t out = size[0];
        //        Module *lora = lora_parametrization_new(out, size[1], rank, alpha, rng, err);
        //        if (!lk_register_parametrization(it.module, "weight", lora, err)) return false;
        //        lora = lora_parametrization_new(out, 1, rank, alpha, rng, err);
        //        if (!lk_register_parametrization(it.module, "bias", lora, err)) return false;
        //> wrong leak: looks like leak
        //        const int64_t *size = l->weight->shape;
        //        Module *lora = lora_parametrization_new(size[0], size[1], rank, alpha, rng, err);
        //        if (!lk_register_parametrization(it.module, "weight", lk_retain(lora), err))
        //            return false;
        //> end
    }
    return true;
}

void enable_disable_lora(Module *net, bool enabled)
{
    //> starter
    //    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
    //        LoRAParametrization *l = lora_of(it.module);
    //        if (l) l->enabled = true; /* TODO 5 */
    //    }
    //> solution
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);)
        if (lora_of(it.module)) lora_of(it.module)->enabled = enabled;
    //> wrong first_layer_switched: looks like enabled ignored
    //    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
    //        if (!lora_of(it.module)) continue;
    //        lora_of(it.module)->enabled = enabled;
    //        return;
    //    }
    //> wrong crash: looks like crash
    //    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);)
    //        lora_of(it.module)->enabled = enabled;
    //> end
}

/* Leaves requires_grad only where the name of the parameter has "lora" in it. */
void freeze_all_but_lora(Module *net)
{
    //> starter
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        (void)it.tensor; /* TODO 6: strstr(it.name, "lora"), lk_set_requires_grad */
    //> solution
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (!strstr(it.name, "lora")) lk_set_requires_grad(it.tensor, false);
    //> wrong biases_trained: looks like biases not frozen
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        if (strstr(it.name, "original")) lk_set_requires_grad(it.tensor, false);
    //> wrong a_alone: looks like a part of LoRA frozen
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        if (!strstr(it.name, "lora_A")) lk_set_requires_grad(it.tensor, false);
    //> wrong nothing_trained: looks like all frozen
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        lk_set_requires_grad(it.tensor, false);
    //> end
}

/* The samples of one digit; the caller frees them. */
Dataset *only_digit_new(const Dataset *all, int64_t digit, Error *err)
{
    //> starter
    //    lk_error_set(err, LK_ESTATE, "only_digit_new: TODO 7: lk_filter_classes_new");
    //    return NULL;
    //> solution
    return lk_filter_classes_new(all, 1, &digit, err);
    //> wrong inverted: looks like all other digits kept
    //    int64_t others[9];
    //    int n = 0;
    //    for (int64_t d = 0; d < 10; d++)
    //        if (d != digit) others[n++] = d;
    //    return lk_filter_classes_new(all, n, others, err);
    //> end
}

/* ---- the five checks, after the fine-tuning ------------------------------------------------- */

/* A tensor of the Linear at `it`, before LoRA: before["linear1.weight"] */
static Tensor *before_of(const StateDict *before, const ModuleIter *it, const char *parameter)
{
    char name[LK_NAME_MAX + 16];
    snprintf(name, sizeof name, "%s.%s", it->name, parameter);
    return lk_state_dict_get(before, name);
}

/* Parameters without "lora" in their name have as many elements as all had before. */
bool check_parameter_count(Module *net, int64_t before)
{
    int64_t count = 0;
    //> starter
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        count += lk_numel(it.tensor); /* TODO 8: not those of LoRA */
    //> solution
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (!strstr(it.name, "lora")) count += lk_numel(it.tensor);
    //> wrong lora_counted: looks like LoRA counted too
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);) count += lk_numel(it.tensor);
    //> end
    return count == before;
}

/* Weight (lk_original) and bias of every Linear have their bits from before. */
bool check_originals_unchanged(Module *net, const StateDict *before)
{
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module)) continue;
        //> starter
        //        Tensor *weight = before_of(before, &it, "weight");
        //        if (weight) return false; /* TODO 9: only if not lk_equal; the bias too */
        //> solution
        Tensor *weight = lk_original(it.module, "weight"), *bias = lk_original(it.module, "bias");
        if (!lk_equal(weight, before_of(before, &it, "weight"))) return false;
        if (!lk_equal(bias, before_of(before, &it, "bias"))) return false;
        //> wrong biases_skipped: looks like biases not compared
        //        Tensor *weight = lk_original(it.module, "weight");
        //        if (!lk_equal(weight, before_of(before, &it, "weight"))) return false;
        //> wrong first_layer: looks like only the first layer compared
        //        return lk_equal(lk_original(it.module, "weight"),
        //                        before_of(before, &it, "weight"));
        //> end
    }
    return true;
}

/* LoRA on: every weight that forward reads is original + (B A) scale. */
bool check_effective_weights(Tape *t, Module *net)
{
    //> starter
    //    return false; /* TODO 10: lora_of, lk_original, lk_param_named, lk_equal */
    //> solution
    enable_disable_lora(net, true);
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        LoRAParametrization *l = lora_of(it.module);
        if (!l) continue;
        Tensor *update = lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
        Tensor *expected = lk_add(t, lk_original(it.module, "weight"), update);
        if (!lk_equal(lk_param_named(t, it.module, "weight"), expected)) return false;
    }
    return true;
    //> wrong not_switched_on: looks like LoRA not switched on
    //    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
    //        LoRAParametrization *l = lora_of(it.module);
    //        if (!l) continue;
    //        Tensor *update = lk_scale(t, lk_matmul(t, l->lora_B, l->lora_A), l->scale);
    //        Tensor *expected = lk_add(t, lk_original(it.module, "weight"), update);
    //        if (!lk_equal(lk_param_named(t, it.module, "weight"), expected)) return false;
    //    }
    //    return true;
    //> end
}

/* LoRA off: every weight that forward reads has the bits from before. */
bool check_disabled_weights(Tape *t, Module *net, const StateDict *before)
{
    //> starter
    //    return false; /* TODO 11: lk_param_named, before_of, lk_equal */
    //> solution
    enable_disable_lora(net, false);
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        if (!lora_of(it.module)) continue;
        Tensor *weight = lk_param_named(t, it.module, "weight");
        if (!lk_equal(weight, before_of(before, &it, "weight"))) return false;
    }
    return true;
    //> wrong original_compared: looks like the original compared
    //    enable_disable_lora(net, false);
    //    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
    //        if (!lora_of(it.module)) continue;
    //        Tensor *weight = lk_original(it.module, "weight");
    //        if (!lk_equal(weight, before_of(before, &it, "weight"))) return false;
    //    }
    //    return true;
    //> end
}

/* LoRA off: each of the ten digits has as many errors as before. */
bool check_disabled_counts(const int64_t before[10], const int64_t off[10])
{
    //> starter
    //    return false; /* TODO 12 */
    //> solution
    for (int digit = 0; digit < 10; digit++)
        if (off[digit] != before[digit]) return false;
    return true;
    //> wrong sums: looks like sums compared
    //    int64_t difference = 0;
    //    for (int digit = 0; digit < 10; digit++) difference += off[digit] - before[digit];
    //    return difference == 0;
    //> end
}

//> hint
// A parametrization is a module whose forward gets the weight and returns the weight to use. The
// Linear stays a Linear: it asks for its weight, and the parametrization answers W + (B A) scale.
// So LoRA can be switched off, and W keeps its bits.
//> hint
// W' = W + (B A) · alpha / rank. W is (features_in, features_out), as weight.shape says; B is
// (features_in, rank) of zeros, A (rank, features_out) of N(0, 1). When disabled, W' = W. In C:
// lk_matmul, lk_view to W->shape, lk_scale, lk_add. A Linear gets it by
// lk_register_parametrization(linear, "weight", lora, err).
//> hint
// return lk_add(t, W, lk_scale(t, lk_view(t, lk_matmul(t, l->lora_B, l->lora_A), W->ndim,
//                                         W->shape), l->scale));
//> end
