/* adapter.c - LoRA as a parametrization, and the adapters of a whole model. How a parametrization
 * works: parametrize.c. */
#include "nn/adapter.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "core/ops.h"
#include "nn/constructor.h"
#include "nn/fields.h"
#include "nn/init.h"
#include "nn/lora_sites.h"

/* ---- the parametrization -------------------------------------------------------------------- */

/* (B A) · scale in the shape of the weight */
static Tensor *update(Tape *t, LoRAParametrization *p, const Tensor *weight)
{
    Tensor *A = lk_param(t, &p->base, &p->lora_A), *B = lk_param(t, &p->base, &p->lora_B);
    TapeMark mark = lk_tape_mark(t); /* in no-grad mode B A is freed at once */
    Tensor *y = lk_tape_release(t, mark, lk_scale(t, lk_matmul(t, B, A), p->scale));
    return weight->ndim == 2 ? y : lk_view(t, y, weight->ndim, weight->shape);
}

/* W' = W + (B A) · scale */
static Tensor *lora_forward(Tape *t, Module *self, Tensor *weight)
{
    LoRAParametrization *p = (LoRAParametrization *)self;
    return p->enabled ? lk_add(t, weight, update(t, p, weight)) : weight;
}

/* W = W' - (B A) · scale */
static Tensor *lora_right_inverse(Tape *t, Module *self, Tensor *value)
{
    LoRAParametrization *p = (LoRAParametrization *)self;
    return p->enabled ? lk_sub(t, value, update(t, p, value)) : value;
}

static LowRank lora_low_rank(Tape *t, Module *self)
{
    LoRAParametrization *p = (LoRAParametrization *)self;
    if (!p->enabled) return (LowRank){ .A = NULL };
    return (LowRank){ .A = lk_param(t, self, &p->lora_A),
                      .B = lk_param(t, self, &p->lora_B),
                      .scale = p->scale };
}

const ModuleType lk_lora_parametrization_type = {
    LK_CLASS(LoRAParametrization),
    .forward = lora_forward,
    .repr = "rank={rank}, alpha={alpha}",
    .fields = LK_FIELDS(
        LK_PARAM(LoRAParametrization, lora_A), LK_PARAM(LoRAParametrization, lora_B),
        LK_INT(LoRAParametrization, rank), LK_DOUBLE(LoRAParametrization, alpha),
        LK_DOUBLE(LoRAParametrization, scale), LK_BOOL_FIELD(LoRAParametrization, enabled)),
    .right_inverse = lora_right_inverse,
    .low_rank = lora_low_rank,
};
LK_DOWNCAST(LoRAParametrization, lk_lora_parametrization_type, lk_as_lora_parametrization)

static Module *parametrization_new(int64_t out, int64_t in, int64_t rank, double alpha,
                                   LoRAInit init, Rng *rng, Error *err)
{
    const NamedSize sizes[] = { { "out_features", out }, { "in_features", in }, { "rank", rank } };
    const ParamShape shapes[] = { { LK_SHAPE(rank, in) }, { LK_SHAPE(out, rank) } };
    if (!lk__can_draw("lk_lora_parametrization_new", 3, sizes, rng, err)) return NULL;
    LoRAParametrization *p =
        lk_module_with_params_new(&lk_lora_parametrization_type, 2, shapes, err);
    if (!p) return NULL;
    p->rank = rank;
    p->alpha = alpha;
    p->scale = alpha / (double)rank;
    p->enabled = true;
    strcpy(p->adapter, "default");
    if (init == LK_LORA_NORMAL) lk_normal_(p->lora_A, 0, 1, rng);
    else lk_init_kaiming_uniform_(p->lora_A, sqrt(5), LK_FAN_IN, LK_AFTER_LEAKY_RELU, rng, NULL);
    return &p->base;
}

Module *lk_lora_parametrization_new(int64_t out, int64_t in, int64_t rank, double alpha, Rng *rng,
                                    Error *err)
{
    return parametrization_new(out, in, rank, alpha, LK_LORA_NORMAL, rng, err);
}

/* ---- walking -------------------------------------------------------------------------------- */

static bool is_trainable(LoRAParametrization *p)
{
    return lk_original(&p->base, "lora_A")->requires_grad ||
           lk_original(&p->base, "lora_B")->requires_grad;
}

AdapterIter lk_adapters(Module *m) { return (AdapterIter){ .modules = lk_modules(m) }; }

bool lk_adapters_next(AdapterIter *it)
{
    if (!it) return false;
    for (;;) {
        Module *m = it->modules.module;
        ModuleArray lists = m ? lk__lists_of(m) : (ModuleArray){ NULL, 0 };
        for (; it->list < lists.count; it->list++, it->item = 0) {
            ParametrizationList *list = (ParametrizationList *)lists.items[it->list];
            while (it->item < list->chain.count) {
                LoRAParametrization *p = lk_as_lora_parametrization(list->chain.items[it->item++]);
                if (!p) continue;
                it->name = it->modules.name;
                it->parameter = list->field->name;
                it->module = m;
                it->lora = p;
                it->merged = list->merged;
                it->active = p->enabled;
                it->trainable = is_trainable(p);
                return true;
            }
        }
        it->list = it->item = 0;
        if (!lk_modules_next(&it->modules)) return false;
    }
}

static bool is_named(const LoRAParametrization *p, const char *adapter)
{
    return !adapter || strcmp(p->adapter, adapter) == 0;
}

/* ---- adding --------------------------------------------------------------------------------- */

static const char *name_of(const LoRAConfig *c) { return c->adapter ? c->adapter : "default"; }

/* The place of the adapter in the chain of a site, -1 for none. */
static int find_adapter(const SiteIter *site, const char *adapter)
{
    const ParametrizationList *list = lk_parametrizations(site->module, site->parameter);
    for (int i = 0; list && i < list->chain.count; i++) {
        const LoRAParametrization *p = lk_as_lora_parametrization(list->chain.items[i]);
        if (p && is_named(p, adapter)) return i;
    }
    return -1;
}

static bool check_config(Module *m, const LoRAConfig *c, Error *err)
{
    if (!m) return lk_error_set(err, LK_EVALUE, "lk_add_lora: the module is NULL");
    if (!c) return lk_error_set(err, LK_EVALUE, "lk_add_lora: the config is NULL");
    if (c->rank <= 0)
        return lk_error_set(err, LK_EVALUE, "lk_add_lora: rank %lld must be positive",
                            (long long)c->rank);
    if (strlen(name_of(c)) >= LK_ADAPTER_NAME_MAX)
        return lk_error_set(err, LK_EVALUE,
                            "lk_add_lora: the adapter's name has more than %d bytes",
                            LK_ADAPTER_NAME_MAX - 1);
    if (!lk_walkable(m, "lk_add_lora", err)) return false;
    if (!lk__check_target_sites(m, c->targets, "lk_add_lora", err)) return false;
    for (SiteIter it = lk__lora_sites(m); lk__lora_sites_next(&it);)
        if (lk__is_target_site(c->targets, &it) && find_adapter(&it, name_of(c)) >= 0)
            return lk_error_set(err, LK_EVALUE,
                                "lk_add_lora: %s has an adapter \"%s\" already; "
                                "remove it or choose another name",
                                it.name, name_of(c));
    return true;
}

/* The new adapter of one site; NULL with the reason in err. It gets the weight's dtype, or float32
 * beside bfloat16. */
static Module *adapter_for(const SiteIter *site, const LoRAConfig *c, Rng *rng, Error *err)
{
    Module *m = parametrization_new(site->out, site->in, c->rank, c->alpha, c->init, rng, err);
    if (!m) return NULL;
    strcpy(lk_as_lora_parametrization(m)->adapter, name_of(c));
    const Tensor *weight = lk_original(site->module, site->parameter);
    if (lk_module_to(m, lk__adapter_dtype(weight), err)) return m;
    lk_module_free(m);
    return NULL;
}

/* Removes the adapters that lk_add_lora added before it failed. None of the sites had one of this
 * name before, so all of them are new. */
static int undo(Module *m, const LoRAConfig *c)
{
    for (SiteIter it = lk__lora_sites(m); lk__lora_sites_next(&it);) {
        int i = lk__is_target_site(c->targets, &it) ? find_adapter(&it, name_of(c)) : -1;
        /* cannot fail, since it is not merged */
        if (i >= 0 && !lk_remove_parametrization_at(it.module, it.parameter, i, NULL)) break;
    }
    return -1;
}

int lk_add_lora(Module *m, const LoRAConfig *config, Rng *rng, Error *err)
{
    if (!check_config(m, config, err)) return -1;
    int added = 0;
    for (SiteIter it = lk__lora_sites(m); lk__lora_sites_next(&it);) {
        if (!lk__is_target_site(config->targets, &it) || find_adapter(&it, name_of(config)) >= 0)
            continue;
        Module *p = adapter_for(&it, config, rng, err);
        if (!p ||
            !lk_register_parametrization_as(it.module, it.parameter, p, LK_KEEP_ORIGINAL, err))
            return undo(m, config);
        added++;
    }
    return added;
}

/* ---- switching, scaling, freezing, removing ------------------------------------------------- */

/* The names of all adapters of m, as many as fit, for a message. */
static const char *list_adapters(Module *m, char *text, size_t size)
{
    size_t length = 0;
    snprintf(text, size, "none");
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it) && length < size;) {
        AdapterIter first = lk_adapters(m);
        while (lk_adapters_next(&first) && !is_named(first.lora, it.lora->adapter)) continue;
        if (first.lora == it.lora)
            length += (size_t)snprintf(text + length, size - length, "%s%s", length ? ", " : "",
                                       it.lora->adapter);
    }
    return text;
}

/* Whether there is an adapter of this name, and none of its parametrizations is merged. */
static bool may_change(const char *function, Module *m, const char *adapter, Error *err)
{
    char text[300];
    bool found = !adapter;
    if (!m) return lk_error_set(err, LK_EVALUE, "%s: the module is NULL", function);
    if (!lk_walkable(m, function, err)) return false;
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) {
        if (!is_named(it.lora, adapter)) continue;
        found = true;
        if (it.merged)
            return lk_error_set(err, LK_ESTATE,
                                "%s: %.200s.%s is merged, so nothing would change "
                                "before it is unmerged; lk_unmerge it first",
                                function, it.name, it.parameter);
    }
    if (found) return true;
    return lk_error_set(err, LK_EVALUE, "%s: %.40s has no adapter \"%.80s\"; there are: %s",
                        function, m->type->name, adapter, list_adapters(m, text, sizeof text));
}

static int enable(Module *m, const char *adapter, bool on)
{
    int reached = 0;
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) {
        if (!is_named(it.lora, adapter)) continue;
        it.lora->enabled = on;
        reached++;
    }
    return reached;
}

int lk_enable_lora(Module *m, const char *adapter, bool on, Error *err)
{
    return may_change("lk_enable_lora", m, adapter, err) ? enable(m, adapter, on) : -1;
}

int lk_switch_lora(Module *m, const char *adapter, Error *err)
{
    const char *function = "lk_switch_lora";
    if (!may_change(function, m, adapter, err) || !may_change(function, m, NULL, err)) return -1;
    enable(m, NULL, false);
    return adapter ? enable(m, adapter, true) : 0;
}

int lk_scale_lora(Module *m, const char *adapter, double factor, Error *err)
{
    int reached = 0;
    if (!may_change("lk_scale_lora", m, adapter, err)) return -1;
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) {
        if (!is_named(it.lora, adapter)) continue;
        it.lora->scale = factor * it.lora->alpha / (double)it.lora->rank;
        reached++;
    }
    return reached;
}

int lk_train_only_lora(Module *m, const char *adapter, Error *err)
{
    int reached = 0;
    if (!may_change("lk_train_only_lora", m, adapter, err)) return -1;
    AdapterIter any = lk_adapters(m);
    if (!lk_adapters_next(&any)) {
        lk_error_set(err, LK_EVALUE,
                     "lk_train_only_lora: %.40s has no adapter, and nothing of it "
                     "would be trained; lk_add_lora comes first",
                     m->type->name);
        return -1;
    }
    lk_require_grad(m, "*", false);
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);) {
        if (!is_named(it.lora, adapter)) continue;
        lk_require_grad(&it.lora->base, "*", true);
        reached++;
    }
    return reached;
}

int lk_remove_lora(Module *m, const char *adapter, Error *err)
{
    int removed = 0;
    if (!may_change("lk_remove_lora", m, adapter, err)) return -1;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        ModuleArray lists = lk__lists_of(it.module);
        /* from the end, since a list that becomes empty is removed */
        for (int i = lists.count - 1; i >= 0; i--) {
            ParametrizationList *list = (ParametrizationList *)lists.items[i];
            for (int k = list->chain.count - 1; k >= 0; k--) {
                LoRAParametrization *p = lk_as_lora_parametrization(list->chain.items[k]);
                if (!p || !is_named(p, adapter)) continue;
                bool last = list->chain.count == 1;
                /* cannot fail, since it is not merged */
                removed += lk_remove_parametrization_at(it.module, list->field->name, k, NULL);
                if (last) break;
            }
        }
    }
    return removed;
}

/* ---- printing ------------------------------------------------------------------------------- */

void lk_print_adapters(FILE *out, Module *m)
{
    for (AdapterIter it = lk_adapters(m); lk_adapters_next(&it);)
        lk_fprintf(out, "%s.%s: %s, rank %lld, scale %g, %s, %s%s\n", it.name, it.parameter,
                   it.lora->adapter, (long long)it.lora->rank, it.lora->scale,
                   it.active ? "on" : "off", it.trainable ? "trainable" : "frozen",
                   it.merged ? ", merged" : "");
}
