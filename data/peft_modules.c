/* peft_modules.c - a model as PEFT sees it: its modules without wrappers and parametrizations.
 * Both data/peft_save.c and data/peft_load.c go through it. */
#include "data/peft_parts.h"

#include <stdio.h>
#include <string.h>

#include "nn/conv.h"
#include "nn/embedding.h"

bool lk__peft_ends_with(const char *name, const char *end)
{
    size_t all = strlen(name), last = strlen(end);
    return all >= last && strcmp(name + all - last, end) == 0 &&
           (all == last || name[all - last - 1] == '.');
}

const Field *lk__peft_param(const Module *m, const Field *after)
{
    for (const Field *f = after ? after + 1 : m->type->fields; f && f->kind != LK_FIELD_END; f++)
        if (f->kind == LK_FIELD_PARAM && lk_original(m, f->name)) return f;
    return NULL;
}

const Field *lk__peft_tensor(const Module *m, const Field *after, Tensor **x)
{
    for (const Field *f = after ? after + 1 : m->type->fields; f && f->kind != LK_FIELD_END; f++) {
        *x = f->kind == LK_FIELD_PARAM ? lk_original(m, f->name) : NULL;
        if (f->kind == LK_FIELD_BUFFER) *x = *(Tensor *const *)((const char *)m + f->offset);
        if (*x) return f;
    }
    return NULL;
}

Tensor lk__peft_T(const Tensor *x)
{
    Tensor y = *x;
    y.shape[0] = x->shape[1];
    y.shape[1] = x->shape[0];
    y.stride[0] = x->stride[1];
    y.stride[1] = x->stride[0];
    return y;
}

/* ---- the tensors of an adapter -------------------------------------------------------------- */

PeftPart lk__peft_part(const Module *m, int i, int64_t rank)
{
    const Tensor *w = lk_original(m, "weight");
    const int64_t rows = w ? lk_size(w, 0) : 0, columns = w ? lk_size(w, 1) : 0;
    if (m->type == &lk_embedding_type && i == 0)
        return (PeftPart){ "lora_embedding_A", false, true, 2, { rank, rows } };
    if (m->type == &lk_embedding_type)
        return (PeftPart){ "lora_embedding_B", true, true, 2, { columns, rank } };
    PeftPart p = { .name = i == 0 ? "lora_A.weight" : "lora_B.weight", .is_A = i == 0 };
    p.ndim = w ? w->ndim : 2;
    for (int d = 2; d < p.ndim; d++) p.shape[d] = i == 0 ? w->shape[d] : 1;
    p.shape[0] = i == 0 ? rank : rows;
    p.shape[1] = i == 0 ? columns : rank;
    return p;
}

/* A contiguous tensor in another shape, without a copy. */
static Tensor viewed(const Tensor *x, int ndim, const int64_t *shape)
{
    Tensor y = *x;
    y.ndim = ndim;
    int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        y.shape[d] = shape[d];
        y.stride[d] = stride;
        stride *= shape[d];
    }
    return y;
}

Tensor lk__peft_in_file(const PeftPart *p, const Tensor *matrix)
{
    if (p->transposed) return lk__peft_T(matrix);
    return p->ndim == 2 ? *matrix : viewed(matrix, p->ndim, p->shape);
}

Tensor lk__peft_matrix(const PeftPart *p, const Tensor *in_file)
{
    if (p->transposed) return lk__peft_T(in_file);
    const int64_t rows = p->shape[0];
    return p->ndim == 2 ? *in_file : viewed(in_file, LK_SHAPE(rows, lk_numel(in_file) / rows));
}

bool lk__peft_is_plain(const Module *m)
{
    if (m->type != &lk_conv1d_type && m->type != &lk_conv2d_type) return true;
    const Convolution *c = (const Convolution *)m;
    bool plain = c->groups == 1;
    for (int d = 0; d < c->dilation.ndim; d++) plain = plain && c->dilation.size[d] == 1;
    return plain;
}

/* ---- walking -------------------------------------------------------------------------------- */

PeftIter lk__peft_modules(Module *m, const char *adapter)
{
    return (PeftIter){ .modules = lk_modules(m), .adapter = adapter ? adapter : "default" };
}

/* Finds the adapter of the iterator's name on any parameter of its module. */
static void find_lora(PeftIter *it)
{
    it->lora = NULL;
    it->foreign = false;
    for (const Field *f = NULL; (f = lk__peft_param(it->module, f));) {
        const ParametrizationList *list = lk_parametrizations(it->module, f->name);
        for (int i = 0; list && i < list->chain.count; i++) {
            LoRAParametrization *p = lk_as_lora_parametrization(list->chain.items[i]);
            if (!p || strcmp(p->adapter, it->adapter) != 0) continue;
            if (it->adaptable && strcmp(f->name, "weight") == 0) it->lora = p;
            else it->foreign = true;
        }
    }
}

bool lk__peft_next(PeftIter *it)
{
    while (lk_modules_next(&it->modules)) {
        const char *name = it->modules.name;
        if (it->skip_length > 0 && strncmp(name, it->skip, it->skip_length) == 0) continue;
        Module *m = it->modules.module;
        it->wrapper = lk_as_linear_with_lora(m);
        if (!it->wrapper) it->wrapper = lk_as_linear_with_lora_merged(m);
        /* the name of the child that every module's base has */
        bool chains = lk__peft_ends_with(name, "parametrizations");
        it->skip_length = 0;
        if (it->wrapper || chains)
            it->skip_length =
                (size_t)snprintf(it->skip, sizeof it->skip, "%s%s", name, *name ? "." : "");
        if (chains) continue;
        it->name = name;
        it->module = it->wrapper ? it->wrapper->linear : m;
        it->slot = it->modules.slot;
        it->linear = lk_as_linear(it->module);
        it->adaptable = it->linear || lk_as_embedding(it->module) || lk_as_conv1d(it->module) ||
                        lk_as_conv2d(it->module);
        find_lora(it);
        return true;
    }
    return false;
}

bool lk__peft_same_places(const PeftIter *it, bool parametrized, char other[LK_NAME_MAX])
{
    const Module *outer = it->wrapper ? &it->wrapper->base : it->module;
    bool before = it->wrapper; /* the walk has not reached the Linear of the wrapper yet */
    ModuleIter all = lk_modules(it->modules.root);
    all.with_duplicates = true;
    while (lk_modules_next(&all)) {
        if (it->wrapper && all.slot == &it->wrapper->linear) before = false;
        bool again = all.module == outer && all.slot != it->slot && (it->wrapper || parametrized);
        if (!again && !(before && all.module == it->module)) continue;
        strcpy(other, all.name);
        return false;
    }
    return true;
}

ParamIter lk__peft_places(Module *root)
{
    ParamIter p = lk_params(root);
    p.with_duplicates = true;
    return p;
}

bool lk__peft_next_place(ParamIter *p, const Module *m)
{
    while (lk_params_next(p))
        for (const Field *f = NULL; (f = lk__peft_param(m, f));)
            if (lk_original(m, f->name) == p->tensor) return true;
    return false;
}

bool lk__peft_is_whole(const PeftOptions *o, const char *name)
{
    for (int i = 0; i < o->save_count; i++) {
        size_t length = strlen(o->save[i]);
        if (strncmp(name, o->save[i], length) == 0 &&
            (name[length] == '\0' || name[length] == '.'))
            return true;
    }
    return false;
}
