/* peft.h - adapters in files as Hugging Face's PEFT library has them: adapter_config.json,
 * adapter_model.safetensors.
 *
 *     const char *const head[] = { "classifier" };
 *     lk_save_peft(model, "adapter", &(PeftOptions){ .task_type = "SEQ_CLS", .save_count = 1, .save = head }, &err);
 *     lk_load_peft(other, "adapter", LK_PEFT_WRAPPER, NULL, NULL, &err);
 *
 * PEFT computes W + B A · lora_alpha / r (lora_alpha / √r with use_rslora), with A (r, in) and B
 * (out, r) of the Linear NAME under base_model.model.NAME.lora_A.weight and ….lora_B.weight. The
 * parametrization (nn/adapter.h) is this as it stands; of the wrappers (nn/lora.h) A and B are
 * transposed, and alpha is lora_alpha / r. Needs jansson (LORIKEET_JANSSON); without it both
 * functions are LK_ESTATE.
 *
 * Modules are chosen by PEFT's rules, in reading and in writing. target_modules: ends of names,
 * "0.query", or a regular expression of whole names. rank_pattern, alpha_pattern: regular
 * expressions of ends of names, the first one that fits. modules_to_save: ends of names, even
 * without a dot before them. A module in several places is adapted in the first of them alone: a
 * wrapper does that too, a parametrization does not, and is neither saved nor loaded there. */
#ifndef LK_PEFT_H
#define LK_PEFT_H

#include "data/safetensors.h"

typedef struct PeftOptions {
    /* which parametrizations; NULL: "default". Wrappers are always exported */
    const char *adapter;
    const char *base_model; /* base_model_name_or_path; NULL: null */
    const char *task_type;  /* "SEQ_CLS"; NULL: null */
    /* modules_to_save: paths of modules whose parameters are exported whole, with the adapters in
     * them merged: a PEFT loader replaces such a module, and would not adapt it. */
    int save_count;
    const char *const *save;
} PeftOptions;

/* PeftModel.save_pretrained(folder): the adapters of m, in the form or forms they have. The folder
 * is made if it is not there; options NULL: none. Ranks and strengths may differ (rank_pattern,
 * alpha_pattern). Whole or not at all, whenever the process is killed: a new folder is there with
 * both files or not at all, and an old one has the old adapter or the new one. Both files are
 * written into a folder beside it, FOLDER.PID-N.tmp, which then changes places with it at one
 * moment; what else is in the old one comes along (folders in it a moment later: who is killed
 * right then has them in FOLDER.PID-N.tmp). Where folders cannot be swapped ("." and "..", a mount
 * point, a folder around it that is not writable, file systems without RENAME_EXCHANGE) the files
 * are replaced one by one, the settings removed first and written last: who is killed in between
 * leaves a folder that lk_load_peft refuses, never the weights of one adapter with the settings of
 * another. On an error nothing is changed. Before a file is made the settings are read again: they
 * say of each module what it has. A strength that no lora_alpha gives when it is divided by r
 * stands in the metadata of the weights too ("lorikeet.scales"), which PEFT ignores. Errors:
 * LK_EVALUE (no adapter, no such module to save, a strength that is infinite or no number,
 * adapters that are not on the weight of a Linear, modules in several places of which PEFT would
 * change one), LK_EIO, LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_save_peft(Module *m, const char *folder, const PeftOptions *options,
                                       Error *err);

/* What a Linear that has no adapter yet gets. */
typedef enum PeftForm {
    LK_PEFT_WRAPPER,         /* LinearWithLoRA in its place */
    LK_PEFT_MERGED,          /* LinearWithLoRAMerged */
    LK_PEFT_PARAMETRIZATION, /* a LoRAParametrization of its weight */
} PeftForm;

/* PeftModel.from_pretrained(m, folder): Linears without an adapter get one, those that have one (a
 * wrapper, or a parametrization called `adapter`, NULL: "default") are filled. Of modules_to_save
 * the values are copied into what is there; adapters on them add nothing then (their B is 0). A
 * and B ask for gradients, nothing else about gradients changes. The file may be in half
 * precision, as PEFT saves the adapter of such a model, or in another precision than the model:
 * the values are converted. report (NULL for none): loaded counts adapters, widened the tensors of
 * the file that were F16 or BF16; its lists are filled on failure too. Strict: every tensor must
 * find its module, every adapter and every module that target_modules names its tensors, every
 * name in target_modules and every pattern a module, and ranks and shapes must agree; a setting
 * that is not known and not null, false or empty, or that would change the result (use_dora, bias
 * "all", …: data/peft_settings.c), and a regular expression that is not understood (data/regex.h),
 * are refused by name. Errors, nothing changed: LK_EIO, LK_EFORMAT (the files), LK_EVALUE,
 * LK_ESHAPE (they and m do not fit), LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_load_peft(Module *m, const char *folder, PeftForm form,
                                       const char *adapter, LoadReport *report, Error *err);

#endif
