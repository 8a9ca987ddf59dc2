/* ops_create.c - tensors from nothing: leaves on the tape, without gradient. core/tensor.c makes
 * owned ones. */
#include <string.h>

#include "core/internal.h"
#include "core/ops.h"

Tensor *lk_full(Tape *t, DType dtype, int ndim, const int64_t *shape, double value)
{
    Tensor *x = lk_empty(t, dtype, ndim, shape);
    if (x) lk_fill_(x, value);
    return x;
}

Tensor *lk_zeros(Tape *t, DType dtype, int ndim, const int64_t *shape)
{
    return lk_full(t, dtype, ndim, shape, 0);
}

Tensor *lk_ones(Tape *t, DType dtype, int ndim, const int64_t *shape)
{
    return lk_full(t, dtype, ndim, shape, 1);
}

Tensor *lk_scalar(Tape *t, DType dtype, double value)
{
    return lk_full(t, dtype, LK_SCALAR, value);
}

Tensor *lk_tensor(Tape *t, DType dtype, int ndim, const int64_t *shape, const void *values)
{
    Tensor *x = lk_empty(t, dtype, ndim, shape);
    if (x && x->storage->bytes && !values)
        return lk_fail(t, LK_EVALUE, "lk_tensor: the values are NULL");
    if (x && x->storage->bytes) memcpy(x->data, values, x->storage->bytes);
    return x;
}

Tensor *lk_arange(Tape *t, int64_t start, int64_t end)
{
    int64_t n = 0;
    if (end > start && __builtin_sub_overflow(end, start, &n))
        return lk_fail(t, LK_EVALUE, "lk_arange: %lld … %lld has too many values",
                       (long long)start, (long long)end);
    Tensor *x = lk_empty(t, LK_I64, LK_SHAPE(n));
    for (int64_t i = 0; x && i < n; i++) ((int64_t *)x->data)[i] = start + i;
    return x;
}

/* ---- random --------------------------------------------------------------------------------- */

static Tensor *random_floats(Tape *t, const char *function, Rng *rng, DType dtype, int ndim,
                             const int64_t *shape)
{
    if (!rng) return lk_fail(t, LK_EVALUE, "%s: the generator is NULL", function);
    if (!lk_is_floating(dtype))
        return lk_fail(t, LK_EDTYPE, "%s: makes float32 or float64, not %s", function,
                       lk_dtype_name(dtype));
    return lk_empty(t, dtype, ndim, shape);
}

Tensor *lk_rand(Tape *t, Rng *rng, DType dtype, int ndim, const int64_t *shape)
{
    Tensor *x = random_floats(t, "lk_rand", rng, dtype, ndim, shape);
    if (x) lk_uniform_(x, 0, 1, rng);
    return x;
}

Tensor *lk_randn(Tape *t, Rng *rng, DType dtype, int ndim, const int64_t *shape)
{
    Tensor *x = random_floats(t, "lk_randn", rng, dtype, ndim, shape);
    if (x) lk_normal_(x, 0, 1, rng);
    return x;
}

Tensor *lk_randint(Tape *t, Rng *rng, int64_t low, int64_t high, int ndim, const int64_t *shape)
{
    if (!rng) return lk_fail(t, LK_EVALUE, "lk_randint: the generator is NULL");
    if (low >= high)
        return lk_fail(t, LK_EVALUE, "lk_randint: low %lld must be below high %lld",
                       (long long)low, (long long)high);
    Tensor *x = lk_empty(t, LK_I64, ndim, shape);
    for (int64_t i = 0, n = x ? lk_numel(x) : 0; i < n; i++)
        ((int64_t *)x->data)[i] = lk_random_int(rng, low, high);
    return x;
}

Tensor *lk_randperm(Tape *t, Rng *rng, int64_t n)
{
    if (!rng) return lk_fail(t, LK_EVALUE, "lk_randperm: the generator is NULL");
    Tensor *x = lk_empty(t, LK_I64, LK_SHAPE(n));
    if (x) lk_random_perm(rng, n, x->data);
    return x;
}
