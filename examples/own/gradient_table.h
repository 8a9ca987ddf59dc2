/* gradient_table.h - cases that check the gradient of every operation. The program gradcheck runs
 * them, and a test compares the table with core/ops.h.
 *
 *     for (GradientCase c = gradient_cases(&rng); gradient_next(&c);)
 *         if (!c.ok) puts(c.message);
 */
#ifndef GRADIENT_TABLE_H
#define GRADIENT_TABLE_H

#include "core/tensor.h"

typedef struct GradientCase {
    const char *op;     /* "add"; all cases of an operation come one after the other */
    const char *inputs; /* their shapes, "2,3t 3" */
    bool ok;
    double worst;      /* the largest error, as a part of the tolerance 1e-7 + 1e-5 |gradient| */
    char message[512]; /* why not; "" if ok */
    Rng *rng;          /* from here on: the walk's own */
    int family, row, item;
} GradientCase;

/* A walk over all cases, which checks each case when it reaches it. Values come from rng. */
GradientCase gradient_cases(Rng *rng);
bool gradient_next(GradientCase *c);

/* The operations that have no gradient, up to NULL: makers of leaves, results that are not
 * numbers, and lk_detach. */
extern const char *const gradient_exempt[];

#endif
