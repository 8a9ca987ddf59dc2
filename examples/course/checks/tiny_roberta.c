/* tiny_roberta.c - see tiny_roberta.h. */
#include "examples/course/checks/tiny_roberta.h"

#include <math.h>
#include <string.h>

#include "nn/models/roberta.h"

enum { PAD = 1, BEGIN = 0, END = 2, FIRST_WORD = 4, WORDS = 10 };

Module *tiny_roberta(Exam *e, uint64_t seed, double dropout)
{
    const RobertaConfig config = {
        .vocab_size = FIRST_WORD + WORDS,
        .hidden_size = TINY_HIDDEN,
        .num_hidden_layers = TINY_LAYERS,
        .num_attention_heads = 3,
        .intermediate_size = TINY_WIDE,
        .max_position_embeddings = TINY_TOKENS + 2,
        .type_vocab_size = 1,
        .num_labels = 2,
        .pad_token_id = PAD,
        .bos_token_id = BEGIN,
        .eos_token_id = END,
        .hidden_dropout_prob = dropout,
        .attention_probs_dropout_prob = dropout,
        .layer_norm_eps = 1e-5,
        .initializer_range = 0.2, /* the usual 0.02 is made for 768 columns */
        .classifier_dropout = NAN,
    };
    Rng rng;
    lk_manual_seed(&rng, seed);
    Module *m = exam_own(e, lk_roberta_classifier_new(&config, &e->err));
    if (m && lk_roberta_fill(m, &rng, &e->err)) return m;
    exam_fail(e, VERDICT_FAILED, "the checks have no net: %s", e->err.message);
    return NULL;
}

/* (count, TINY_TOKENS) or (count) zeros that the exam owns */
static Tensor *zeros(Exam *e, DType dtype, int ndim, int64_t count)
{
    return exam_own_tensor(
        e, lk_tensor_new(dtype, ndim, (const int64_t[]){ count, TINY_TOKENS }, &e->err));
}

TrainerBatch tiny_sentences(Exam *e, uint64_t seed, int64_t count)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    TrainerBatch b = {
        .x = zeros(e, LK_I64, 2, count),
        .mask = zeros(e, LK_BOOL, 2, count),
        .labels = zeros(e, LK_I64, 1, count),
    };
    if (!b.x || !b.mask || !b.labels) {
        exam_fail(e, VERDICT_FAILED, "the checks have no sentences: %s", e->err.message);
        return (TrainerBatch){ 0 };
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t *ids = (int64_t *)b.x->data + i * TINY_TOKENS, high = 0;
        bool *mask = (bool *)b.mask->data + i * TINY_TOKENS;
        int64_t words = i % 2 ? 3 : 5; /* odd, so that one kind wins */
        for (int64_t k = 0; k < TINY_TOKENS; k++) {
            int64_t word = lk_random_int(&rng, 0, WORDS);
            ids[k] = PAD;
            if (k == 0) ids[k] = BEGIN;
            else if (k <= words) ids[k] = FIRST_WORD + word;
            else if (k == words + 1) ids[k] = END;
            mask[k] = ids[k] != PAD;
            high += k > 0 && k <= words && word >= WORDS / 2;
        }
        ((int64_t *)b.labels->data)[i] = 2 * high > words;
    }
    return b;
}

Matrix tiny_logits(Exam *e, Module *model, const TrainerBatch *b)
{
    if (!model || !b->x || e->failed) return (Matrix){ 0 };
    bool training = model->training, grad = lk_tape_set_grad(e->t, false);
    lk_eval(model);
    Matrix logits = matrix_of(e, lk_roberta_logits(e->t, model, b->x, b->mask));
    lk_train(model, training);
    lk_tape_set_grad(e->t, grad);
    exam_expect(e, logits.v, VERDICT_FAILED, "the net does not compute: %s",
                lk_tape_error(e->t)->message);
    return logits;
}

double plain_loss(Matrix logits, const TrainerBatch *b)
{
    double sum = 0.0;
    int64_t counted = 0;
    for (int64_t i = 0; i < logits.rows; i++) {
        int64_t label = ((const int64_t *)b->labels->data)[i];
        const double *row = logits.v + i * logits.columns;
        if (label < 0) continue;
        counted++;
        for (int64_t k = 0, n = logits.columns; k < n; k++) sum += k == label ? -row[k] : 0.0;
        double largest = fmax(row[0], row[1]);
        sum += largest + log(exp(row[0] - largest) + exp(row[1] - largest));
    }
    return sum / (double)counted;
}

double plain_accuracy(Matrix logits, const TrainerBatch *b)
{
    int64_t right = 0, counted = 0;
    for (int64_t i = 0; i < logits.rows; i++) {
        int64_t label = ((const int64_t *)b->labels->data)[i];
        const double *row = logits.v + i * logits.columns;
        if (label < 0) continue;
        counted++;
        right += (row[1] > row[0]) == label;
    }
    return (double)right / (double)counted;
}

/* ---- names ---------------------------------------------------------------------------------- */

Matrix params_that(Exam *e, Module *m, NameFact *fact)
{
    int64_t count = 0, i = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) count++;
    Matrix row = matrix_zeros(e, 1, count);
    if (row.v)
        for (ParamIter it = lk_params(m); lk_params_next(&it);)
            row.v[i++] = fact(it.name, it.tensor);
    return row;
}

bool name_ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

bool is_trainable(const char *name, const Tensor *x)
{
    (void)name;
    return x->requires_grad;
}

bool is_lora_only(const char *name, const Tensor *x)
{
    (void)x;
    return strstr(name, ".lora.") != NULL;
}

bool is_classifier_only(const char *name, const Tensor *x)
{
    return !strncmp(name, "classifier.", 11) && !is_lora_only(name, x);
}

bool is_adapter(const char *name, const Tensor *x)
{
    return is_lora_only(name, x) || is_classifier_only(name, x);
}

bool is_any(const char *name, const Tensor *x)
{
    (void)name;
    (void)x;
    return true;
}
