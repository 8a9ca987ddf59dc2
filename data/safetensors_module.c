/* safetensors_module.c - loads modules from safetensors files, and saves them: as copies or as
 * views of the mapped file, under their own names or under other ones. The files:
 * data/safetensors.c, data/safetensors_write.c. */
#include <string.h>

#include "core/memory.h"
#include "data/safetensors_parts.h"

bool lk_save_module(Module *m, const char *path, Error *err)
{
    /* no copy: the module's own tensors are written */
    StateDict *state = lk_state_dict_shared_new(m, err);
    bool ok = state && lk_save_safetensors(state, LK_METADATA({ "format", "pt" }), path, err);
    lk_state_dict_free(state);
    return ok;
}

/* The dtype of the module's parameter of that name; float32 when there is none. */
static DType dtype_in(Module *m, const char *name)
{
    for (ParamIter it = lk_state_tensors(m); lk_params_next(&it);)
        if (strcmp(it.name, name) == 0) return it.tensor->dtype;
    return LK_F32;
}

/* Reads all tensors of a file as the parameters of m can take them. */
static StateDict *read_for(const char *caller, Module *m, SafeTensors *f, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (int i = 0; ok && i < f->count; i++) {
        const SafeTensorsEntry *e = &f->entries[i];
        Tensor *x = lk__safetensors_read_for_new(caller, f, e, dtype_in(m, e->name), err);
        ok = x && lk_state_dict_add(state, e->name, x, err);
    }
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

bool lk_load_module(Module *m, const char *path, bool strict, Error *err)
{
    const char *caller = "lk_load_safetensors"; /* what reading is called in messages */
    SafeTensors *f = lk__safetensors_open_for(caller, path, err);
    StateDict *state = f ? read_for(caller, m, f, err) : NULL;
    bool ok = state && lk_load_state_dict(m, state, strict, err);
    lk_state_dict_free(state);
    lk_safetensors_close(f);
    return ok;
}

void lk_load_report_free(LoadReport *report)
{
    if (!report) return;
    lk_names_free(&report->missing);
    lk_names_free(&report->unexpected);
    lk_names_free(&report->mismatched);
    lk_names_free(&report->ignored);
    *report = (LoadReport){ 0 };
}

/* ---- names ---------------------------------------------------------------------------------- */

static int stars_of(const char *pattern)
{
    int count = 0;
    for (; *pattern; pattern++) count += *pattern == '*';
    return count;
}

/* Writes `to` with its stars replaced; false: the result is too long for a name. */
static bool fill_in(const char *to, const NameStar *stars, char out[LK_NAME_MAX])
{
    int length = 0;
    for (; *to && length < LK_NAME_MAX; to++)
        if (*to == '*') {
            length += snprintf(out + length, (size_t)(LK_NAME_MAX - length), "%.*s", stars->length,
                               stars->begin);
            stars++;
        } else {
            out[length++] = *to;
        }
    if (length >= LK_NAME_MAX) return false;
    out[length] = '\0';
    return true;
}

/* Translates a name of the file into the name in the module: each rule that fits renames it, in
 * their order. False: the tensor is ignored. A rule whose result is too long for a module's name
 * changes nothing. */
static bool rename_tensor(const LoadOptions *o, const char *name, char out[LK_NAME_MAX])
{
    snprintf(out, LK_NAME_MAX, "%s", name);
    for (int i = 0; i < o->rule_count; i++) {
        NameStar stars[LK_NAME_STARS];
        char renamed[LK_NAME_MAX];
        if (!lk_name_stars(o->rules[i].from, out, stars)) continue;
        if (!o->rules[i].to) return false;
        if (fill_in(o->rules[i].to, stars, renamed)) memcpy(out, renamed, sizeof renamed);
    }
    return true;
}

/* ---- which tensor goes where ---------------------------------------------------------------- */

typedef char Name[LK_NAME_MAX];

/* One parameter, which may be in several places, and its new value. */
typedef struct Place {
    Tensor *old, *value;
    const SafeTensorsEntry *entry;
} Place;

typedef struct Load {
    Module *module;
    SafeTensors *file;
    const LoadOptions *options;
    LoadReport *report;
    Error *err;
    Name *names; /* of the file's tensors in the module; "" for an ignored tensor */
    Place *places;
    int count;
} Load;

static bool fail(const Load *l, ErrorCode code, const char *text)
{
    return lk_error_set(l->err, code, "lk_load_module_mapped: %.200s: %s", l->file->path, text);
}

static bool check_rules(const Load *l)
{
    char text[300];
    for (int i = 0; i < l->options->rule_count; i++) {
        const NameRule *rule = &l->options->rules[i];
        int from = rule->from ? stars_of(rule->from) : -1, to = rule->to ? stars_of(rule->to) : 0;
        if (to <= from && from <= LK_NAME_STARS) continue;
        snprintf(
            text, sizeof text,
            "the rule \"%.80s\" to \"%.80s\": `from` has up to %d stars, and `to` has no more",
            rule->from ? rule->from : "NULL", rule->to ? rule->to : "NULL", LK_NAME_STARS);
        return fail(l, LK_EVALUE, text);
    }
    return true;
}

static bool rename_all(Load *l)
{
    for (int i = 0; i < l->file->count; i++) {
        const char *name = l->file->entries[i].name;
        if (rename_tensor(l->options, name, l->names[i])) continue;
        l->names[i][0] = '\0';
        if (!lk_names_add(&l->report->ignored, l->err, "%s", name)) return false;
    }
    return true;
}

/* Finds the file's tensor of this name, NULL: none. Two tensors with one new name are an error. */
static bool find_entry(const Load *l, const char *name, const SafeTensorsEntry **found)
{
    *found = NULL;
    for (int i = 0; i < l->file->count; i++) {
        const SafeTensorsEntry *e = &l->file->entries[i];
        if (strcmp(l->names[i], name) != 0) continue;
        char text[300];
        if (*found) {
            snprintf(text, sizeof text, "both \"%.80s\" and \"%.80s\" are the module's \"%.80s\"",
                     (*found)->name, e->name, name);
            return fail(l, LK_EVALUE, text);
        }
        *found = e;
    }
    return true;
}

static Place *place_of(const Load *l, const Tensor *x)
{
    for (int i = 0; i < l->count; i++)
        if (l->places[i].old == x) return &l->places[i];
    return NULL;
}

static const char *file_dtype(DType dtype)
{
    static const char *const names[] = {
        [LK_F32] = "F32",   [LK_F64] = "F64",   [LK_I64] = "I64", [LK_U8] = "U8",
        [LK_BOOL] = "BOOL", [LK_BF16] = "BF16", [LK_QI8] = "F32",
    };
    return names[dtype];
}

static bool same_kind(const Tensor *x, const SafeTensorsEntry *e)
{
    return lk__safetensors_dtype_for(e, x->dtype) == (int)x->dtype && x->ndim == e->ndim &&
           memcmp(x->shape, e->shape, (size_t)x->ndim * sizeof *x->shape) == 0;
}

/* "layer.weight is (2, 3) F16, not (3, 2) F32" */
static bool add_mismatch(Load *l, const char *name, const Tensor *x, const SafeTensorsEntry *e)
{
    char has[LK_SHAPE_TEXT], wants[LK_SHAPE_TEXT];
    Tensor shape = { .ndim = e->ndim < LK_MAX_DIMS ? e->ndim : LK_MAX_DIMS };
    memcpy(shape.shape, e->shape, sizeof shape.shape);
    return lk_names_add(&l->report->mismatched, l->err, "%s is %s %s, not %s %s", name,
                        lk_shape_text(&shape, has), e->dtype, lk_shape_text(x, wants),
                        file_dtype(x->dtype));
}

static bool may_miss(const LoadOptions *o, const char *name)
{
    for (int i = 0; i < o->optional_count; i++)
        if (lk_name_matches(o->optional[i], name)) return true;
    return false;
}

/* Fills places and the report; *missing counts the names that should be in the file. A shared
 * parameter has several names, any of which is enough. */
static bool compare(Load *l, int *missing)
{
    for (ParamIter it = lk_state_tensors(l->module); lk_params_next(&it);) {
        const SafeTensorsEntry *e;
        if (!find_entry(l, it.name, &e)) return false;
        if (!e) continue;
        if (!same_kind(it.tensor, e) && !add_mismatch(l, it.name, it.tensor, e)) return false;
        if (!place_of(l, it.tensor))
            l->places[l->count++] = (Place){ lk_tensor_retain(it.tensor), NULL, e };
    }
    *missing = 0;
    ParamIter once = lk_state_tensors(l->module);
    once.with_duplicates = false;
    for (ParamIter it = once; lk_params_next(&it);) {
        if (place_of(l, it.tensor)) continue;
        *missing += !may_miss(l->options, it.name);
        if (!lk_names_add(&l->report->missing, l->err, "%s", it.name)) return false;
    }
    for (int i = 0; i < l->file->count; i++) {
        ParamIter it = lk_state_tensors(l->module);
        while (lk_params_next(&it) && strcmp(it.name, l->names[i]) != 0) continue;
        bool unexpected = !it.tensor && l->names[i][0];
        if (unexpected && !lk_names_add(&l->report->unexpected, l->err, "%s", l->names[i]))
            return false;
    }
    return true;
}

/* Makes one message of everything that does not fit, with the module's names that are nearest to
 * the first unknown one. */
static bool check_report(const Load *l, int missing)
{
    const LoadReport *r = l->report;
    if (r->mismatched.count == 0 && (l->options->lax || missing + r->unexpected.count == 0))
        return true;
    char lists[3][100], text[420];
    const char *nearest = "";
    Error hint = { 0 };
    if (r->unexpected.count > 0 && !lk_param_at(l->module, r->unexpected.items[0], &hint))
        nearest = strstr(hint.message, "; nearest: ");
    snprintf(text, sizeof text, "%d missing (%s), %d unexpected (%s%.120s), %d mismatched (%s)",
             missing, missing ? lk_names_text(&r->missing, lists[0], sizeof lists[0]) : "",
             r->unexpected.count, lk_names_text(&r->unexpected, lists[1], sizeof lists[1]),
             nearest ? nearest : "", r->mismatched.count,
             lk_names_text(&r->mismatched, lists[2], sizeof lists[2]));
    return fail(l, r->mismatched.count > 0 ? LK_ESHAPE : LK_EVALUE, text);
}

/* ---- putting it there ----------------------------------------------------------------------- */

static bool make_views(Load *l)
{
    for (int i = 0; i < l->count; i++) {
        Place *p = &l->places[i];
        p->value = lk__safetensors_view_for_new(l->file, p->entry, p->old->dtype, l->err);
        if (!p->value) return false;
        p->value->requires_grad = p->old->requires_grad;
        p->value->is_parameter = p->old->is_parameter;
        /* so that caches of values notice the new tensor */
        p->value->storage->version = p->old->storage->version + 1;
    }
    return true;
}

/* Nothing can fail any more. */
static bool put(Load *l)
{
    bool ok = true;
    for (ParamIter it = lk_state_tensors(l->module); !l->options->copy && lk_params_next(&it);) {
        const Place *p = place_of(l, it.tensor);
        if (!p) continue;
        *it.slot = lk_tensor_retain(p->value);
        lk_tensor_free(p->old);
    }
    for (int i = 0; l->options->copy && i < l->count; i++)
        ok = lk_copy_(l->places[i].old, l->places[i].value, NULL) && ok;
    l->report->loaded = l->count;
    for (int i = 0; i < l->count; i++)
        l->report->widened += l->places[i].entry->half && !lk_only_stores(l->places[i].old->dtype);
    return ok;
}

static bool load(Load *l)
{
    int params = 0, missing;
    if (!lk_walkable(l->module, "lk_load_module_mapped", l->err)) return false;
    for (ParamIter it = lk_state_tensors(l->module); lk_params_next(&it);) params++;
    l->names = lk_mem_calloc((size_t)l->file->count + 1, sizeof *l->names);
    l->places = lk_mem_calloc((size_t)params + 1, sizeof *l->places);
    if (!l->names || !l->places)
        return fail(l, LK_EMEMORY, "no memory for the names of its tensors");
    if (!check_rules(l) || !rename_all(l) || !compare(l, &missing)) return false;
    if (!check_report(l, missing) || !make_views(l)) return false;
    return put(l);
}

bool lk_load_module_mapped(Module *m, const char *path, const LoadOptions *options,
                           LoadReport *report, Error *err)
{
    if (!m) return lk_error_set(err, LK_EVALUE, "lk_load_module_mapped: the module is NULL");
    LoadReport own = { 0 };
    SafeTensors *file = lk_safetensors_open(path, err);
    if (!file) return false;
    Load l = { .module = m,
               .file = file,
               .options = options ? options : &(const LoadOptions){ 0 },
               .report = report ? report : &own,
               .err = err };
    bool ok = load(&l);
    for (int i = 0; i < l.count; i++) {
        lk_tensor_free(l.places[i].old);
        lk_tensor_free(l.places[i].value);
    }
    lk_mem_free(l.places);
    lk_mem_free(l.names);
    lk_safetensors_close(file);
    lk_load_report_free(&own);
    return ok;
}
