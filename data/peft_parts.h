/* peft_parts.h - what the files peft_*.c share; no part of the interface. Declarations are grouped
 * by the file that defines them, the lowest first. */
#ifndef LK_PEFT_PARTS_H
#define LK_PEFT_PARTS_H

#include "data/json.h"
#include "data/path.h"
#include "data/peft.h"
#include "data/regex.h"
#include "nn/adapter.h"
#include "nn/lora.h"

#define LK_PEFT_MODEL "adapter_model.safetensors"
#define LK_PEFT_CONFIG "adapter_config.json"
#define LK_PEFT_PREFIX "base_model.model."
/* The expression that PEFT makes of a key of rank_pattern or alpha_pattern, a format for
 * printf. */
#define LK_PEFT_KEY "(.*\\.)?(%s)$"

/* ---- peft_modules.c: a model as PEFT sees it ------------------------------------------------ */

/* Visits the modules of a model as it was before there were adapters: a wrapper counts as the
 * Linear in it, parametrizations do not count.
 *     for (PeftIter it = lk__peft_modules(m, adapter); lk__peft_next(&it);) … */
typedef struct PeftIter {
    const char *name;          /* "roberta.encoder.layer.0.attention.self.query" */
    Module *module;            /* never a wrapper */
    Module **slot;             /* of it, or of its wrapper; NULL for the root */
    Linear *linear;            /* the module as a Linear; NULL: it is something else */
    bool adaptable;            /* a Linear, Conv1d, Conv2d or Embedding: PEFT adapts its weight */
    LinearWithLoRA *wrapper;   /* around it, or NULL */
    LoRAParametrization *lora; /* the adapter of this name on its weight, or NULL */
    bool foreign;              /* this adapter is on something else than such a weight */
    ModuleIter modules;        /* from here on: private */
    const char *adapter;
    char skip[LK_NAME_MAX + 1];
    size_t skip_length;
} PeftIter;
PeftIter lk__peft_modules(Module *m, const char *adapter);
bool lk__peft_next(PeftIter *it);

/* Visits the parameters that a module itself has:
 *     for (const Field *f = NULL; (f = lk__peft_param(m, f));) … f->name … */
const Field *lk__peft_param(const Module *m, const Field *after);
/* The same for its whole state dict: persistent buffers too, each with its tensor. */
const Field *lk__peft_tensor(const Module *m, const Field *after, Tensor **x);

/* Whether our adapter adapts the same places of a module as PEFT, which adapts only the first one.
 * Our adapter is a parametrization or a wrapper, made or still to be made. False: they differ in
 * `other`. */
bool lk__peft_same_places(const PeftIter *it, bool parametrized, char other[LK_NAME_MAX]);
/* Visits every place of every parameter that m itself has:
 *     for (ParamIter p = lk__peft_places(root); lk__peft_next_place(&p, m);) … */
ParamIter lk__peft_places(Module *root);
bool lk__peft_next_place(ParamIter *p, const Module *m);

/* Whether a module is one of options->save, or in one. */
bool lk__peft_is_whole(const PeftOptions *options, const char *name);
/* Whether a dotted name is `end`, or ends with it after a dot. */
bool lk__peft_ends_with(const char *name, const char *end);
/* x.T, without a copy, on the stack. x has two dimensions. */
Tensor lk__peft_T(const Tensor *x);

/* One of the two tensors that a file has for an adapter: PEFT's A (i = 0) or B (1) of a module,
 * for an adapter of this rank. In a file of PEFT an Embedding's adapter is transposed, with A and
 * B exchanged; a Conv's are the weights of two Convs. */
typedef struct PeftPart {
    const char *name; /* "lora_A.weight", "lora_embedding_A" */
    bool is_A;        /* it is LoRAParametrization's lora_A; false: lora_B */
    bool transposed;
    int ndim; /* its shape in the file */
    int64_t shape[LK_MAX_DIMS];
} PeftPart;
PeftPart lk__peft_part(const Module *m, int i, int64_t rank);
/* A matrix in the form of the file, and back, without a copy, on the stack. */
Tensor lk__peft_in_file(const PeftPart *p, const Tensor *matrix);
Tensor lk__peft_matrix(const PeftPart *p, const Tensor *in_file);
/* False for a Conv with groups or dilation: the first Conv of PEFT's adapter has neither, so it
 * computes something else. */
bool lk__peft_is_plain(const Module *m);

/* ---- peft_settings.c ------------------------------------------------------------------------ */

/* Whether Lorikeet can do everything that the settings ask for. If not, *setting is the first that
 * it cannot do, and *why the reason. */
bool lk__peft_settings_known(const Json *root, const Json **setting, const char **why);

/* ---- peft_config.c: settings that are read -------------------------------------------------- */

/* One name or regular expression of a setting, and its value for the modules that it fits. */
typedef enum PeftSetting {
    PEFT_TARGET,
    PEFT_EXCLUDED,
    PEFT_RANK,
    PEFT_ALPHA,
    PEFT_SAVED
} PeftSetting;
typedef struct PeftRule {
    PeftSetting setting;
    const char *text; /* borrowed from the file's settings */
    Regex *regex;     /* NULL: the text is the end of a name */
    bool all;         /* "all-linear": every Linear instead */
    double value;     /* rank, alpha */
    bool used;        /* it has fitted a module: lk__peft_note */
} PeftRule;

typedef struct PeftConfig {
    Json *root, *scales;
    int64_t rank;
    double alpha;
    bool rslora;
    PeftRule *rules; /* in the order of the file */
    int rule_count;
} PeftConfig;
/* Reads a file. The caller frees *c with lk__peft_config_free, also after an error. */
bool lk__peft_config_load(PeftConfig *c, const char *path, Error *err);
/* The same for a text; path: for messages. */
bool lk__peft_config_read(PeftConfig *c, const char *text, const char *path, Error *err);
/* Reads the scales beside the settings; if text is NULL, there are none. */
bool lk__peft_config_scales(PeftConfig *c, const char *text, const char *path, Error *err);
void lk__peft_config_free(PeftConfig *c);

bool lk__peft_is_target(const PeftConfig *c, const PeftIter *it);
bool lk__peft_is_saved(const PeftConfig *c, const char *name); /* by modules_to_save */
int64_t lk__peft_rank(const PeftConfig *c, const char *name);
double lk__peft_alpha(const PeftConfig *c, const char *name);
double lk__peft_scale(const PeftConfig *c, const char *name);
/* Marks the rules that fit a module as used. Patterns of ranks and alphas are marked only if the
 * module is adapted. */
void lk__peft_note(PeftConfig *c, const PeftIter *it, bool adapted);
const char *lk__peft_setting_name(PeftSetting setting); /* "target_modules" */

/* ---- peft_config_write.c: settings that are written ----------------------------------------- */

/* One adapted module. */
typedef struct PeftLayer {
    char name[LK_NAME_MAX];
    int64_t rank;
    double scale; /* the factor of B A */
    double alpha; /* lora_alpha: alpha / rank is the scale, or close to it if no number gives it */
} PeftLayer;

/* Free both with lk_mem_free. */
typedef struct PeftTexts {
    char *config; /* adapter_config.json */
    char *scales; /* {name: scale} of layers whose alpha does not give the scale; NULL: none */
} PeftTexts;
/* The key of `scales` in the metadata of the weights, which PEFT ignores. */
#define LK_PEFT_SCALES "lorikeet.scales"

/* Makes the settings of m's layers, which must come in the order of lk__peft_modules. Before it
 * returns the settings, it reads them by PEFT's rules, and checks that they describe each module
 * as it is. */
bool lk__peft_texts_new(PeftTexts *texts, Module *m, const PeftOptions *options,
                        const PeftLayer *layers, int count, Error *err);

#endif
