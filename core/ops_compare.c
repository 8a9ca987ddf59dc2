/* ops_compare.c - comparisons and logic of tensors of any dtype. They give bool tensors without
 * gradient, which lk_count, lk_mask_rows and lk_where take. */
#include <math.h>

#include "core/internal.h"
#include "core/ops.h"

typedef enum Relation { EQ, NE, LT, LE, GT, GE, AND, OR, CLOSE } Relation;

typedef struct Comparison {
    Relation relation;
    const Tensor *a, *b;
    double rtol, atol; /* for CLOSE */
} Comparison;

static bool holds(const Comparison *c, double a, double b)
{
    switch (c->relation) {
    case EQ: return a == b;
    case NE: return a != b;
    case LT: return a < b;
    case LE: return a <= b;
    case GT: return a > b;
    case GE: return a >= b;
    case AND: return a != 0 && b != 0;
    case OR: return a != 0 || b != 0;
    case CLOSE: return a == b || (isfinite(a - b) && fabs(a - b) <= c->atol + c->rtol * fabs(b));
    }
    return false;
}

/* Returns the sign of a - b. Beyond 2^53 an int64 does not fit a double, but this sign does. */
static double int_order(int64_t a, int64_t b) { return (double)((a > b) - (a < b)); }

static void compare_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    enum { PIECE = 256 }; /* elements at a time, on the stack */
    const Comparison *c = arg;
    const int64_t size_a = (int64_t)lk_dtype_size(c->a->dtype),
                  size_b = (int64_t)lk_dtype_size(c->b->dtype);
    bool *y = p[0];
    double a[PIECE], b[PIECE];
    for (int64_t first = 0; first < n; first += PIECE) {
        int64_t count = n - first < PIECE ? n - first : PIECE;
        const char *pa = (const char *)p[1] + first * step[1] * size_a,
                   *pb = (const char *)p[2] + first * step[2] * size_b;
        if (c->a->dtype == LK_I64 && c->relation < AND) {
            for (int64_t i = 0; i < count; i++) {
                a[i] = int_order(((const int64_t *)pa)[i * step[1]],
                                 ((const int64_t *)pb)[i * step[2]]);
                b[i] = 0;
            }
        } else {
            lk__load_row(c->a, pa, step[1], count, a);
            lk__load_row(c->b, pb, step[2], count, b);
        }
        for (int64_t i = 0; i < count; i++) y[(first + i) * step[0]] = holds(c, a[i], b[i]);
    }
}

static Tensor *compare(Tape *t, const char *function, Tensor *a, Tensor *b, Comparison c)
{
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, function, LK_INPUTS(a, b))) return NULL;
    const bool logic = c.relation == AND || c.relation == OR;
    if (a->dtype != b->dtype && !logic)
        return lk_fail(t, LK_EDTYPE, "%s: operands are %s and %s; lk_to makes them the same",
                       function, lk_dtype_name(a->dtype), lk_dtype_name(b->dtype));
    if (!lk_broadcast_shape(a, b, &ndim, shape))
        return lk_fail(
            t, LK_ESHAPE,
            "%s: %s and %s do not broadcast: aligned at the last dimension, sizes must be "
            "equal or 1",
            function, lk_shape_text(a, sa), lk_shape_text(b, sb));
    Tensor *y = lk_empty(t, LK_BOOL, ndim, shape);
    c.a = a;
    c.b = b;
    if (y) lk_loop(compare_row, &c, 3, (const Tensor *const[]){ y, a, b });
    return y;
}

Tensor *lk_eq(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_eq", a, b, (Comparison){ .relation = EQ });
}
Tensor *lk_ne(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_ne", a, b, (Comparison){ .relation = NE });
}
Tensor *lk_lt(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_lt", a, b, (Comparison){ .relation = LT });
}
Tensor *lk_le(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_le", a, b, (Comparison){ .relation = LE });
}
Tensor *lk_gt(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_gt", a, b, (Comparison){ .relation = GT });
}
Tensor *lk_ge(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_ge", a, b, (Comparison){ .relation = GE });
}

Tensor *lk_logical_and(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_logical_and", a, b, (Comparison){ .relation = AND });
}
Tensor *lk_logical_or(Tape *t, Tensor *a, Tensor *b)
{
    return compare(t, "lk_logical_or", a, b, (Comparison){ .relation = OR });
}
Tensor *lk_logical_not(Tape *t, Tensor *x)
{
    if (!lk_check_operands(t, "lk_logical_not", 1, &x)) return NULL;
    double bits[2] = { 0 }; /* 0 in every dtype; a scale may be before it */
    Storage storage = { .data = bits + 1, .row = 1 };
    Tensor zero = { .data = bits + 1, .dtype = x->dtype, .storage = &storage };
    return compare(t, "lk_logical_not", x, &zero, (Comparison){ .relation = EQ });
}

Tensor *lk_isclose(Tape *t, Tensor *a, Tensor *b, double rtol, double atol)
{
    if (!(rtol >= 0 && atol >= 0))
        return lk_fail(t, LK_EVALUE, "lk_isclose: rtol %g and atol %g must not be negative or NaN",
                       rtol, atol);
    return compare(t, "lk_isclose", a, b,
                   (Comparison){ .relation = CLOSE, .rtol = rtol, .atol = atol });
}
