/* dataset.c - samples and targets: all of them, subsets, classes, random parts. data/loader.c
 * makes batches of them. */
#include "data/dataset.h"

#include <math.h>

#include "core/memory.h"

/* Checks the arguments of lk_dataset_new. */
static bool check(const Tensor *x, const Tensor *y, Transform transform, Error *err)
{
    const char *caller = "lk_dataset_new";
    char xs[LK_SHAPE_TEXT], ys[LK_SHAPE_TEXT];
    if (x->refs == 0 || y->refs == 0)
        return lk_error_set(err, LK_ESTATE,
                            "%s: %s belongs to a tape and goes with it; give a copy (lk_clone)",
                            caller, x->refs == 0 ? "x" : "y");
    if (!lk_is_contiguous(x) || !lk_is_contiguous(y))
        return lk_error_set(err, LK_EVALUE, "%s: %s is not contiguous; give a copy (lk_clone)",
                            caller, lk_is_contiguous(x) ? "y" : "x");
    if (x->dtype != LK_U8 && x->dtype != LK_I64 && !lk_is_floating(x->dtype))
        return lk_error_set(err, LK_EDTYPE,
                            "%s: samples are uint8, int64, float32 or float64, not %s", caller,
                            lk_dtype_name(x->dtype));
    if (lk_only_stores(y->dtype))
        return lk_error_set(err, LK_EDTYPE, "%s: targets cannot be %s; lk_convert_ converts",
                            caller, lk_dtype_name(y->dtype));
    if (x->ndim < 1 || y->ndim < 1 || x->shape[0] != y->shape[0])
        return lk_error_set(
            err, LK_ESHAPE,
            "%s: samples %s and targets %s; needed is one target a sample, (n, ...) and (n, ...)",
            caller, lk_shape_text(x, xs), lk_shape_text(y, ys));
    if (x->dtype == LK_U8 &&
        (!isfinite(transform.mean) || !isfinite(transform.std) || transform.std == 0.0f))
        return lk_error_set(err, LK_EVALUE,
                            "%s: transform with mean %g and std %g; both are finite and std is "
                            "not 0 (LK_TO_TENSOR is mean 0, std 1)",
                            caller, (double)transform.mean, (double)transform.std);
    return true;
}

Dataset *lk_dataset_new(Tensor *x, Tensor *y, Transform transform, Error *err)
{
    Dataset *d = NULL;
    if (!x || !y) {
        /* an earlier error, the reason for the NULL, stays in err */
        lk_error_set(err, LK_EVALUE, "lk_dataset_new: %s is NULL", x ? "y" : "x");
    } else if (check(x, y, transform, err)) {
        d = lk_mem_alloc(sizeof *d);
        if (d) *d = (Dataset){ .x = x, .y = y, .transform = transform, .count = x->shape[0] };
        else lk_error_set(err, LK_EMEMORY, "lk_dataset_new: no memory");
    }
    if (!d) {
        lk_tensor_free(x);
        lk_tensor_free(y);
    }
    return d;
}

void lk_dataset_free(Dataset *d)
{
    if (!d) return;
    lk_tensor_free(d->x);
    lk_tensor_free(d->y);
    lk_mem_free(d->index);
    lk_mem_free(d);
}

int64_t lk_dataset_row(const Dataset *d, int64_t i)
{
    if (!d || i < 0 || i >= d->count) return -1;
    return d->index ? d->index[i] : i;
}

static bool has_labels(const Dataset *d)
{
    return d->y->ndim == 1 && (d->y->dtype == LK_I64 || d->y->dtype == LK_U8);
}

int64_t lk_dataset_label(const Dataset *d, int64_t i)
{
    int64_t row = lk_dataset_row(d, i);
    if (row < 0 || !has_labels(d)) return -1;
    return d->y->dtype == LK_U8 ? ((const uint8_t *)d->y->data)[row]
                                : ((const int64_t *)d->y->data)[row];
}

/* Makes a dataset on the same tensors with room for count rows, not filled in yet. */
static Dataset *share(const Dataset *d, const char *caller, int64_t count, Error *err)
{
    size_t bytes;
    bool fits = !__builtin_mul_overflow(count ? count : 1, (int64_t)sizeof *d->index, &bytes);
    Dataset *s = lk_mem_alloc(sizeof *s);
    int64_t *index = fits ? lk_mem_alloc(bytes) : NULL;
    if (!s || !index) {
        lk_error_set(err, LK_EMEMORY, "%s: no memory for %lld indices", caller, (long long)count);
        lk_mem_free(s);
        lk_mem_free(index);
        return NULL;
    }
    *s = (Dataset){ lk_tensor_retain(d->x), lk_tensor_retain(d->y), d->transform, index, count };
    return s;
}

Dataset *lk_subset_new(const Dataset *d, int64_t count, const int64_t *index, Error *err)
{
    const char *caller = "lk_subset_new";
    if (!d || (!index && count > 0)) {
        lk_error_set(err, LK_EVALUE, "%s: the %s NULL", caller, d ? "indices are" : "dataset is");
        return NULL;
    }
    if (count < 0) {
        lk_error_set(err, LK_EVALUE, "%s: %lld indices", caller, (long long)count);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++) {
        if (index[i] >= 0 && index[i] < d->count) continue;
        lk_error_set(err, LK_EVALUE, "%s: index[%lld] is %lld; the dataset has %lld samples",
                     caller, (long long)i, (long long)index[i], (long long)d->count);
        return NULL;
    }
    Dataset *s = share(d, caller, count, err);
    for (int64_t i = 0; s && i < count; i++) s->index[i] = lk_dataset_row(d, index[i]);
    return s;
}

static bool contains(int count, const int64_t *classes, int64_t label)
{
    for (int i = 0; i < count; i++)
        if (classes[i] == label) return true;
    return false;
}

Dataset *lk_filter_classes_new(const Dataset *d, int count, const int64_t *classes, Error *err)
{
    const char *caller = "lk_filter_classes_new";
    if (!d || (!classes && count > 0)) {
        lk_error_set(err, LK_EVALUE, "%s: the %s NULL", caller, d ? "classes are" : "dataset is");
        return NULL;
    }
    if (!has_labels(d)) {
        char shape[LK_SHAPE_TEXT];
        lk_error_set(err, LK_EDTYPE,
                     "%s: the targets are %s %s; classes are told by labels, (n,) int64 or uint8",
                     caller, lk_dtype_name(d->y->dtype), lk_shape_text(d->y, shape));
        return NULL;
    }
    int64_t found = 0;
    for (int64_t i = 0; i < d->count; i++)
        found += contains(count, classes, lk_dataset_label(d, i));
    if (found == 0) {
        char text[80] = ""; /* the first three classes */
        for (int i = 0, used = 0; i < count && i < 3; i++)
            used += snprintf(text + used, sizeof text - (size_t)used, i ? ", %lld" : " %lld",
                             (long long)classes[i]);
        lk_error_set(err, LK_EVALUE, "%s: none of %lld samples has a label out of {%s%s }", caller,
                     (long long)d->count, text, count > 3 ? ", ..." : "");
        return NULL;
    }
    Dataset *s = share(d, caller, found, err);
    for (int64_t i = 0, n = 0; s && i < d->count; i++)
        if (contains(count, classes, lk_dataset_label(d, i))) s->index[n++] = lk_dataset_row(d, i);
    return s;
}

/* ---- random parts --------------------------------------------------------------------------- */

static bool check_lengths(const Dataset *d, int count, const int64_t *lengths, Error *err)
{
    const char *caller = "lk_random_split";
    int64_t left = d->count;
    for (int i = 0; i < count; i++) {
        if (lengths[i] < 0)
            return lk_error_set(err, LK_EVALUE, "%s: length %d is %lld", caller, i,
                                (long long)lengths[i]);
        if (lengths[i] > left)
            return lk_error_set(err, LK_EVALUE,
                                "%s: the lengths add up to more than the %lld samples", caller,
                                (long long)d->count);
        left -= lengths[i];
    }
    return left == 0 ||
           lk_error_set(err, LK_EVALUE,
                        "%s: the lengths add up to %lld; the dataset has %lld samples", caller,
                        (long long)(d->count - left), (long long)d->count);
}

bool lk_random_split(const Dataset *d, int count, const int64_t *lengths, Rng *rng,
                     Dataset **parts, Error *err)
{
    const char *caller = "lk_random_split";
    if (!d || !rng || !parts || (!lengths && count > 0))
        return lk_error_set(err, LK_EVALUE, "%s: an argument is NULL", caller);
    for (int i = 0; i < count; i++) parts[i] = NULL;
    if (!check_lengths(d, count, lengths, err)) return false;
    /* one more, since nothing may be split too */
    int64_t *order = lk_mem_calloc((size_t)d->count + 1, sizeof *order), used = 0;
    if (!order)
        return lk_error_set(err, LK_EMEMORY, "%s: no memory for the order of %lld samples", caller,
                            (long long)d->count);
    const Rng before = *rng;
    lk_random_perm(rng, d->count, order);
    bool ok = true;
    for (int i = 0; ok && i < count; i++) {
        parts[i] = lk_subset_new(d, lengths[i], order + used, err);
        used += lengths[i];
        ok = parts[i];
    }
    lk_mem_free(order);
    if (ok) return true;
    *rng = before;
    for (int i = 0; i < count; i++) {
        lk_dataset_free(parts[i]);
        parts[i] = NULL;
    }
    return false;
}
