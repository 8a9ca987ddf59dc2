/* world.h - for the classes `disk` and `crash`: a model with an optimizer and a Trainer, and a
 * folder "work". The states of both become a number and a text, so that two of them can be
 * compared. A failure is printed, counted, and the program goes on. */
#ifndef WORLD_H
#define WORLD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* A failure is printed, and the program goes on. */
#define check(...) check_case(__VA_ARGS__)
static int passed, failed;
static const char *doing = ""; /* the job, for messages */
static bool check_case(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));

#include "tests/shared/faults.h"

#include "core/hash.h"
#include "core/ops.h"
#include "data/trainer_batches.h"
#include "data/trainer_checkpoint.h"
#include "nn/adapter.h"
#include "nn/linear.h"
#include "nn/sequential.h"

static bool check_case(bool holds, const char *format, ...)
{
    if (holds) return true;
    va_list args;
    va_start(args, format);
    printf("FAILED - %s: ", doing);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failed++;
    return false;
}

/* Prints the tally, which is the last line of a class. */
static inline int finish_cases(void)
{
    printf("tally: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}

/* ---- folders -------------------------------------------------------------------------------- */

static inline int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}
static inline void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void put_file(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    check(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "%s cannot be made", path);
}
static inline void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

enum { STATE_MAX = 1 << 14 };
static struct {
    char *lines[256];
    int count;
    bool left;          /* temporary files or folders are there */
    bool without_modes; /* set it, and permissions are no part of it */
    char text[STATE_MAX];
} tree;

static inline int add_entry(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)at;
    char line[1024], target[512] = "";
    uint64_t hash = LK_HASH_START;
    if (strstr(path, ".tmp")) {
        tree.left = true;
        return 0;
    }
    if (kind == FTW_SL && readlink(path, target, sizeof target - 1) < 0) return 1;
    FILE *f = kind == FTW_F ? fopen(path, "rb") : NULL;
    for (size_t n; f && (n = fread(line, 1, sizeof line, f)) > 0;) hash = lk_hash(hash, line, n);
    if (f) fclose(f);
    snprintf(line, sizeof line, "%s %o %s%llx\n", path,
             tree.without_modes ? s->st_mode & S_IFMT : s->st_mode, target,
             f ? (unsigned long long)hash : 0ull);
    if (tree.count < 256) tree.lines[tree.count++] = strdup(line);
    return 0;
}

static inline int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names below "work" but temporary ones, with their contents. */
static inline const char *tree_state(void)
{
    tree.count = 0;
    tree.left = false;
    tree.text[0] = '\0';
    nftw("work", add_entry, 16, FTW_PHYS);
    qsort(tree.lines, (size_t)tree.count, sizeof *tree.lines, by_text);
    for (int i = 0; i < tree.count; i++) {
        strncat(tree.text, tree.lines[i], STATE_MAX - strlen(tree.text) - 1);
        free(tree.lines[i]);
    }
    return tree.text;
}

/* ---- a model that is trained ---------------------------------------------------------------- */

enum { SAMPLES = 10, FEATURES = 3, CLASSES = 2, BATCH = 4 };

typedef struct World {
    Trainer tr;
    Rng rng;
    Optimizer *opt;
    Dataset *data;
    DataLoader *loader;
} World;
static World world;

static inline Tensor *world_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    Tensor *y = lk_forward(t, user, b->x);
    if (logits) *logits = y;
    return lk_cross_entropy(t, y, b->labels);
}

static inline Module *net_new(void)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *first = lk_linear_new(FEATURES, 4, true, &rng, NULL);
    Module *second = lk_linear_new(4, CLASSES, true, &rng, NULL);
    Module *net = lk_sequential_new(LK_MODULES(first, second), NULL);
    LoRAConfig config = { .rank = 2, .alpha = 4 };
    check(lk_add_lora(net, &config, &rng, NULL) == 2, "no LoRA");
    return net;
}

static inline void world_end(void)
{
    lk_trainer_free(&world.tr);
    lk_optimizer_free(world.opt);
    lk_free(world.tr.model);
    lk_tape_free(world.tr.t);
    lk_loader_free(world.loader);
    lk_dataset_free(world.data);
    world = (World){ 0 };
}

/* Makes model, data and Trainer anew. */
static inline void world_begin(const char *output)
{
    world_end();
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(SAMPLES, FEATURES), NULL);
    Tensor *y = lk_tensor_new(LK_I64, LK_SHAPE(SAMPLES), NULL);
    for (int i = 0; i < SAMPLES * FEATURES; i++) ((float *)x->data)[i] = (float)(i % 7) / 4;
    for (int i = 0; i < SAMPLES; i++) ((int64_t *)y->data)[i] = i * i % CLASSES;
    world.data = lk_dataset_new(x, y, LK_TO_TENSOR, NULL);
    world.loader = lk_loader_new(world.data, BATCH, true, &world.rng, NULL);
    world.tr = (Trainer){
        .args = lk_trainer_defaults(),
        .model = net_new(),
        .t = lk_tape_quiet_new(NULL),
        .rng = &world.rng,
        .loss = world_loss,
        .train = lk_loader_batches(world.loader),
        .store = &lk_checkpoints,
    };
    world.tr.user = world.tr.model;
    world.tr.args.output_dir = output;
    world.tr.args.epochs = 2;
    world.tr.args.save_steps = 1;
    world.tr.args.logging_steps = 2;
    world.tr.args.learning_rate = 0.1;
    lk_manual_seed(&world.rng, 3);
    world.opt = lk_trainer_optimizer_new(&world.tr, NULL);
    check(world.data && world.loader && world.tr.t && world.opt, "no memory");
}

/* All trained weights and moments are `value`. */
static inline void world_fill(double value)
{
    for (ParamIter it = lk_params(world.tr.model); lk_params_next(&it);)
        if (it.tensor->requires_grad) lk_fill_(it.tensor, value);
    for (OptimizerIter it = lk_optimizer_states(world.opt); lk_optimizer_states_next(&it);)
        check(lk_optimizer_set_state(&it, (int64_t)value, lk_clone(it.param, NULL),
                                     lk_clone(it.param, NULL), NULL),
              "no moments");
    world.tr.state.batches = (int64_t)value % 3;
}

static inline uint64_t hash_tensor(uint64_t hash, const Tensor *x)
{
    return x ? lk_hash(hash, x->data, (size_t)lk_numel(x) * lk_dtype_size(x->dtype)) : hash;
}

/* A number for the model, the optimizer, the generators and the progress. */
static inline uint64_t world_state(void)
{
    uint64_t hash = LK_HASH_START;
    for (ParamIter it = lk_state_tensors(world.tr.model); lk_params_next(&it);)
        hash = hash_tensor(hash, it.tensor);
    for (OptimizerIter it = lk_optimizer_states(world.opt); lk_optimizer_states_next(&it);) {
        hash = lk_hash(hash, &it.state->step, sizeof it.state->step);
        for (int i = 0; i < LK_MOMENTS; i++) hash = hash_tensor(hash, it.state->moment[i]);
    }
    TapeRandom dropout = lk_tape_random(world.tr.t);
    const TrainerState *s = &world.tr.state;
    const int64_t numbers[] = {
        s->step, s->pass, s->batches, world.rng.next, (int64_t)dropout.seed, (int64_t)dropout.calls
    };
    hash = lk_hash(hash, world.rng.word, sizeof world.rng.word);
    return lk_hash(hash, numbers, sizeof numbers);
}

#endif
