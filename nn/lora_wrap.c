/* lora_wrap.c - puts LoRA around the layers of a model. The wrappers: nn/lora.c for a Linear,
 * nn/lora_layers.c for the others. */
#include "nn/lora_wrap.h"

#include <math.h>
#include <string.h>

#include "core/hash.h"
#include "nn/lora_layers.h"
#include "nn/lora_sites.h"
#include "nn/parametrize.h"
#include "nn/places.h"

/* A class of layers and its wrapper, with the places of the wrapper's children. */
typedef struct Form {
    const ModuleType *layer, *wrapper;
    size_t inside, lora;
    Module *(*wrap)(Module *layer, int64_t rank, double alpha, Rng *rng, Error *err);
} Form;

/* clang-format off */
static const Form forms[] = {
    { &lk_linear_type, &lk_linear_with_lora_type, offsetof(LinearWithLoRA, linear),
      offsetof(LinearWithLoRA, lora), lk_linear_with_lora_new },
    { &lk_conv1d_type, &lk_conv1d_with_lora_type, offsetof(ConvWithLoRA, conv),
      offsetof(ConvWithLoRA, lora), lk_conv1d_with_lora_new },
    { &lk_conv2d_type, &lk_conv2d_with_lora_type, offsetof(ConvWithLoRA, conv),
      offsetof(ConvWithLoRA, lora), lk_conv2d_with_lora_new },
    { &lk_embedding_type, &lk_embedding_with_lora_type, offsetof(EmbeddingWithLoRA, embedding),
      offsetof(EmbeddingWithLoRA, lora), lk_embedding_with_lora_new },
};
/* clang-format on */
enum { FORMS = sizeof forms / sizeof *forms };

/* The form for a layer, NULL for other modules. */
static const Form *form_for(const Module *layer)
{
    for (const Form *f = forms; f < forms + FORMS; f++)
        if (layer->type == f->layer) return f;
    return NULL;
}

/* The form that a wrapper has, NULL for other modules. */
static const Form *form_of(const Module *wrapper)
{
    for (const Form *f = forms; f < forms + FORMS; f++)
        if (wrapper->type == f->wrapper) return f;
    return NULL;
}

/* The slot of a child at its place in the wrapper. */
static Module **slot_in(Module *wrapper, size_t place)
{
    return (Module **)((char *)wrapper + place);
}

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

/* Whether the targets choose one of the places of a layer. */
static bool is_chosen(Module *model, const Module *layer, const char *targets)
{
    for (SiteIter it = lk__lora_sites(model); lk__lora_sites_next(&it);)
        if (it.module == layer && lk__is_target_layer(model, targets, &it)) return true;
    return false;
}

static bool can_wrap(Module *model, const char *targets, Error *err)
{
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);)
        if (form_of(it.module))
            return lk_error_set(err, LK_ESTATE,
                                "lk_wrap_lora: %.200s has LoRA already; lk_unwrap_lora removes it",
                                it.name);
    if (!lk__check_target_layers(model, targets, "lk_wrap_lora", err)) return false;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);)
        if (!form_for(it.module) && is_chosen(model, it.module, targets))
            return lk_error_set(err, LK_EVALUE,
                                "lk_wrap_lora: %.200s is %s, which has no wrapper; lk_add_lora "
                                "adapts its weight",
                                it.name, it.module->type->name);
    return true;
}

int lk_wrap_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                 Error *err)
{
    int wrapped = 0;
    if (!can_wrap(model, targets, err)) return -1;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        const Form *form = form_for(it.module);
        if (!form || !it.slot || !is_chosen(model, it.module, targets)) continue;
        Module *wrapper = form->wrap(lk_retain(it.module), rank, alpha, rng, err);
        bool ok =
            wrapper && replace(model, it.module, wrapper, slot_in(wrapper, form->inside), err);
        lk_module_free(wrapper);
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
        const Form *form = form_of(it.module);
        if (!form || !it.slot) continue;
        Module *layer = lk_retain(*slot_in(it.module, form->inside));
        bool ok = replace(model, it.module, layer, NULL, NULL);
        lk_module_free(layer);
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
        const Form *form = form_of(it.module);
        LoRALayer *lora = form ? lk_as_lora_layer(*slot_in(it.module, form->lora)) : NULL;
        const Tensor *A = lora ? lk_original(&lora->base, "A") : NULL;
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
