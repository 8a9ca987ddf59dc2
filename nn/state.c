/* state.c - the state dict in memory: a snapshot of parameters and buffers, and putting one back.
 * In files: data/safetensors.c. */
#include "nn/state.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "core/decimal.h"
#include "core/internal.h"
#include "core/memory.h"
#include "nn/fields.h"

/* ---- making one ----------------------------------------------------------------------------- */

StateDict *lk_state_dict_empty_new(Error *err)
{
    StateDict *state = lk_mem_calloc(1, sizeof *state);
    if (!state) lk_error_set(err, LK_EMEMORY, "lk_state_dict_empty_new: no memory");
    return state;
}

/* The array always has room for a power of two of entries. So it is full when the count is 0 or a
 * power of two. */
static bool make_room(StateDict *state)
{
    int count = state->count;
    if ((count & (count - 1)) != 0) return count < INT_MAX;
    StateEntry *entries = lk_mem_calloc(count ? 2 * (size_t)count : 1, sizeof *entries);
    if (!entries) return false;
    if (count > 0) memcpy(entries, state->entries, (size_t)count * sizeof *entries);
    lk_mem_free(state->entries);
    state->entries = entries;
    return true;
}

bool lk_state_dict_add(StateDict *state, const char *name, Tensor *x, Error *err)
{
    size_t bytes = name ? strlen(name) + 1 : 0;
    char *copy = NULL;
    const char *missing = NULL;
    if (!x) missing = "tensor";
    if (!name) missing = "name";
    if (!state) missing = "state";
    if (missing) lk_error_set(err, LK_EVALUE, "lk_state_dict_add: the %s is NULL", missing);
    else if (x->refs == 0)
        lk_error_set(err, LK_ESTATE,
                     "lk_state_dict_add: \"%.100s\" belongs to a tape; keep it with lk_clone",
                     name);
    else if (!make_room(state) || !(copy = lk_mem_alloc(bytes)))
        lk_error_set(err, LK_EMEMORY, "lk_state_dict_add: no memory for the name \"%.100s\"",
                     name);
    if (!copy) {
        lk_tensor_free(x);
        return false;
    }
    memcpy(copy, name, bytes);
    state->entries[state->count++] = (StateEntry){ copy, x };
    return true;
}

static StateDict *state_of(Module *m, bool copies, const char *function, Error *err)
{
    if (!m) {
        lk_error_set(err, LK_EVALUE, "%s: the module is NULL", function);
        return NULL;
    }
    if (!lk_walkable(m, function, err)) return NULL;
    StateDict *state = lk_state_dict_empty_new(err);
    if (!state) return NULL;
    for (ParamIter it = lk_state_tensors(m); lk_params_next(&it);) {
        Tensor *x = copies ? lk_clone(it.tensor, err) : lk_tensor_retain(it.tensor);
        if (lk_state_dict_add(state, it.name, x, err)) continue;
        lk_state_dict_free(state);
        return NULL;
    }
    return state;
}

StateDict *lk_state_dict_new(Module *m, Error *err)
{
    return state_of(m, true, "lk_state_dict_new", err);
}

StateDict *lk_state_dict_shared_new(Module *m, Error *err)
{
    return state_of(m, false, "lk_state_dict_shared_new", err);
}

void lk_state_dict_free(StateDict *state)
{
    if (!state) return;
    for (int i = 0; i < state->count; i++) {
        lk_mem_free(state->entries[i].name);
        lk_tensor_free(state->entries[i].tensor);
    }
    lk_mem_free(state->entries);
    lk_mem_free(state);
}

Tensor *lk_state_dict_get(const StateDict *state, const char *name)
{
    for (int i = 0; state && name && i < state->count; i++)
        if (strcmp(state->entries[i].name, name) == 0) return state->entries[i].tensor;
    return NULL;
}

/* ---- putting it back ------------------------------------------------------------------------ */

/* A list of names for a message: all of them are counted, the first ones that fit are shown. */
typedef struct NameList {
    int count;
    bool full;
    char text[128];
} NameList;

static LK_PRINTF(2, 3) void list_name(NameList *list, const char *format, ...)
{
    static const char more[] = ", …";
    enum { SIZE = sizeof list->text };
    char item[SIZE - sizeof more + 1]; /* the first one fits always */
    const char *comma = list->count++ ? ", " : "";
    if (list->full) return;
    va_list args;
    va_start(args, format);
    lk_vsnprintf(item, sizeof item, format, args);
    va_end(args);
    const size_t length = strlen(list->text);
    list->full = length + strlen(comma) + strlen(item) + sizeof more > SIZE;
    snprintf(list->text + length, SIZE - length, "%s%s", comma, list->full ? "…" : item);
}

/* Lists every name that is on one side only, and every tensor that does not fit its parameter. */
static void compare(Module *m, const StateDict *state, NameList *missing, NameList *unexpected,
                    NameList *mismatched)
{
    for (ParamIter it = lk_state_tensors(m); lk_params_next(&it);) {
        const Tensor *x = it.tensor, *value = lk_state_dict_get(state, it.name);
        if (!value) {
            list_name(missing, "%s", it.name);
        } else if (!lk_same_shape(x, value) || x->dtype != value->dtype) {
            char has[LK_SHAPE_TEXT], wants[LK_SHAPE_TEXT];
            list_name(mismatched, "%s is %s %s, not %s %s", it.name, lk_shape_text(value, has),
                      lk_dtype_name(value->dtype), lk_shape_text(x, wants),
                      lk_dtype_name(x->dtype));
        }
    }
    for (int i = 0; i < state->count; i++) {
        const char *name = state->entries[i].name;
        ParamIter it = lk_state_tensors(m);
        while (lk_params_next(&it) && strcmp(it.name, name) != 0) continue;
        if (!it.tensor) list_name(unexpected, "%s", name);
    }
}

bool lk_load_state_dict(Module *m, const StateDict *state, bool strict, Error *err)
{
    if (!m || !state)
        return lk_error_set(err, LK_EVALUE, "lk_load_state_dict: the %s is NULL",
                            m ? "state" : "module");
    if (!lk_walkable(m, "lk_load_state_dict", err)) return false;
    for (int i = 0; i < state->count; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(state->entries[i].name, state->entries[j].name) == 0)
                return lk_error_set(
                    err, LK_EVALUE,
                    "lk_load_state_dict: entries %d and %d of the state are both called "
                    "\"%.100s\"",
                    j, i, state->entries[i].name);

    NameList missing = { 0 }, unexpected = { 0 }, mismatched = { 0 };
    compare(m, state, &missing, &unexpected, &mismatched);
    const char *hint = "";
    if (strstr(unexpected.text, "parametrizations."))
        hint = "the state has adapters: first lk_add_lora with the same targets; ";
    char misfits[160] = "";
    if (mismatched.count > 0)
        snprintf(misfits, sizeof misfits, ", %d mismatched (%s)", mismatched.count,
                 mismatched.text);
    if (mismatched.count > 0 || (strict && missing.count + unexpected.count > 0))
        return lk_error_set(err, mismatched.count > 0 ? LK_ESHAPE : LK_EVALUE,
                            "lk_load_state_dict: %.30s: %s%d missing (%s), %d unexpected (%s)%s",
                            m->type->name, hint, missing.count, missing.text, unexpected.count,
                            unexpected.text, misfits);

    for (ParamIter it = lk_state_tensors(m); lk_params_next(&it);) {
        const Tensor *value = lk_state_dict_get(state, it.name);
        if (value && !lk_copy_(it.tensor, value, err)) return false;
    }
    return true;
}
