/* roberta.c - the computation of a RoBERTa: embeddings, layers, two heads. Its modules:
 * nn/models/roberta_modules.c; its files: data/roberta_files.c.
 *
 * A module's forward takes one tensor, but here every layer needs the mask too. So functions of
 * this file go from layer to layer, called with lk_forward_with. Only the leaves (Linear,
 * Embedding, LayerNorm) and modules that wrap them are called through lk_forward. */
#include "nn/models/roberta.h"

#include "core/ops.h"
#include "nn/models/roberta_modules.h"

/* ---- embeddings ----------------------------------------------------------------------------- */

/* Returns m as an Embedding whose table is read; NULL, with the reason on t, when it is none. */
static Embedding *table(Tape *t, Module *m)
{
    Embedding *e = lk_as_embedding(m);
    if (!e)
        lk_fail(t, LK_EVALUE,
                "roberta: %s is in the place of an Embedding whose table is read; lk_add_lora "
                "adapts the Embedding itself",
                m ? m->type->name : "NULL");
    return e;
}

/* pad + 1, pad + 2, … for the real tokens of each row; pads keep the place `pad`, whose embedding
 * is 0. */
static Tensor *position_ids(Tape *t, const RobertaEmbeddings *e, Tensor *ids)
{
    int64_t rows = ids->shape[0], n = ids->shape[1], pad = e->padding_idx;
    Tensor *packed = lk_contiguous(t, ids), *y = lk_zeros(t, LK_I64, LK_SHAPE(rows, n));
    const Embedding *places = table(t, e->position_embeddings);
    if (!packed || !y || !places) return NULL;
    int64_t room = places->num_embeddings;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t *id = (const int64_t *)packed->data + r * n;
        int64_t *place = (int64_t *)y->data + r * n, last = pad;
        for (int64_t i = 0; i < n; i++) place[i] = id[i] == pad ? pad : ++last;
        if (last >= room)
            return lk_fail(
                t, LK_ESHAPE,
                "roberta: row %lld has %lld tokens, and there are positions for %lld only; "
                "truncate it",
                (long long)r, (long long)(last - pad), (long long)(room - pad - 1));
    }
    return y;
}

/* dropout(LayerNorm(word + type 0 + position)) */
static Tensor *embed(Tape *t, Module *self, Tensor *ids)
{
    RobertaEmbeddings *e = (RobertaEmbeddings *)self;
    Embedding *kind = table(t, e->token_type_embeddings);
    if (!kind) return NULL;
    Tensor *type = lk_select(t, lk_param(t, e->token_type_embeddings, &kind->weight), 0, 0);
    if (type && lk_only_stores(type->dtype)) type = lk_to(t, type, LK_F32);
    Tensor *x = lk_add(t, lk_forward(t, e->word_embeddings, ids), type);
    x = lk_add(t, x, lk_forward(t, e->position_embeddings, position_ids(t, e, ids)));
    return lk_dropout(t, lk_forward(t, e->LayerNorm, x), self->training ? e->dropout : 0);
}

/* ---- layers --------------------------------------------------------------------------------- */

/* LayerNorm(residual + dropout(dense(x))) */
static Tensor *output_of(Tape *t, Module *self, Tensor *x, Tensor *residual)
{
    RobertaOutput *o = (RobertaOutput *)self;
    LayerNorm *norm = (LayerNorm *)o->LayerNorm;
    return lk_residual_norm(t, lk_forward(t, o->dense, x), residual,
                            self->training ? o->dropout : 0,
                            lk_param(t, o->LayerNorm, &norm->weight),
                            lk_param(t, o->LayerNorm, &norm->bias), norm->eps);
}

/* The attention of the first token alone, (B, 1, hidden): one query for each sentence instead of
 * one for each token. */
static Tensor *attend_first(Tape *t, Module *self, Tensor *first, Tensor *x, Tensor *mask)
{
    MultiHeadAttention *a = (MultiHeadAttention *)self;
    Tensor *q = lk_forward(t, a->query, first), *k = lk_forward(t, a->key, x),
           *v = lk_forward(t, a->value, x);
    return lk_attention(t, q, k, v, mask, a->num_heads, self->training ? a->dropout : 0);
}

typedef struct LayerCall {
    RobertaLayer *layer;
    Tensor *mask;
    bool first_only; /* only the first token of the result is used */
} LayerCall;

static Tensor *layer_inside(Tape *t, const void *call, Tensor *x)
{
    const LayerCall *c = call;
    RobertaAttention *attention = (RobertaAttention *)c->layer->attention;
    RobertaIntermediate *intermediate = (RobertaIntermediate *)c->layer->intermediate;
    Tensor *context, *residual = x;
    if (c->first_only) {
        residual = lk_contiguous(t, lk_slice(t, x, 1, 0, 1, 1));
        context = attend_first(t, attention->self, residual, x, c->mask);
    } else {
        context = lk_multi_head_attention(t, attention->self, x, c->mask);
    }
    Tensor *a = output_of(t, attention->output, context, residual);
    Tensor *wide = lk_gelu(t, lk_forward(t, intermediate->dense, a));
    return output_of(t, c->layer->output, wide, a);
}

static Tensor *layer_forward(Tape *t, const void *call, Tensor *x)
{
    return lk_forward_with(t, &((const LayerCall *)call)->layer->base, layer_inside, call, x);
}

/* The last hidden state: (B, S, hidden), or (B, 1, hidden) of the first tokens. */
static Tensor *roberta_forward(Tape *t, Module *self, Tensor *ids, Tensor *mask, bool first_only)
{
    RobertaModel *m = (RobertaModel *)self;
    const RobertaEmbeddings *e = (const RobertaEmbeddings *)m->embeddings;
    const RobertaEncoder *encoder = (const RobertaEncoder *)m->encoder;
    const ModuleArray *layers = &encoder->layer;
    if (!ids) return NULL;
    if (ids->ndim != 2 || ids->dtype != LK_I64 || ids->shape[1] == 0) {
        char text[LK_SHAPE_TEXT];
        return lk_fail(t, LK_ESHAPE,
                       "roberta: ids are %s of %s; they must be (sentences, tokens) of int64",
                       lk_shape_text(ids, text), lk_dtype_name(ids->dtype));
    }
    if (!mask) mask = lk_ne(t, ids, lk_full(t, LK_I64, LK_SCALAR, (double)e->padding_idx));
    /* From here on only x is kept, as long as nothing is recorded: in inference, and below the
     * first trainable layer. */
    TapeMark mark = lk_tape_mark(t);
    Tensor *x = lk_tape_release(t, mark, embed(t, m->embeddings, ids));
    for (int i = 0; i < layers->count; i++) {
        LayerCall call = { (RobertaLayer *)layers->items[i], mask,
                           first_only && i == layers->count - 1 };
        bool again = encoder->recompute && lk_tape_grad(t);
        x = again ? lk_recompute(t, layer_forward, &call, sizeof call, x)
                  : layer_forward(t, &call, x);
        x = lk_tape_release(t, mark, x);
    }
    return x;
}

/* ---- whole models: types -------------------------------------------------------------------- */

/* The classifier as a module: the mask is made of the ids. */
static Tensor *classifier_forward(Tape *t, Module *self, Tensor *ids)
{
    return lk_roberta_logits(t, self, ids, NULL);
}

static const Field roberta_fields[] = { LK_CHILD(Roberta, roberta), LK_CHILD(Roberta, classifier),
                                        LK_CHILD(Roberta, lm_head), LK_END };
static const ModuleType classifier_type = { .name = "RobertaForSequenceClassification",
                                            .size = sizeof(Roberta),
                                            .forward = classifier_forward,
                                            .fields = roberta_fields };
static const ModuleType masked_lm_type = { .name = "RobertaForMaskedLM",
                                           .size = sizeof(Roberta),
                                           .fields = roberta_fields };

/* ---- heads ---------------------------------------------------------------------------------- */

/* out_proj(dropout(tanh(dense(dropout(x))))) of the first token */
static Tensor *classify(Tape *t, Module *self, Tensor *x)
{
    RobertaClassificationHead *h = (RobertaClassificationHead *)self;
    double p = self->training ? h->dropout : 0;
    Tensor *y = lk_tanh(t, lk_forward(t, h->dense, lk_dropout(t, x, p)));
    return lk_forward(t, h->out_proj, lk_dropout(t, y, p));
}

static Roberta *expect(Tape *t, Module *model, const ModuleType *type, const char *function)
{
    if (model && model->type == type) return (Roberta *)model;
    return lk_fail(t, LK_EVALUE, "%s: takes a %s, not %s", function, type->name,
                   model ? model->type->name : "NULL");
}

/* The arguments of a whole model beside the ids. */
typedef struct ModelCall {
    Roberta *model;
    Tensor *mask, *rows, *tokens;
} ModelCall;

static Tensor *logits(Tape *t, const void *call, Tensor *ids)
{
    const ModelCall *c = call;
    Tensor *x = roberta_forward(t, c->model->roberta, ids, c->mask, true);
    return x ? classify(t, c->model->classifier, lk_view(t, x, LK_SHAPE(x->shape[0], x->shape[2])))
             : NULL;
}

Tensor *lk_roberta_logits(Tape *t, Module *classifier, Tensor *ids, Tensor *mask)
{
    Roberta *m = expect(t, classifier, &classifier_type, "lk_roberta_logits");
    return m ? lk_forward_with(t, classifier, logits, &(ModelCall){ m, .mask = mask }, ids) : NULL;
}

/* word_embeddings(LayerNorm(gelu(dense(x)))) + bias, the embedding used as a matrix (hidden →
 * vocabulary) */
static Tensor *token_logits(Tape *t, const void *call, Tensor *ids)
{
    const ModelCall *c = call;
    Roberta *m = c->model;
    Tensor *x = roberta_forward(t, m->roberta, ids, c->mask, false);
    if (!x) return NULL;
    RobertaLMHead *head = (RobertaLMHead *)m->lm_head;
    Module *words =
        ((RobertaEmbeddings *)((RobertaModel *)m->roberta)->embeddings)->word_embeddings;
    x = lk_select_rows(t, lk_view(t, x, LK_SHAPE(-1, x->shape[2])), c->rows);
    x = lk_forward(t, head->layer_norm, lk_gelu(t, lk_forward(t, head->dense, x)));
    Embedding *e = table(t, words);
    if (!e) return NULL;
    Tensor *weight = lk_param(t, words, &e->weight), *bias = lk_param(t, m->lm_head, &head->bias);
    if (c->tokens) {
        weight = lk_select_rows(t, weight, c->tokens);
        bias = lk_select_rows(t, bias, c->tokens);
    }
    return lk_linear(t, x, weight, bias);
}

Tensor *lk_roberta_token_logits(Tape *t, Module *masked_lm, Tensor *ids, Tensor *mask,
                                Tensor *rows, Tensor *tokens)
{
    Roberta *m = expect(t, masked_lm, &masked_lm_type, "lk_roberta_token_logits");
    return m ? lk_forward_with(t, masked_lm, token_logits, &(ModelCall){ m, mask, rows, tokens },
                               ids)
             : NULL;
}

/* ---- whole models: making, settings --------------------------------------------------------- */

static Module *roberta_new(const ModuleType *type, const RobertaConfig *c, Error *err)
{
    if (!lk_roberta_config_check(c, type->name, err)) return NULL;
    Roberta *m = lk_module_new(type, err);
    if (!m) return NULL;
    m->config = *c;
    m->roberta = lk__roberta_model_new(c, err);
    if (m->roberta && type == &classifier_type) m->classifier = lk__roberta_head_new(c, err);
    if (m->roberta && type == &masked_lm_type) m->lm_head = lk__roberta_lm_head_new(c, err);
    if (m->classifier || m->lm_head) return &m->base;
    lk_free(&m->base);
    return NULL;
}

Module *lk_roberta_classifier_new(const RobertaConfig *c, Error *err)
{
    return roberta_new(&classifier_type, c, err);
}

Module *lk_roberta_masked_lm_new(const RobertaConfig *c, Error *err)
{
    return roberta_new(&masked_lm_type, c, err);
}

static const Roberta *as_roberta(const Module *m)
{
    return m && (m->type == &classifier_type || m->type == &masked_lm_type) ? (const Roberta *)m
                                                                            : NULL;
}

const RobertaConfig *lk_roberta_config(const Module *model)
{
    const Roberta *m = as_roberta(model);
    return m ? &m->config : NULL;
}

void lk_roberta_set_recompute(Module *model, bool on)
{
    const Roberta *m = as_roberta(model);
    if (m) ((RobertaEncoder *)((RobertaModel *)m->roberta)->encoder)->recompute = on;
}

/* A matrix of the sizes and dtype of a hollow one. Row `padding_idx` is 0; -1: none is. */
static Tensor *filled_new(const Tensor *hollow, double std, int64_t padding_idx, Rng *rng,
                          Error *err)
{
    const bool is_narrow = lk_only_stores(hollow->dtype);
    /* made first, so that the float32 values leave no hole in the heap when they are freed */
    Tensor *narrow = is_narrow ? lk_tensor_new(hollow->dtype, 2, hollow->shape, err) : NULL;
    Tensor *x = narrow || !is_narrow ? lk_param_new(LK_F32, 2, hollow->shape, err) : NULL;
    if (x) lk_normal_(x, 0, std, rng);
    if (x && padding_idx >= 0) {
        float *row = (float *)x->data + padding_idx * x->shape[1];
        for (int64_t i = 0; i < x->shape[1]; i++) row[i] = 0;
        lk_touch(x);
    }
    if (!narrow) return x;
    narrow->is_parameter = true;
    const bool ok = x && lk_copy_(narrow, x, err);
    lk_free(x);
    if (ok) return narrow;
    lk_free(narrow);
    return NULL;
}

bool lk_roberta_fill(Module *model, Rng *rng, Error *err)
{
    const Roberta *m = as_roberta(model);
    if (!m)
        return lk_error_set(err, LK_EVALUE, "lk_roberta_fill: takes a RoBERTa, not %s",
                            model ? model->type->name : "NULL");
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        Linear *linear = lk_as_linear(it.module);
        Embedding *embedding = lk_as_embedding(it.module);
        Tensor **slot = linear ? &linear->weight : NULL;
        if (embedding) slot = &embedding->weight;
        if (!slot || !lk__roberta_is_hollow(*slot)) continue;
        Tensor *x = filled_new(*slot, m->config.initializer_range,
                               embedding ? embedding->padding_idx : -1, rng, err);
        if (!x) return false;
        lk_free(*slot);
        *slot = x;
    }
    return true;
}
