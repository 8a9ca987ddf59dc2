/* loader.c - batches out of a dataset, drawn in PyTorch's order and converted when they are asked
 * for. The samples: data/dataset.c. Their order: data/sampler.c. */
#include "data/loader.h"

#include <string.h>

#include "core/memory.h"
#include "data/sampler.h"

/* ---- life ----------------------------------------------------------------------------------- */

/* Computes ToTensor and Normalize for every byte, so that a batch is a table look-up. There are
 * two true divisions in float32, as in PyTorch; a multiplication by 1 / 255 differs in the last
 * bit. */
static void fill_table(float table[256], Transform transform)
{
    for (int byte = 0; byte < 256; byte++)
        table[byte] = ((float)byte / 255.0f - transform.mean) / transform.std;
}

static bool check(const Dataset *dataset, int64_t batch_size, DType dtype, const Rng *rng,
                  Error *err)
{
    const char *caller = "lk_loader_new";
    if (!dataset || !rng)
        return lk_error_set(err, LK_EVALUE, "%s: %s is NULL", caller, dataset ? "rng" : "dataset");
    if (batch_size <= 0)
        return lk_error_set(err, LK_EVALUE, "%s: batch size %lld; it must be positive", caller,
                            (long long)batch_size);
    if (dataset->count == 0)
        return lk_error_set(err, LK_EVALUE, "%s: the dataset is empty", caller);
    if (!lk_is_floating(dtype))
        return lk_error_set(err, LK_EDTYPE, "%s: batches are float32 or float64, not %s", caller,
                            lk_dtype_name(dtype));
    return true;
}

DataLoader *lk_loader_as_new(const Dataset *dataset, int64_t batch_size, bool shuffle, DType dtype,
                             Rng *rng, Error *err)
{
    if (!check(dataset, batch_size, dtype, rng, err)) return NULL;
    DataLoader *l = lk_mem_alloc(sizeof *l);
    if (!l) {
        lk_error_set(err, LK_EMEMORY, "lk_loader_new: no memory");
        return NULL;
    }
    *l = (DataLoader){
        .dataset = dataset, .batch_size = batch_size, .shuffle = shuffle, .rng = rng
    };
    l->next = dataset->count; /* there is no pass before the first lk_loader_begin */
    if (dataset->x->dtype == LK_U8) fill_table(l->table, dataset->transform);

    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, dataset->x->shape, sizeof shape);
    shape[0] = batch_size < dataset->count ? batch_size : dataset->count;
    l->x = lk_tensor_new(dtype, dataset->x->ndim, shape, err);
    l->y = lk_tensor_new(LK_I64, 1, shape, err);
    if (shuffle) {
        l->order = lk_mem_calloc((size_t)dataset->count, sizeof *l->order);
        if (!l->order)
            lk_error_set(err, LK_EMEMORY, "lk_loader_new: no memory for the order of %lld samples",
                         (long long)dataset->count);
    }
    if (l->x && l->y && (l->order || !shuffle)) return l;
    lk_loader_free(l);
    return NULL;
}

DataLoader *lk_loader_new(const Dataset *dataset, int64_t batch_size, bool shuffle, Rng *rng,
                          Error *err)
{
    return lk_loader_as_new(dataset, batch_size, shuffle, LK_F32, rng, err);
}

void lk_loader_free(DataLoader *l)
{
    if (!l) return;
    lk_tensor_free(l->x);
    lk_tensor_free(l->y);
    lk_mem_free(l->order);
    lk_mem_free(l);
}

int64_t lk_loader_len(const DataLoader *l)
{
    if (!l) return -1;
    int64_t full = l->dataset->count / l->batch_size;
    return full + (!l->drop_last && l->dataset->count % l->batch_size != 0);
}

/* ---- a pass --------------------------------------------------------------------------------- */

/* PyTorch draws the base seed (of its worker processes) when the iterator is made, and the
 * sampler's seed only when the first batch is asked for. Numbers that a user draws in between must
 * fall in between here too. */
void lk_loader_begin(DataLoader *l)
{
    if (!l) return;
    lk_random_seed(l->rng);
    l->next = 0;
    l->ordered = !l->shuffle;
}

/* Copies one sample of x, as n numbers of the batch's dtype. Float64 gets the float32 values of
 * the transform. */
static void copy_sample(const DataLoader *l, int64_t row, int64_t n, int64_t place)
{
    const void *from = (const char *)l->dataset->x->data +
                       (size_t)(row * n) * lk_dtype_size(l->dataset->x->dtype);
    void *to = (char *)l->x->data + (size_t)(place * n) * lk_dtype_size(l->x->dtype);
    const uint8_t *bytes = from;
    const float *singles = from;
    const double *doubles = from;
    float *f32 = to;
    double *f64 = to;
    if (l->dataset->x->dtype == l->x->dtype) {
        memcpy(to, from, (size_t)n * lk_dtype_size(l->x->dtype));
    } else if (l->dataset->x->dtype == LK_U8 && l->x->dtype == LK_F32) {
        for (int64_t i = 0; i < n; i++) f32[i] = l->table[bytes[i]];
    } else if (l->dataset->x->dtype == LK_U8) {
        for (int64_t i = 0; i < n; i++) f64[i] = (double)l->table[bytes[i]];
    } else if (l->x->dtype == LK_F64) {
        for (int64_t i = 0; i < n; i++) f64[i] = (double)singles[i];
    } else {
        for (int64_t i = 0; i < n; i++) f32[i] = (float)doubles[i];
    }
}

bool lk_loader_next(DataLoader *l, Batch *batch)
{
    enum { WORTH_THREADS = 1 << 14 }; /* numbers that take longer than waking the threads up */
    if (!l || !batch) return false;
    const Dataset *d = l->dataset;
    if (l->next >= d->count) return false;
    /* draws the order even if drop_last leaves no batch, as PyTorch does */
    if (!l->ordered) lk__sample_random(l->rng, d->count, l->order);
    l->ordered = true;
    int64_t left = d->count - l->next, n = l->batch_size < left ? l->batch_size : left;
    if (n < l->batch_size && l->drop_last) {
        l->next = d->count;
        return false;
    }
    int64_t sample = 1; /* numbers in a sample */
    for (int k = 1; k < d->x->ndim; k++) sample *= d->x->shape[k];
    int64_t *labels = l->y->data;
#pragma omp parallel for schedule(static) if (n * sample >= WORTH_THREADS)
    for (int64_t i = 0; i < n; i++) {
        int64_t position = l->shuffle ? l->order[l->next + i] : l->next + i;
        copy_sample(l, lk_dataset_row(d, position), sample, i);
        labels[i] = lk_dataset_label(d, position);
    }
    /* The tensors have room for a full batch; a smaller one uses the front. */
    l->x->shape[0] = l->y->shape[0] = n;
    lk_touch(l->x);
    lk_touch(l->y);
    *batch = (Batch){ l->x, l->y, l->next };
    l->next += n;
    return true;
}
