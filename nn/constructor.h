/* constructor.h - the check that begins the constructors of the layers; no part of the interface.
 * The helpers for all constructors: nn/module.h. */
#ifndef LK_CONSTRUCTOR_H
#define LK_CONSTRUCTOR_H

#include "nn/module.h"

typedef struct NamedSize {
    const char *name; /* of the argument */
    int64_t size;
} NamedSize;
#define LK_NAMED_SIZES(...) LK_LIST(NamedSize, __VA_ARGS__)

/* Whether a constructor can draw its parameters: all sizes are positive, and rng is not NULL. If
 * not, sets LK_EVALUE: "lk_linear_new: in_features 0, out_features 3; all must be positive". */
bool lk__can_draw(const char *function, int count, const NamedSize *sizes, const Rng *rng,
                  Error *err);

/* The dtype of the parameters that an adapter of a weight gets: the weight's, or float32 beside
 * bfloat16 and qint8. */
static inline DType lk__adapter_dtype(const Tensor *weight)
{
    return lk_only_stores(weight->dtype) ? LK_F32 : weight->dtype;
}

#endif
