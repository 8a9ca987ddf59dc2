/* frozen.c - frozen weights in half or a quarter of the memory. Products with them:
 * core/ops_matmul.c. */
#include "nn/frozen.h"

#include "core/internal.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/parametrize.h"

static bool can_store(Module *m, DType dtype, Error *err)
{
    if (!m) return lk_error_set(err, LK_EVALUE, "lk_store_frozen: the module is NULL");
    return lk_only_stores(dtype) ||
           lk_error_set(err, LK_EDTYPE,
                        "lk_store_frozen: weights can be stored as bfloat16 and qint8, not as "
                        "%s; lk_module_to converts to float32 and float64",
                        lk_dtype_name(dtype));
}

/* Puts y in every place of x, which is freed unless it has other owners. (lk_convert_ would keep
 * the memory, since a tensor and its first elements are one block.) Consumes y. */
static void put(Module *m, Tensor *x, Tensor *y)
{
    lk_tensor_retain(x); /* as long as it is looked for */
    for (ParamIter it = lk_state_tensors(m); lk_params_next(&it);) {
        if (it.tensor != x) continue;
        *it.slot = lk_tensor_retain(y);
        lk_tensor_free(x);
    }
    lk_tensor_free(x);
    lk_tensor_free(y);
}

int lk_store_frozen(Module *m, DType dtype, Error *err)
{
    int stored = 0;
    if (!can_store(m, dtype, err) || !lk_walkable(m, "lk_store_frozen", err)) return -1;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module) && !lk_as_embedding(it.module)) continue;
        Tensor *weight = lk_original(it.module, "weight");
        if (!weight || weight->requires_grad || weight->dtype != LK_F32) continue;
        Error cause = { 0 };
        Tensor *y = lk__converted_new(weight, dtype, &cause);
        if (!y) {
            lk_error_set(err, cause.code, "lk_store_frozen: %s.weight: %s", it.name,
                         cause.message);
            return -1;
        }
        y->is_parameter = weight->is_parameter;
        put(m, weight, y);
        stored++;
    }
    return stored;
}
