/* text.c - sentences as token ids, and batches of them. Their order: data/sampler.c. */
#include "data/text.h"

#include <string.h>

#include "core/memory.h"
#include "data/sampler.h"

/* ---- the sentences -------------------------------------------------------------------------- */

/* Gives *array space for `needed` numbers at least, and for twice as many as before, so that
 * adding one costs a constant. */
static bool grow(int64_t **array, int64_t used, int64_t *room, int64_t needed)
{
    if (needed <= *room) return true;
    int64_t more = *room < INT64_MAX / 2 && 2 * *room > needed ? 2 * *room : needed;
    int64_t *larger = lk_mem_calloc((size_t)more, sizeof *larger);
    if (!larger) return false;
    if (used > 0) memcpy(larger, *array, (size_t)used * sizeof *larger);
    lk_mem_free(*array);
    *array = larger;
    *room = more;
    return true;
}

TextDataset *lk_text_dataset_new(Error *err)
{
    TextDataset *d = lk_mem_calloc(1, sizeof *d);
    int64_t room = 0;
    if (d && grow(&d->offset, 0, &room, 1)) return d; /* offset[0] is 0 */
    lk_error_set(err, LK_EMEMORY, "lk_text_dataset_new: no memory");
    lk_text_dataset_free(d);
    return NULL;
}

void lk_text_dataset_free(TextDataset *d)
{
    if (!d) return;
    lk_mem_free(d->ids);
    lk_mem_free(d->offset);
    lk_mem_free(d->labels);
    lk_mem_free(d);
}

/* Makes space for one more sentence. Labels and offsets grow together; there is one offset more
 * than labels. */
static bool grow_rows(TextDataset *d)
{
    if (d->count < d->room) return true;
    int64_t labels = d->room, offsets = d->room + 1, needed = d->room ? 2 * d->room : 64;
    if (!grow(&d->labels, d->count, &labels, needed) ||
        !grow(&d->offset, d->count + 1, &offsets, needed + 1))
        return false;
    d->room = needed;
    return true;
}

bool lk_text_add(TextDataset *d, const int64_t *ids, int64_t count, int64_t label, Error *err)
{
    if (!d || !ids || count <= 0)
        return lk_error_set(err, LK_EVALUE, "lk_text_add: %s",
                            !d ? "the dataset is NULL" : "a sentence without ids");
    int64_t used = d->offset[d->count], total;
    if (__builtin_add_overflow(used, count, &total) || !grow(&d->ids, used, &d->ids_room, total) ||
        !grow_rows(d))
        return lk_error_set(err, LK_EMEMORY,
                            "lk_text_add: no memory for sentence %lld of %lld ids",
                            (long long)d->count, (long long)count);
    memcpy(d->ids + used, ids, (size_t)count * sizeof *ids);
    d->labels[d->count++] = label;
    d->offset[d->count] = total;
    return true;
}

void lk_text_keep(TextDataset *d, int64_t n)
{
    if (d && n >= 0 && n < d->count) d->count = n;
}

int64_t lk_text_length(const TextDataset *d, int64_t i)
{
    return d && i >= 0 && i < d->count ? d->offset[i + 1] - d->offset[i] : -1;
}

/* ---- a loader ------------------------------------------------------------------------------- */

/* Checks the arguments, and finds B and S of the largest batch. */
static bool check(const TextDataset *d, const TextOptions *o, const Rng *rng, int64_t shape[2],
                  Error *err)
{
    const char *caller = "lk_text_loader_new";
    if (!d) return lk_error_set(err, LK_EVALUE, "%s: dataset is NULL", caller);
    if (!o) return lk_error_set(err, LK_EVALUE, "%s: options is NULL", caller);
    if (!rng) return lk_error_set(err, LK_EVALUE, "%s: rng is NULL", caller);
    if (d->count == 0) return lk_error_set(err, LK_EVALUE, "%s: the dataset is empty", caller);
    if (o->batch_size <= 0 || o->length < 0 || o->group < 0)
        return lk_error_set(err, LK_EVALUE,
                            "%s: batch size %lld, length %lld, group %lld; the first must be "
                            "positive, none negative",
                            caller, (long long)o->batch_size, (long long)o->length,
                            (long long)o->group);
    int64_t longest = 0;
    for (int64_t i = 1; i < d->count; i++)
        if (lk_text_length(d, i) > lk_text_length(d, longest)) longest = i;
    if (o->length > 0 && lk_text_length(d, longest) > o->length)
        return lk_error_set(
            err, LK_EVALUE,
            "%s: sentence %lld has %lld ids, more than the length of %lld: truncate it", caller,
            (long long)longest, (long long)lk_text_length(d, longest), (long long)o->length);
    shape[0] = o->batch_size < d->count ? o->batch_size : d->count;
    shape[1] = o->length > 0 ? o->length : lk_text_length(d, longest);
    return true;
}

TextLoader *lk_text_loader_new(const TextDataset *dataset, const TextOptions *options, Rng *rng,
                               Error *err)
{
    int64_t shape[2];
    if (!check(dataset, options, rng, shape, err)) return NULL;
    TextLoader *l = lk_mem_calloc(1, sizeof *l);
    if (l) {
        *l = (TextLoader){ .dataset = dataset, .options = *options, .rng = rng };
        if (l->options.group == 0) l->options.group = options->batch_size;
        l->at.next = dataset->count; /* there is no pass before the first lk_text_loader_begin */
        l->order = lk_mem_calloc((size_t)dataset->count, sizeof *l->order);
        l->room = lk_mem_calloc((size_t)dataset->count, sizeof *l->room);
        l->ids = lk_tensor_new(LK_I64, 2, shape, err);
        l->mask = lk_tensor_new(LK_BOOL, 2, shape, err);
        l->labels = lk_tensor_new(LK_I64, 1, shape, err);
        if (l->order && l->room && l->ids && l->mask && l->labels) return l;
    }
    lk_error_set(err, LK_EMEMORY, "lk_text_loader_new: no memory for the order of %lld sentences",
                 (long long)dataset->count);
    lk_text_loader_free(l);
    return NULL;
}

void lk_text_loader_free(TextLoader *l)
{
    if (!l) return;
    lk_mem_free(l->order);
    lk_mem_free(l->room);
    lk_tensor_free(l->ids);
    lk_tensor_free(l->mask);
    lk_tensor_free(l->labels);
    lk_mem_free(l);
}

int64_t lk_text_loader_len(const TextLoader *l)
{
    if (!l) return -1;
    return l->dataset->count / l->options.batch_size +
           (l->dataset->count % l->options.batch_size != 0);
}

/* ---- a pass --------------------------------------------------------------------------------- */

/* As in data/loader.c: draws a base seed now, and the order only with the first batch. */
void lk_text_loader_begin(TextLoader *l)
{
    if (!l) return;
    lk_random_seed(l->rng);
    l->at.next = 0;
    l->at.ordered = false;
    l->begun = true;
    l->error = (Error){ 0 };
}

static void draw_order(TextLoader *l, Rng *rng)
{
    const TextDataset *d = l->dataset;
    if (l->options.order == LK_SHUFFLED) lk__sample_random(rng, d->count, l->order);
    else if (l->options.order == LK_GROUPED)
        lk__sample_by_length(rng, d->count, d->offset, l->options.group, l->order, l->room);
    else
        for (int64_t i = 0; i < d->count; i++) l->order[i] = i;
    l->at.ordered = true;
}

bool lk_text_loader_next(TextLoader *l, TextBatch *batch)
{
    if (!l || !batch) return false;
    if (!l->begun)
        return lk_error_set(&l->error, LK_ESTATE,
                            "lk_text_loader_next: no pass has begun; lk_text_loader_begin comes "
                            "before every pass");
    const TextDataset *d = l->dataset;
    l->begun = l->at.next < d->count;
    if (!l->begun) return false;
    if (!l->at.ordered) {
        l->at.rng = *l->rng;
        draw_order(l, l->rng);
    }
    const int64_t *rows = l->order + l->at.next;
    int64_t left = d->count - l->at.next,
            n = l->options.batch_size < left ? l->options.batch_size : left;
    int64_t length = l->options.length;
    if (length == 0)
        for (int64_t i = 0; i < n; i++)
            if (lk_text_length(d, rows[i]) > length) length = lk_text_length(d, rows[i]);

    int64_t *ids = l->ids->data, *labels = l->labels->data;
    bool *mask = l->mask->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = rows[i], used = lk_text_length(d, row);
        memcpy(ids + i * length, d->ids + d->offset[row], (size_t)used * sizeof *ids);
        for (int64_t k = used; k < length; k++) ids[i * length + k] = l->options.pad;
        for (int64_t k = 0; k < length; k++) mask[i * length + k] = k < used;
        labels[i] = d->labels[row];
    }
    /* The tensors have room for the largest batch; another one uses the front. */
    Tensor *const tensors[] = { l->ids, l->mask, l->labels };
    for (int i = 0; i < 3; i++) {
        tensors[i]->shape[0] = n;
        if (tensors[i]->ndim == 2) tensors[i]->shape[1] = tensors[i]->stride[0] = length;
        lk_touch(tensors[i]);
    }
    *batch = (TextBatch){ l->ids, l->mask, l->labels, rows, l->at.next };
    l->at.next += n;
    return true;
}

/* ---- resuming ------------------------------------------------------------------------------- */

TextPosition lk_text_loader_position(const TextLoader *l)
{
    return l ? l->at : (TextPosition){ .next = 0 };
}

bool lk_text_loader_restore(TextLoader *l, const TextPosition *at, Error *err)
{
    if (!l || !at)
        return lk_error_set(err, LK_EVALUE, "lk_text_loader_restore: the %s is NULL",
                            l ? "position" : "loader");
    int64_t count = l->dataset->count;
    bool possible = at->next == count ||
                    (at->next >= 0 && at->next < count && at->next % l->options.batch_size == 0);
    int words = (int)(sizeof at->rng.word / sizeof *at->rng.word);
    if (!possible || at->rng.next < 0 || at->rng.next > words ||
        (!at->ordered && at->next > 0 && at->next < count))
        return lk_error_set(err, LK_EVALUE,
                            "lk_text_loader_restore: no position of this loader: sentence %lld of "
                            "%lld, batches of %lld, %s",
                            (long long)at->next, (long long)count,
                            (long long)l->options.batch_size,
                            at->ordered ? "in order" : "without an order");
    l->at = *at;
    l->begun = true;
    l->error = (Error){ 0 };
    Rng rng = at->rng;
    if (at->ordered) draw_order(l, &rng);
    return true;
}
