/* peft_parts.h - what peft.c, peft_load.c and peft_config.c share; no part of the interface. */
#ifndef LK_PEFT_PARTS_H
#define LK_PEFT_PARTS_H

#include "data/peft.h"
#include "nn/adapter.h"
#include "nn/lora.h"

enum { LK_PEFT_PATH_MAX = 4096 };
#define LK_PEFT_MODEL "adapter_model.safetensors"
#define LK_PEFT_CONFIG "adapter_config.json"
#define LK_PEFT_PREFIX "base_model.model."

/* The modules of a model as it was before there were adapters: a wrapper counts as the Linear in it, parametrizations
 * count for nothing. for (PeftIter it = lk_peft_modules(m, adapter); lk_peft_next(&it);) … (peft.c) */
typedef struct PeftIter {
    const char *name;          /* "roberta.encoder.layer.0.attention.self.query" */
    Module *module;            /* never a wrapper */
    Module **slot;             /* where it, or its wrapper, is; NULL for the root */
    Linear *linear;            /* the module as a Linear; NULL: it is something else */
    LinearWithLoRA *wrapper;   /* what is around it, or NULL */
    LoRAParametrization *lora; /* the adapter of this name on its weight, or NULL */
    bool foreign;              /* there is one on something else than the weight of a Linear */
    ModuleIter modules;        /* the rest is the iterator's own */
    const char *adapter;
    char skip[LK_NAME_MAX + 1];
    size_t skip_length;
} PeftIter;
PeftIter lk_peft_modules(Module *m, const char *adapter);
bool lk_peft_next(PeftIter *it);

/* The parameters that a module itself has: for (const Field *f = NULL; (f = lk_peft_param(m, f));) … f->name … */
const Field *lk_peft_param(const Module *m, const Field *after);
/* x.T, without a copy, on the stack. x has two dimensions. */
Tensor lk_peft_T(const Tensor *x);

/* Whether a dotted name is `end`, or ends with it after a dot. */
bool lk_peft_ends_with(const char *name, const char *end);

/* ---- settings (peft_config.c) ---------------------------------------------------------------------------------- */

/* One adapted Linear. */
typedef struct PeftLayer {
    char name[LK_NAME_MAX];
    int64_t rank;
    double alpha; /* lora_alpha */
} PeftLayer;

/* The text of adapter_config.json, to be freed with lk_mem_free. */
char *lk_peft_config_new(const PeftOptions *options, const PeftLayer *layers, int count, const Names *targets,
                         Error *err);

typedef struct PeftConfig {
    struct json_t *root;
    int64_t rank;
    double alpha;
    bool rslora;
} PeftConfig;
bool lk_peft_config_load(PeftConfig *c, const char *path, Error *err);
void lk_peft_config_free(PeftConfig *c);
const char *lk_peft_target(const PeftConfig *c, size_t i);         /* number i of target_modules; NULL: no more */
bool lk_peft_is_target(const PeftConfig *c, const char *name);
bool lk_peft_is_saved(const PeftConfig *c, const char *name);      /* it is in one of modules_to_save */
int64_t lk_peft_rank(const PeftConfig *c, const char *name);
double lk_peft_scale(const PeftConfig *c, const char *name);       /* what B A is multiplied with */

#endif
