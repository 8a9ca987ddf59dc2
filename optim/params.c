/* params.c - looks through a list of parameters before anything keeps it. */
#include "optim/params.h"

bool lk__check_params(const char *name, const TensorList *list, Error *err)
{
    for (int i = 0; i < list->count; i++) {
        const Tensor *p = list->items[i];
        /* The result of an operation has no owner, and goes with its tape. */
        if (!p || p->refs == 0 || p->node)
            return lk_error_set(err, LK_EVALUE,
                                "%s: parameter %d is %s; a parameter is a leaf made with _new",
                                name, i, p ? "the result of an operation" : "NULL");
        if (!lk_is_floating(p->dtype) || !lk_is_contiguous(p))
            return lk_error_set(
                err, LK_EVALUE,
                "%s: parameter %d is %s%s; it must be contiguous, float32 or float64%s", name, i,
                lk_dtype_name(p->dtype), lk_is_contiguous(p) ? "" : " and strided",
                lk_only_stores(p->dtype) ? "; lk_trainable_parameters leaves it out" : "");
        for (int j = 0; j < i; j++)
            if (list->items[j] == p)
                return lk_error_set(err, LK_EVALUE,
                                    "%s: parameters %d and %d are the same tensor; list it once",
                                    name, j, i);
    }
    return true;
}
