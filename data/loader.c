/* loader.c - batches out of a dataset, drawn in PyTorch's order and converted when they are asked
 * for. The samples: data/dataset.c. Their order: data/sampler.c. */
#include "data/loader.h"

#include <string.h>

#include "core/memory.h"
#include "data/sampler.h"

#define LK_REAL_SOURCE "data/loader_real.h"
#include "core/real.h"

/* ---- life ----------------------------------------------------------------------------------- */

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

/* Makes a loader without room for batches. */
static DataLoader *loader_new(const Dataset *dataset, int64_t batch_size, bool shuffle, Rng *rng,
                              Error *err)
{
    DataLoader *l = lk_mem_calloc(1, sizeof *l);
    if (!l) {
        lk_error_set(err, LK_EMEMORY, "lk_loader_new: no memory");
        return NULL;
    }
    l->dataset = dataset;
    l->batch_size = batch_size;
    l->shuffle = shuffle;
    l->rng = rng;
    if (!shuffle) return l;
    l->order = lk_mem_calloc((size_t)dataset->count, sizeof *l->order);
    if (l->order) return l;
    lk_error_set(err, LK_EMEMORY, "lk_loader_new: no memory for the order of %lld samples",
                 (long long)dataset->count);
    lk_loader_free(l);
    return NULL;
}

static int64_t full_batch(const DataLoader *l)
{
    return l->batch_size < l->dataset->count ? l->batch_size : l->dataset->count;
}

static Tensor *room_new(const DataLoader *l, const Tensor *samples, DType dtype, Error *err)
{
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, samples->shape, sizeof shape);
    shape[0] = full_batch(l);
    return lk_tensor_new(dtype, samples->ndim, shape, err);
}

DataLoader *lk_loader_as_new(const Dataset *dataset, int64_t batch_size, bool shuffle, DType dtype,
                             Rng *rng, Error *err)
{
    if (!check(dataset, batch_size, dtype, rng, err)) return NULL;
    DataLoader *l = loader_new(dataset, batch_size, shuffle, rng, err);
    if (!l) return NULL;
    const Tensor *x = dataset->x, *y = dataset->y;
    l->x = room_new(l, x, x->dtype == LK_I64 ? LK_I64 : dtype, err);
    DType target = lk_is_floating(y->dtype) ? dtype : LK_I64;
    l->y = room_new(l, y, y->dtype == LK_BOOL ? LK_BOOL : target, err);
    if (l->x && l->y) return l;
    lk_loader_free(l);
    return NULL;
}

DataLoader *lk_loader_collate_new(const Dataset *dataset, int64_t batch_size, bool shuffle,
                                  CollateFn *collate, void *user, Rng *rng, Error *err)
{
    if (!check(dataset, batch_size, LK_F32, rng, err)) return NULL;
    if (!collate) {
        lk_error_set(err, LK_EVALUE, "lk_loader_collate_new: the function is NULL");
        return NULL;
    }
    DataLoader *l = loader_new(dataset, batch_size, shuffle, rng, err);
    if (!l) return NULL;
    l->collate = collate;
    l->user = user;
    l->rows = lk_mem_calloc((size_t)full_batch(l), sizeof *l->rows);
    if (l->rows) return l;
    lk_error_set(err, LK_EMEMORY, "lk_loader_new: no memory for %lld rows",
                 (long long)full_batch(l));
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
    lk_mem_free(l->rows);
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
    l->begun = true;
    l->ordered = !l->shuffle;
    l->error = (Error){ 0 };
}

/* Copies row `row` of `from`, n numbers, to row `place` of a batch, in the batch's dtype. Float64
 * gets the float32 values of the transform. */
static void copy_row(const DataLoader *l, const Tensor *from, int64_t row, int64_t n,
                     const Tensor *batch, int64_t place)
{
    const void *x = (const char *)from->data + (size_t)(row * n) * lk_dtype_size(from->dtype);
    void *to = (char *)batch->data + (size_t)(place * n) * lk_dtype_size(batch->dtype);
    const uint8_t *bytes = x;
    const float *singles = x;
    const double *doubles = x;
    float *f32 = to;
    double *f64 = to;
    int64_t *i64 = to;
    if (from->dtype == batch->dtype) {
        memcpy(to, x, (size_t)n * lk_dtype_size(batch->dtype));
    } else if (batch->dtype == LK_I64) {
        for (int64_t i = 0; i < n; i++) i64[i] = bytes[i];
    } else if (from->dtype == LK_U8) {
        LK_REAL(batch->dtype, transform, n, bytes, l->dataset->transform, to);
    } else if (batch->dtype == LK_F64) {
        for (int64_t i = 0; i < n; i++) f64[i] = (double)singles[i];
    } else {
        for (int64_t i = 0; i < n; i++) f32[i] = (float)doubles[i];
    }
}

/* The row of the sample at a position of this pass. */
static int64_t row_at(const DataLoader *l, int64_t position)
{
    return lk_dataset_row(l->dataset, l->shuffle ? l->order[position] : position);
}

/* Asks for the row of the sample at a position, n numbers. Shuffled rows lie anywhere in memory,
 * so the processor cannot know the next one. */
static void prefetch_row(const DataLoader *l, const Tensor *from, int64_t position, int64_t n)
{
    enum { LINE = 64, MOST = 4096 };
    const int64_t bytes = n * (int64_t)lk_dtype_size(from->dtype);
    const char *x = (const char *)from->data + row_at(l, position) * bytes;
    for (int64_t i = 0; i < bytes && i < MOST; i += LINE) __builtin_prefetch(x + i);
}

static int64_t numbers_in_row(const Tensor *x)
{
    int64_t n = 1;
    for (int k = 1; k < x->ndim; k++) n *= x->shape[k];
    return n;
}

/* Fills the loader's own tensors, which have room for a full batch; a smaller one uses the
 * front. */
static void copy_batch(DataLoader *l, int64_t n)
{
    enum { AHEAD = 2, WORTH_THREADS = 1 << 14 }; /* rows; numbers that are worth two threads */
    const Tensor *x = l->dataset->x, *y = l->dataset->y;
    const int64_t sample = numbers_in_row(x), target = numbers_in_row(y);
#pragma omp parallel for schedule(static) if (n * (sample + target) >= WORTH_THREADS)
    for (int64_t i = 0; i < n; i++) {
        int64_t row = row_at(l, l->next + i);
        if (i + AHEAD < n) prefetch_row(l, x, l->next + i + AHEAD, sample);
        copy_row(l, x, row, sample, l->x, i);
        copy_row(l, y, row, target, l->y, i);
    }
    l->x->shape[0] = l->y->shape[0] = n;
    lk_touch(l->x);
    lk_touch(l->y);
}

/* Asks the user's function for a batch. False: it failed. */
static bool collate_batch(DataLoader *l, int64_t n, Batch *batch)
{
    Batch made = { .first = l->next };
    for (int64_t i = 0; i < n; i++) l->rows[i] = row_at(l, l->next + i);
    lk_tensor_free(l->x);
    lk_tensor_free(l->y);
    l->x = l->y = NULL;
    bool ok = l->collate(l->dataset, l->rows, n, &made, l->user, &l->error);
    *batch = made;
    /* A tensor of a tape may be gone before this loader is. */
    l->x = made.x && made.x->refs > 0 ? made.x : NULL;
    l->y = made.y && made.y->refs > 0 ? made.y : NULL;
    return ok || lk_error_set(&l->error, LK_EVALUE, "lk_loader_next: the collate function failed");
}

/* Ends the pass, for `return end_pass(l);`. */
static bool end_pass(DataLoader *l)
{
    l->begun = false;
    return false;
}

bool lk_loader_next(DataLoader *l, Batch *batch)
{
    if (!l || !batch) return false;
    if (!l->begun)
        return lk_error_set(
            &l->error, LK_ESTATE,
            "lk_loader_next: no pass has begun; lk_loader_begin comes before every pass");
    const int64_t count = l->dataset->count;
    if (l->next >= count) return end_pass(l);
    /* draws the order even if drop_last leaves no batch, as PyTorch does */
    if (!l->ordered) lk__sample_random(l->rng, count, l->order);
    l->ordered = true;
    int64_t left = count - l->next, n = l->batch_size < left ? l->batch_size : left;
    if (n < l->batch_size && l->drop_last) return end_pass(l);
    if (!l->collate) {
        copy_batch(l, n);
        *batch = (Batch){ l->x, l->y, l->next };
    } else if (!collate_batch(l, n, batch)) {
        return end_pass(l);
    }
    l->next += n;
    return true;
}
