/* symmetric.c - a parametrization without parameters of its own: symmetric matrices. How to write
 * one: examples/own/symmetric.c. */
#include "nn/symmetric.h"

#include "core/ops.h"

typedef struct Symmetric {
    Module base;
} Symmetric;

/* 1 where column >= row + offset, else 0: torch.ones(n, n).triu(offset). */
static Tensor *upper_triangle(Tape *t, const Tensor *x, int64_t offset)
{
    char text[LK_SHAPE_TEXT];
    if (x->ndim != 2 || x->shape[0] != x->shape[1])
        return lk_fail(t, LK_ESHAPE, "Symmetric: %s is no square matrix", lk_shape_text(x, text));
    int64_t n = x->shape[0];
    Tensor *rows = lk_view(t, lk_arange(t, 0, n), LK_SHAPE(n, 1)),
           *columns = lk_arange(t, offset == 0 ? 0 : -offset, n - offset);
    return lk_to(t, lk_ge(t, columns, rows), x->dtype);
}

/* triu(X) + triu(X, 1)ᵀ */
static Tensor *symmetric_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    Tensor *upper = lk_mul(t, x, upper_triangle(t, x, 0)),
           *strict = lk_mul(t, x, upper_triangle(t, x, 1));
    return lk_add(t, upper, lk_T(t, strict));
}

static Tensor *symmetric_right_inverse(Tape *t, Module *self, Tensor *value)
{
    (void)self;
    return lk_mul(t, value, upper_triangle(t, value, 0));
}

const ModuleType lk_symmetric_type = {
    LK_CLASS(Symmetric),
    .forward = symmetric_forward,
    .right_inverse = symmetric_right_inverse,
};

Module *lk_symmetric_new(Error *err) { return lk_module_new(&lk_symmetric_type, err); }
