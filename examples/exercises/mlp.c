/* mlp.c - the notebook's MultilayerPerceptron as a module of the examples' own: a struct, a
 * forward and a table. */
#include "examples/exercises/mlp.h"

#include "nn/activation.h"
#include "nn/lora.h"
#include "nn/sequential.h"

static Tensor *mlp_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_forward(t, mlp_layers(self), x);
}
static const ModuleType mlp_type = {
    LK_CLASS(MultilayerPerceptron),
    .forward = mlp_forward,
    .fields = LK_FIELDS(LK_CHILD(MultilayerPerceptron, layers)),
};

Module *mlp_new(int64_t features, int64_t hidden_1, int64_t hidden_2, int64_t classes, Rng *rng,
                Error *err)
{
    MultilayerPerceptron *mlp = lk_module_new(&mlp_type, err);
    if (!mlp) return NULL;
    /* One statement each: C does not say in which order the arguments of a call draw their
     * numbers. */
    Module *first = lk_linear_new(features, hidden_1, true, rng, err);
    Module *second = lk_linear_new(hidden_1, hidden_2, true, rng, err);
    Module *third = lk_linear_new(hidden_2, classes, true, rng, err);
    mlp->layers = lk_sequential_new(
        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    return lk_module_complete(&mlp->base, mlp->layers);
}

Module *mlp_layers(Module *mlp) { return mlp ? ((MultilayerPerceptron *)mlp)->layers : NULL; }

bool mlp_add_lora(Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err)
{
    Module *layers = mlp_layers(mlp);
    for (int i = 0; i <= 4; i += 2) {
        /* The wrapper consumes one reference to the Linear. lk_sequential_set frees the slot's
         * own. */
        Module *linear = lk_retain(lk_sequential_at(layers, i, err));
        Module *wrapper = lk_linear_with_lora_merged_new(linear, rank, alpha, rng, err);
        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    }
    return true;
}
