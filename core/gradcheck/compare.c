/* compare.c - are numbers the same? */
#include <math.h>

#include "core/gradcheck/parts.h"

bool lk__check_same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

double lk__check_largest(const double *x, int64_t n)
{
    double largest = 0;
    for (int64_t k = 0; k < n; k++)
        if (isfinite(x[k])) largest = fmax(largest, fabs(x[k]));
    return largest;
}

bool lk__check_is_zero(const double *const g[COTANGENTS], int64_t at, int64_t n)
{
    for (int w = 0; w < COTANGENTS; w++)
        for (int64_t k = at; k < at + n; k++)
            if (g[w][k] != 0) return false;
    return true;
}

int64_t lk__check_unequal(const double *a, const double *b, int64_t n, double atol, double rtol)
{
    double tolerance = atol + rtol * lk__check_largest(b, n);
    for (int64_t k = 0; k < n; k++)
        if (!lk__check_same(a[k], b[k]) && !(fabs(a[k] - b[k]) <= tolerance)) return k;
    return -1;
}

Difference lk__check_compare(const Check *c, const Run *a, const Run *b, double atol, double rtol)
{
    int64_t at = lk__check_unequal(a->y, b->y, c->outputs, atol, rtol);
    if (at >= 0) return (Difference){ RESULT, at, a->y[at], b->y[at] };
    for (int w = 0; w < COTANGENTS; w++) {
        const double *p = a->gradient[w], *q = b->gradient[w];
        at = lk__check_unequal(p, q, c->total, atol, rtol);
        if (at >= 0) return (Difference){ GRADIENT, at, p[at], q[at] };
    }
    return (Difference){ .of = NOTHING };
}
