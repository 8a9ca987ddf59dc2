/* roberta_modules.h - what a RoBERTa is made of; shared by roberta_modules.c, which makes it, and
 * roberta.c, which runs it. Everybody else takes examples/roberta.h. The members are transformers'
 * names, since parameters are called by them. */
#ifndef ROBERTA_MODULES_H
#define ROBERTA_MODULES_H

#include "examples/roberta.h"
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

typedef struct RobertaOutput { /* also RobertaSelfOutput: what ends each half of a layer */
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

extern const ModuleType roberta_classifier_type, roberta_masked_lm_type;

/* Forward of the classifier as a module: the mask is made of the ids. (roberta.c) */
Tensor *roberta_classifier_forward(Tape *t, Module *self, Tensor *ids);

#endif
