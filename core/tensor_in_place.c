/* tensor_in_place.c - arithmetic that changes a tensor in place, outside of the tape. */
#include "core/internal.h"

#define LK_REAL_SOURCE "core/tensor_in_place_real.h"
#include "core/real.h"

/* Whether two elements of x share a place, as those of an expanded tensor do. */
static bool is_expanded(const Tensor *x)
{
    for (int d = 0; d < x->ndim; d++)
        if (x->stride[d] == 0 && x->shape[d] > 1) return true;
    return false;
}

/* Checks that x can be written, and that y, whose name is `role`, can be broadcast to it. */
static bool check_pair(const char *function, const Tensor *x, const char *role, const Tensor *y,
                       Error *err)
{
    char sx[LK_SHAPE_TEXT], sy[LK_SHAPE_TEXT];
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    if (!lk__is_usable(function, x, err) || !lk__is_usable(function, y, err)) return false;
    if (!lk_is_floating(x->dtype))
        return lk_error_set(err, LK_EDTYPE, "%s: takes float32 or float64, not %s", function,
                            lk_dtype_name(x->dtype));
    if (x->dtype != y->dtype)
        return lk_error_set(err, LK_EDTYPE, "%s: x is %s and %s is %s; they must be the same",
                            function, lk_dtype_name(x->dtype), role, lk_dtype_name(y->dtype));
    bool fits = lk_broadcast_shape(x, y, &ndim, shape) && ndim == x->ndim;
    for (int d = 0; fits && d < ndim; d++) fits = shape[d] == x->shape[d];
    if (!fits)
        return lk_error_set(err, LK_ESHAPE, "%s: %s %s cannot be broadcast to x %s", function,
                            role, lk_shape_text(y, sy), lk_shape_text(x, sx));
    if (is_expanded(x))
        return lk_error_set(err, LK_EVALUE,
                            "%s: elements of x %s share their memory, because x was expanded; "
                            "lk_clone gives each its own",
                            function, lk_shape_text(x, sx));
    return true;
}

static bool change(RowFn *row, Tensor *x, const Tensor *y, double c)
{
    lk_loop(row, &c, 2, (const Tensor *const[]){ x, y });
    lk_touch(x);
    return true;
}

bool lk_add_(Tensor *x, const Tensor *y, double alpha, Error *err)
{
    return check_pair("lk_add_", x, "y", y, err) && change(LK_ROW(x->dtype, add_row), x, y, alpha);
}

bool lk_mul_(Tensor *x, const Tensor *y, Error *err)
{
    return check_pair("lk_mul_", x, "y", y, err) && change(LK_ROW(x->dtype, mul_row), x, y, 0);
}

bool lk_scale_(Tensor *x, double c, Error *err)
{
    return check_pair("lk_scale_", x, "x", x, err) && change(LK_ROW(x->dtype, scale_row), x, x, c);
}

bool lk_lerp_(Tensor *x, const Tensor *end, double weight, Error *err)
{
    return check_pair("lk_lerp_", x, "end", end, err) &&
           change(LK_ROW(x->dtype, lerp_row), x, end, weight);
}
