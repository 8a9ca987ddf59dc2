/* recurrent.c - forward and backward of one layer of an LSTM and of a GRU, 128 → 128, over 64
 * steps of a batch of 32: all gradients, that of the input too. */
#include "core/ops.h"

#include "tests/bench/bench.h"

enum { STEPS = 64, BATCH = 32, WIDTH = 128, LEAVES = 5 };
typedef enum Kind { LSTM, GRU } Kind;

typedef struct Task {
    Tape *t;
    Kind kind;
    Tensor *leaf[LEAVES], *dy; /* x, both weights, both biases */
} Task;

static void step(void *state)
{
    Task *k = state;
    Tensor **x = k->leaf, *y;
    for (int i = 0; i < LEAVES; i++) lk_zero_grad_(x[i]);
    const SequenceOptions o = { 0 };
    if (k->kind == GRU) y = lk_gru(k->t, x[0], NULL, x[1], x[2], x[3], x[4], o, NULL);
    else y = lk_lstm(k->t, x[0], NULL, NULL, x[1], x[2], x[3], x[4], o, NULL, NULL);
    if (lk_backward_with(k->t, y, k->dy, false)) lk_tape_reset(k->t);
}

static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Rng rng;
    Task k = { .kind = (Kind)w->kind };
    const int64_t wide = (k.kind == GRU ? 3 : 4) * WIDTH;
    const int64_t shape[LEAVES][3] = {
        { STEPS, BATCH, WIDTH }, { wide, WIDTH }, { wide, WIDTH }, { wide }, { wide }
    };
    const int dims[LEAVES] = { 3, 2, 2, 1, 1 };
    lk_manual_seed(&rng, 0);
    k.t = lk_tape_quiet_new(err); /* main prints the message, once */
    k.dy = lk_tensor_new(LK_F32, 3, shape[0], err);
    bool ok = k.t && k.dy;
    for (int i = 0; ok && i < LEAVES; i++) {
        k.leaf[i] = lk_param_new(LK_F32, dims[i], shape[i], err);
        ok = k.leaf[i] != NULL;
        if (ok) lk_uniform_(k.leaf[i], -0.088, 0.088, &rng);
    }
    if (ok) lk_uniform_(k.dy, -1, 1, &rng);
    r->flops = 2.0 * 3 * STEPS * BATCH * (double)wide * 2 * WIDTH;
    if (ok) bench_time(b, step, &k, r);
    ok = (!k.t || lk_tape_ok(k.t, err)) && ok;
    for (int i = 0; i < LEAVES; i++) lk_tensor_free(k.leaf[i]);
    lk_tensor_free(k.dy);
    lk_tape_free(k.t);
    return ok;
}

const Workload bench_recurrent[] = {
    { "W_lstm",
      "LSTM 128 -> 128, 64 steps of 32: forward and backward",
      run,
      NO_LIMIT,
      { 0 },
      LSTM },
    { "W_gru", "GRU 128 -> 128, 64 steps of 32: forward and backward", run, NO_LIMIT, { 0 }, GRU },
    { .name = NULL },
};
