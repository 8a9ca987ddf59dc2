/* ex6_freeze_and_train - exercise 6: freeze the Linears, train only A and B.
 *
 * Goes on with the network of exercise 5, as the notebook does. So the draws of exercise 5 come
 * first, its test input among them. lk_freeze_linears (nn/linear.c) is the notebook's
 * freeze_linear_layers. Three epochs that lower the loss by a hundredth prove little; the check
 * below trains on, and compares every frozen weight with its original. */
#include <string.h>

#include "examples/exercises/exercise.h"
#include "core/decimal.h"
#include "examples/exercises/mlp.h"
#include "nn/lora.h"
#include "optim/optimizer.h"

enum { FEATURES = 4, CLASSES = 3, SAMPLES = 10, LAYERS = 3, EPOCHS = 3, MORE_EPOCHS = 300 };

typedef struct Training {
    Module *mlp, *mlp_lora; /* the network of exercise 5, and its copy with LoRA */
    Tensor *x, *y;          /* random samples and labels */
    Optimizer *optimizer;
} Training;

static bool training_new(Training *s, Tape *t, Rng *rng, Error *err)
{
    *s = (Training){ .mlp = mlp_new(FEATURES, 8, 6, CLASSES, rng, err) };
    /* exercise 5's input: drawn only to use up its numbers */
    lk_randn(t, rng, LK_F32, LK_SHAPE(1, FEATURES));
    s->mlp_lora = lk_deepcopy(s->mlp, err);
    if (!mlp_add_lora(s->mlp_lora, 2, 1.0, rng, err)) return false;
    lk_freeze_linears(s->mlp_lora);
    /* The result of an operation lives until the next lk_tape_reset; the samples must outlive
     * every step, so they are cloned. */
    s->x = lk_clone(lk_randn(t, rng, LK_F32, LK_SHAPE(SAMPLES, FEATURES)), err);
    s->y = lk_clone(lk_randint(t, rng, 0, CLASSES, LK_SHAPE(SAMPLES)), err);
    s->optimizer = lk_adam_new(lk_trainable_parameters(s->mlp_lora, err), 0.01, err);
    return lk_tape_ok(t, err);
}

static void training_free(Training *s)
{
    lk_optimizer_free(s->optimizer);
    lk_free(s->y);
    lk_free(s->x);
    lk_free(s->mlp_lora);
    lk_free(s->mlp);
}

/* Trains one epoch: all samples in one batch. *loss is the loss before the step. The gradients
 * stay, for the checks. */
static bool train_epoch(Training *s, Tape *t, double *loss, Error *err)
{
    lk_tape_reset(t);
    lk_optimizer_zero_grad(s->optimizer);
    Tensor *outputs = lk_forward(t, s->mlp_lora, s->x);
    Tensor *l = lk_cross_entropy(t, outputs, s->y);
    if (!lk_backward(t, l) || !lk_step(s->optimizer, err)) return lk_tape_ok(t, err);
    *loss = lk_item(l);
    return true;
}

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    Training s;
    bool ok = training_new(&s, t, rng, err);
    if (ok) {
        printf("Trainable parameters after freezing:\n");
        for (ParamIter it = lk_params(s.mlp_lora); lk_params_next(&it);)
            printf("%s: %s\n", it.name, it.tensor->requires_grad ? "True" : "False");
    }
    double loss = 0.0;
    for (int epoch = 0; ok && epoch < EPOCHS; epoch++) {
        ok = train_epoch(&s, t, &loss, err);
        if (ok) lk_printf("Epoch %d: Loss = %.4f\n", epoch + 1, loss);
    }
    training_free(&s);
    return lk_tape_ok(t, err) && ok;
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

static int64_t count_correct(Training *s, Tape *t)
{
    bool before = lk_tape_set_grad(t, false);
    Tensor *right = lk_eq(t, lk_argmax(t, lk_forward(t, s->mlp_lora, s->x), 1, false), s->y);
    lk_tape_set_grad(t, before);
    return right ? lk_count(right) : -1;
}

/* Checks the gradients after the very first backward: frozen parameters have none, and that of A,
 * x^T (dy B^T), is 0 as long as B is 0. */
static void check_first_gradients(bool *ok, Module *mlp_lora)
{
    bool frozen = true, at_b = true, at_a = true;
    for (ParamIter it = lk_params(mlp_lora); lk_params_next(&it);) {
        const Tensor *gradient = lk_grad(it.tensor);
        char last = it.name[strlen(it.name) - 1]; /* … .lora.A, … .lora.B */
        if (!it.tensor->requires_grad) frozen = frozen && !gradient;
        else if (last == 'B') at_b = at_b && gradient && lk_count(gradient) > 0;
        else at_a = at_a && gradient && lk_count(gradient) == 0;
    }
    cli_verify(ok, frozen, "no frozen parameter gets a gradient");
    cli_verify(ok, at_b && at_a,
               "with B = 0 the gradient of every B is not 0, that of every A is");
}

/* Checks that every Linear of the copy still equals its original to the last bit, and that every B
 * has left 0. */
static void check_weights(bool *ok, Training *s, Error *err)
{
    int64_t equal = 0, moved = 0;
    for (int i = 0; i < LAYERS; i++) {
        char path[LK_NAME_MAX];
        snprintf(path, sizeof path, "layers.%d", 2 * i);
        const Linear *linear = lk_as_linear(lk_module_at(s->mlp, path, err));
        const LinearWithLoRAMerged *m =
            lk_as_linear_with_lora_merged(lk_module_at(s->mlp_lora, path, err));
        const Linear *frozen = m ? lk_as_linear(m->linear) : NULL;
        if (!linear || !frozen) continue;
        equal += lk_equal(linear->weight, frozen->weight) && lk_equal(linear->bias, frozen->bias);
        moved += lk_count(lk_as_lora_layer(m->lora)->B) > 0;
    }
    cli_verify(ok, equal == LAYERS,
               "the weights and biases of %lld of %d Linears are unchanged, bit by bit",
               (long long)equal, LAYERS);
    cli_verify(ok, moved == LAYERS, "%lld of %d B have left 0", (long long)moved, LAYERS);
}

static bool check(Tape *t, Rng *rng, Error *err)
{
    Training s;
    double first = 0.0, loss = 0.0;
    bool ok = training_new(&s, t, rng, err);
    int64_t correct = ok ? count_correct(&s, t) : 0;
    if (ok && train_epoch(&s, t, &first, err)) {
        check_first_gradients(&ok, s.mlp_lora);
        for (int epoch = 1; err->code == LK_OK && epoch < MORE_EPOCHS; epoch++)
            train_epoch(&s, t, &loss, err);
        check_weights(&ok, &s, err);
        cli_verify(&ok, loss < 0.9 * first, "%d epochs: the loss falls from %.4f to %.4f",
                   MORE_EPOCHS, first, loss);
        printf("      accuracy on the %d samples: %lld right before, %lld after\n", SAMPLES,
               (long long)correct, (long long)count_correct(&s, t));
    }
    training_free(&s);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex6_freeze_and_train",
    .about = "Exercise 6: the Linears are frozen, only LoRA is trained.",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
