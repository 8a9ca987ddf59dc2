/* adapter.h - LoRA as a parametrization (Hu et al. 2021, section 4.1), and adapters of whole
 * models.
 *
 *     W' = W + (B A) · alpha / rank
 *
 * Unlike the wrappers of nn/lora.h the Linear stays a Linear: its weight is parametrized
 * (nn/parametrize.h), and the adapter can be switched, scaled, merged and removed. Here alpha IS
 * divided by the rank. W may also be the weight of a Conv1d, Conv2d or Embedding, or a matrix of
 * an LSTM, GRU or MultiheadAttention. With more than two dimensions W is taken as (out, rest), and
 * B A gets its shape. */
#ifndef LK_ADAPTER_H
#define LK_ADAPTER_H

#include "nn/lora_targets.h"
#include "nn/parametrize.h"

enum { LK_ADAPTER_NAME_MAX = 64 }; /* bytes of an adapter's name, with the 0 at its end */

typedef struct LoRAParametrization {
    Module base;
    Tensor *lora_A; /* (rank, in_features), N(0, 1) or as LoRAInit says */
    Tensor *lora_B; /* (out_features, rank), zeros: nothing changes until it is trained */
    int64_t rank;
    double alpha, scale; /* scale: alpha / rank at first */
    bool enabled;        /* false: W' is W itself */
    char adapter[LK_ADAPTER_NAME_MAX];
} LoRAParametrization;
LK_MODULE_TYPE(LoRAParametrization, lk_lora_parametrization_type, lk_as_lora_parametrization);

/* The adapter's name is "default". Its right_inverse is W' - (B A) · scale. in_features: the
 * elements of W[0]. Errors: LK_EVALUE (sizes), LK_EMEMORY. */
LK_API Module *lk_lora_parametrization_new(int64_t out_features, int64_t in_features, int64_t rank,
                                           double alpha, Rng *rng, Error *err);

/* ---- adapters of a model -------------------------------------------------------------------- */

/* How lora_A begins. N(0, 1) is √(3 in) times as large as PEFT's A, 21 times for a 3×3 convolution
 * of 16 channels, and so are the first steps of B: SGD needs a smaller lr with it. */
typedef enum LoRAInit {
    LK_LORA_NORMAL, /* N(0, 1), as in the exercises */
    /* PEFT's of a Linear or Conv2d: kaiming_uniform_(A, a=√5), U(-1/√in, 1/√in) */
    LK_LORA_KAIMING,
} LoRAInit;

typedef struct LoRAConfig {
    const char *adapter; /* its name; NULL: "default" */
    int64_t rank;
    double alpha;
    /* "linear1,conv2,lstm.weight_hh_l0": nn/lora_targets.h; NULL: every Linear */
    const char *targets;
    LoRAInit init;
} LoRAConfig;

/* Gives every matrix of m that the targets choose a LoRAParametrization, in the order of
 * named_modules, and returns how many. No original is changed. A module in several places is
 * adapted in all of them if the targets choose one of its names. An Embedding computes its rows
 * without the product B A, except in no-grad mode, which keeps the finished table. Errors (-1,
 * nothing changed): LK_EVALUE for a target that matches nothing (the message has the nearest
 * names), or an adapter of that name that is there already; LK_EMEMORY. */
LK_API int lk_add_lora(Module *m, const LoRAConfig *config, Rng *rng, Error *err);

/* The following take the name of an adapter, NULL for all, and return how many
 * LoRAParametrizations they reached. Errors (-1, nothing changed): LK_EVALUE for a name that no
 * adapter of m has (the message lists those that there are), LK_ESTATE while one of them is
 * merged: forward reads the finished weight, so lk_unmerge comes first. */
LK_API int lk_enable_lora(Module *m, const char *adapter, bool on, Error *err);
/* This one on, all others off; NULL: all off. */
LK_API int lk_switch_lora(Module *m, const char *adapter, Error *err);
/* scale = factor · alpha / rank */
LK_API int lk_scale_lora(Module *m, const char *adapter, double factor, Error *err);
/* Freezes all else in m. A net without any adapter is an error too: nothing would be trained.
 * Running statistics are no parameters: BatchNorm in training mode moves them, frozen or not. So
 * lk_eval(m) comes before the training, or switching LoRA off does not give the old net back. */
LK_API int lk_train_only_lora(Module *m, const char *adapter, Error *err);
/* Removes the adapter; the weights keep the bits of the originals. */
LK_API int lk_remove_lora(Module *m, const char *adapter, Error *err);

/* A walk over all LoRAParametrizations of m. Merging: lk_merge (nn/parametrize.h).
 *     for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) … it.lora->adapter … */
typedef struct AdapterIter {
    const char *name;      /* of the adapted module, "linear1" */
    const char *parameter; /* "weight", "weight_ih_l0" */
    Module *module;
    LoRAParametrization *lora;
    bool active;        /* enabled */
    bool merged;        /* forward reads the merged weight */
    bool trainable;     /* lora_A or lora_B requires a gradient */
    ModuleIter modules; /* from here on: the iterator's own */
    int list, item;
} AdapterIter;
LK_API AdapterIter lk_adapters(Module *m);
LK_API bool lk_adapters_next(AdapterIter *it);

/* One line for each adapted module: its name, its adapters with rank, scale, active or not,
 * merged, trainable. */
LK_API void lk_print_adapters(FILE *out, Module *m);

#endif
