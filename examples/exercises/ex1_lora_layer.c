/* ex1_lora_layer - exercise 1: LoRALayer, y = alpha (x A B).
 *
 * The notebook's class LoRALayer is in nn/lora.c. Its B is 0 at first, so the layer adds nothing
 * until B is changed. The notebook looks at one output; the check below recomputes it with plain
 * loops, where every size differs and alpha is not 1, and compares all gradients with central
 * differences. The main is in examples/exercises/exercise.c. */
#include "examples/exercises/exercise.h"
#include "nn/lora.h"

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    Module *lora_layer = lk_lora_layer_new(4, 3, 2, 1.0, rng, err); /* in, out, rank, alpha */
    Tensor *x = lk_randn(t, rng, LK_F32, LK_SHAPE(1, 4));
    Tensor *output = lk_forward(t, lora_layer, x);
    bool ok = output;
    if (ok) {
        show("Input:", x);
        show("Output:", output);
        printf("Output shape: ");
        lk_print_size(stdout, output);
        putchar('\n');

        /* B is a leaf: written in place, nothing recorded */
        Tensor *B = lk_as_lora_layer(lora_layer)->B;
        ok = lk_copy_(B, lk_randn(t, rng, LK_F32, LK_SHAPE(2, 3)), err);
        show("Output after modifying B:", lk_forward(t, lora_layer, x));
    }
    lk_free(lora_layer);
    return lk_tape_ok(t, err) && ok;
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

enum { ROWS = 4, IN = 5, OUT = 3, RANK = 2 };
static const double ALPHA = 0.5;

/* The definition, one sum: y[i][j] = alpha Σ_k Σ_r x[i][k] A[k][r] B[r][j]. */
static double lora_by_loops(const LoRALayer *lora, const Tensor *x, int64_t i, int64_t j)
{
    double sum = 0.0;
    for (int64_t k = 0; k < IN; k++)
        for (int64_t r = 0; r < RANK; r++)
            sum += lk_at(x, LK_INDEX(i, k)) * lk_at(lora->A, LK_INDEX(k, r)) *
                   lk_at(lora->B, LK_INDEX(r, j));
    return ALPHA * sum;
}

static bool check(Tape *t, Rng *rng, Error *err)
{
    bool ok = false;
    Module *m = lk_lora_layer_new(IN, OUT, RANK, ALPHA, rng, err);
    Tensor *x = random_input_new(ROWS, IN, rng, err);
    if (m && x && lk_module_to(m, LK_F64, err)) {
        LoRALayer *lora = lk_as_lora_layer(m);
        lk_normal_(lora->B, 0.0, 1.0, rng);
        Tensor *y = lk_forward(t, m, x), *expected = lk_zeros(t, LK_F64, LK_SHAPE(ROWS, OUT));
        for (int64_t i = 0; expected && i < ROWS; i++)
            for (int64_t j = 0; j < OUT; j++)
                ((double *)expected->data)[i * OUT + j] = lora_by_loops(lora, x, i, j);
        double difference = largest_difference(t, y, expected);
        ok = true;
        cli_verify(&ok, difference <= 1e-12,
                   "B is not 0: the output is alpha (x A B) by plain loops (difference %.1g)",
                   difference);
        verify_gradients(&ok, m, x);
    }
    lk_free(x);
    lk_free(m);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex1_lora_layer",
    .about = "Exercise 1: LoRALayer, alpha (x A B).",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
