/* engine.c - the digits, the base network and its training. LoRA: engine_lora.c. */
#include "examples/playground/engine.h"

#include <string.h>

#include "core/hash.h"
#include "core/ops.h"
#include "data/digits.h"

enum { BATCH = 64, TRAIN_DIGITS = 1, TEST_DIGITS = 2 }; /* the last two: seeds of the digits */

/* ---- training ------------------------------------------------------------------------------- */

void training_free(Training *training)
{
    lk_optimizer_free(training->opt);
    lk_loader_free(training->loader);
    lk_dataset_free(training->chosen);
    training->opt = NULL;
    training->loader = NULL;
    training->chosen = NULL;
}

bool training_choose(Training *training, const Dataset *train, Dataset *chosen, int64_t batch,
                     Error *err)
{
    lk_loader_free(training->loader);
    lk_dataset_free(training->chosen);
    training->chosen = chosen;
    training->loader = lk_loader_new(chosen ? chosen : train, batch, true, &training->rng, err);
    return training->loader;
}

bool training_start(Training *training, Module *net, const Dataset *train, Dataset *chosen,
                    int64_t batch, Error *err)
{
    lk_optimizer_free(training->opt);
    training->step = 0;
    training->opt = lk_adam_new(lk_trainable_parameters(net, err), 1e-3, err);
    return training_choose(training, train, chosen, batch, err) && training->opt;
}

/* Takes the next batch. When a pass over the images is over, it begins another one. */
static Batch next_batch(DataLoader *loader)
{
    Batch batch = { 0 };
    if (lk_loader_next(loader, &batch)) return batch;
    lk_loader_begin(loader);
    lk_loader_next(loader, &batch);
    return batch;
}

static bool train_step(Engine *e, Optimizer *opt, Batch batch, float *loss, Error *err)
{
    Tensor *mean = lk_cross_entropy(e->t, lk_forward(e->t, e->net, batch.x), batch.y);
    lk_optimizer_zero_grad(opt);
    if (!lk_backward(e->t, mean) || !lk_step(opt, err)) return lk_tape_ok(e->t, err);
    *loss = (float)lk_item(mean);
    lk_tape_reset(e->t);
    return true;
}

/* Ends a call: the tape gives back its tensors and forgets its failure, if there is one. */
static bool finish(Engine *e, Error *err)
{
    bool ok = lk_tape_ok(e->t, err);
    lk_tape_reset(e->t);
    lk_tape_clear_error(e->t);
    return ok;
}

bool engine_train(Engine *e, Training *training, int steps, double lr, float *losses, Error *err)
{
    if (!training->opt || !training->loader)
        return lk_error_set(err, LK_ESTATE, "there is no network to train");
    training->opt->lr = lr;
    lk_train(e->net, true);
    bool ok = true;
    for (int i = 0; ok && i < steps; i++) {
        ok = train_step(e, training->opt, next_batch(training->loader), &losses[i], err);
        training->step += ok;
    }
    return finish(e, err) && ok;
}

bool engine_train_base(Engine *e, int steps, double lr, float *losses, Error *err)
{
    return engine_detach(e, err) && engine_train(e, &e->base, steps, lr, losses, err);
}

/* ---- life ----------------------------------------------------------------------------------- */

bool engine_reset(Engine *e, uint64_t seed, Error *err)
{
    if (!engine_detach(e, err)) return false;
    training_free(&e->base);
    lk_free(e->net);
    lk_manual_seed(&e->base.rng, seed);
    e->net = net_new(&e->base.rng, err);
    return e->net && training_start(&e->base, e->net, e->train, NULL, BATCH, err);
}

/* Makes one batch of all test images, and keeps it. */
static Tensor *test_images(const Dataset *test, Error *err)
{
    Rng unused = { 0 };
    Batch batch = { 0 };
    DataLoader *loader = lk_loader_new(test, ENGINE_TEST, false, &unused, err);
    lk_loader_begin(loader);
    Tensor *images = lk_loader_next(loader, &batch) ? lk_clone(batch.x, err) : NULL;
    lk_loader_free(loader);
    return images;
}

Engine *engine_new(uint64_t seed, Error *err)
{
    Engine *e = lk_mem_calloc(1, sizeof *e);
    if (!e) {
        lk_error_set(err, LK_EMEMORY, "engine_new: no memory");
        return NULL;
    }
    e->t = lk_tape_quiet_new(err);
    e->train = lk_rendered_digits_new(ENGINE_TRAIN, TRAIN_DIGITS, LK_MNIST_NORMALIZE, err);
    e->test = lk_rendered_digits_new(ENGINE_TEST, TEST_DIGITS, LK_MNIST_NORMALIZE, err);
    e->x = e->test ? test_images(e->test, err) : NULL;
    if (e->t && e->train && e->x && engine_reset(e, seed, err)) return e;
    engine_free(e);
    return NULL;
}

void engine_free(Engine *e)
{
    if (!e) return;
    training_free(&e->lora);
    training_free(&e->base);
    lk_free(e->net);
    lk_free(e->x);
    lk_dataset_free(e->test);
    lk_dataset_free(e->train);
    lk_tape_free(e->t);
    lk_mem_free(e);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Computes with the network in no-grad mode and copies n numbers of the result: its logits, or
 * their softmax. */
static bool answer(Engine *e, Tensor *images, bool softmax, float *result, int64_t n, Error *err)
{
    lk_eval(e->net);
    bool before = lk_tape_set_grad(e->t, false);
    Tensor *y = lk_forward(e->t, e->net, images);
    if (softmax) y = lk_softmax(e->t, y, 1);
    if (y) memcpy(result, y->data, (size_t)n * sizeof *result);
    lk_tape_set_grad(e->t, before);
    return finish(e, err);
}

bool engine_logits(Engine *e, float logits[ENGINE_TEST][NET_CLASSES], Error *err)
{
    return answer(e, e->x, false, logits[0], ENGINE_TEST * NET_CLASSES, err);
}

Score engine_score(const Engine *e, const float logits[ENGINE_TEST][NET_CLASSES])
{
    Score score = { 0 };
    for (int i = 0; i < ENGINE_TEST; i++) {
        int best = 0, label = (int)lk_dataset_label(e->test, i);
        for (int digit = 1; digit < NET_CLASSES; digit++)
            if (logits[i][digit] > logits[i][best]) best = digit;
        score.answers[i] = best;
        score.counts[label]++;
        score.wrong[label] += best != label;
        score.correct += best == label;
    }
    return score;
}

bool engine_evaluate(Engine *e, Score *score, Error *err)
{
    static float logits[ENGINE_TEST][NET_CLASSES];
    if (!engine_logits(e, logits, err)) return false;
    *score = engine_score(e, logits);
    return true;
}

bool engine_predict(Engine *e, const float *pixels, float *probabilities, Error *err)
{
    float image[NET_PIXELS];
    const Transform transform = e->test->transform;
    for (int i = 0; i < NET_PIXELS; i++) image[i] = (pixels[i] - transform.mean) / transform.std;
    Tensor *x = lk_from_blob_new(LK_F32, LK_SHAPE(1, NET_PIXELS), image, NULL, NULL, err);
    if (!x) return false;
    bool ok = answer(e, x, true, probabilities, NET_CLASSES, err);
    lk_free(x);
    return ok;
}

int engine_test_image(const Engine *e, int index, float *pixels)
{
    int64_t row = lk_dataset_row(e->test, index);
    if (row < 0) return -1;
    const uint8_t *bytes = (const uint8_t *)e->test->x->data + row * NET_PIXELS;
    for (int i = 0; i < NET_PIXELS; i++) pixels[i] = (float)bytes[i] / 255.0f;
    return (int)lk_dataset_label(e->test, index);
}

uint64_t engine_hash(Engine *e)
{
    uint64_t hash = LK_HASH_START;
    for (ParamIter it = lk_params(e->net); lk_params_next(&it);) {
        hash = lk_hash(hash, it.name, strlen(it.name));
        hash = lk_hash(hash, it.tensor->data, (size_t)lk_numel(it.tensor) * sizeof(float));
    }
    return hash;
}
