/* engine.h - the playground's model: a small network of digits, its training, and LoRA on it.
 *
 * 5,000 rendered digits train an MLP 784 → 128 → 64 → 10; 1,000 others test it. LoRA is a
 * parametrization of its weights (nn/adapter.h), so there is one network, with LoRA on or off.
 * exports.c gives these functions to the page; the tests call them natively. With the portable
 * kernels both compute the same bits. */
#ifndef PLAYGROUND_ENGINE_H
#define PLAYGROUND_ENGINE_H

#include "data/loader.h"
#include "examples/playground/net.h"
#include "nn/adapter.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

enum {
    ENGINE_TRAIN = 5000,
    ENGINE_TEST = 1000,
    ENGINE_RANK_MAX = 16,
};

/* One of the two trainings. It stops after any step and goes on with the next call. */
typedef struct Training {
    Rng rng;         /* draws the initial weights and the order of the images */
    Dataset *chosen; /* images of some digits; NULL: all */
    DataLoader *loader;
    Optimizer *opt; /* Adam */
    int64_t step;   /* steps made so far */
} Training;

typedef struct Engine {
    Tape *t; /* empty between two calls */
    Dataset *train, *test;
    Tensor *x;   /* (1000, 784): the test images, transformed */
    Module *net; /* a Net */
    Training base, lora;
    bool attached, enabled, merged; /* LoRA */
    double factor;                  /* the dial; 1: as trained */
    bool digits[NET_CLASSES];       /* those that LoRA learns */
    /* Of the test images, by the network without LoRA, kept when LoRA was attached. */
    float base_logits[ENGINE_TEST][NET_CLASSES];
} Engine;

/* The answers to all test images. */
typedef struct Score {
    int correct;
    int wrong[NET_CLASSES], counts[NET_CLASSES]; /* by label */
    int answers[ENGINE_TEST];
} Score;

/* ---- the base network (engine.c) ------------------------------------------------------------ */

/* Renders the digits and makes the network. The same seed gives the same network. Errors:
 * LK_EMEMORY. */
Engine *engine_new(uint64_t seed, Error *err);
void engine_free(Engine *e);

/* Makes a new network, without LoRA. */
bool engine_reset(Engine *e, uint64_t seed, Error *err);
/* Makes some steps of 64 images and writes the loss of each. Removes LoRA first: its A and B
 * belong to the weights they were trained for. */
bool engine_train_base(Engine *e, int steps, double lr, float *losses, Error *err);

/* Answers all test images with the network as it is. */
bool engine_evaluate(Engine *e, Score *score, Error *err);
/* Writes the logits of all test images. */
bool engine_logits(Engine *e, float logits[ENGINE_TEST][NET_CLASSES], Error *err);
/* Counts the right and wrong answers in logits. */
Score engine_score(const Engine *e, const float logits[ENGINE_TEST][NET_CLASSES]);
/* Writes ten probabilities for one image, pixels from 0 (paper) to 1 (ink). */
bool engine_predict(Engine *e, const float *pixels, float *probabilities, Error *err);
/* Writes the pixels of a test image and returns its label; -1: there is no such image. */
int engine_test_image(const Engine *e, int index, float *pixels);

/* Hashes the names and the bits of all parameters. */
uint64_t engine_hash(Engine *e);

/* ---- parts that both trainings use (engine.c) ----------------------------------------------- */

/* Starts over: the optimizer gets the trainable parameters of net. Consumes chosen. */
bool training_start(Training *training, Module *net, const Dataset *train, Dataset *chosen,
                    int64_t batch, Error *err);
/* Goes on with other images. Consumes chosen. */
bool training_choose(Training *training, const Dataset *train, Dataset *chosen, int64_t batch,
                     Error *err);
void training_free(Training *training);
bool engine_train(Engine *e, Training *training, int steps, double lr, float *losses, Error *err);

/* ---- LoRA (engine_lora.c) ------------------------------------------------------------------- */

/* Gives the chosen layers an A of random numbers and a B of zeros, and freezes all else. An
 * earlier LoRA is removed. Errors: LK_EVALUE for a rank outside 1 … 16 or no layer. */
bool engine_attach(Engine *e, const bool layers[NET_LAYERS], int rank, double alpha, uint64_t seed,
                   Error *err);
/* Removes LoRA. The weights have the bits from before. */
bool engine_detach(Engine *e, Error *err);
/* Makes some steps of 32 images of the chosen digits. */
bool engine_train_lora(Engine *e, int steps, double lr, const bool digits[NET_CLASSES],
                       float *losses, Error *err);

/* How far the logits of the test images moved, at most. */
typedef struct Change {
    double from_before; /* since before the call */
    double from_base;   /* since before LoRA was attached: 0 while it is off */
} Change;
/* Two ways to change the answers without a training. LK_ESTATE without LoRA. */
bool engine_enable(Engine *e, bool on, Change *change, Error *err);
bool engine_merge(Engine *e, bool on, Change *change, Error *err);

/* Sets the dial: ΔW · factor is added to W. LK_ESTATE without LoRA, and while it is merged. */
bool engine_scale(Engine *e, double factor, Error *err);
/* Accuracies with the dial at `factor`: on the digits, on the others, on all; 0 to 1, and NaN for
 * a group without digits. */
typedef struct DialPoint {
    double factor, chosen, others, all;
} DialPoint;
/* Turns the dial from `from` to `to` and back to where it was. *zero_is_base: with the dial at 0
 * the logits have the bits that they had before LoRA. */
bool engine_dial(Engine *e, int points, double from, double to, const bool digits[NET_CLASSES],
                 DialPoint *dial, bool *zero_is_base, Error *err);

/* Test images whose answer LoRA made right, or wrong. LK_ESTATE without LoRA. */
typedef struct Comparison {
    int fixed_count, broken_count;
    int fixed[ENGINE_TEST], broken[ENGINE_TEST];
} Comparison;
bool engine_compare(const Engine *e, const Score *score, Comparison *comparison, Error *err);

/* Predicts with LoRA off, and leaves it as it was. */
bool engine_predict_base(Engine *e, const float *pixels, float *probabilities, Error *err);

/* The LoRA of a layer, 0 … 2; NULL: it has none. */
LoRAParametrization *engine_lora(Engine *e, int layer);
/* The Linear of a layer. */
Linear *engine_linear(Engine *e, int layer);
int64_t engine_lora_parameters(Engine *e);

/* Writes ΔW = (B A) · alpha / rank of a layer: out × in numbers. */
bool engine_delta(Engine *e, int layer, float *delta, Error *err);

#endif
