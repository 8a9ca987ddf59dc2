/* transformer.c - W4: steps and inference of RoBERTa-base (125 million parameters) with random
 * weights, 32 sentences of 32 tokens, as examples/roberta/roberta_sst2.c makes them. */
#include <stdlib.h>

#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/frozen.h"
#include "nn/lora_wrap.h"
#include "nn/models/roberta.h"
#include "optim/optimizer.h"

#include "tests/bench/bench.h"

enum { SENTENCES = 32, TOKENS = 32 };
typedef enum Kind { LORA, FULL, INFERENCE } Kind;
/* How a Workload's kind names a step and the dtype of its frozen base (nn/frozen.h). */
#define ON_BASE(kind, dtype) ((kind) | (int)(dtype) << 2)
static Kind kind_of(int kind) { return (Kind)(kind & 3); }
static DType base_of(int kind) { return (DType)(kind >> 2); }

typedef struct Task {
    Tape *t;
    Module *model;
    Optimizer *opt;
    Tensor *ids, *labels;
    Error err;
} Task;

static void train_step(void *state)
{
    Task *k = state;
    Tensor *loss =
        lk_cross_entropy(k->t, lk_roberta_logits(k->t, k->model, k->ids, NULL), k->labels);
    lk_optimizer_zero_grad(k->opt);
    if (!lk_backward(k->t, loss) || !lk_step(k->opt, &k->err)) return;
    lk_tape_reset(k->t);
}

static void infer(void *state)
{
    Task *k = state;
    lk_roberta_logits(k->t, k->model, k->ids, NULL);
    lk_tape_reset(k->t);
}

/* The layers' products: forward, dx, and dW where weights are trained. Of the last layer only k
 * and v need all tokens; below the first one dx is not needed while the embeddings are frozen. */
static double flops_of(Kind kind)
{
    const RobertaConfig *c = &lk_roberta_base;
    double width = (double)c->hidden_size, wide = (double)c->intermediate_size,
           layers = (double)c->num_hidden_layers;
    double square = width * width, weights = 4.0 * square + 2.0 * width * wide,
           attention = 2.0 * TOKENS * width;
    double forward = (layers - 1.0) * (weights + attention) + 2.0 * square +
                     (weights - 2.0 * square + attention) / TOKENS;
    double lora = 8.0 * layers * (8.0 * width + 2.0 * (width + wide)), multiply_adds = forward;
    if (kind == LORA) multiply_adds = 2.0 * forward - 3.0 * square + 3.0 * lora;
    if (kind == FULL) multiply_adds = 3.0 * forward;
    return 2.0 * SENTENCES * TOKENS * multiply_adds;
}

static bool prepare(Task *k, Kind kind, DType base, Error *err)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    k->t = lk_tape_quiet_new(err); /* main prints the message, once */
    if (!k->t) return false;
    k->ids = lk_clone(
        lk_randint(k->t, &rng, 5, lk_roberta_base.vocab_size, LK_SHAPE(SENTENCES, TOKENS)), err);
    k->labels = lk_clone(lk_randint(k->t, &rng, 0, 2, LK_SHAPE(SENTENCES)), err);
    k->model = k->labels ? lk_roberta_classifier_new(&lk_roberta_base, err) : NULL;
    if (!k->model) return false;
    if (base != LK_F32) {
        lk_require_grad(k->model, "*", false);
        if (lk_store_frozen(k->model, base, err) < 0) return false;
    }
    if (!lk_roberta_fill(k->model, &rng, err)) return false;
    if (kind == INFERENCE) {
        lk_eval(k->model);
        lk_tape_set_grad(k->t, false);
        return true;
    }
    if (kind == LORA) {
        lk_require_grad(k->model, "*", false);
        if (lk_wrap_lora(k->model, NULL, 8, 16, &rng, err) < 0) return false;
    }
    k->opt = lk_adamw_new(lk_trainable_parameters(k->model, err), 5e-5, err);
    return k->opt;
}

static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Task k = { 0 };
    Kind kind = kind_of(w->kind);
    r->flops = flops_of(kind);
    bool ok = prepare(&k, kind, base_of(w->kind), err);
    if (ok) bench_time(b, kind == INFERENCE ? infer : train_step, &k, r);
    ok = (!k.t || lk_tape_ok(k.t, err)) && ok;
    if (k.err.code != LK_OK) ok = lk_error_set(err, k.err.code, "%s", k.err.message);
    lk_optimizer_free(k.opt);
    lk_free(k.model);
    lk_free(k.labels);
    lk_free(k.ids);
    lk_tape_free(k.t);
    return ok;
}

const Workload bench_transformer[] = {
    { "W4_lora",
      "RoBERTa-base, 32 x 32 tokens: LoRA step, rank 8 on all 74 Linears",
      run,
      NO_LIMIT,
      { 0 },
      LORA },
    { "W4_full", "the same: step of all parameters", run, NO_LIMIT, { 0 }, FULL },
    { "W4_infer", "the same: logits, no gradients", run, NO_LIMIT, { 0 }, INFERENCE },
    { "W4_lora_bf16",
      "the LoRA step on a base in bfloat16",
      run,
      NO_LIMIT,
      { 0 },
      ON_BASE(LORA, LK_BF16) },
    { "W4_infer_bf16",
      "its logits, no gradients",
      run,
      NO_LIMIT,
      { 0 },
      ON_BASE(INFERENCE, LK_BF16) },
    { "W4_lora_int8",
      "the LoRA step on a base in int8",
      run,
      NO_LIMIT,
      { 0 },
      ON_BASE(LORA, LK_QI8) },
    { "W4_infer_int8",
      "its logits, no gradients",
      run,
      NO_LIMIT,
      { 0 },
      ON_BASE(INFERENCE, LK_QI8) },
    { .name = NULL },
};
