/* roberta_net.h - a small RoBERTa, with all its matrices, and sentences for it; for the tests of
 * the model. The model's sources are part of the test, so that their memory is counted. */
#ifndef ROBERTA_NET_H
#define ROBERTA_NET_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ops.h"
#include "data/safetensors.h"
#include "nn/models/roberta.h"
#include "nn/lora_wrap.h"
#include "nn/models/roberta_modules.h"
#include "optim/optimizer.h"
#include "tests/check.h"
#include "tests/fixtures/roberta.h"

enum { ROWS = 4, LENGTH = 8 };
static const RobertaConfig small = {
    .vocab_size = 50,
    .hidden_size = 16,
    .num_hidden_layers = 3,
    .num_attention_heads = 4,
    .intermediate_size = 24,
    .max_position_embeddings = 14,
    .type_vocab_size = 1,
    .num_labels = 2,
    .pad_token_id = 1,
    .bos_token_id = 0,
    .eos_token_id = 2,
    .hidden_dropout_prob = 0.1,
    .attention_probs_dropout_prob = 0.1,
    .layer_norm_eps = 1e-5,
    .initializer_range = 0.02,
    .classifier_dropout = NAN,
};

/* Draws every parameter from one stream of uniform numbers, as make_roberta.py does. */
static inline void draw(Module *model, uint64_t seed)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
        bool norm = strstr(it.name, "LayerNorm.weight") || strstr(it.name, "layer_norm.weight");
        check(lk_uniform_(it.tensor, norm ? 1 - 0.25 : -0.3, norm ? 1 + 0.25 : 0.3, &rng));
    }
}

/* A model with all its matrices, in eval mode. */
static inline Module *small_model(bool masked_lm, int64_t rank)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = masked_lm ? lk_roberta_masked_lm_new(&small, &err)
                          : lk_roberta_classifier_new(&small, &err);
    check(m && lk_roberta_fill(m, &rng, &err), "%s", err.message);
    if (rank) check(lk_wrap_lora(m, NULL, rank, 1.75, &rng, &err) == 20, "%s", err.message);
    lk_eval(m);
    return m;
}

static inline Tensor *small_ids(void)
{
    Error err = { 0 };
    Tensor *ids = lk_tensor_from_new(LK_I64, LK_SHAPE(ROWS, LENGTH), roberta_ids, &err);
    check_no_error(&err);
    return ids;
}

static inline Tensor *mask_of(Tape *t, Tensor *ids)
{
    return lk_ne(t, ids, lk_full(t, LK_I64, LK_SCALAR, 1));
}

#endif
