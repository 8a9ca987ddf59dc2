/* parameters.c - counts, freezes, converts, clears and lists all parameters of a net at once. One
 * by one: lk_params, nn/walk.c. */
#include "core/memory.h"
#include "nn/fields.h"
#include "nn/module.h"

/* ---- counting, freezing, converting --------------------------------------------------------- */

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

bool lk_module_to(Module *m, DType dtype, Error *err)
{
    if (!lk_is_floating(dtype))
        return lk_error_set(
            err, LK_EDTYPE, "lk_module_to: parameters are float32 or float64, not %s%s",
            lk_dtype_name(dtype),
            lk_only_stores(dtype) ? "; lk_store_frozen stores frozen weights so" : "");
    if (!lk_walkable(m, "lk_module_to", err)) return false;
    ParamIter kinds[] = { lk_params(m), lk_buffers(m) };
    for (int i = 0; i < 2; i++)
        for (ParamIter *it = &kinds[i]; lk_params_next(it);)
            if ((lk_is_floating(it->tensor->dtype) || lk_only_stores(it->tensor->dtype)) &&
                it->tensor->dtype != dtype && !lk_convert_(it->tensor, dtype, err))
                return false;
    return true;
}

/* ---- lists and gradients -------------------------------------------------------------------- */

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
