/* ops_any.c - whether any element, or every one, is true: reductions of any dtype to bool. */
#include "core/fold.h"
#include "core/internal.h"
#include "core/ops.h"
#include "core/reduce.h"

/* The element that a reduction looks for: a true one (any), or a false one (all). */
typedef struct Search {
    bool wanted;
} Search;

/* Marks the results of a tile that have a wanted element. */
#define SEARCH(name, type) \
    static void name(const Fold *f, const void *arg) \
    { \
        const bool wanted = ((const Search *)arg)->wanted; \
        bool *found = f->room[0], *y = f->p[0]; \
        for (int64_t i = 0; i < f->m && f->first; i++) found[i] = false; \
        for (int64_t i = 0; i < f->m; i++) { \
            bool one = found[i]; \
            for (int64_t r = 0; r < f->rows; r++) { \
                const type *x = (const type *)f->p[1] + i * f->step_m[1] + r * f->step_row[1]; \
                for (int64_t k = 0; k < f->n; k++) one |= (x[k * f->step_n[1]] != 0) == wanted; \
            } \
            found[i] = one; \
        } \
        for (int64_t i = 0; i < f->m && f->last; i++) y[i * f->step_m[0]] = found[i] == wanted; \
    }
SEARCH(search_f32, float)
SEARCH(search_f64, double)
SEARCH(search_i64, int64_t)
SEARCH(search_u8, uint8_t)
SEARCH(search_bool, bool)

static FoldFn *const searches[] = {
    [LK_F32] = search_f32, [LK_F64] = search_f64,   [LK_I64] = search_i64,
    [LK_U8] = search_u8,   [LK_BOOL] = search_bool,
};

static Tensor *search(Tape *t, const char *function, Tensor *x, int ndims, const int64_t *dims,
                      bool keepdim, bool wanted)
{
    ReducePlan p;
    if (!lk_check_operands(t, function, 1, &x) ||
        !lk__reduce_plan(t, function, x, ndims, dims, keepdim, &p))
        return NULL;
    if (lk_only_stores(x->dtype)) return lk__fail_storage_only(t, function, x->dtype);
    /* nothing is found among no elements */
    Tensor *y = lk_full(t, LK_BOOL, p.out_ndim, p.out, !wanted);
    if (!y) return NULL;
    Tensor places = lk__reduce_spread(y, &p, x);
    lk__fold(searches[x->dtype], &(Search){ wanted }, 1, 2, (const Tensor *const[]){ &places, x });
    return y;
}

Tensor *lk_any(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return search(t, "lk_any", x, ndims, dims, keepdim, true);
}

Tensor *lk_all(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim)
{
    return search(t, "lk_all", x, ndims, dims, keepdim, false);
}
