/* ops_sample.c - random choices with given probabilities, from PyTorch's stream. */
#include "core/internal.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_sample_real.h"
#include "core/real.h"

/* Whether each row has weights that are not negative, and a sum above 0; all must be finite. */
static bool check_weights(Tape *t, const Tensor *probs, int64_t rows, int64_t n)
{
    char text[LK_SHAPE_TEXT];
    for (int64_t r = 0; r < rows; r++) {
        double bad = 0, sum = 0;
        int64_t at = LK_REAL(probs->dtype, bad_weight, r * n, n, probs->data, &bad, &sum);
        if (at >= 0)
            return lk_fail(t, LK_EVALUE,
                           "lk_multinomial: probability %g at position %lld of %s: it must be "
                           "finite and not negative",
                           bad, (long long)at, lk_shape_text(probs, text));
        if (sum == 0 || isinf(sum))
            return lk_fail(t, LK_EVALUE,
                           "lk_multinomial: row %lld of %s sums to %g: it must be above 0 and "
                           "finite",
                           (long long)r, lk_shape_text(probs, text), sum);
    }
    return true;
}

Tensor *lk_multinomial(Tape *t, Rng *rng, Tensor *probs, int64_t count, bool replacement)
{
    char text[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_multinomial", 1, &probs)) return NULL;
    if (!rng) return lk_fail(t, LK_EVALUE, "lk_multinomial: the generator is NULL");
    const int ndim = probs->ndim;
    if (ndim < 1 || ndim > 2)
        return lk_fail(t, LK_ESHAPE,
                       "lk_multinomial: the probabilities %s must have 1 or 2 dimensions",
                       lk_shape_text(probs, text));
    const int64_t n = probs->shape[ndim - 1], rows = ndim == 2 ? probs->shape[0] : 1;
    if (count < 1)
        return lk_fail(t, LK_EVALUE, "lk_multinomial: %lld samples; there must be one at least",
                       (long long)count);
    if (!replacement && count > n)
        return lk_fail(t, LK_EVALUE,
                       "lk_multinomial: %lld samples from rows of %s without replacement",
                       (long long)count, lk_shape_text(probs, text));
    Tensor *packed = lk_packed(t, probs);
    if (!packed || !check_weights(t, packed, rows, n)) return NULL;
    if (!replacement) { /* the largest of p / q for exponential q */
        Tensor *race = lk_empty(t, probs->dtype, ndim, probs->shape), *index = NULL;
        if (!race) return NULL;
        LK_REAL(probs->dtype, race, rows * n, packed->data, rng, race->data);
        lk_topk(t, race, count, -1, true, &index);
        return index;
    }
    const int64_t shape[] = { rows, count };
    Tensor *y = lk_empty(t, LK_I64, ndim, ndim == 2 ? shape : shape + 1);
    void *sums = lk_tape_scratch(t, (size_t)n * lk_dtype_size(probs->dtype));
    if (!y || !sums) return NULL;
    LK_REAL(probs->dtype, draw, rows, n, packed->data, sums, rng, count, y->data);
    return y;
}
