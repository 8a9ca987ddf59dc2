/* roberta_modules.h - the modules in a RoBERTa; hidden, shared by roberta_modules.c, which makes
 * them, and roberta.c, which runs them. The members have transformers' names, which are the names
 * of the parameters. */
#ifndef LK_ROBERTA_MODULES_H
#define LK_ROBERTA_MODULES_H

#include "nn/models/roberta.h"
#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"

typedef struct RobertaEmbeddings {
    Module base;
    Module *word_embeddings, *position_embeddings, *token_type_embeddings, *LayerNorm;
    int64_t padding_idx;
    double dropout;
} RobertaEmbeddings;

typedef struct RobertaOutput { /* the end of each half of a layer; also RobertaSelfOutput */
    Module base;
    Module *dense, *LayerNorm;
    double dropout;
} RobertaOutput;

typedef struct RobertaAttention {
    Module base;
    Module *self, *output; /* MultiHeadAttention, RobertaSelfOutput */
} RobertaAttention;

typedef struct RobertaIntermediate {
    Module base;
    Module *dense;
} RobertaIntermediate;

typedef struct RobertaLayer {
    Module base;
    Module *attention, *intermediate, *output;
} RobertaLayer;

typedef struct RobertaEncoder {
    Module base;
    ModuleArray layer;
    bool recompute;
} RobertaEncoder;

typedef struct RobertaModel {
    Module base;
    Module *embeddings, *encoder;
} RobertaModel;

typedef struct RobertaClassificationHead {
    Module base;
    Module *dense, *out_proj;
    double dropout;
} RobertaClassificationHead;

typedef struct RobertaLMHead {
    Module base;
    Tensor *bias;
    Module *dense, *layer_norm;
} RobertaLMHead;

typedef struct Roberta { /* RobertaForSequenceClassification, RobertaForMaskedLM */
    Module base;
    Module *roberta;
    Module *classifier, *lm_head; /* one of them */
    RobertaConfig config;
} Roberta;

/* Whether a parameter has a shape only. */
bool lk__roberta_is_hollow(const Tensor *x);

/* Make the modules inside of a Roberta; NULL: LK_EMEMORY. (roberta_modules.c) */
Module *lk__roberta_model_new(const RobertaConfig *c, Error *err);
Module *lk__roberta_head_new(const RobertaConfig *c, Error *err);
Module *lk__roberta_lm_head_new(const RobertaConfig *c, Error *err);

#endif
