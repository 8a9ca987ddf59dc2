/* reduce.h - the shapes of a reduction over dimensions. Shared by the operations of core, no part
 * of the interface. */
#ifndef LK_REDUCE_H
#define LK_REDUCE_H

#include "core/op.h"

/* A reduction: the result's shape with and without the dimensions that go, and how many elements
 * fall together. */
typedef struct ReducePlan {
    int ndim; /* of x, and of the shape with size 1 where a dimension goes */
    int64_t whole[LK_MAX_DIMS];
    int out_ndim;
    int64_t out[LK_MAX_DIMS];
    int64_t together;
    bool all; /* LK_ALL: PyTorch names that differently */
} ReducePlan;

/* Checks the dimensions; false with the reason on t. x was checked already. */
bool lk__reduce_plan(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                     bool keepdim, ReducePlan *p);
/* Whether a result has an element at least; otherwise fails on t. */
bool lk__reduce_something(Tape *t, const char *function, const Tensor *x, const ReducePlan *p);
/* Returns y, the result or its gradient, seen in the shape of x. */
Tensor lk__reduce_spread(const Tensor *y, const ReducePlan *p, const Tensor *x);

#endif
