/* peft_load.c - reads adapters in PEFT's form and gives them to a model. Writing:
 * data/peft_save.c. Settings: data/peft_config.c. First everything is compared, then everything
 * that can fail is made, then it is put in place. */
#include "data/peft_parts.h"

#include <string.h>

#include "core/memory.h"
#include "data/safetensors_parts.h"

/* A module, and the adapter that it gets. */
typedef struct Adapter {
    Module *module, **slot;
    bool parametrized; /* it has, or gets, a LoRAParametrization and not a wrapper */
    int64_t rank;
    const Tensor *part[2]; /* from the file: lk__peft_part */
    double scale;
    double alpha; /* of a parametrization: lora_alpha, or its equivalent with use_rslora */
    Module *to;   /* a LoRALayer or a LoRAParametrization: the one that is there, or a new one */
    Module *made; /* the new wrapper or parametrization; NULL: none */
    bool registered; /* made is in the module's chain */
} Adapter;

/* A parameter of a module that was saved whole. */
typedef struct Whole {
    Tensor *to;
    const Tensor *from;
} Whole;

typedef struct Load {
    Module *module;
    const char *folder, *adapter;
    PeftForm form;
    LoadReport *report;
    Error *err;
    PeftConfig config;
    StateDict *state;
    bool *used; /* which entries of state found their module */
    Adapter *adapters;
    Whole *wholes;
    Module **silenced; /* adapters on modules that were saved whole */
    int adapter_count, whole_count, silenced_count;
} Load;

/* ---- comparing ------------------------------------------------------------------------------ */

/* Finds state["base_model.model.NAME.part"]; if it is not there, reports it as missing. */
static bool find(Load *l, const char *name, const char *part, const Tensor **found)
{
    char key[2 * LK_NAME_MAX];
    snprintf(key, sizeof key, LK_PEFT_PREFIX "%s%s%s", name, *name ? "." : "", part);
    *found = NULL;
    for (int i = 0; i < l->state->count && !*found; i++) {
        if (strcmp(l->state->entries[i].name, key) != 0) continue;
        l->used[i] = true;
        *found = l->state->entries[i].tensor;
    }
    return *found || lk_names_add(&l->report->missing, l->err, "%s", key);
}

/* Reports x unless it is a floating tensor of this shape. */
static bool check_shape(Load *l, const char *name, const char *part, const Tensor *x, int ndim,
                        const int64_t *shape)
{
    if (x->ndim == ndim && memcmp(x->shape, shape, (size_t)ndim * sizeof *shape) == 0 &&
        lk_is_floating(x->dtype))
        return true;
    char has[LK_SHAPE_TEXT], wants[LK_SHAPE_TEXT];
    Tensor wanted = { .ndim = ndim };
    memcpy(wanted.shape, shape, (size_t)ndim * sizeof *shape);
    return lk_names_add(&l->report->mismatched, l->err, "%s.%s is %s %s, not %s", name, part,
                        lk_shape_text(x, has), lk_dtype_name(x->dtype),
                        lk_shape_text(&wanted, wants));
}

/* Whether the weight is merged. A merged value would hide the new adapter. */
static bool is_merged(const PeftIter *it)
{
    const ParametrizationList *list = lk_parametrizations(it->module, "weight");
    return list && list->merged;
}

static bool compare_adapter(Load *l, const PeftIter *it)
{
    LoRALayer *layer = it->wrapper ? lk_as_lora_layer(it->wrapper->lora) : NULL;
    Names *mismatched = &l->report->mismatched;
    Adapter a = { .module = it->module,
                  .slot = it->slot,
                  .rank = lk__peft_rank(&l->config, it->name),
                  .scale = lk__peft_scale(&l->config, it->name) };
    /* only a Linear can have a wrapper */
    a.parametrized =
        it->lora || (!it->wrapper && (l->form == LK_PEFT_PARAMETRIZATION || !it->linear));
    if (layer) a.to = &layer->base;
    else if (it->lora) a.to = &it->lora->base;
    PeftPart part[2];
    for (int i = 0; i < 2; i++) {
        part[i] = lk__peft_part(it->module, i, a.rank);
        if (!find(l, it->name, part[i].name, &a.part[i])) return false;
    }
    if (it->foreign || !it->adaptable || (it->wrapper && !layer))
        return lk_names_add(mismatched, l->err, "%s is a %s, not a Linear, Conv or Embedding",
                            it->name, it->module->type->name);
    if (!lk__peft_is_plain(it->module))
        return lk_names_add(mismatched, l->err,
                            "%s has groups or dilation, and PEFT's adapter of a Conv has neither",
                            it->name);
    if (it->wrapper && it->lora)
        return lk_names_add(mismatched, l->err, "%s has a wrapper and a parametrization",
                            it->name);
    if (!it->slot)
        return lk_names_add(mismatched, l->err, "the model itself is a %s",
                            it->module->type->name);
    char other[LK_NAME_MAX];
    if (!lk__peft_same_places(it, a.parametrized, other))
        return lk_names_add(mismatched, l->err,
                            "only a wrapper can adapt the first place of a module alone, as PEFT "
                            "does: %s is at %s too",
                            it->name, other);
    if (is_merged(it))
        return lk_names_add(mismatched, l->err, "%s is merged; lk_unmerge it first", it->name);

    a.alpha = l->config.rslora ? a.scale * (double)a.rank : lk__peft_alpha(&l->config, it->name);
    if (a.to && lk_is_parametrized(a.to, NULL))
        return lk_names_add(mismatched, l->err, "A or B of %s are parametrized", it->name);
    int64_t has = a.rank; /* the rank of the adapter that is there */
    if (layer) has = lk_size(layer->A, 1);
    else if (it->lora) has = lk_size(it->lora->lora_A, 0);
    if (has != a.rank &&
        !lk_names_add(mismatched, l->err, "%s has rank %lld, not %lld as in the file", it->name,
                      (long long)has, (long long)a.rank))
        return false;
    for (int i = 0; i < 2; i++)
        if (a.part[i] &&
            !check_shape(l, it->name, part[i].name, a.part[i], part[i].ndim, part[i].shape))
            return false;
    l->adapters[l->adapter_count++] = a;
    return true;
}

/* Reports x unless it can be copied into `to`: floating tensors are converted. */
static bool check_fits(Load *l, const char *name, const char *part, const Tensor *x,
                       const Tensor *to)
{
    if (lk_is_floating(to->dtype)) return check_shape(l, name, part, x, to->ndim, to->shape);
    char has[LK_SHAPE_TEXT], wants[LK_SHAPE_TEXT];
    if (lk_same_shape(x, to) && x->dtype == to->dtype) return true;
    return lk_names_add(&l->report->mismatched, l->err, "%s.%s is %s %s, not %s %s", name, part,
                        lk_shape_text(x, has), lk_dtype_name(x->dtype), lk_shape_text(to, wants),
                        lk_dtype_name(to->dtype));
}

/* Compares the parameters and buffers of a module that was saved whole. An adapter on it will add
 * nothing. */
static bool compare_whole(Load *l, const PeftIter *it)
{
    for (ParamIter p = lk__peft_places(l->module); lk__peft_next_place(&p, it->module);)
        if (!lk__peft_is_saved(&l->config, p.name))
            return lk_names_add(&l->report->mismatched, l->err,
                                "%s is at %s too, which is not loaded", it->name, p.name);
    if (is_merged(it) && !lk_names_add(&l->report->mismatched, l->err,
                                       "%s is merged; lk_unmerge it first", it->name))
        return false;
    Tensor *to;
    for (const Field *f = NULL; (f = lk__peft_tensor(it->module, f, &to));) {
        const ParametrizationList *list = lk_parametrizations(it->module, f->name);
        const Tensor *from;
        int expected = it->lora && strcmp(f->name, "weight") == 0;
        if (list && list->chain.count != expected &&
            !lk_names_add(&l->report->mismatched, l->err, "%s.%s is parametrized", it->name,
                          f->name))
            return false;
        if (!find(l, it->name, f->name, &from)) return false;
        if (from && !check_fits(l, it->name, f->name, from, to)) return false;
        l->wholes[l->whole_count++] = (Whole){ to, from };
    }
    Module *lora = it->lora ? &it->lora->base : NULL;
    if (it->wrapper) lora = it->wrapper->lora;
    if (lora) l->silenced[l->silenced_count++] = lora;
    return true;
}

static bool compare(Load *l)
{
    for (PeftIter it = lk__peft_modules(l->module, l->adapter); lk__peft_next(&it);) {
        bool ok = true, whole = lk__peft_is_saved(&l->config, it.name);
        bool adapted = !whole && (lk__peft_is_target(&l->config, &it) || it.wrapper || it.lora);
        lk__peft_note(&l->config, &it, adapted);
        if (whole) ok = compare_whole(l, &it);
        else if (adapted) ok = compare_adapter(l, &it);
        if (!ok) return false;
    }
    for (int i = 0; i < l->config.rule_count; i++) {
        const PeftRule *rule = &l->config.rules[i];
        if (rule->used || rule->setting == PEFT_EXCLUDED || rule->setting == PEFT_SAVED) continue;
        bool target = rule->setting == PEFT_TARGET;
        const char *setting = target ? "target" : lk__peft_setting_name(rule->setting);
        if (!lk_names_add(&l->report->missing, l->err, "a module for the %s \"%s\"", setting,
                          rule->text))
            return false;
    }
    for (int i = 0; i < l->state->count; i++)
        if (!l->used[i] &&
            !lk_names_add(&l->report->unexpected, l->err, "%s", l->state->entries[i].name))
            return false;
    return true;
}

/* Returns "; nearest: …" for a tensor that no module has: the modules with names like the one in
 * its key. */
static const char *nearest(const Load *l, const char *key, Error *hint)
{
    char path[LK_NAME_MAX];
    size_t prefix = strlen(LK_PEFT_PREFIX);
    snprintf(path, sizeof path, "%s",
             strncmp(key, LK_PEFT_PREFIX, prefix) == 0 ? key + prefix : key);
    char *part = strstr(path, ".lora_");
    if (!part) part = strrchr(path, '.');
    if (part) *part = '\0';
    if (lk_module_at(l->module, path, hint)) return "";
    const char *text = strstr(hint->message, "; nearest: ");
    return text ? text : "";
}

static bool check_report(const Load *l)
{
    const LoadReport *r = l->report;
    if (r->missing.count + r->unexpected.count + r->mismatched.count == 0) return true;
    char lists[3][140];
    Error hint = { 0 };
    return lk_error_set(
        l->err, r->mismatched.count > 0 ? LK_ESHAPE : LK_EVALUE,
        "lk_load_peft: %.60s: %d missing (%s), %d unexpected (%s%.100s), %d mismatched (%s)",
        l->folder, r->missing.count, lk_names_text(&r->missing, lists[0], sizeof lists[0]),
        r->unexpected.count, lk_names_text(&r->unexpected, lists[1], sizeof lists[1]),
        r->unexpected.count > 0 ? nearest(l, r->unexpected.items[0], &hint) : "",
        r->mismatched.count, lk_names_text(&r->mismatched, lists[2], sizeof lists[2]));
}

/* ---- making and putting in place ------------------------------------------------------------ */

static bool fill(const Adapter *a)
{
    LoRALayer *layer = lk_as_lora_layer(a->to);
    LoRAParametrization *p = lk_as_lora_parametrization(a->to);
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        PeftPart part = lk__peft_part(a->module, i, a->rank);
        Tensor x = lk__peft_matrix(&part, a->part[i]);
        if (layer) x = lk__peft_T(&x);
        Tensor *A = layer ? layer->A : p->lora_A, *B = layer ? layer->B : p->lora_B;
        ok = lk_copy_(part.is_A ? A : B, &x, NULL) && ok;
    }
    if (layer) {
        layer->alpha = a->scale;
    } else {
        p->scale = a->scale;
        p->alpha = a->alpha;
    }
    return ok;
}

/* Makes and fills the wrapper or the parametrization of a module that has none yet. The numbers
 * that its constructor draws are overwritten. */
static bool make(const Load *l, Adapter *a)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    if (a->parametrized) {
        const Tensor *w = lk_original(a->module, "weight");
        const int64_t rows = lk_size(w, 0);
        a->made = lk_lora_parametrization_new(rows, lk_numel(w) / rows, a->rank, 1, &rng, l->err);
        if (!a->made || !lk_module_to(a->made, w->dtype, l->err)) return false;
        strcpy(lk_as_lora_parametrization(a->made)->adapter, l->adapter);
        a->to = a->made;
    } else {
        Module *linear = lk_module_retain(a->module);
        a->made = l->form == LK_PEFT_WRAPPER
                      ? lk_linear_with_lora_new(linear, a->rank, 1, &rng, l->err)
                      : lk_linear_with_lora_merged_new(linear, a->rank, 1, &rng, l->err);
        if (!a->made) return false;
        a->to = ((LinearWithLoRA *)a->made)->lora;
    }
    return fill(a);
}

static bool make_all(Load *l)
{
    for (int i = 0; i < l->adapter_count; i++)
        if (!l->adapters[i].to && !make(l, &l->adapters[i])) return false;
    for (int i = 0; i < l->adapter_count; i++) {
        Adapter *a = &l->adapters[i];
        if (!a->made || !a->parametrized) continue;
        Module *p = lk_module_retain(a->made);
        if (!lk_register_parametrization_as(a->module, "weight", p, LK_KEEP_ORIGINAL, l->err))
            return false;
        a->registered = true;
    }
    return true;
}

/* The shapes were compared before, so nothing here can fail any more. */
static bool put(Load *l)
{
    bool ok = true;
    for (int i = 0; i < l->adapter_count; i++) {
        Adapter *a = &l->adapters[i];
        if (!a->made) ok = fill(a) && ok;
        else if (!a->registered)
            ok = lk_module_set(a->slot, lk_module_retain(a->made), NULL) && ok;
    }
    for (int i = 0; i < l->whole_count; i++)
        ok = lk_copy_(l->wholes[i].to, l->wholes[i].from, NULL) && ok;
    for (int i = 0; i < l->silenced_count; i++) {
        Module *m = l->silenced[i];
        lk_fill_(lk_as_lora_layer(m) ? lk_original(m, "B") : lk_original(m, "lora_B"), 0);
    }
    l->report->loaded = l->adapter_count;
    return ok;
}

static void undo(Load *l)
{
    for (int i = 0; i < l->adapter_count; i++) {
        const Adapter *a = &l->adapters[i];
        if (!a->registered) continue;
        int last = lk_parametrizations(a->module, "weight")->chain.count - 1;
        /* cannot fail, since it has just been added */
        if (!lk_remove_parametrization_at(a->module, "weight", last, NULL)) return;
    }
}

static bool load(Load *l)
{
    char config[LK_PATH_MAX], model[LK_PATH_MAX];
    if (snprintf(config, sizeof config, "%s/" LK_PEFT_CONFIG, l->folder) >= (int)sizeof config ||
        snprintf(model, sizeof model, "%s/" LK_PEFT_MODEL, l->folder) >= (int)sizeof model)
        return lk_error_set(l->err, LK_EIO, "lk_load_peft: %.200s: the name is too long",
                            l->folder);
    if (!lk__peft_config_load(&l->config, config, l->err)) return false;
    int widened;
    SafeTensors *file = lk_safetensors_open(model, l->err);
    const char *scales = lk_safetensors_metadata(file, LK_PEFT_SCALES);
    if (file && lk__peft_config_scales(&l->config, scales, model, l->err))
        l->state = lk__safetensors_all_new(file, &widened, l->err);
    lk_safetensors_close(file);
    if (!l->state) return false;

    size_t modules = 1, params = 1;
    Tensor *tensor;
    PeftIter it = lk__peft_modules(l->module, l->adapter);
    for (; lk__peft_next(&it); modules++)
        for (const Field *f = NULL; (f = lk__peft_tensor(it.module, f, &tensor));) params++;
    if (it.modules.failed)
        return lk_error_set(
            l->err, LK_EVALUE,
            "lk_load_peft: %.40s is nested too deep, or has names that are too long",
            l->module->type->name);
    l->used = lk_mem_calloc((size_t)l->state->count + 1, sizeof *l->used);
    l->adapters = lk_mem_calloc(modules, sizeof *l->adapters);
    l->wholes = lk_mem_calloc(params, sizeof *l->wholes);
    l->silenced = lk_mem_calloc(modules, sizeof *l->silenced);
    if (!l->used || !l->adapters || !l->wholes || !l->silenced)
        return lk_error_set(l->err, LK_EMEMORY, "lk_load_peft: no memory");
    if (!compare(l) || !check_report(l)) return false;
    bool ok = make_all(l);
    if (!ok) undo(l);
    ok = ok && put(l);
    if (ok) l->report->widened = widened;
    return ok;
}

bool lk_load_peft(Module *m, const char *folder, PeftForm form, const char *adapter,
                  LoadReport *report, Error *err)
{
    if (!m || !folder)
        return lk_error_set(err, LK_EVALUE, "lk_load_peft: the %s is NULL",
                            m ? "folder" : "module");
    if (adapter && strlen(adapter) >= LK_ADAPTER_NAME_MAX)
        return lk_error_set(err, LK_EVALUE,
                            "lk_load_peft: the adapter's name has more than %d bytes",
                            LK_ADAPTER_NAME_MAX - 1);
    LoadReport own = { 0 };
    Load l = { .module = m,
               .folder = folder,
               .adapter = adapter ? adapter : "default",
               .form = form,
               .report = report ? report : &own,
               .err = err };
    bool ok = load(&l);
    for (int i = 0; i < l.adapter_count; i++) lk_module_free(l.adapters[i].made);
    lk_mem_free(l.adapters);
    lk_mem_free(l.wholes);
    lk_mem_free(l.silenced);
    lk_mem_free(l.used);
    lk_state_dict_free(l.state);
    lk__peft_config_free(&l.config);
    lk_load_report_free(&own);
    return ok;
}
