/* lora_sites.h - the matrices of a model that LoRA can adapt (nn/adapter.h), and their names for
 * the targets (nn/lora_targets.h); no part of the interface.
 *
 *     Linear                  weight (out, in)                     the module's name, "fc1"
 *     Conv1d, Conv2d          weight (out, in / groups · kh · kw)  "conv1"
 *     Embedding               weight (num_embeddings, dim)         "embed"
 *     LSTM, GRU, their cells  each weight_ih…, weight_hh…          "lstm.weight_ih_l0"
 *     MultiheadAttention      in_proj_weight (3 E, E)              "self_attn.in_proj_weight"
 *
 * A weight of more than two dimensions is the matrix that is flattened behind its first one. The
 * types say which they have (lora of nn/module_type.h), so an own module can have sites too. */
#ifndef LK_LORA_SITES_H
#define LK_LORA_SITES_H

#include "nn/module.h"

/* The class names above, for messages; and those that lk_wrap_lora has a wrapper for. */
#define LK_LORA_SITES \
    "Linear, Conv1d, Conv2d, Embedding or matrix of an LSTM, GRU or MultiheadAttention"
#define LK_LORA_LAYERS "Linear, Conv1d, Conv2d or Embedding"

/* A walk through the sites in every place of m, each under its name there:
 *     for (SiteIter it = lk__lora_sites(m); lk__lora_sites_next(&it);) … it.name …
 * A name that is too long ends it; lk_walkable has refused such a model before. */
typedef struct SiteIter {
    char name[LK_NAME_MAX];
    Module *module;
    const char *parameter; /* "weight", "weight_ih_l0" */
    int64_t out, in;       /* of the matrix */
    bool linear;           /* the weight of a Linear */
    bool layer;            /* the weight of a layer: one matrix for each module */
    ModuleIter modules;    /* from here on: the iterator's own */
    const Field *field;
} SiteIter;
SiteIter lk__lora_sites(Module *m);
bool lk__lora_sites_next(SiteIter *it);

/* lk_is_lora_target and lk_check_lora_targets for all sites. Without targets, and in a list that
 * begins with `!`, the Linears alone are chosen at first. (nn/lora_targets.c) */
bool lk__is_target_site(const char *targets, const SiteIter *site);
bool lk__check_target_sites(Module *m, const char *targets, const char *function, Error *err);

/* The same for lk_wrap_lora, which reaches LK_LORA_LAYERS. Here a target that matches Linears
 * chooses them alone, so "*" stays all Linears. (nn/lora_targets.c) */
bool lk__is_target_layer(Module *m, const char *targets, const SiteIter *site);
bool lk__check_target_layers(Module *m, const char *targets, const char *function, Error *err);

#endif
