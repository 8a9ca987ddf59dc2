/* ex5_mlp - exercise 5: a three-layer MLP, and a deep copy of it whose Linears become
 * LinearWithLoRAMerged.
 *
 * The notebook's class MultilayerPerceptron is in examples/exercises/mlp.c. The architecture is
 * printed because the exercise asks for it. The outputs that the notebook shows would be equal
 * without any LoRA. So the check below lets the B of one layer after the other differ from 0,
 * checks that the original does not change, and compares with the same network in the form of
 * LinearWithLoRA. */
#include "examples/exercises/exercise.h"
#include "examples/exercises/mlp.h"
#include "nn/lora.h"
#include "nn/sequential.h"

/* layers[i] = LinearWithLoRAMerged(layers[i], rank, alpha) */
static bool add_lora(Module *layers, int i, int64_t rank, double alpha, Rng *rng, Error *err)
{
    Module *linear = lk_retain(lk_sequential_at(layers, i, err));
    return lk_sequential_set(layers, i,
                             lk_linear_with_lora_merged_new(linear, rank, alpha, rng, err), err);
}

static bool add_lora_to_all(Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err)
{
    Module *layers = mlp_layers(mlp);
    return add_lora(layers, 0, rank, alpha, rng, err) &&
           add_lora(layers, 2, rank, alpha, rng, err) &&
           add_lora(layers, 4, rank, alpha, rng, err);
}

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    Module *mlp = mlp_new(4, 8, 6, 3, rng, err);
    Tensor *x = lk_randn(t, rng, LK_F32, LK_SHAPE(1, 4)), *y = lk_forward(t, mlp, x);
    Module *mlp_lora = lk_deepcopy(mlp, err);
    if (y && add_lora_to_all(mlp_lora, 2, 1.0, rng, err)) {
        show("Input:", x);
        show("Standard MLP output:", y);
        show("MLP with LoRA output:", lk_forward(t, mlp_lora, x));
        lk_print_module(stdout, mlp_lora);
        putchar('\n');
    }
    lk_free(mlp_lora);
    lk_free(mlp);
    return lk_tape_ok(t, err);
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

enum { ROWS = 4, IN = 5, OUT = 3 };

/* Makes a copy of the LoRA network in the other form: LinearWithLoRA around the same weights, A
 * and B. */
static Module *unmerged_copy(Module *mlp_lora, Rng *rng, Error *err)
{
    Module *copy = lk_deepcopy(mlp_lora, err), *layers = mlp_layers(copy);
    bool ok = copy;
    for (int i = 0; ok && i <= 4; i += 2) {
        LinearWithLoRAMerged *merged =
            lk_as_linear_with_lora_merged(lk_sequential_at(layers, i, err));
        Module *m =
            merged ? lk_linear_with_lora_new(lk_retain(merged->linear), 1, 1.0, rng, err) : NULL;
        ok = m && lk_module_set(&lk_as_linear_with_lora(m)->lora, lk_retain(merged->lora), err);
        ok = lk_sequential_set(layers, i, m, err) && ok; /* last: it frees merged */
    }
    if (ok) return copy;
    lk_free(copy);
    return NULL;
}

static bool check_copy(Tape *t, Module *mlp, Module *mlp_lora, Tensor *x, Rng *rng, Error *err)
{
    Tensor *before = lk_forward(t, mlp, x), *y = lk_forward(t, mlp_lora, x);
    bool ok = true;
    cli_verify(&ok, before && y && lk_equal(before, y),
               "B = 0: the outputs are equal to the last bit");
    for (int i = 0; i <= 4; i += 2) {
        LinearWithLoRAMerged *layer =
            lk_as_linear_with_lora_merged(lk_sequential_at(mlp_layers(mlp_lora), i, err));
        lk_normal_(lk_as_lora_layer(layer->lora)->B, 0.0, 1.0, rng);
        Tensor *changed = lk_forward(t, mlp_lora, x);
        double moved = largest_difference(t, y, changed);
        cli_verify(&ok, moved > 1e-3, "B of layer %d is not 0 now: the output moves by up to %.2f",
                   i, moved);
        y = changed;
    }
    Tensor *after = lk_forward(t, mlp, x);
    cli_verify(&ok, before && after && lk_equal(before, after),
               "the original is unchanged: the copy shares nothing");

    Module *other = unmerged_copy(mlp_lora, rng, err);
    double difference = largest_difference(t, y, lk_forward(t, other, x));
    lk_free(other);
    cli_verify(&ok, difference <= 1e-12,
               "LinearWithLoRA with the same A and B gives the same (difference %.1g)",
               difference);
    verify_gradients(&ok, mlp_lora, x);
    return ok;
}

static bool check(Tape *t, Rng *rng, Error *err)
{
    Module *mlp = mlp_new(IN, 8, 6, OUT, rng, err), *mlp_lora = lk_deepcopy(mlp, err);
    Tensor *x = random_input_new(ROWS, IN, rng, err);
    bool ok = x && add_lora_to_all(mlp_lora, 2, 0.5, rng, err) && lk_module_to(mlp, LK_F64, err) &&
              lk_module_to(mlp_lora, LK_F64, err) && check_copy(t, mlp, mlp_lora, x, rng, err);
    lk_free(x);
    lk_free(mlp_lora);
    lk_free(mlp);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex5_mlp",
    .about = "Exercise 5: an MLP whose Linears are replaced by LinearWithLoRAMerged.",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
