/* course.h - the functions that you write in the course, unit by unit. The checks find them by
 * these names. A function that differs from its line here does not compile.
 *
 * A unit may call the functions of earlier units: the checks give it right ones, so that a mistake
 * counts once. */
#ifndef COURSE_H
#define COURSE_H

#include "data/loader.h"
#include "nn/module.h"
#include "optim/optimizer.h"

/* The program exports these functions, so that your file can call those of earlier units. */
#pragma GCC visibility push(default)

/* ---- ex0: two operations with their backward, in float64 ------------------------------------ */

Tensor *my_relu(Tape *t, Tensor *x);              /* max(x, 0), any shape */
Tensor *my_matmul(Tape *t, Tensor *a, Tensor *b); /* (m, k), (k, n) → (m, n) */

/* ---- ex0b: how long things live ------------------------------------------------------------- */

/* The loss of the last of some steps of training; t never holds more than one step. */
double last_loss(Tape *t, Module *net, Optimizer *opt, Tensor *x, Tensor *y, int steps);
/* The output with the largest sum, owned by the caller; t is reset after each input. */
Tensor *best_output_new(Tape *t, Module *net, int count, Tensor *const *x, Error *err);
/* Sequential(linear) and Sequential(linear, ReLU), with the same linear, which they consume. */
bool two_nets_new(Module *linear, Module **plain, Module **bent, Error *err);
/* √x, owned by the caller; LK_EVALUE for an element below 0. err may be NULL. */
Tensor *roots_new(const Tensor *x, Error *err);

/* ---- ex1: LoRALayer, parameters A (in, rank) and B (rank, out) ------------------------------ */

Module *lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng *rng,
                       Error *err);

/* ---- ex2: LinearWithLoRA, children linear and lora; consumes the Linear, on failure too ----- */

Module *linear_with_lora_new(Module *linear, int64_t rank, double alpha, Rng *rng, Error *err);

/* ---- ex3: SimpleNet, child linear; then a LinearWithLoRA in its place ----------------------- */

Module *simple_net_new(int64_t in_dim, int64_t out_dim, Rng *rng, Error *err);
/* false with the reason in err, and the net stays as it is */
bool simple_net_add_lora(Module *net, int64_t rank, double alpha, Rng *rng, Error *err);

/* ---- ex4: LinearWithLoRAMerged, made as LinearWithLoRA, with one product -------------------- */

Module *linear_with_lora_merged_new(Module *linear, int64_t rank, double alpha, Rng *rng,
                                    Error *err);

/* ---- ex5: MultilayerPerceptron, a child `layers`: Linear, ReLU, Linear, ReLU, Linear ------- */

Module *mlp_new(int64_t features, int64_t hidden_1, int64_t hidden_2, int64_t classes, Rng *rng,
                Error *err);
/* layers[i] = LinearWithLoRAMerged(layers[i], rank, alpha), for i = 0, 2, 4. */
bool mlp_add_lora(Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err);

/* ---- ex6: freezing, the optimizer, the training loop ---------------------------------------- */

int freeze_linear_layers(Module *m); /* of every Linear in m, weight and bias; their number */
/* Puts LoRA into the mlp, freezes its Linears, and makes an Adam for the rest. */
Optimizer *lora_optimizer_new(Module *mlp, int64_t rank, double alpha, double lr, Rng *rng,
                              Error *err);
/* losses[epoch]: the mean of the losses of its batches. */
bool train_epochs(Tape *t, Module *model, Optimizer *opt, DataLoader *loader, int64_t epochs,
                  double *losses, Error *err);

#pragma GCC visibility pop

#endif
