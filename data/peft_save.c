/* peft_save.c - writes adapters in PEFT's form. Its settings: data/peft_config_write.c. Reading:
 * data/peft_load.c. */
#include "data/peft_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "core/ops.h"
#include "data/atomic_file.h"
#include "data/folder.h"
#include "nn/lora_layers.h"

/* ---- collecting the tensors ----------------------------------------------------------------- */

typedef struct Export {
    Module *module;
    const PeftOptions *options;
    Error *err;
    StateDict *state;
    PeftLayer *layers;
    int count;
} Export;

static bool fail(const Export *x, const char *name, const char *text)
{
    return lk_error_set(x->err, LK_EVALUE, "lk_save_peft: %.40s: %.200s%s%s",
                        x->module->type->name, name, *name ? ": " : "", text);
}

/* state["base_model.model.NAME.part"] = a copy of x */
static bool add(Export *x, const char *name, const char *part, const Tensor *value)
{
    char key[2 * LK_NAME_MAX];
    snprintf(key, sizeof key, LK_PEFT_PREFIX "%s%s%s", name, *name ? "." : "", part);
    return lk_state_dict_add(x->state, key, lk_clone(value, x->err), x->err);
}

/* Finds a lora_alpha that is the scale when it is divided by the rank: the one that was given, the
 * product, or a number next to the product. There may be none, as for 3 and 0.1 … (then the scale
 * itself is saved too, and peft_config.c reads it). */
static double find_alpha(double scale, double rank, double given)
{
    double product = scale * rank;
    const double candidates[] = { given, product, nextafter(product, INFINITY),
                                  nextafter(product, -INFINITY) };
    for (int i = 0; i < 4; i++)
        if (candidates[i] / rank == scale) return candidates[i];
    return product;
}

static bool add_adapter(Export *x, const PeftIter *it)
{
    char other[LK_NAME_MAX];
    LoRALayer *layer = it->wrapper ? lk_as_lora_layer(it->wrapper->lora) : NULL;
    if (it->foreign)
        return fail(x, it->name,
                    "has an adapter that is not on the weight of a Linear, Conv or Embedding, as "
                    "PEFT's are; lk_save_module saves it");
    if (lk_as_conv1d_with_lora(it->module) || lk_as_conv2d_with_lora(it->module) ||
        lk_as_embedding_with_lora(it->module))
        return fail(
            x, it->name,
            "is a wrapper, and only those of Linears are saved for PEFT; lk_add_lora's "
            "adapter of a Conv or an Embedding is saved too, and lk_save_module saves all");
    if (!it->wrapper && !it->lora) return true;
    if (it->wrapper && it->lora)
        return fail(x, it->name, "has a wrapper and a parametrization; PEFT has one adapter");
    if (it->wrapper && (!layer || !it->linear))
        return fail(x, it->name, "its wrapper holds no Linear and LoRALayer");
    Module *lora = layer ? &layer->base : &it->lora->base;
    if (lk_is_parametrized(lora, NULL))
        return fail(x, it->name, "A or B of its adapter are parametrized");
    if (!lk__peft_is_plain(it->module))
        return fail(x, it->name,
                    "has groups or dilation, and PEFT's adapter of a Conv has neither; "
                    "lk_save_module saves it");
    char text[2 * LK_NAME_MAX];
    if (*it->name == '\0') {
        snprintf(text, sizeof text, "is itself a %.40s; PEFT adapts modules inside of a model",
                 it->module->type->name);
        return fail(x, it->name, text);
    }
    if (!lk__peft_same_places(it, it->lora, other)) {
        snprintf(text, sizeof text,
                 "is at %.100s too, and PEFT adapts the first place of a module alone: give that "
                 "one a wrapper, or save the state (lk_save_module)",
                 other);
        return fail(x, it->name, text);
    }
    PeftLayer *l = &x->layers[x->count++];
    strcpy(l->name, it->name);
    l->rank = layer ? lk_size(layer->A, 1) : lk_size(it->lora->lora_A, 0);
    l->scale = layer ? layer->alpha : it->lora->scale;
    l->alpha = find_alpha(l->scale, (double)l->rank, it->lora ? it->lora->alpha : NAN);
    if (!isfinite(l->alpha)) {
        const char *quote = it->lora ? "\"" : "";
        const char *adapter = it->lora ? it->lora->adapter : "wrapper";
        lk_snprintf(text, sizeof text,
                    "its adapter %s%s%s has the strength %g and the rank %lld, and alpha %g "
                    "cannot be in a file of settings",
                    quote, adapter, quote, l->scale, (long long)l->rank, l->alpha);
        return fail(x, it->name, text);
    }
    Tensor A = layer ? lk__peft_T(layer->A) : *it->lora->lora_A,
           B = layer ? lk__peft_T(layer->B) : *it->lora->lora_B;
    for (int i = 0; i < 2; i++) {
        PeftPart part = lk__peft_part(it->module, i, l->rank);
        Tensor in_file = lk__peft_in_file(&part, part.is_A ? &A : &B);
        if (!add(x, it->name, part.name, &in_file)) return false;
    }
    return true;
}

/* Returns the value that forward reads: W + alpha (A B)ᵀ for a wrapped weight, x itself for a
 * buffer. */
static Tensor *value_of(Tape *t, const PeftIter *it, const Field *f, Tensor *x)
{
    if (f->kind == LK_FIELD_BUFFER) return x;
    x = lk_param_named(t, it->module, f->name);
    if (!it->wrapper || strcmp(f->name, "weight") != 0) return x;
    LoRALayer *layer = lk_as_lora_layer(it->wrapper->lora);
    if (!layer)
        return lk_fail(t, LK_EVALUE, "lk_save_peft: the wrapper %.200s holds no LoRALayer",
                       it->name);
    Tensor *update =
        lk_matmul(t, lk_param_named(t, &layer->base, "A"), lk_param_named(t, &layer->base, "B"));
    return lk_add(t, x, lk_scale(t, lk_T(t, update), layer->alpha));
}

static bool add_whole(Export *x, const PeftIter *it)
{
    for (ParamIter p = lk__peft_places(x->module); lk__peft_next_place(&p, it->module);) {
        char text[2 * LK_NAME_MAX];
        if (lk__peft_is_whole(x->options, p.name)) continue;
        snprintf(text, sizeof text, "cannot be saved alone: its parameters are at %.100s too",
                 p.name);
        return fail(x, it->name, text);
    }
    Tape *t = lk_tape_no_grad_new(x->err);
    if (!t) return false;
    bool ok = true;
    Tensor *tensor;
    for (const Field *f = NULL; ok && (f = lk__peft_tensor(it->module, f, &tensor));) {
        Tensor *value = value_of(t, it, f, tensor);
        ok = value ? add(x, it->name, f->name, value) : lk_error_pass(x->err, lk_tape_error(t));
    }
    lk_tape_free(t);
    return ok;
}

/* Whether a path is the first name of a module that can be saved, not another name or a part of an
 * adapter. */
static bool check_path(const Export *x, const char *path)
{
    if (!path || *path == '\0')
        return fail(x, "", "the model itself cannot be one of the modules to save");
    if (!lk_module_at(x->module, path, x->err)) return false;
    for (PeftIter it = lk__peft_modules(x->module, x->options->adapter); lk__peft_next(&it);)
        if (strcmp(it.name, path) == 0) return true;
    return fail(x, path, "to be saved a module goes by its first name, without its adapter");
}

static bool collect(Export *x)
{
    const PeftOptions *o = x->options;
    int modules = 0;
    PeftIter all = lk__peft_modules(x->module, o->adapter);
    while (lk__peft_next(&all)) modules++;
    if (all.modules.failed)
        return fail(x, "", "is nested too deep, or has names that are too long");
    for (int i = 0; i < o->save_count; i++)
        if (!check_path(x, o->save[i])) return false;
    x->state = lk_state_dict_empty_new(x->err);
    x->layers = lk_mem_calloc((size_t)modules + 1, sizeof *x->layers);
    if (!x->state || !x->layers)
        return lk_error_set(x->err, LK_EMEMORY, "lk_save_peft: no memory");
    for (PeftIter it = lk__peft_modules(x->module, o->adapter); lk__peft_next(&it);)
        if (!(lk__peft_is_whole(o, it.name) ? add_whole(x, &it) : add_adapter(x, &it)))
            return false;
    char text[LK_NAME_MAX + 100];
    snprintf(text, sizeof text, "has no adapter%s: no wrapper, and none called \"%.60s\"",
             o->save_count ? " outside of the modules to save" : "",
             o->adapter ? o->adapter : "default");
    return x->count > 0 || fail(x, "", text);
}

/* ---- two files as one ----------------------------------------------------------------------- */

static bool write_files(const StateDict *state, const PeftTexts *texts, const char *folder,
                        Error *err)
{
    const Metadata *plain = LK_METADATA({ "format", "pt" });
    const Metadata *exact = LK_METADATA({ "format", "pt" }, { LK_PEFT_SCALES, texts->scales });
    Folder f;
    char path[LK_PATH_MAX];
    if (!lk_folder_begin(&f, "lk_save_peft", folder, err)) return false;
    bool ok = lk_path_join(path, f.temporary, LK_PEFT_MODEL, err) &&
              lk_save_safetensors(state, texts->scales ? exact : plain, path, err) &&
              lk_path_join(path, f.temporary, LK_PEFT_CONFIG, err) &&
              lk_atomic_save("lk_save_peft", path, texts->config, strlen(texts->config), err);
    return lk_folder_end(&f, ok, err);
}

bool lk_save_peft(Module *m, const char *folder, const PeftOptions *options, Error *err)
{
    if (!m || !folder || !*folder)
        return lk_error_set(err, LK_EVALUE, "lk_save_peft: %s",
                            m ? "the folder has no name" : "the module is NULL");
    Export x = { .module = m,
                 .options = options ? options : &(const PeftOptions){ 0 },
                 .err = err };
    PeftTexts texts = { NULL, NULL };
    bool ok = collect(&x) && lk__peft_texts_new(&texts, m, x.options, x.layers, x.count, err) &&
              write_files(x.state, &texts, folder, err);
    lk_mem_free(texts.config);
    lk_mem_free(texts.scales);
    lk_mem_free(x.layers);
    lk_state_dict_free(x.state);
    return ok;
}
