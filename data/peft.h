/* peft.h - adapters in files as Hugging Face's PEFT library has them: adapter_config.json,
 * adapter_model.safetensors.
 *
 *     const char *const head[] = { "classifier" };
 *     PeftOptions options = { .task_type = "SEQ_CLS", .save_count = 1, .save = head };
 *     lk_save_peft(model, "adapter", &options, &err);
 *     lk_load_peft(other, "adapter", LK_PEFT_WRAPPER, NULL, NULL, &err);
 *
 * PEFT computes W + B A · lora_alpha / r (lora_alpha / √r with use_rslora). For the module NAME
 * the file has base_model.model.NAME.… of these shapes:
 *
 *     Linear          lora_A.weight (r, in), lora_B.weight (out, r)
 *     Conv1d, Conv2d  lora_A.weight (r, in, kh, kw), lora_B.weight (out, r, 1, 1)
 *     Embedding       lora_embedding_A (r, V), lora_embedding_B (D, r): their product, transposed
 *
 * A parametrization (nn/adapter.h) has the same A, B and alpha, an Embedding's A and B exchanged
 * and transposed; a Linear's wrapper (nn/lora.h) has A and B transposed, and its alpha is
 * lora_alpha / r.
 *
 * Modules are chosen by PEFT's rules, in reading and in writing:
 *
 *     target_modules              ends of names, "0.query", or a regular expression of whole names
 *     rank_pattern, alpha_pattern regular expressions of ends of names; the first that fits counts
 *     modules_to_save             ends of names, even without a dot before them
 *
 * If a module is in several places, PEFT adapts only the first one. A wrapper does the same. A
 * parametrization adapts all places, which PEFT cannot express: it is neither saved nor loaded. */
#ifndef LK_PEFT_H
#define LK_PEFT_H

#include "data/safetensors.h"

typedef struct PeftOptions {
    const char *adapter;    /* name of parametrizations; NULL: "default". Wrappers have none */
    const char *base_model; /* base_model_name_or_path; NULL: null */
    const char *task_type;  /* "SEQ_CLS"; NULL: null */
    /* modules_to_save: paths of modules whose parameters are saved whole, with their adapters
     * merged, since PEFT replaces such a module and does not adapt it. */
    int save_count;
    const char *const *save;
} PeftOptions;

/* PeftModel.save_pretrained(folder): saves the adapters of m, wrappers and parametrizations. The
 * folder is made if it is not there; options may be NULL. Ranks and strengths may differ
 * (rank_pattern, alpha_pattern). If no lora_alpha gives exactly the strength, lora_alpha / r, the
 * exact strength is also written into the metadata of the weights ("lorikeet.scales"), which PEFT
 * ignores.
 *
 * The folder is replaced as a whole (data/folder.h). So a killed process never leaves half an
 * adapter: a new folder has both files or does not exist, and an old folder has the old adapter or
 * the new one. Where the files must be replaced one by one, the settings are removed first and
 * written last, so that a kill in between leaves a folder that lk_load_peft refuses.
 *
 * Errors, with nothing changed: LK_EVALUE (no adapter, no such module to save, a strength that is
 * infinite or no number, adapters of something else than those modules' weights, such as an
 * LSTM's, of a Conv with groups or dilation, the wrappers of nn/lora_layers.h, modules in several
 * places of which PEFT would change one, modules that PEFT's rules cannot tell apart), LK_EIO,
 * LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_save_peft(Module *m, const char *folder, const PeftOptions *options,
                                       Error *err);

/* The form of the adapter that a Linear without one gets. A Conv or an Embedding always gets a
 * LoRAParametrization. */
typedef enum PeftForm {
    LK_PEFT_WRAPPER,         /* LinearWithLoRA in its place */
    LK_PEFT_MERGED,          /* LinearWithLoRAMerged */
    LK_PEFT_PARAMETRIZATION, /* a LoRAParametrization of its weight */
} PeftForm;

/* PeftModel.from_pretrained(m, folder). Modules without an adapter get one; those that have one (a
 * wrapper, or a parametrization called `adapter`, NULL: "default") are filled. Modules of
 * modules_to_save get the values of the file, and adapters on them add nothing then (their B is
 * 0). A and B ask for gradients, nothing else about gradients changes. Values are converted where
 * the file has another precision than the model, such as half. report may be NULL. report->loaded
 * is the number of adapters, report->widened the number of F16 and BF16 tensors in the file. The
 * lists of the report are filled on failure too.
 *
 * Loading is strict. Every tensor must have its module. Every adapter must have its tensors, and
 * so must every module that target_modules names. Every name in target_modules and every pattern
 * must match a module. Ranks and shapes must agree. Three kinds of settings are refused, and the
 * message names them: unknown ones that are not null, false or empty, ones that would change the
 * result (use_dora, bias "all", …: data/peft_settings.c), and regular expressions that are not
 * understood (data/regex.h). Errors, with nothing changed: LK_EIO, LK_EFORMAT (the files),
 * LK_EVALUE, LK_ESHAPE (they do not fit m), LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_load_peft(Module *m, const char *folder, PeftForm form,
                                       const char *adapter, LoadReport *report, Error *err);

#endif
