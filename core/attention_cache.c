/* attention_cache.c - attention with the keys and values of earlier tokens. The arithmetic:
 * core/ops_attention.c. */
#include "core/attention_cache.h"

#include "core/internal.h"

bool lk_attention_cache_init(AttentionCache *cache, DType dtype, int64_t batch, int64_t capacity,
                             int64_t width, Error *err)
{
    if (!cache) return lk_error_set(err, LK_EVALUE, "lk_attention_cache_init: the cache is NULL");
    *cache = (AttentionCache){ .length = 0 };
    if (dtype != LK_F32 && dtype != LK_F64)
        return lk_error_set(err, LK_EDTYPE,
                            "lk_attention_cache_init: %s is not floating; use float32 or float64",
                            lk_dtype_name(dtype));
    cache->k = lk_tensor_new(dtype, LK_SHAPE(batch, capacity, width), err);
    cache->v = cache->k ? lk_tensor_new(dtype, LK_SHAPE(batch, capacity, width), err) : NULL;
    if (cache->v) return true;
    lk_attention_cache_free(cache);
    return false;
}

void lk_attention_cache_free(AttentionCache *cache)
{
    if (!cache) return;
    lk_tensor_free(cache->k);
    lk_tensor_free(cache->v);
    *cache = (AttentionCache){ .length = 0 };
}

/* Whether k or v (`name`) can be appended. */
static bool fits(Tape *t, const AttentionCache *cache, const char *name, const Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    const int64_t batch = cache->k->shape[0], capacity = cache->k->shape[1],
                  width = cache->k->shape[2];
    if (x->dtype != cache->k->dtype)
        return lk_fail(t, LK_EDTYPE, "lk_attention_cached: %s is %s and the cache %s", name,
                       lk_dtype_name(x->dtype), lk_dtype_name(cache->k->dtype));
    if (x->ndim != 3 || x->shape[0] != batch || x->shape[2] != width)
        return lk_fail(t, LK_ESHAPE,
                       "lk_attention_cached: %s %s does not fit the cache; it must be (%lld, S, "
                       "%lld)",
                       name, lk_shape_text(x, text), (long long)batch, (long long)width);
    if (cache->length < 0 || x->shape[1] > capacity - cache->length)
        return lk_fail(t, LK_ESHAPE,
                       "lk_attention_cached: the cache has %lld of %lld tokens, so %s %s does not "
                       "fit; make a larger one",
                       (long long)cache->length, (long long)capacity, name,
                       lk_shape_text(x, text));
    return true;
}

/* Copies x behind the tokens that are there, and returns all of them; NULL: no memory. */
static Tensor *append(Tape *t, const AttentionCache *cache, Tensor *to, Tensor *x)
{
    const int64_t end = cache->length + x->shape[1];
    Tensor *place = lk_slice(t, to, 1, cache->length, end, 1);
    if (!place) return NULL;
    lk__copy_fitting(place, x);
    return lk_slice(t, to, 1, 0, end, 1);
}

Tensor *lk_attention_cached(Tape *t, AttentionCache *cache, Tensor *q, Tensor *k, Tensor *v,
                            int64_t heads, AttentionOptions options)
{
    if (!lk_check_floating(t, "lk_attention_cached", LK_INPUTS(q, k, v))) return NULL;
    if (!cache || !cache->k || !cache->v)
        return lk_fail(t, LK_EVALUE, "lk_attention_cached: the cache is %s",
                       cache ? "empty; lk_attention_cache_init makes it" : "NULL");
    if (lk_records(t, LK_INPUTS(q, k, v)))
        return lk_fail(t, LK_ESTATE,
                       "lk_attention_cached: a cache has no gradient; call "
                       "lk_tape_set_grad(t, false) first");
    if (!fits(t, cache, "k", k) || !fits(t, cache, "v", v)) return NULL;
    if (!lk_same_shape(k, v) || q->ndim != 3 || q->shape[1] != k->shape[1]) {
        char sq[LK_SHAPE_TEXT], sk[LK_SHAPE_TEXT], sv[LK_SHAPE_TEXT];
        return lk_fail(t, LK_ESHAPE,
                       "lk_attention_cached: q %s, k %s and v %s must have the same tokens",
                       lk_shape_text(q, sq), lk_shape_text(k, sk), lk_shape_text(v, sv));
    }
    options.causal = true;
    options.position = cache->length;
    Tensor *keys = append(t, cache, cache->k, k), *values = append(t, cache, cache->v, v);
    Tensor *y = lk_attention_with(t, q, keys, values, NULL, heads, options);
    if (y) cache->length += k->shape[1];
    return y;
}
