/* course.h - the functions that you write in the course, unit by unit. The checks find them by
 * these names. A function that differs from its line here does not compile.
 *
 * A unit may call the functions of earlier units: the checks give it right ones, so that a mistake
 * counts once. */
#ifndef COURSE_H
#define COURSE_H

#include "data/loader.h"
#include "nn/state.h"
#include "nn/trainer_data.h"
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

/* ---- nb1: an MLP trained on images, and a copy of it fine-tuned with LoRA ------------------- */

typedef struct MnistRun {
    Module *mlp; /* of ex5 */
    DataLoader *train, *test;
    int64_t epochs; /* of the MLP, and again of LoRA */
    double lr, alpha;
    int64_t rank;
    /* the results, test accuracies in percent: the trained MLP, its copy with new LoRA, the copy
     * after its fine-tuning, the MLP again */
    double base, wrapped, tuned, after;
} MnistRun;

Tensor *flatten_images(Tape *t, Tensor *images); /* (n, …, 28, 28) → (n, 784) */
/* In percent; NAN, with the reason in err, when it fails. */
double compute_accuracy(Tape *t, Module *model, DataLoader *loader, Error *err);
/* accuracy[epoch]: in percent, on the training set, after this epoch */
bool train_on_images(Tape *t, Module *model, DataLoader *loader, int64_t epochs, double lr,
                     double *accuracy, Error *err);
Module *lora_copy_new(const Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err);
bool mnist_pipeline(Tape *t, MnistRun *r, Rng *rng, Error *err);

/* ---- nb2: LoRAParametrization, lora_A (rank, features_out), lora_B (features_in, rank) ----- */

Module *lora_parametrization_new(int64_t features_in, int64_t features_out, int64_t rank,
                                 double alpha, Rng *rng, Error *err);
bool parametrize_linears(Module *net, int64_t rank, double alpha, Rng *rng, Error *err);
void enable_disable_lora(Module *net, bool enabled);
void freeze_all_but_lora(Module *net);
Dataset *only_digit_new(const Dataset *all, int64_t digit, Error *err);
/* the five checks after the fine-tuning */
bool check_parameter_count(Module *net, int64_t before);
bool check_originals_unchanged(Module *net, const StateDict *before);
bool check_effective_weights(Tape *t, Module *net);
bool check_disabled_weights(Tape *t, Module *net, const StateDict *before);
bool check_disabled_counts(const int64_t before[10], const int64_t off[10]);

/* ---- nb3: the weak digits, and the dial ----------------------------------------------------- */

typedef struct DigitCounts {
    int64_t wrong[10], total[10]; /* of the images with this label */
} DigitCounts;
typedef struct DialPoint {
    double dial;       /* 0: off, 1: as trained */
    double weak, rest; /* accuracy on the weak digits, and on all others; 0 to 1 */
} DialPoint;

bool count_errors(Tape *t, Module *net, DataLoader *loader, DigitCounts *c, Error *err);
/* weak[0]: the digit with most errors */
void weakest_digits(const DigitCounts *c, int count, int64_t *weak);
bool tune_lora(Tape *t, Module *net, const Dataset *all, int count, const int64_t *weak,
               int batches, Rng *rng, Error *err);
void turn_dial(Module *net, double dial);
/* curve[0] at dial 0, …, curve[points - 1] at dial 1 */
bool read_dial(Tape *t, Module *net, DataLoader *test, int count, const int64_t *weak, int points,
               DialPoint *curve, Error *err);

/* ---- hw1: LoRA on RoBERTa by name ----------------------------------------------------------- */

/* Whether the last part of a dotted name is one of the words; NULL ends the words. */
bool is_lora_target(const char *name, const char *const *words);
/* Replaces every Linear that the words choose by a LinearWithLoRA around it. Returns how many were
 * replaced, -1 on failure. */
int put_lora(Module *model, const char *const *words, int64_t rank, double alpha, Rng *rng,
             Error *err);
/* LoRA on query and value; all else but the classifier is frozen. */
bool apply_lora_to_roberta(Module *model, int64_t rank, double alpha, Rng *rng, Error *err);
/* Counts the elements of all parameters; returns the trainable ones in percent. */
double count_trainable(Module *model, int64_t *trainable, int64_t *total);

/* ---- hw2: fine-tuning, adapters in files ---------------------------------------------------- */

/* The mean cross-entropy of a batch: token ids x (B, S), mask (B, S), labels (B). */
Tensor *batch_loss(Tape *t, Module *model, const TrainerBatch *b);
/* The part of the sentences with a label (0 or more) that is classified right, 0 … 1; leaves the
 * model in eval mode. */
double batch_accuracy(Tape *t, Module *model, const TrainerBatch *b);

typedef struct Tuning {
    const TrainerBatch *train, *test;
    int64_t steps; /* each with all of train */
    double lr;     /* of AdamW */
    uint64_t seed; /* of LoRA's matrices A, in hw3 */
} Tuning;
/* Trains what is trainable with AdamW and dropout; leaves the model in eval mode. */
bool fine_tune(Tape *t, Module *model, const Tuning *how, Error *err);

/* The trainable parameters by name; free it with lk_state_dict_free. */
StateDict *adapter_state_new(Module *model, Error *err);
bool save_adapter(Module *model, const char *path, Error *err);
/* Fails, with nothing changed, unless the file holds exactly what is trainable in the model. */
bool load_adapter(Module *model, const char *path, Error *err);

typedef struct TuningRow {
    int64_t trainable, bytes; /* trainable parameters; size of their safetensors file */
    double percent, seconds;  /* trainable of all parameters; a step */
    double loss, accuracy;    /* of how->test after training */
} TuningRow;
bool tune_and_measure(Tape *t, Module *model, const Tuning *how, TuningRow *row, Error *err);

/* ---- hw3: tables for the analysis ----------------------------------------------------------- */

/* The parameters that LoRA adds to a Linear (in → out), by the formula. */
int64_t lora_parameters(int64_t in, int64_t out, int64_t rank);
/* The same for all Linears of a model that the words choose. */
int64_t lora_parameters_of(Module *model, const char *const *words, int64_t rank);
/* Tunes a copy of base with LoRA on the chosen Linears; base stays as it is. */
bool measure_lora(Tape *t, const Module *base, const char *const *words, int64_t rank,
                  double alpha, const Tuning *how, TuningRow *row, Error *err);
/* A row for each rank, with LoRA on query and value. */
bool rank_table(Tape *t, const Module *base, const int64_t *ranks, int count, double alpha,
                const Tuning *how, TuningRow *rows, Error *err);
/* Writes a table in Markdown: names[i] begins row i. */
void print_tuning_table(FILE *out, const char *const *names, const TuningRow *rows, int count);

#pragma GCC visibility pop

#endif
