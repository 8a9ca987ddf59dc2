/* lora_wrap.c - puts LinearWithLoRA around the Linears of a model. The layer: nn/lora.c. */
#include "nn/lora_wrap.h"

#include <math.h>
#include <string.h>

#include "core/hash.h"
#include "nn/parametrize.h"
#include "nn/places.h"

/* Puts `by` into every place of `old` in the model except `but`. So a module in several places
 * stays one. */
static bool replace(Module *model, const Module *old, Module *by, Module *const *but, Error *err)
{
    ModuleIter it = lk__every_place(model);
    ModuleIter begin = it;
    while (lk_modules_next(&it)) {
        if (it.module != old || it.slot == but) continue;
        if (!lk_module_set(it.slot, lk_retain(by), err)) return false;
        it = begin; /* the old module may be gone, and with it the iterator's place */
    }
    return true;
}

static bool can_wrap(Module *model, const char *targets, Error *err)
{
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);)
        if (lk_as_linear_with_lora(it.module))
            return lk_error_set(err, LK_ESTATE,
                                "lk_wrap_lora: %.200s has LoRA already; lk_unwrap_lora removes it",
                                it.name);
    return lk_check_lora_targets(model, targets, "lk_wrap_lora", err);
}

/* Whether the targets choose one of the places of a Linear. */
static bool is_chosen(Module *model, const Module *linear, const char *targets)
{
    ModuleIter it = lk__every_place(model);
    while (lk_modules_next(&it))
        if (it.module == linear && lk_is_lora_target(targets, it.name)) return true;
    return false;
}

int lk_wrap_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                 Error *err)
{
    int wrapped = 0;
    if (!can_wrap(model, targets, err)) return -1;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module) || !it.slot || !is_chosen(model, it.module, targets))
            continue;
        Module *lora = lk_linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
        bool ok =
            lora && replace(model, it.module, lora, &lk_as_linear_with_lora(lora)->linear, err);
        lk_module_free(lora);
        if (!ok) {
            lk_unwrap_lora(model);
            return -1;
        }
        wrapped++;
    }
    return wrapped;
}

int lk_unwrap_lora(Module *model)
{
    int removed = 0;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        LinearWithLoRA *lora = lk_as_linear_with_lora(it.module);
        if (!lora || !it.slot) continue;
        Module *linear = lk_retain(lora->linear);
        bool ok = replace(model, it.module, linear, NULL, NULL);
        lk_module_free(linear);
        if (!ok) continue;
        it = lk_modules(model); /* the wrapper is gone, and with it the iterator's place */
        removed++;
    }
    return removed;
}

/* Adds a name to the list, unless it is there already. A number in it becomes `*`:
 * "encoder.layer.*.output.dense". */
static void add_target(char *list, size_t room, const char *name)
{
    char text[LK_NAME_MAX];
    size_t length = 0;
    for (const char *c = name; *c;) {
        size_t n = strspn(c, "0123456789");
        bool number = n > 0 && (c == name || c[-1] == '.') && (c[n] == '.' || !c[n]);
        text[length++] = '*';
        if (!number) text[length - 1] = *c;
        c += number ? n : 1;
    }
    text[length] = '\0';
    for (const char *at = list; *at; at += at[strcspn(at, ",")] == ',') {
        size_t n = strcspn(at, ",");
        if (n == strlen(text) && memcmp(at, text, n) == 0) return;
        at += n;
    }
    size_t used = strlen(list);
    snprintf(list + used, room - used, "%s%s", used ? "," : "", text);
}

LoRAFacts lk_lora_facts(Module *model)
{
    LoRAFacts f = { .alphas = LK_HASH_START };
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        const LinearWithLoRA *wrapper = lk_as_linear_with_lora(it.module);
        const LoRALayer *lora = wrapper ? lk_as_lora_layer(wrapper->lora) : NULL;
        const Tensor *A = lora ? lk_original(wrapper->lora, "A") : NULL;
        if (!A) continue; /* a child that was replaced, or is gone */
        int64_t rank = lk_size(A, 1);
        bool first = f.count++ == 0;
        f.rank = first || f.rank == rank ? rank : -1;
        f.alpha = first || f.alpha == lora->alpha ? lora->alpha : NAN;
        f.alphas = lk_hash(f.alphas, &lora->alpha, sizeof lora->alpha);
        add_target(f.targets, sizeof f.targets, it.name);
    }
    return f;
}
