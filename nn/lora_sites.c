/* lora_sites.c - the matrices of a model that LoRA can adapt. */
#include "nn/lora_sites.h"

#include <string.h>

#include "nn/linear.h"
#include "nn/parametrize.h"
#include "nn/places.h"

/* Whether a name is weight_… or …_weight. */
static bool is_a_weight(const char *name)
{
    const size_t part = strlen("weight_"), length = strlen(name);
    return strncmp(name, "weight_", part) == 0 ||
           (length >= part && strcmp(name + length - part, "_weight") == 0);
}

/* Whether a parameter is a site; it may be NULL in this module. */
static bool is_site(const Module *m, const Field *f)
{
    if (f->kind != LK_FIELD_PARAM) return false;
    switch (m->type->lora) {
    case LK_LORA_NONE: break;
    case LK_LORA_WEIGHT: return strcmp(f->name, "weight") == 0;
    case LK_LORA_WEIGHTS: return is_a_weight(f->name);
    }
    return false;
}

SiteIter lk__lora_sites(Module *m) { return (SiteIter){ .modules = lk__every_place(m) }; }

/* Makes the iterator's field the next site of its module. */
static bool next_of_module(SiteIter *it)
{
    const Module *m = it->modules.module;
    const Field *f = it->field ? it->field + 1 : m->type->fields;
    while (f && f->kind != LK_FIELD_END && !(is_site(m, f) && lk_original(m, f->name))) f++;
    it->field = f;
    return f && f->kind != LK_FIELD_END;
}

bool lk__lora_sites_next(SiteIter *it)
{
    while (!it->modules.module || !next_of_module(it)) {
        it->field = NULL;
        if (!lk_modules_next(&it->modules)) return false;
    }
    const Tensor *w = lk_original(it->modules.module, it->field->name);
    it->module = it->modules.module;
    it->parameter = it->field->name;
    it->out = lk_size(w, 0);
    it->in = it->out > 0 ? lk_numel(w) / it->out : 0;
    it->linear = lk_as_linear(it->module);
    it->layer = it->module->type->lora == LK_LORA_WEIGHT;
    memcpy(it->name, it->modules.name, sizeof it->name);
    return it->module->type->lora == LK_LORA_WEIGHT ||
           lk__join_name(it->name, strlen(it->name), it->parameter);
}
