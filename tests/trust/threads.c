/* threads.c - what threads may share, for the ThreadSanitizer (tests/trust/threads.sh). No test
 * framework: none works under it.
 *     threads [SECONDS]      once, or again and again for so long
 *
 * Readers: four threads call one model without gradients, each with its own tape. Its kept values
 * are out of date when they begin. Trainings: two Trainers learn from one dataset, each in its
 * thread. All results must have the bits of one thread alone. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/ops.h"
#include "data/dataset.h"
#include "data/trainer_batches.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/models/roberta.h"
#include "nn/sequential.h"
#include "nn/symmetric.h"
#include "nn/trainer.h"

enum { READERS = 4, TRAINERS = 2, WIDTH = 24, ROUNDS = 8, SAMPLES = 64, CLASSES = 3 };

static int passed, failed;

static void verdict(bool ok, const char *what, const Error *err)
{
    passed += ok;
    failed += !ok;
    if (!ok) printf("FAILED - threads: %s: %s\n", what, *err->message ? err->message : "differs");
}

/* ---- models that are read ------------------------------------------------------------------- */

static Module *net_new(Rng *rng, Error *err)
{
    Module *hidden = lk_linear_new(WIDTH, WIDTH, true, rng, err),
           *dropout = lk_dropout_new(0.1, err);
    Module *relu = lk_relu_new(err), *head = lk_linear_new(WIDTH, CLASSES, true, rng, err);
    return lk_sequential_new(LK_MODULES(hidden, relu, dropout, head), err);
}

static Module *adapted_new(Rng *rng, Error *err)
{
    Module *net = net_new(rng, err);
    if (lk_add_lora(net, &(LoRAConfig){ .rank = 4, .alpha = 8 }, rng, err) > 0) return net;
    lk_free(net);
    return NULL;
}

static Module *merged_new(Rng *rng, Error *err)
{
    return lk_linear_with_lora_merged_new(lk_linear_new(WIDTH, WIDTH, true, rng, err), 4, 2, rng,
                                          err);
}

/* A kept value that is computed from another kept value. */
static Module *nested_new(Rng *rng, Error *err)
{
    Module *linear = lk_linear_new(WIDTH, WIDTH, true, rng, err);
    Module *lora = lk_lora_parametrization_new(WIDTH, WIDTH, WIDTH, 4, rng, err);
    if (lk_register_parametrization(lora, "lora_B", lk_symmetric_new(err), err) &&
        lk_register_parametrization(linear, "weight", lora, err))
        return linear;
    lk_free(linear);
    return NULL;
}

static Module *roberta_new(Rng *rng, Error *err)
{
    RobertaConfig c = lk_roberta_base;
    c.vocab_size = 32, c.hidden_size = WIDTH, c.num_hidden_layers = 2;
    c.num_attention_heads = 2, c.intermediate_size = WIDTH, c.max_position_embeddings = 16;
    Module *m = lk_roberta_classifier_new(&c, err);
    if (m && lk_roberta_fill(m, rng, err) &&
        lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 4 }, rng, err) > 0)
        return m;
    lk_free(m);
    return NULL;
}

static Tensor *read_floats(Tape *t, Module *m)
{
    return lk_forward(t, m, lk_full(t, LK_F32, LK_SHAPE(3, WIDTH), 0.25));
}

static Tensor *read_tokens(Tape *t, Module *m)
{
    Tensor *ids = lk_reshape(t, lk_arange(t, 0, 12), LK_SHAPE(2, 6));
    return lk_roberta_logits(t, m, ids, NULL);
}

static const struct Subject {
    const char *name;
    Module *(*make)(Rng *rng, Error *err);
    Tensor *(*read)(Tape *t, Module *m);
} subjects[] = {
    { "a net with adapters", adapted_new, read_floats },
    { "LinearWithLoRAMerged", merged_new, read_floats },
    { "a parametrization in a parametrization", nested_new, read_floats },
    { "RoBERTa with adapters", roberta_new, read_tokens },
};

/* ---- readers -------------------------------------------------------------------------------- */

typedef struct Reader {
    const struct Subject *subject;
    Module *model;           /* shared */
    pthread_barrier_t *gate; /* all begin at once */
    Tensor *result;
    bool same; /* the second reading gave the bits of the first one */
    Error err;
} Reader;

static void *read_model(void *arg)
{
    Reader *r = arg;
    Tape *t = lk_tape_quiet_new(&r->err);
    lk_tape_set_grad(t, false);
    if (r->gate) pthread_barrier_wait(r->gate);
    lk_eval(r->model); /* it is in this mode already */
    r->result = lk_clone(r->subject->read(t, r->model), &r->err);
    lk_tape_reset(t);
    r->same = lk_equal(r->subject->read(t, r->model), r->result);
    lk_tape_ok(t, &r->err);
    lk_tape_free(t);
    return NULL;
}

/* Whether four threads read what one thread reads from a copy. */
static bool read_together(const struct Subject *subject, Module *model, Error *err)
{
    Reader alone = { .subject = subject, .model = lk_deepcopy(model, err) }, readers[READERS];
    pthread_t thread[READERS];
    pthread_barrier_t gate;
    read_model(&alone);
    pthread_barrier_init(&gate, NULL, READERS);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (Reader){ .subject = subject, .model = model, .gate = &gate };
        if (pthread_create(&thread[i], NULL, read_model, &readers[i]) != 0) abort();
    }
    bool ok = alone.same;
    for (int i = 0; i < READERS; i++) {
        pthread_join(thread[i], NULL);
        ok = ok && readers[i].same && lk_equal(readers[i].result, alone.result);
        lk_error_pass(err, readers[i].err.code ? &readers[i].err : NULL);
        lk_free(readers[i].result);
    }
    pthread_barrier_destroy(&gate);
    lk_free(alone.result);
    lk_free(alone.model);
    return ok;
}

static void test_readers(const struct Subject *subject)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 1);
    Module *model = subject->make(&rng, &err);
    bool ok = model;
    lk_eval(model);
    for (int round = 0; ok && round < ROUNDS; round++) {
        for (ParamIter it = lk_params(model); lk_params_next(&it);)
            if (lk_is_floating(it.tensor->dtype)) lk_normal_(it.tensor, 0, 0.5, &rng);
        ok = read_together(subject, model, &err);
    }
    verdict(ok, subject->name, &err);
    lk_free(model);
}

/* ---- trainings ------------------------------------------------------------------------------ */

typedef struct Training {
    const Dataset *data; /* shared */
    Module *model;
    bool ok;
    Error err;
} Training;

static Tensor *loss_of(Tape *t, void *model, const TrainerBatch *b, Tensor **logits)
{
    Tensor *y = lk_forward(t, model, b->x);
    if (logits) *logits = y;
    return lk_cross_entropy(t, y, b->labels);
}

static void *train(void *arg)
{
    Training *run = arg;
    Rng rng;
    lk_manual_seed(&rng, 7);
    run->model = adapted_new(&rng, &run->err);
    DataLoader *loader = lk_loader_new(run->data, 8, true, &rng, &run->err);
    TrainerAccuracy accuracy = lk_trainer_accuracy();
    Trainer tr = { .args = lk_trainer_defaults(),
                   .model = run->model,
                   .rng = &rng,
                   .t = lk_tape_quiet_new(&run->err),
                   .loss = loss_of,
                   .user = run->model,
                   .train = lk_loader_batches(loader),
                   .eval = lk_loader_batches(loader),
                   .metrics = &accuracy.base };
    tr.args.learning_rate = 1e-2;
    tr.args.eval_steps = LK_EVERY_EPOCH;
    run->ok = lk_trainer_train(&tr, &run->err);
    lk_trainer_free(&tr);
    lk_loader_free(loader);
    lk_tape_free(tr.t);
    return NULL;
}

static bool same_parameters(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    while (lk_params_next(&p) && lk_params_next(&q))
        if (!lk_equal(p.tensor, q.tensor)) return false;
    return true;
}

static Dataset *data_new(Error *err)
{
    Rng rng;
    lk_manual_seed(&rng, 3);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(SAMPLES, WIDTH), err);
    Tensor *y = lk_tensor_new(LK_I64, LK_SHAPE(SAMPLES), err);
    lk_normal_(x, 0, 1, &rng);
    for (int i = 0; i < SAMPLES; i++) ((int64_t *)y->data)[i] = i % CLASSES;
    return lk_dataset_new(x, y, LK_TO_TENSOR, err);
}

static void test_trainings(void)
{
    Error err = { 0 };
    Dataset *data = data_new(&err);
    Training alone = { .data = data }, runs[TRAINERS];
    pthread_t thread[TRAINERS];
    train(&alone);
    for (int i = 0; i < TRAINERS; i++) {
        runs[i] = (Training){ .data = data };
        if (pthread_create(&thread[i], NULL, train, &runs[i]) != 0) abort();
    }
    bool ok = alone.ok;
    for (int i = 0; i < TRAINERS; i++) {
        pthread_join(thread[i], NULL);
        ok = ok && runs[i].ok && same_parameters(runs[i].model, alone.model);
        lk_error_pass(&err, runs[i].err.code ? &runs[i].err : NULL);
        lk_free(runs[i].model);
    }
    verdict(ok, "two trainings on one dataset", &err);
    lk_free(alone.model);
    lk_dataset_free(data);
}

int main(int argc, char **argv)
{
    const double end = lk_seconds() + (argc > 1 ? atof(argv[1]) : 0);
    lk_set_num_threads(2); /* in each of the threads */
    do {
        for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) test_readers(&subjects[i]);
        test_trainings();
    } while (failed == 0 && lk_seconds() < end);
    printf("tally: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
