/* walk.c - going through a tree of modules: iterators, access by path, counting, freezing, lists.
 *
 * Nothing here allocates but the two functions that make a list. The tree itself: nn/module.c. */
#include <string.h>

#include "core/memory.h"
#include "nn/fields.h"
#include "nn/linear.h"
#include "nn/parametrize.h"

/* ---- children ------------------------------------------------------------------------------- */

ChildIter lk_children(const Module *m)
{
    return (ChildIter){ .parent = m, .field = m ? first_field(m) : NULL };
}

bool lk_children_next(ChildIter *it)
{
    if (!it) return false;
    for (const Field *f; (f = it->field); it->field = next_field(f), it->item = 0) {
        ModuleArray slots = slots_of(it->parent, f);
        while (it->item < slots.count) {
            int i = it->item++;
            if (!slots.items[i]) continue;
            it->slot = &slots.items[i];
            it->module = slots.items[i];
            it->list = f->kind == LK_FIELD_CHILDREN ? f->name : NULL;
            it->name = f->name;
            if (f->kind == LK_FIELD_LISTS)
                it->name = ((const ParametrizationList *)it->module)->field->name;
            if (f->kind == LK_FIELD_CHILDREN || f->kind == LK_FIELD_ITEMS) {
                snprintf(it->number, sizeof it->number, "%d", i);
                it->name = it->number;
            }
            return true;
        }
    }
    it->list = it->name = NULL;
    it->module = NULL;
    it->slot = NULL;
    return false;
}

/* ---- what is shared ------------------------------------------------------------------------- */

/* A module or tensor with one owner is in one place. One with more owners may be: then the tree is
 * searched for its first place, and any other is a duplicate. That needs no list of what was seen,
 * hence no memory. */

static Module **first_slot_of_module(const Module *m, const Module *wanted, int depth)
{
    if (depth > LK_DEPTH_MAX) return NULL;
    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
        if (it.module == wanted) return it.slot;
        Module **slot = first_slot_of_module(it.module, wanted, depth + 1);
        if (slot) return slot;
    }
    return NULL;
}

static Tensor **first_slot_of_tensor(const Module *m, unsigned kinds, const Tensor *wanted,
                                     int depth)
{
    if (depth > LK_DEPTH_MAX) return NULL;
    for (const Field *f = first_field(m); f; f = next_field(f)) {
        if (!(kinds & 1u << f->kind)) continue;
        Tensor **slot = field_of(m, f);
        if (*slot == wanted) return slot;
    }
    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
        Tensor **slot = first_slot_of_tensor(it.module, kinds, wanted, depth + 1);
        if (slot) return slot;
    }
    return NULL;
}

bool lk_holds_param(const Module *m, const Tensor *x)
{
    return first_slot_of_tensor(m, 1 << LK_FIELD_PARAM, x, 0);
}

bool lk_holds_module(const Module *m, const Module *wanted)
{
    return m == wanted || first_slot_of_module(m, wanted, 0);
}

/* ---- modules, parameters, buffers ----------------------------------------------------------- */

/* name = prefix.part, of which name may already hold the prefix; false when it is too long. */
static bool join(char name[LK_NAME_MAX], size_t prefix_length, const char *part)
{
    size_t dot = prefix_length ? 1 : 0, part_length = strlen(part);
    if (prefix_length + dot + part_length >= LK_NAME_MAX) return false;
    if (dot) name[prefix_length] = '.';
    memcpy(name + prefix_length + dot, part, part_length + 1);
    return true;
}

ModuleIter lk_modules(Module *m) { return (ModuleIter){ .root = m }; }

static bool end_of_modules(ModuleIter *it, bool failed)
{
    it->failed = failed;
    it->depth = 0;
    it->root = it->module = NULL;
    it->slot = NULL;
    return false;
}

static bool enter(ModuleIter *it, Module *m, Module **slot)
{
    if (it->depth == LK_DEPTH_MAX) return end_of_modules(it, true);
    if (lk_module_is_freed("lk_modules", m, NULL) || !lk_is_checked(m)) {
        it->refused = m;
        return end_of_modules(it, true);
    }
    it->module = m;
    it->slot = slot;
    it->stack[it->depth].children = lk_children(m);
    it->stack[it->depth].name_length = strlen(it->name);
    it->depth++;
    return true;
}

bool lk_modules_next(ModuleIter *it)
{
    if (!it) return false;
    if (!it->root) return false;
    if (it->depth == 0) return enter(it, it->root, NULL);
    while (it->depth > 0) {
        ChildIter *children = &it->stack[it->depth - 1].children;
        if (!lk_children_next(children)) {
            it->depth--;
            continue;
        }
        Module *m = children->module;
        if (!it->with_duplicates && m->refs > 1 &&
            first_slot_of_module(it->root, m, 0) != children->slot)
            continue;
        size_t length = it->stack[it->depth - 1].name_length;
        bool fits = !children->list || join(it->name, length, children->list);
        if (children->list && fits) length = strlen(it->name);
        if (!fits || !join(it->name, length, children->name)) return end_of_modules(it, true);
        return enter(it, m, children->slot);
    }
    return end_of_modules(it, false);
}

enum {
    PARAMS = 1 << LK_FIELD_PARAM,
    BUFFERS = 1 << LK_FIELD_BUFFER,
    REST = 1 << LK_FIELD_NON_PERSISTENT
};

ParamIter lk_params(Module *m) { return (ParamIter){ .modules = lk_modules(m), .kinds = PARAMS }; }

ParamIter lk_buffers(Module *m)
{
    return (ParamIter){ .modules = lk_modules(m), .kinds = BUFFERS | REST };
}

ParamIter lk_state_tensors(Module *m)
{
    return (
        ParamIter){ .modules = lk_modules(m), .kinds = PARAMS | BUFFERS, .with_duplicates = true };
}

/* The fields are gone through twice, for parameters and for buffers. */
static const Field *next_field_of_kind(ParamIter *it, const Module *m)
{
    for (;;) {
        const Field *f = it->field;
        if (!f && it->is_buffer) return NULL;
        it->field = f ? next_field(f) : first_field(m);
        it->is_buffer = it->is_buffer || !f;
        unsigned kinds = it->kinds & (it->is_buffer ? ~(unsigned)PARAMS : (unsigned)PARAMS);
        if (f && kinds & 1u << f->kind) return f;
    }
}

static bool next_own_tensor(ParamIter *it, const Module *m)
{
    for (const Field *f; (f = next_field_of_kind(it, m));) {
        Tensor **slot = field_of(m, f);
        Tensor *x = *slot;
        if (!x) continue;
        if (!it->with_duplicates && x->refs > 1 &&
            first_slot_of_tensor(it->modules.root, it->kinds, x, 0) != slot)
            continue;
        size_t length = strlen(it->modules.name);
        memcpy(it->name, it->modules.name, length);
        it->failed = !join(it->name, length, f->name);
        it->slot = slot;
        it->tensor = x;
        return true;
    }
    return false;
}

bool lk_params_next(ParamIter *it)
{
    if (!it) return false;
    it->modules.with_duplicates = it->with_duplicates;
    for (;;) {
        if (it->modules.module && next_own_tensor(it, it->modules.module)) {
            if (!it->failed) return true;
            end_of_modules(&it->modules, true);
            break;
        }
        if (!lk_modules_next(&it->modules)) break;
        it->field = first_field(it->modules.module);
        it->is_buffer = false;
    }
    it->failed = it->modules.failed;
    it->tensor = NULL;
    it->slot = NULL;
    return false;
}

bool lk_walkable(Module *m, const char *function, Error *err)
{
    if (lk_module_is_freed(function, m, err)) return false;
    ParamIter it = lk_state_tensors(m); /* every name there is */
    while (lk_params_next(&it)) continue;
    if (it.modules.refused && err && lk_module_is_freed(function, it.modules.refused, err))
        return false;
    if (it.modules.refused) return lk_check_table(it.modules.refused->type, function, err);
    if (it.failed)
        lk_error_set(err, LK_EVALUE,
                     "%s: %s has modules nested more than %d deep, or a name of %d bytes or more",
                     function, m->type->name, LK_DEPTH_MAX, LK_NAME_MAX);
    return !it.failed;
}

/* ---- access by path ------------------------------------------------------------------------- */

/* Levenshtein's distance: insertions, deletions and replacements that turn a into b. One row of
 * the table at a time. */
static int edit_distance(const char *a, const char *b)
{
    int row[LK_NAME_MAX + 1];
    int n = (int)strnlen(b, LK_NAME_MAX);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int replaced = diagonal + (a[i] != b[j]);
            int shorter = row[j] < row[j + 1] ? row[j] : row[j + 1];
            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[n];
}

/* The existing names that are nearest to a wanted one, best first. */
enum { NEAREST = 3 };
typedef struct Nearest {
    int count, distance[NEAREST];
    char name[NEAREST][LK_NAME_MAX];
} Nearest;

static void consider(Nearest *n, const char *wanted, const char *name)
{
    int distance = edit_distance(name, wanted), i = n->count;
    while (i > 0 && n->distance[i - 1] > distance) i--;
    if (i == NEAREST) return;
    int moved = (n->count < NEAREST ? n->count : NEAREST - 1) - i;
    memmove(n->distance + i + 1, n->distance + i, (size_t)moved * sizeof n->distance[0]);
    memmove(n->name + i + 1, n->name + i, (size_t)moved * sizeof n->name[0]);
    n->distance[i] = distance;
    strcpy(n->name[i], name);
    if (n->count < NEAREST) n->count++;
}

static void report_path(const char *function, const Module *m, const char *what, const char *path,
                        const Nearest *n, Error *err)
{
    char list[NEAREST * 100] = "";
    size_t length = 0;
    for (int i = 0; i < n->count && length < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s\"%.80s\"",
                                   i ? ", " : "", n->name[i]);
    if (n->count == 0) snprintf(list, sizeof list, "none: it has no %s", what);
    lk_error_set(err, LK_EVALUE, "%s: %.40s has no %s \"%.80s\"; nearest: %s", function,
                 m->type->name, what, path, list);
}

/* Moves *it to the module at path; false with the reason in err. */
static bool find_module(const char *function, Module *m, const char *path, ModuleIter *it,
                        Error *err)
{
    if (!m || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", function, m ? "path" : "module");
    if (lk_module_is_freed(function, m, err)) return false;
    *it = lk_modules(m);
    it->with_duplicates = true;
    while (lk_modules_next(it))
        if (strcmp(it->name, path) == 0) return true;

    Nearest nearest = { 0 };
    for (ModuleIter all = lk_modules(m); lk_modules_next(&all);)
        if (all.slot) consider(&nearest, path, all.name);
    report_path(function, m, "module", path, &nearest, err);
    return false;
}

Module *lk_module_at(Module *m, const char *path, Error *err)
{
    ModuleIter it;
    return find_module("lk_module_at", m, path, &it, err) ? it.module : NULL;
}

Module **lk_slot_at(Module *m, const char *path, Error *err)
{
    ModuleIter it;
    if (!find_module("lk_slot_at", m, path, &it, err)) return NULL;
    if (!it.slot)
        lk_error_set(err, LK_EVALUE, "lk_slot_at: \"\" is the root itself, which no module holds");
    return it.slot;
}

Tensor *lk_param_at(Module *m, const char *path, Error *err)
{
    if (!m || !path) {
        lk_error_set(err, LK_EVALUE, "lk_param_at: the %s is NULL", m ? "path" : "module");
        return NULL;
    }
    if (lk_module_is_freed("lk_param_at", m, err)) return NULL;
    ParamIter it = lk_params(m);
    it.with_duplicates = true;
    while (lk_params_next(&it))
        if (strcmp(it.name, path) == 0) return it.tensor;

    Nearest nearest = { 0 };
    for (ParamIter all = lk_params(m); lk_params_next(&all);) consider(&nearest, path, all.name);
    report_path("lk_param_at", m, "parameter", path, &nearest, err);
    return NULL;
}

/* ---- counting, freezing, lists -------------------------------------------------------------- */

static int64_t count_elements(Module *m, bool trainable_only)
{
    int64_t count = 0;
    ParamIter it = lk_params(m);
    while (lk_params_next(&it))
        if (!trainable_only || it.tensor->requires_grad) count += lk_numel(it.tensor);
    return it.failed ? -1 : count;
}

int64_t lk_count_parameters(Module *m) { return count_elements(m, false); }

int64_t lk_count_trainable_parameters(Module *m) { return count_elements(m, true); }

/* A shell pattern with `*` and `?`. On a mismatch after a star, that star takes one character
 * more. */
bool lk_name_stars(const char *pattern, const char *text, NameStar stars[LK_NAME_STARS])
{
    if (!pattern || !text) return false;
    const char *after_star = NULL;
    NameStar none, *star = &none;
    for (int count = 0; *text || *pattern == '*';) {
        if (*pattern == '*') {
            after_star = ++pattern;
            star = stars && count < LK_NAME_STARS ? &stars[count++] : &none;
            *star = (NameStar){ text, 0 };
        } else if (*pattern && (*pattern == '?' || *pattern == *text)) {
            pattern++;
            text++;
        } else if (after_star) {
            pattern = after_star;
            text = star->begin + ++star->length;
        } else {
            return false;
        }
    }
    return *pattern == '\0';
}

bool lk_name_matches(const char *pattern, const char *text)
{
    return lk_name_stars(pattern, text, NULL);
}

int lk_require_grad(Module *m, const char *pattern, bool on)
{
    if (!lk_walkable(m, "lk_require_grad", NULL)) return -1;
    int matched = 0;
    if (!pattern) return -1;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        if (!lk_name_matches(pattern, it.name)) continue;
        lk_set_requires_grad(it.tensor, on);
        matched++;
    }
    return matched;
}

int lk_freeze_linears(Module *m)
{
    if (!lk_walkable(m, "lk_freeze_linears", NULL)) return -1;
    int linears = 0;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module)) continue;
        lk_require_grad(it.module, "*", false);
        linears++;
    }
    return linears;
}

TensorList lk_parameters_where(Module *m, ParamFilter *wanted, void *user, Error *err)
{
    TensorList list = { 0 };
    int count = 0;
    if (!wanted) {
        lk_error_set(err, LK_EVALUE, "lk_parameters_where: the filter is NULL");
        return list;
    }
    if (!lk_walkable(m, "lk_parameters", err)) return list;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) count += wanted(&it, user);
    if (count == 0) return list;
    list.items = lk_mem_calloc((size_t)count, sizeof *list.items);
    if (!list.items) {
        lk_error_set(err, LK_EMEMORY, "lk_parameters: no memory for a list of %d tensors", count);
        return list;
    }
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (wanted(&it, user)) list.items[list.count++] = lk_tensor_retain(it.tensor);
    return list;
}

static bool is_any(const ParamIter *it, void *user)
{
    (void)it, (void)user;
    return true;
}

static bool is_trainable(const ParamIter *it, void *user)
{
    (void)user;
    return it->tensor->requires_grad;
}

TensorList lk_parameters(Module *m, Error *err)
{
    return lk_parameters_where(m, is_any, NULL, err);
}

TensorList lk_trainable_parameters(Module *m, Error *err)
{
    return lk_parameters_where(m, is_trainable, NULL, err);
}

void lk_module_zero_grad(Module *m)
{
    for (ParamIter it = lk_params(m); lk_params_next(&it);) lk_zero_grad_(it.tensor);
}
