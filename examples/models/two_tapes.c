/* two_tapes - two threads train two nets at the same time, each on a tape of its own.
 *
 * A tape, a generator, a net and an optimizer belong to one thread. Nothing else is shared, so no
 * lock is needed. In the end both nets are compared with nets that were trained one after the
 * other: they are the same, bit for bit. */
#include <pthread.h>

#include "core/decimal.h"
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

enum { SAMPLES = 256, FEATURES = 8, HIDDEN = 32, WORKERS = 2 };

typedef struct Options {
    int64_t seed, steps;
    double lr;
} Options;

static const CliOption options[] = {
    CLI_SEED(Options),
    CLI_INT("steps", Options, steps, "N", 1, 1e6, "steps of each training"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_END,
};

/* All that a thread has. */
typedef struct Worker {
    const Options *o;
    uint64_t seed;
    Module *net;        /* made by the thread */
    double first, last; /* losses */
    bool ok;
    Error err;
} Worker;

static Module *net_new(Rng *rng, Error *err)
{
    Module *hidden = lk_linear_new(FEATURES, HIDDEN, true, rng, err);
    Module *head = lk_linear_new(HIDDEN, 1, true, rng, err);
    return lk_sequential_new(LK_MODULES(hidden, lk_tanh_new(err), head), err);
}

/* Learns the product of the first two features. */
static bool train(Worker *w, Tape *t, Optimizer *opt, Tensor *x)
{
    bool ok = true;
    for (int64_t step = 0; ok && step < w->o->steps; step++) {
        Tensor *y = lk_mul(t, lk_slice(t, x, 1, 0, 1, 1), lk_slice(t, x, 1, 1, 2, 1));
        Tensor *loss = lk_mse_loss(t, lk_forward(t, w->net, x), y);
        lk_optimizer_zero_grad(opt);
        ok = lk_backward(t, loss) && lk_step(opt, &w->err);
        if (ok && step == 0) w->first = lk_item(loss);
        if (ok) w->last = lk_item(loss);
        lk_tape_reset(t);
    }
    return ok && lk_tape_ok(t, &w->err);
}

static void *work(void *arg)
{
    Worker *w = arg;
    Rng rng;
    lk_manual_seed(&rng, w->seed);
    Tape *t = lk_tape_quiet_new(&w->err);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(SAMPLES, FEATURES), &w->err);
    if (x) lk_normal_(x, 0, 1, &rng);
    w->net = net_new(&rng, &w->err);
    Optimizer *opt = lk_adam_new(lk_parameters(w->net, &w->err), w->o->lr, &w->err);
    w->ok = t && x && opt && train(w, t, opt, x);
    lk_optimizer_free(opt);
    lk_free(x);
    lk_tape_free(t);
    return NULL;
}

static bool same(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    while (lk_params_next(&p) && lk_params_next(&q))
        if (!lk_equal(p.tensor, q.tensor)) return false;
    return true;
}

/* Runs the workers together, and then again one after the other. */
static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    (void)t, (void)rng; /* of the main thread, which computes nothing */
    const Options *o = chosen;
    Worker together[WORKERS] = { { 0 } }, alone[WORKERS] = { { 0 } };
    pthread_t thread[WORKERS];
    bool ok = true, equal = true;
    int started = 0;
    for (int i = 0; i < WORKERS; i++)
        together[i] = alone[i] = (Worker){ .o = o, .seed = (uint64_t)(o->seed + i) };
    while (started < WORKERS &&
           pthread_create(&thread[started], NULL, work, &together[started]) == 0)
        started++;
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    if (started < WORKERS) ok = lk_error_set(err, LK_EMEMORY, "cannot start thread %d", started);
    for (int i = 0; ok && i < WORKERS; i++) {
        work(&alone[i]);
        const Worker *w = &together[i];
        if (!w->ok) ok = lk_error_set(err, w->err.code, "thread %d: %s", i, w->err.message);
        if (!ok) break;
        lk_printf("thread %d: loss %.3f -> %.3f\n", i, w->first, w->last);
        equal = equal && alone[i].ok && same(w->net, alone[i].net);
    }
    if (ok) cli_line();
    if (ok) cli_verify(&ok, equal, "the nets equal those trained one after the other, bit by bit");
    for (int i = 0; i < WORKERS; i++) {
        lk_free(together[i].net);
        lk_free(alone[i].net);
    }
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "two_tapes",
                                 .about = "Trains two nets in two threads, each on its own tape.",
                                 .options = options };
    Options o = { .steps = 300, .lr = 0.01 };
    return cli_main(&program, argc, argv, &o, run);
}
