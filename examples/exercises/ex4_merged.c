/* ex4_merged - exercise 4: LinearWithLoRAMerged, one product with the combined weight W + alpha (A
 * B)^T.
 *
 * The notebook compares it with LinearWithLoRA while B is 0, and gives each its own A. Any two
 * wrappers of one Linear would agree there. The check below lets both wrappers hold the same
 * Linear and the same LoRALayer, with a B that is not 0, and compares the outputs and every
 * gradient. */
#include "examples/exercises/exercise.h"
#include "nn/lora.h"

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    Module *linear = lk_linear_new(4, 3, true, rng, err);
    Module *lora = lk_linear_with_lora_new(lk_retain(linear), 2, 1.0, rng, err);
    Module *merged = lk_linear_with_lora_merged_new(lk_retain(linear), 2, 1.0, rng, err);
    Tensor *x = lk_randn(t, rng, LK_F32, LK_SHAPE(1, 4));
    Tensor *y_lora = lk_forward(t, lora, x), *y_merged = lk_forward(t, merged, x);
    if (y_lora && y_merged) {
        show("Input:", x);
        show("LinearWithLoRA output:", y_lora);
        show("LinearWithLoRAMerged output:", y_merged);
    }
    lk_free(merged);
    lk_free(lora);
    lk_free(linear);
    return lk_tape_ok(t, err);
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

enum { ROWS = 4, IN = 5, OUT = 3, RANK = 2, LEAVES = 5 };

/* Both wrappers run on the leaves x, W, b, A and B; backward starts from the same v. */
static bool compare(Tape *t, Module *lora, Module *merged, Tensor *const leaf[LEAVES], Tensor *v,
                    Error *err)
{
    static const char *const name[LEAVES] = { "x", "linear.weight", "linear.bias", "lora.A",
                                              "lora.B" };
    Tensor *gradient[LEAVES] = { NULL }; /* those of LinearWithLoRA */
    Tensor *y_lora = lk_forward(t, lora, leaf[0]), *y_merged = lk_forward(t, merged, leaf[0]);
    double difference = largest_difference(t, y_lora, y_merged);
    bool ok = lk_backward_with(t, y_lora, v, false);
    cli_verify(&ok, difference <= 1e-12,
               "same A and B, B is not 0: the outputs agree (difference %.1g)", difference);
    for (int i = 0; i < LEAVES; i++) {
        gradient[i] = lk_grad(leaf[i]) ? lk_clone(lk_grad(leaf[i]), err) : NULL;
        lk_zero_grad_(leaf[i]);
    }
    ok = lk_backward_with(t, y_merged, v, false) && ok;
    for (int i = 0; i < LEAVES; i++) {
        difference = largest_difference(t, gradient[i], lk_grad(leaf[i]));
        cli_verify(&ok, difference <= 1e-12, "the gradients of %s agree (difference %.1g)",
                   name[i], difference);
        lk_free(gradient[i]);
    }
    return ok;
}

static bool check(Tape *t, Rng *rng, Error *err)
{
    bool ok = false;
    Module *linear = lk_linear_new(IN, OUT, true, rng, err);
    Module *lora = lk_linear_with_lora_new(lk_retain(linear), RANK, 0.5, rng, err);
    Module *merged = lk_linear_with_lora_merged_new(lk_retain(linear), RANK, 0.5, rng, err);
    Tensor *x = random_input_new(ROWS, IN, rng, err),
           *v = lk_randn(t, rng, LK_F64, LK_SHAPE(ROWS, OUT));
    if (lora && merged && x) {
        Module *shared = lk_as_linear_with_lora(lora)->lora;
        LoRALayer *ab = lk_as_lora_layer(shared);
        Linear *wb = lk_as_linear(linear);
        /* merged holds the same Linear already; now the same A and B, too */
        if (lk_module_set(&lk_as_linear_with_lora_merged(merged)->lora, lk_retain(shared), err) &&
            lk_module_to(merged, LK_F64, err)) {
            lk_normal_(ab->B, 0.0, 1.0, rng);
            Tensor *leaf[LEAVES] = { x, wb->weight, wb->bias, ab->A, ab->B };
            ok = compare(t, lora, merged, leaf, v, err);
            double moved =
                largest_difference(t, lk_forward(t, merged, x), lk_forward(t, linear, x));
            cli_verify(&ok, moved > 1e-3, "LoRA takes part: it moves the output by up to %.2f",
                       moved);
            verify_gradients(&ok, merged, x);
        }
    }
    lk_free(x);
    lk_free(merged);
    lk_free(lora);
    lk_free(linear);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex4_merged",
    .about = "Exercise 4: LinearWithLoRAMerged computes the same with one combined weight.",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
