/* hw1.c - LoRA put on RoBERTa by name. The page: hw1.md. */
#include <string.h>

#include "examples/course/course.h"
#include "nn/linear.h"

/* Whether the last part of a dotted name is one of the words; NULL ends the words. */
bool is_lora_target(const char *name, const char *const *words)
{
    //> starter
    //    /* TODO 1: strrchr finds the last dot. Compare what comes after it with each word
    //     * (strcmp). A name without a dot is its own last part. */
    //    return false;
    //> solution
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (; *words; words++)
        if (!strcmp(last, *words)) return true;
    return false;
    //> wrong contains: looks like contains for ends with
    //    for (; *words; words++)
    //        if (strstr(name, *words)) return true;
    //    return false;
    //> wrong whole_name: looks like the whole name compared
    //    for (; *words; words++)
    //        if (!strcmp(name, *words)) return true;
    //    return false;
    //> wrong end_of_a_word: looks like the end of a word compared
    //    for (; *words; words++) {
    //        size_t length = strlen(name), end = strlen(*words);
    //        if (length >= end && !strcmp(name + length - end, *words)) return true;
    //    }
    //    return false;
    //> wrong no_dot: looks like crash
    //    for (; *words; words++)
    //        if (!strcmp(strrchr(name, '.') + 1, *words)) return true;
    //    return false;
    //> end
}

int put_lora(Module *model, const char *const *words, int64_t rank, double alpha, Rng *rng,
             Error *err)
{
    int replaced = 0;
    //> starter
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        /* TODO 2: skip a module that is no Linear (lk_as_linear gives NULL) or no target.
    //         * Put linear_with_lora_new(lk_retain(it.module), …) into it.slot by lk_module_set;
    //         * if that is false, return -1. Count. */
    //    }
    //> solution
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
        if (!lk_module_set(it.slot, lora, err)) return -1;
        replaced++;
    }
    //> wrong first_layer: looks like only the first layer
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        if (!strstr(it.name, "layer.0.")) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong every_linear: looks like every Linear replaced
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong fixed_words: looks like the words ignored
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const char *const fixed[] = { "query", "value", NULL };
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, fixed)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong again_and_again: looks like wrapped twice
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        bool wanted = false;
    //        for (const char *const *w = words; *w; w++) wanted |= strstr(it.name, *w) != NULL;
    //        if (strstr(it.name, "linear.linear")) wanted = false;
    //        if (!lk_as_linear(it.module) || !wanted) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        it = lk_modules(model); /* the net has changed: begin again */
    //        replaced++;
    //    }
    //> wrong no_retain: looks like lk_retain forgotten
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        Module *lora = linear_with_lora_new(it.module, rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong not_counted: looks like the replacements not counted
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //    }
    //> wrong new_linear: looks like a new Linear inside
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        Linear *old = lk_as_linear(it.module);
    //        if (!old || !is_lora_target(it.name, words)) continue;
    //        Module *fresh = lk_linear_new(old->in_features, old->out_features, true, rng, err);
    //        Module *lora = linear_with_lora_new(fresh, rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong rank_and_alpha: looks like rank and alpha exchanged
    //    int64_t first = (int64_t)alpha;
    //    double second = (double)rank;
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), first, second, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong alpha_over_rank: looks like alpha divided by the rank
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        double scale = alpha / (double)rank;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, scale, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> wrong failure_ignored: looks like a failure ignored
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!lk_as_linear(it.module) || !is_lora_target(it.name, words)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (lk_module_set(it.slot, lora, err)) replaced++;
    //    }
    //> wrong by_name_alone: looks like something else than a Linear wrapped
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        if (!is_lora_target(it.name, words)) continue;
    //        Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
    //        if (!lk_module_set(it.slot, lora, err)) return -1;
    //        replaced++;
    //    }
    //> end
    return replaced;
}

/* LoRA on query and value; only LoRA and the classifier stay trainable. */
bool apply_lora_to_roberta(Module *model, int64_t rank, double alpha, Rng *rng, Error *err)
{
    //> starter
    //    /* TODO 3: freeze all (lk_require_grad with "*"). Then put LoRA on "query" and "value".
    //     * Then let all names that begin with "classifier." require gradients again. */
    //    return lk_error_set(err, LK_ESTATE, "apply_lora_to_roberta: TODO 3");
    //> solution
    const char *const words[] = { "query", "value", NULL };
    lk_require_grad(model, "*", false);
    if (put_lora(model, words, rank, alpha, rng, err) < 0) return false;
    lk_require_grad(model, "classifier.*", true);
    return true;
    //> wrong key: looks like key instead of value
    //    const char *const words[] = { "query", "key", NULL };
    //    lk_require_grad(model, "*", false);
    //    if (put_lora(model, words, rank, alpha, rng, err) < 0) return false;
    //    lk_require_grad(model, "classifier.*", true);
    //    return true;
    //> wrong nothing_frozen: looks like nothing frozen
    //    const char *const words[] = { "query", "value", NULL };
    //    return put_lora(model, words, rank, alpha, rng, err) >= 0;
    //> wrong biases: looks like biases not frozen
    //    const char *const words[] = { "query", "value", NULL };
    //    lk_require_grad(model, "*.weight", false);
    //    if (put_lora(model, words, rank, alpha, rng, err) < 0) return false;
    //    lk_require_grad(model, "classifier.*", true);
    //    return true;
    //> wrong classifier: looks like classifier frozen
    //    const char *const words[] = { "query", "value", NULL };
    //    lk_require_grad(model, "*", false);
    //    return put_lora(model, words, rank, alpha, rng, err) >= 0;
    //> wrong lora_frozen: looks like LoRA frozen too
    //    const char *const words[] = { "query", "value", NULL };
    //    if (put_lora(model, words, rank, alpha, rng, err) < 0) return false;
    //    lk_require_grad(model, "*", false);
    //    lk_require_grad(model, "classifier.*", true);
    //    return true;
    //> wrong linears: looks like only the Linears frozen
    //    const char *const words[] = { "query", "value", NULL };
    //    if (put_lora(model, words, rank, alpha, rng, err) < 0) return false;
    //    lk_freeze_linears(model);
    //    lk_require_grad(model, "classifier.*", true);
    //    return true;
    //> end
}

/* Counts the elements of all parameters; returns the trainable ones in percent. */
double count_trainable(Module *model, int64_t *trainable, int64_t *total)
{
    *trainable = *total = 0;
    //> starter
    //    /* TODO 4: walk over lk_params(model); lk_numel(it.tensor) elements each. */
    //    return 0.0;
    //> solution
    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
        *total += lk_numel(it.tensor);
        if (it.tensor->requires_grad) *trainable += lk_numel(it.tensor);
    }
    return 100.0 * (double)*trainable / (double)*total;
    //> wrong integer_division: looks like integer division
    //    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
    //        *total += lk_numel(it.tensor);
    //        if (it.tensor->requires_grad) *trainable += lk_numel(it.tensor);
    //    }
    //    return 100.0 * (double)(*trainable / *total);
    //> wrong of_the_frozen: looks like percent of the frozen ones
    //    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
    //        *total += lk_numel(it.tensor);
    //        if (it.tensor->requires_grad) *trainable += lk_numel(it.tensor);
    //    }
    //    return 100.0 * (double)*trainable / (double)(*total - *trainable);
    //> wrong tensors: looks like tensors counted
    //    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
    //        *total += 1;
    //        if (it.tensor->requires_grad) *trainable += 1;
    //    }
    //    return 100.0 * (double)*trainable / (double)*total;
    //> end
}

//> hint
// The dotted name says where a module stands: roberta.encoder.layer.0.attention.self.query. Its
// last part says what it is. it.slot is the place where the parent holds it; another module can be
// put there. Then the order counts: LoRA must come after the freezing.
//> hint
// last part = what follows the last dot, or the whole name.
// For each Linear with such a name: slot = LinearWithLoRA(the Linear in the slot).
// freeze "*", put LoRA, unfreeze "classifier.*"; percent = 100.0 · trainable / total.
//> hint
// Module *lora = linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
// if (!lk_module_set(it.slot, lora, err)) return -1;
//> end
