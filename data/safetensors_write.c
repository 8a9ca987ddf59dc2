/* safetensors_write.c - writes safetensors files, byte for byte as the reference implementation
 * does. The format, and reading it: data/safetensors.c. data/atomic_file.c replaces
 * the file. */
#include "data/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "data/atomic_file.h"
#include "data/file_report.h"
#include "data/json_write.h"
#include "data/utf8.h"

/* One call of a function that saves. */
typedef struct Job {
    FileReport report;
    const Metadata *metadata;
    const StateEntry *const *order; /* the tensors as they are written */
    int count;
} Job;

/* Larger elements first, so that every tensor is aligned; among equal sizes in the reference's
 * order. */
static const struct {
    const char *name;
    int rank;
} file_types[] = {
    [LK_I64] = { "I64", 0 },   [LK_F64] = { "F64", 1 }, [LK_F32] = { "F32", 2 },
    [LK_BF16] = { "BF16", 3 }, [LK_U8] = { "U8", 4 },   [LK_BOOL] = { "BOOL", 5 },
};

/* The format has no scales: qint8 is written as the float32 that it stands for. */
static DType written_as(const Tensor *x) { return x->dtype == LK_QI8 ? LK_F32 : x->dtype; }

/* ---- checks --------------------------------------------------------------------------------- */

static bool check_metadata(const Job *job)
{
    const Metadata *metadata = job->metadata;
    for (int i = 0; metadata && i < metadata->count; i++) {
        const MetadataEntry *e = &metadata->entries[i];
        if (!e->key || !e->value)
            return lk__file_fail(&job->report, LK_EVALUE, "metadata entry %d has a NULL in it", i);
        if (!lk__is_utf8(e->key) || !lk__is_utf8(e->value))
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "metadata entry %d, \"%.100s\", is not UTF-8", i, e->key);
        for (int j = 0; j < i; j++)
            if (strcmp(metadata->entries[j].key, e->key) == 0)
                return lk__file_fail(&job->report, LK_EVALUE, "metadata \"%.100s\" is there twice",
                                     e->key);
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const StateEntry *x = *(const StateEntry *const *)a, *y = *(const StateEntry *const *)b;
    return strcmp(x->name, y->name);
}

static int by_type_and_name(const void *a, const void *b)
{
    const StateEntry *x = *(const StateEntry *const *)a, *y = *(const StateEntry *const *)b;
    int difference =
        file_types[written_as(x->tensor)].rank - file_types[written_as(y->tensor)].rank;
    return difference ? difference : strcmp(x->name, y->name);
}

static bool order_entries(Job *job, const StateDict *state, const StateEntry **order)
{
    for (int i = 0; i < state->count; i++) {
        const StateEntry *e = order[i] = &state->entries[i];
        if (!e->name || !e->tensor)
            return lk__file_fail(&job->report, LK_EVALUE, "entry %d has no %s", i,
                                 e->name ? "tensor" : "name");
        if (!lk__is_utf8(e->name))
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "the name of entry %d is not UTF-8: \"%.100s\"", i, e->name);
        if (strcmp(e->name, "__metadata__") == 0)
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "a tensor cannot be called \"__metadata__\"");
    }
    size_t count = (size_t)state->count;
    qsort(order, count, sizeof *order, by_name);
    for (int i = 1; i < state->count; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return lk__file_fail(&job->report, LK_EVALUE, "tensor \"%.100s\" is there twice",
                                 order[i]->name);
    qsort(order, count, sizeof *order, by_type_and_name);
    job->order = order;
    job->count = state->count;
    return true;
}

/* ---- the header ----------------------------------------------------------------------------- */

/* Puts one tensor's entry. *end: bytes of all elements up to here. False: they overflow. */
static bool put_entry(JsonWriter *out, const StateEntry *e, int64_t *end)
{
    const Tensor *x = e->tensor;
    int64_t begin = *end, bytes;
    if (__builtin_mul_overflow(lk_numel(x), (int64_t)lk_dtype_size(written_as(x)), &bytes) ||
        __builtin_add_overflow(begin, bytes, end))
        return false;
    lk__json_open(out, e->name, '{');
    lk__json_put_text(out, "dtype", file_types[written_as(x)].name);
    lk__json_open(out, "shape", '[');
    for (int d = 0; d < x->ndim; d++) lk__json_put_integer(out, NULL, x->shape[d]);
    lk__json_close(out, ']');
    lk__json_open(out, "data_offsets", '[');
    lk__json_put_integer(out, NULL, begin);
    lk__json_put_integer(out, NULL, *end);
    lk__json_close(out, ']');
    lk__json_close(out, '}');
    return true;
}

enum { LENGTH = 8 }; /* bytes of the header's own length, in front of it */

/* Makes the header, with its length in front. *elements: bytes of all elements. The caller frees
 * it, after an error too. */
static bool make_header(Buffer *header, const Job *job, int64_t *elements)
{
    const Metadata *metadata = job->metadata;
    JsonWriter out = { .out = header };
    *elements = 0;
    lk_buffer_put(header, (const char[LENGTH]){ 0 }, LENGTH);
    lk__json_open(&out, NULL, '{');
    if (metadata) {
        lk__json_open(&out, "__metadata__", '{');
        for (int i = 0; i < metadata->count; i++)
            lk__json_put_text(&out, metadata->entries[i].key, metadata->entries[i].value);
        lk__json_close(&out, '}');
    }
    for (int i = 0; i < job->count; i++)
        if (!put_entry(&out, job->order[i], elements))
            return lk__file_fail(&job->report, LK_EVALUE, "the tensors are larger than any file");
    lk__json_close(&out, '}');
    while (header->length % 8 != 0 && !header->failed) /* so that the data are aligned */
        lk_buffer_put(header, " ", 1);
    if (header->failed) return lk__file_fail(&job->report, LK_EMEMORY, "no memory for its header");
    const size_t length = header->length - LENGTH;
    for (int i = 0; i < LENGTH; i++) header->bytes[i] = (char)((uint64_t)length >> 8 * i);
    return length <= LK_SAFETENSORS_HEADER_MAX ||
           lk__file_fail(&job->report, LK_EVALUE,
                         "the names and sizes take %zu bytes; the format allows %d", length,
                         LK_SAFETENSORS_HEADER_MAX);
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool write_header(AtomicFile *f, const Job *job)
{
    Buffer header = { 0 };
    int64_t elements;
    bool ok =
        make_header(&header, job, &elements) && lk_atomic_write(f, header.bytes, header.length);
    lk_buffer_free(&header);
    return ok;
}

/* Writes the elements in logical order: a view with other strides is copied first. */
static bool write_elements(AtomicFile *f, const Tensor *x, Error *err)
{
    const bool as_it_is = lk_is_contiguous(x) && x->dtype != LK_QI8;
    Tensor *copy = as_it_is ? NULL : lk_clone(x, err);
    bool ok = as_it_is || (copy && lk_convert_(copy, written_as(x), err));
    if (copy) x = copy;
    ok = ok && lk_atomic_write(f, x->data, (size_t)lk_numel(x) * lk_dtype_size(x->dtype));
    lk_tensor_free(copy);
    return ok;
}

/* Puts the tensors in their order, and checks everything about them. The caller frees *order. */
static bool begin(Job *job, const StateDict *state, const StateEntry ***order)
{
    *order = lk_mem_calloc(state->count ? (size_t)state->count : 1, sizeof **order);
    if (!*order)
        return lk__file_fail(&job->report, LK_EMEMORY, "no memory for %d tensors", state->count);
    return order_entries(job, state, *order) && check_metadata(job);
}

bool lk_save_safetensors(const StateDict *state, const Metadata *metadata, const char *path,
                         Error *err)
{
    const char *caller = "lk_save_safetensors";
    if (!state || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller,
                            state ? "path" : "state");
    Job job = { .report = { caller, path, err, 0 }, .metadata = metadata };
    const StateEntry **order;
    AtomicFile f;
    bool ok = begin(&job, state, &order);
    if (ok) {
        ok = lk_atomic_begin(&f, caller, path, err) && write_header(&f, &job);
        for (int i = 0; ok && i < job.count; i++)
            ok = write_elements(&f, job.order[i]->tensor, err);
        ok = lk_atomic_end(&f, ok);
    }
    lk_mem_free(order);
    return ok;
}

int64_t lk_safetensors_size(const StateDict *state, const Metadata *metadata, Error *err)
{
    const char *caller = "lk_safetensors_size";
    if (!state) {
        lk_error_set(err, LK_EVALUE, "%s: the state is NULL", caller);
        return -1;
    }
    Job job = { .report = { caller, "the state", err, 0 }, .metadata = metadata };
    const StateEntry **order;
    Buffer header = { 0 };
    int64_t size = 0;
    bool ok = begin(&job, state, &order) && make_header(&header, &job, &size);
    if (ok && __builtin_add_overflow(size, (int64_t)header.length, &size))
        ok = lk__file_fail(&job.report, LK_EVALUE, "the tensors are larger than any file");
    lk_buffer_free(&header);
    lk_mem_free(order);
    return ok ? size : -1;
}
