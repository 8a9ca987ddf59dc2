/* roberta_modules.c - makes the modules of a RoBERTa: tables of fields, constructors. Their
 * computations: nn/models/roberta.c.
 *
 * Most modules have no forward of their own, since every layer needs the mask beside its input. */
#include "nn/models/roberta_modules.h"

#include <math.h>

#include "core/memory.h"

/* ---- tables --------------------------------------------------------------------------------- */

#define TYPE(type, T, ...) \
    static const ModuleType type = { LK_CLASS(T), .fields = LK_FIELDS(__VA_ARGS__) }

TYPE(embeddings_type, RobertaEmbeddings, LK_CHILD(RobertaEmbeddings, word_embeddings),
     LK_CHILD(RobertaEmbeddings, position_embeddings),
     LK_CHILD(RobertaEmbeddings, token_type_embeddings), LK_CHILD(RobertaEmbeddings, LayerNorm));
TYPE(attention_type, RobertaAttention, LK_CHILD(RobertaAttention, self),
     LK_CHILD(RobertaAttention, output));
TYPE(intermediate_type, RobertaIntermediate, LK_CHILD(RobertaIntermediate, dense));
TYPE(layer_type, RobertaLayer, LK_CHILD(RobertaLayer, attention),
     LK_CHILD(RobertaLayer, intermediate), LK_CHILD(RobertaLayer, output));
TYPE(encoder_type, RobertaEncoder, LK_CHILDREN(RobertaEncoder, layer));
TYPE(model_type, RobertaModel, LK_CHILD(RobertaModel, embeddings),
     LK_CHILD(RobertaModel, encoder));
TYPE(head_type, RobertaClassificationHead, LK_CHILD(RobertaClassificationHead, dense),
     LK_CHILD(RobertaClassificationHead, out_proj));
TYPE(lm_head_type, RobertaLMHead, LK_PARAM(RobertaLMHead, bias), LK_CHILD(RobertaLMHead, dense),
     LK_CHILD(RobertaLMHead, layer_norm));

static const Field output_fields[] = { LK_CHILD(RobertaOutput, dense),
                                       LK_CHILD(RobertaOutput, LayerNorm), LK_END };
static const ModuleType output_type = { "RobertaOutput", sizeof(RobertaOutput),
                                        .fields = output_fields };
static const ModuleType self_output_type = { "RobertaSelfOutput", sizeof(RobertaOutput),
                                             .fields = output_fields };

/* ---- making one ----------------------------------------------------------------------------- */

/* Makes a matrix as on PyTorch's "meta" device: a single element stands for all, by strides of
 * 0. */
static Tensor *hollow_new(int64_t rows, int64_t columns, Error *err)
{
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(1), err);
    if (!x) return NULL;
    x->ndim = 2;
    x->shape[0] = rows;
    x->shape[1] = columns;
    x->stride[0] = x->stride[1] = 0;
    return x;
}

bool lk__roberta_is_hollow(const Tensor *x)
{
    for (int d = 0; d < x->ndim; d++)
        if (x->stride[d] != 0 && x->shape[d] > 1) return false;
    return lk_numel(x) > 1;
}

static Module *linear_new(int64_t in, int64_t out, Error *err)
{
    Linear *l = lk_module_new(&lk_linear_type, err);
    if (!l) return NULL;
    l->in_features = in;
    l->out_features = out;
    l->weight = hollow_new(out, in, err);
    l->bias = l->weight ? lk_param_new(LK_F32, LK_SHAPE(out), err) : NULL;
    return lk_module_complete(&l->base, l->bias);
}

static Module *embedding_new(int64_t rows, int64_t columns, int64_t padding_idx, Error *err)
{
    Embedding *e = lk_module_new(&lk_embedding_type, err);
    if (!e) return NULL;
    e->num_embeddings = rows;
    e->embedding_dim = columns;
    e->padding_idx = padding_idx;
    e->weight = hollow_new(rows, columns, err);
    return lk_module_complete(&e->base, e->weight);
}

static Module *norm_new(const RobertaConfig *c, Error *err)
{
    return lk_layer_norm_new(LK_SHAPE(c->hidden_size), c->layer_norm_eps, err);
}

static Module *embeddings_new(const RobertaConfig *c, Error *err)
{
    RobertaEmbeddings *e = lk_module_new(&embeddings_type, err);
    if (!e) return NULL;
    e->padding_idx = c->pad_token_id;
    e->dropout = c->hidden_dropout_prob;
    e->word_embeddings = embedding_new(c->vocab_size, c->hidden_size, c->pad_token_id, err);
    e->position_embeddings =
        embedding_new(c->max_position_embeddings, c->hidden_size, c->pad_token_id, err);
    e->token_type_embeddings = embedding_new(c->type_vocab_size, c->hidden_size, -1, err);
    e->LayerNorm = norm_new(c, err);
    return lk_module_complete(&e->base, e->word_embeddings && e->position_embeddings &&
                                            e->token_type_embeddings && e->LayerNorm);
}

static Module *output_new(const ModuleType *type, int64_t in, const RobertaConfig *c, Error *err)
{
    RobertaOutput *o = lk_module_new(type, err);
    if (!o) return NULL;
    o->dropout = c->hidden_dropout_prob;
    o->dense = linear_new(in, c->hidden_size, err);
    o->LayerNorm = norm_new(c, err);
    return lk_module_complete(&o->base, o->dense && o->LayerNorm);
}

static Module *attention_new(const RobertaConfig *c, Error *err)
{
    RobertaAttention *a = lk_module_new(&attention_type, err);
    if (!a) return NULL;
    Module *q = linear_new(c->hidden_size, c->hidden_size, err),
           *k = linear_new(c->hidden_size, c->hidden_size, err);
    Module *v = linear_new(c->hidden_size, c->hidden_size, err);
    a->self = lk_multi_head_attention_new(q, k, v, NULL, c->num_attention_heads,
                                          c->attention_probs_dropout_prob, err);
    a->output = output_new(&self_output_type, c->hidden_size, c, err);
    return lk_module_complete(&a->base, a->self && a->output);
}

static Module *intermediate_new(const RobertaConfig *c, Error *err)
{
    RobertaIntermediate *i = lk_module_new(&intermediate_type, err);
    if (!i) return NULL;
    i->dense = linear_new(c->hidden_size, c->intermediate_size, err);
    return lk_module_complete(&i->base, i->dense);
}

static Module *layer_new(const RobertaConfig *c, Error *err)
{
    RobertaLayer *l = lk_module_new(&layer_type, err);
    if (!l) return NULL;
    l->attention = attention_new(c, err);
    l->intermediate = intermediate_new(c, err);
    l->output = output_new(&output_type, c->intermediate_size, c, err);
    return lk_module_complete(&l->base, l->attention && l->intermediate && l->output);
}

static Module *encoder_new(const RobertaConfig *c, Error *err)
{
    RobertaEncoder *e = lk_module_new(&encoder_type, err);
    Module **layers = e ? lk_mem_calloc((size_t)c->num_hidden_layers, sizeof *layers) : NULL;
    if (e && !layers)
        lk_error_set(err, LK_EMEMORY, "roberta: no memory for %lld layers",
                     (long long)c->num_hidden_layers);
    bool ok = layers;
    for (int64_t i = 0; ok && i < c->num_hidden_layers; i++) layers[i] = layer_new(c, err);
    /* refuses a NULL */
    ok = ok && lk_module_array_init(&e->layer, (int)c->num_hidden_layers, layers, err);
    lk_mem_free(layers);
    return e ? lk_module_complete(&e->base, ok) : NULL;
}

Module *lk__roberta_model_new(const RobertaConfig *c, Error *err)
{
    RobertaModel *m = lk_module_new(&model_type, err);
    if (!m) return NULL;
    m->embeddings = embeddings_new(c, err);
    m->encoder = m->embeddings ? encoder_new(c, err) : NULL;
    return lk_module_complete(&m->base, m->encoder);
}

Module *lk__roberta_head_new(const RobertaConfig *c, Error *err)
{
    RobertaClassificationHead *h = lk_module_new(&head_type, err);
    if (!h) return NULL;
    h->dropout = isnan(c->classifier_dropout) ? c->hidden_dropout_prob : c->classifier_dropout;
    h->dense = linear_new(c->hidden_size, c->hidden_size, err);
    h->out_proj = linear_new(c->hidden_size, c->num_labels, err);
    return lk_module_complete(&h->base, h->dense && h->out_proj);
}

Module *lk__roberta_lm_head_new(const RobertaConfig *c, Error *err)
{
    RobertaLMHead *h = lk_module_new(&lm_head_type, err);
    if (!h) return NULL;
    h->bias = lk_param_new(LK_F32, LK_SHAPE(c->vocab_size), err);
    h->dense = linear_new(c->hidden_size, c->hidden_size, err);
    h->layer_norm = norm_new(c, err);
    return lk_module_complete(&h->base, h->bias && h->dense && h->layer_norm);
}
