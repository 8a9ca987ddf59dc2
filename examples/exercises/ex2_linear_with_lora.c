/* ex2_linear_with_lora - exercise 2: LinearWithLoRA, y = linear(x) + lora(x).
 *
 * The notebook's class LinearWithLoRA is in nn/lora.c. With B = 0 its output is the Linear's own,
 * but so is the output of a wrapper that never calls LoRA. So the check below takes a B that is
 * not 0, and recomputes the output with plain loops. */
#include "examples/exercises/exercise.h"
#include "nn/lora.h"

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    Module *linear = lk_linear_new(4, 3, true, rng, err);
    /* The wrapper takes over the reference it is given; lk_retain keeps one more for us. */
    Module *linear_with_lora = lk_linear_with_lora_new(lk_retain(linear), 2, 1.0, rng, err);
    Tensor *x = lk_randn(t, rng, LK_F32, LK_SHAPE(1, 4));
    Tensor *plain = lk_forward(t, linear, x), *adapted = lk_forward(t, linear_with_lora, x);
    if (plain && adapted) {
        show("Input:", x);
        show("Standard Linear output:", plain);
        show("LinearWithLoRA output:", adapted);
    }
    lk_free(linear_with_lora);
    lk_free(linear);
    return lk_tape_ok(t, err);
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

enum { ROWS = 4, IN = 5, OUT = 3, RANK = 2 };
static const double ALPHA = 0.5;

/* y[i][j] = b[j] + Σ_k x[i][k] (W[j][k] + alpha Σ_r A[k][r] B[r][j]) */
static double output_by_loops(const Linear *linear, const LoRALayer *lora, const Tensor *x,
                              int64_t i, int64_t j)
{
    double sum = lk_at(linear->bias, LK_INDEX(j));
    for (int64_t k = 0; k < IN; k++) {
        double update = 0.0;
        for (int64_t r = 0; r < RANK; r++)
            update += lk_at(lora->A, LK_INDEX(k, r)) * lk_at(lora->B, LK_INDEX(r, j));
        sum += lk_at(x, LK_INDEX(i, k)) * (lk_at(linear->weight, LK_INDEX(j, k)) + ALPHA * update);
    }
    return sum;
}

static bool check(Tape *t, Rng *rng, Error *err)
{
    bool ok = false;
    Module *m =
        lk_linear_with_lora_new(lk_linear_new(IN, OUT, true, rng, err), RANK, ALPHA, rng, err);
    Tensor *x = random_input_new(ROWS, IN, rng, err);
    if (m && x && lk_module_to(m, LK_F64, err)) {
        LinearWithLoRA *wrapper = lk_as_linear_with_lora(m);
        LoRALayer *lora = lk_as_lora_layer(wrapper->lora);
        lk_normal_(lora->B, 0.0, 1.0, rng);
        Tensor *y = lk_forward(t, m, x), *expected = lk_zeros(t, LK_F64, LK_SHAPE(ROWS, OUT));
        for (int64_t i = 0; expected && i < ROWS; i++)
            for (int64_t j = 0; j < OUT; j++)
                ((double *)expected->data)[i * OUT + j] =
                    output_by_loops(lk_as_linear(wrapper->linear), lora, x, i, j);
        double difference = largest_difference(t, y, expected);
        double moved = largest_difference(t, y, lk_forward(t, wrapper->linear, x));
        ok = true;
        cli_verify(&ok, difference <= 1e-12,
                   "B is not 0: the output is x (W + alpha (A B)^T)^T + b by plain loops "
                   "(difference %.1g)",
                   difference);
        cli_verify(&ok, moved > 1e-3, "LoRA takes part: it moves the output by up to %.2f", moved);
        verify_gradients(&ok, m, x);
    }
    lk_free(x);
    lk_free(m);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex2_linear_with_lora",
    .about = "Exercise 2: LinearWithLoRA, linear(x) + lora(x).",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
