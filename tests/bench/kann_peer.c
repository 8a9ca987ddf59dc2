/* kann_peer.c - the training steps that kann can do too (github.com/attractivechaos/kann, by -D
 * KANN_DIR): the same nets, batches and JSON as in bench. kann steps by RMSprop, which has one
 * moment less than Adam. */
#include <stdlib.h>

#include <kann.h>

#include "tests/bench/bench.h"

/* OpenBLAS has its own threads; each of kann's computes a part of the batch. */
void openblas_set_num_threads(int n) __attribute__((weak));

enum { PIXELS = 28 * 28, CLASSES = 10, LAYERS_MAX = 3 };

typedef struct Task {
    kann_t *net;
    int variables;
    float *x, *labels, *moment;
} Task;

static float random_pixel(void) { return (float)(rand() % 256) / 255.0f; }

/* Linear, ReLU, Linear, …: size[0] is the batch, then come the widths. */
static kann_t *mlp_new(const Workload *w)
{
    kad_node_t *t = kann_layer_input(PIXELS);
    for (int i = 1; i < LAYERS_MAX && w->size[i + 1] > 0; i++)
        t = kad_relu(kann_layer_dense(t, (int)w->size[i]));
    return kann_new(kann_layer_cost(t, CLASSES, KANN_C_CEM), 0);
}

static kann_t *lenet_new(void)
{
    kad_node_t *t = kad_feed(4, 1, 1, 28, 28);
    t->ext_flag |= KANN_F_IN;
    t = kad_max2d(kad_relu(kann_layer_conv2d(t, 6, 5, 5, 1, 1, 2, 2)), 2, 2, 2, 2, 0, 0);
    t = kad_max2d(kad_relu(kann_layer_conv2d(t, 16, 5, 5, 1, 1, 0, 0)), 2, 2, 2, 2, 0, 0);
    t = kad_relu(kann_layer_dense(kad_relu(kann_layer_dense(t, 120)), 84));
    return kann_new(kann_layer_cost(t, CLASSES, KANN_C_CEM), 0);
}

static void train_step(void *state)
{
    Task *k = state;
    kann_cost(k->net, 0, 1);
    kann_RMSprop(k->variables, 0.001f, NULL, 0.9f, k->net->g, k->net->x, k->moment);
}

static bool run_step(const Bench *b, const Workload *w, Result *r, Error *err)
{
    const int batch = (int)w->size[0];
    kann_srand(1);
    Task k = { .net = w->kind ? lenet_new() : mlp_new(w) };
    k.variables = kann_size_var(k.net);
    k.x = malloc(sizeof *k.x * (size_t)batch * PIXELS);
    k.labels = calloc((size_t)batch * CLASSES, sizeof *k.labels);
    k.moment = calloc((size_t)k.variables, sizeof *k.moment);
    const bool ok = k.x && k.labels && k.moment;
    if (ok) {
        for (int i = 0; i < batch * PIXELS; i++) k.x[i] = random_pixel();
        for (int i = 0; i < batch; i++) k.labels[i * CLASSES + rand() % CLASSES] = 1;
        if (openblas_set_num_threads) openblas_set_num_threads(1);
        if (b->threads > 1) kann_mt(k.net, b->threads, batch);
        kann_set_batch_size(k.net, batch);
        kann_feed_bind(k.net, KANN_F_IN, 0, &k.x);
        kann_feed_bind(k.net, KANN_F_TRUTH, 0, &k.labels);
        kann_switch(k.net, 1);
        bench_time(b, train_step, &k, r);
    }
    kann_delete(k.net);
    free(k.x);
    free(k.labels);
    free(k.moment);
    return ok || lk_error_set(err, LK_EMEMORY, "kann_peer: no memory");
}

static const Workload steps[] = {
    { "W1_full", "784-128-64-10, batch 64", run_step, NO_LIMIT, { 64, 128, 64, 10 }, 0 },
    { "W2_full", "784-1000-2000-10, batch 10", run_step, NO_LIMIT, { 10, 1000, 2000, 10 }, 0 },
    { "LeNet", "two convolutions, three Linears, batch 64", run_step, NO_LIMIT, { 64 }, 1 },
    { .name = NULL },
};

const char *const bench_name = "kann_peer";
const Workload *const bench_tables[] = { steps, NULL };

const char *bench_kernels(Error *err)
{
    (void)err;
    return "kann " KANN_VERSION;
}
