/* toy.h - the model, data and Trainer of tests/fixtures/make_trainer.py in C, with dropout where
 * wanted; for the tests of the Trainer. */
#ifndef TOY_H
#define TOY_H

#include <math.h>

#include "core/ops.h"
#include "data/folder.h"
#include "data/trainer_batches.h"
#include "nn/trainer.h"
#include "data/trainer_checkpoint.h"
#include "nn/trainer_log.h"
#include "data/trainer_state.h"

#include "nn/state.h"
#include "tests/fixtures/trainer.h"
#include "tests/shared/nets.h"
#include "tests/shared/programs.h"

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct Affine {
    Module base;
    Tensor *weight, *bias;
} Affine;

static Tensor *affine_forward(Tape *t, Module *self, Tensor *x)
{
    Affine *a = (Affine *)self;
    return lk_add(t, lk_mul(t, x, a->weight), a->bias);
}
static const ModuleType affine_type = {
    .name = "LayerNorm",
    .size = sizeof(Affine),
    .forward = affine_forward,
    .fields = LK_FIELDS(LK_PARAM(Affine, weight), LK_PARAM(Affine, bias)),
};

typedef struct Toy {
    Module base;
    Module *first, *norm, *second;
    double p; /* of dropout behind the tanh */
} Toy;

static Tensor *toy_forward(Tape *t, Module *self, Tensor *x)
{
    Toy *m = (Toy *)self;
    Tensor *h = lk_tanh(t, lk_forward(t, m->norm, lk_forward(t, m->first, x)));
    return lk_forward(t, m->second, m->base.training ? lk_dropout(t, h, m->p) : h);
}
static const ModuleType toy_type = {
    .name = "Toy",
    .size = sizeof(Toy),
    .forward = toy_forward,
    .fields = LK_FIELDS(LK_CHILD(Toy, first), LK_CHILD(Toy, norm), LK_CHILD(Toy, second)),
};

static inline Module *toy_new(int64_t hidden, double p)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Toy *m = lk_module_new(&toy_type, NULL);
    Affine *norm = lk_module_new(&affine_type, NULL);
    norm->weight = lk_param_new(LK_F64, LK_SHAPE(hidden), NULL);
    norm->bias = lk_param_new(LK_F64, LK_SHAPE(hidden), NULL);
    m->first = lk_linear_new(TOY_FEATURES, hidden, true, &rng, NULL);
    m->norm = &norm->base;
    m->second = lk_linear_new(hidden, TOY_CLASSES, true, &rng, NULL);
    m->p = p;
    check(lk_module_to(&m->base, LK_F64, NULL));
    for (ParamIter it = lk_params(&m->base); lk_params_next(&it);)
        for (int64_t i = 0; i < lk_numel(it.tensor); i++)
            ((double *)it.tensor->data)[i] = sin((double)(i + 1)) / 2;
    return &m->base;
}

static inline Dataset *toy_data(int first, int count)
{
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(count, TOY_FEATURES), NULL);
    Tensor *y = lk_tensor_new(LK_I64, LK_SHAPE(count), NULL);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < TOY_FEATURES; j++)
            ((double *)x->data)[i * TOY_FEATURES + j] = sin(7.0 * (first + i) + 3.0 * j);
        ((int64_t *)y->data)[i] = (int64_t)(first + i) * (first + i) % 3;
    }
    return lk_dataset_new(x, y, LK_TO_TENSOR, NULL);
}

static Tensor *toy_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    Tensor *y = lk_forward(t, user, b->x);
    if (logits) *logits = y;
    return lk_cross_entropy(t, y, b->labels);
}

/* ---- a Trainer with all it borrows ---------------------------------------------------------- */

typedef struct ToyTrainer {
    Trainer tr; /* its user is the model; callbacks may change that */
    Rng rng;
    Dataset *data[2];
    DataLoader *loaders[2];
    TrainerAccuracy accuracy;
} ToyTrainer;

/* The fixture's run, without output_dir. */
static inline void toy_trainer(ToyTrainer *toy, const struct ToyRun *run, int64_t hidden, double p)
{
    *toy = (ToyTrainer){ .accuracy = lk_trainer_accuracy() };
    toy->data[0] = toy_data(0, TOY_TRAIN);
    toy->data[1] = toy_data(TOY_TRAIN, TOY_TEST);
    toy->loaders[0] = lk_loader_as_new(toy->data[0], TOY_BATCH, true, LK_F64, &toy->rng, NULL);
    toy->loaders[1] =
        lk_loader_as_new(toy->data[1], TOY_EVAL_BATCH, false, LK_F64, &toy->rng, NULL);
    Trainer *tr = &toy->tr;
    *tr = (Trainer){
        .args = lk_trainer_defaults(),
        .model = toy_new(hidden, p),
        .t = quiet_tape(),
        .rng = &toy->rng,
        .loss = toy_loss,
        .train = lk_loader_batches(toy->loaders[0]),
        .eval = lk_loader_batches(toy->loaders[1]),
        .metrics = &toy->accuracy.base,
        .store = &lk_checkpoints,
    };
    tr->user = tr->model;
    tr->args.epochs = run->epochs, tr->args.max_steps = run->max_steps,
    tr->args.accumulation = run->accumulation;
    tr->args.schedule = run->schedule, tr->args.warmup_steps = run->warmup;
    tr->args.learning_rate = run->learning_rate, tr->args.weight_decay = run->weight_decay;
    tr->args.logging_steps = run->logging_steps, tr->args.eval_steps = run->eval_steps;
}

static inline void toy_free(ToyTrainer *toy)
{
    lk_trainer_free(&toy->tr);
    lk_free(toy->tr.model);
    lk_tape_free(toy->tr.t);
    for (int i = 0; i < 2; i++) {
        lk_loader_free(toy->loaders[i]);
        lk_dataset_free(toy->data[i]);
    }
}

static inline void toy_train(ToyTrainer *toy)
{
    Error err = { 0 };
    check(lk_trainer_train(&toy->tr, &err), "%s", err.message);
}

/* "DIR/NAME", which stays: check_scratch's buffers are few. */
static inline const char *toy_path(const char *name)
{
    static char paths[128][256];
    static size_t used;
    check(used < sizeof paths / sizeof *paths);
    print_to(paths[used], sizeof *paths, "%s", check_scratch(name));
    return paths[used++];
}

#endif
